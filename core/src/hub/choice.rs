//! Which of a repository's files a model needs: weights in one format, config, tokenizer, chat templates, card and licence.
//! Code never, nor weights for other programs.

use std::collections::BTreeSet;

use super::name::is_plain;

/// Longest path of a file, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The one subfolder that belongs to a model: transformers keeps further chat templates in it.
const TEMPLATE_FOLDER: &str = "additional_chat_templates";

/// Endings of tokenizer files and chat templates.
const TOKENIZER_ENDINGS: [&str; 5] = [".model", ".tiktoken", ".spm", ".jinja", ".codes"];

/// Whether a path stays in its folder, on any system.
pub(super) fn is_safe(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES && !path.chars().any(char::is_control) && path.split('/').all(is_plain)
}

/// Those of `paths` that a model needs; whether they are safe is not looked at.
pub(super) fn needed<'a>(paths: &[&'a str]) -> BTreeSet<&'a str> {
    paths.iter().copied().filter(|path| is_companion(path)).chain(weights(paths)).collect()
}

/// Whether there are weights among what is needed.
pub(super) fn has_weights(needed: &BTreeSet<&str>) -> bool {
    needed.iter().any(|path| path.ends_with(".safetensors") || path.ends_with(".bin"))
}

/// The weights in the one format that is read here best, with their index.
fn weights<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let top: Vec<&str> = paths.iter().copied().filter(|path| !path.contains('/')).collect();
    let has = |name: &str| top.contains(&name);
    let ending = |ending: &str| top.iter().copied().filter(move |name| name.ends_with(ending)).collect::<Vec<_>>();
    for (stems, extension) in [(["model", "vector"], "safetensors"), (["pytorch_model", "model"], "bin")] {
        for stem in stems {
            let index = format!("{stem}.{extension}.index.json");
            if has(&index) {
                return top.iter().copied().filter(|name| *name == index || is_shard(name, stem, extension)).collect();
            }
            let single = format!("{stem}.{extension}");
            if has(&single) {
                return top.iter().copied().filter(|name| *name == single).collect();
            }
        }
        // Under other names: whoever opens the folder says what to make of them.
        let others: Vec<&str> = ending(&format!(".{extension}")).into_iter().filter(|name| is_model(name)).collect();
        if !others.is_empty() {
            let indices = ending(&format!(".{extension}.index.json"));
            return others.into_iter().chain(indices).collect();
        }
    }
    Vec::new()
}

/// `model-00001-of-00004.safetensors`.
fn is_shard(name: &str, stem: &str, extension: &str) -> bool {
    let middle = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension)?.strip_suffix('.'));
    middle.is_some_and(|middle| middle.starts_with('-') && middle.contains("-of-"))
}

/// Whether a weight file is a part of a model rather than of its training.
fn is_model(name: &str) -> bool {
    let training = ["training_args", "optimizer", "scheduler", "random_states", "rng_state", "consolidated"];
    !training.iter().any(|stem| name.starts_with(stem))
}

/// Whether a file belongs to a model beside its weights.
fn is_companion(path: &str) -> bool {
    if let Some((folder, name)) = path.split_once('/') {
        return folder == TEMPLATE_FOLDER && !name.contains('/') && name.ends_with(".jinja");
    }
    let name = path.to_ascii_lowercase();
    let is_config = name.ends_with("config.json") || name == "vector.json";
    let is_tokenizer = matches!(name.as_str(), "special_tokens_map.json" | "added_tokens.json" | "chat_template.json")
        || TOKENIZER_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || ["tokenizer", "vocab", "merges"].iter().any(|stem| name.starts_with(stem))
            && (name.ends_with(".json") || name.ends_with(".txt"));
    let is_text = !name.contains('.') || name.ends_with(".md") || name.ends_with(".txt");
    let is_licence = ["license", "licence", "notice", "use_policy"].iter().any(|stem| name.starts_with(stem));
    is_config || is_tokenizer || name == "readme.md" || (is_licence && is_text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_model_is_its_weights_config_tokenizer_templates_and_card() {
        let wanted = [
            "LICENSE",
            "README.md",
            "USE_POLICY.md",
            "added_tokens.json",
            "additional_chat_templates/tools.jinja",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "merges.txt",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
            "vocab.json",
        ];
        let unwanted = [
            ".gitattributes",
            "consolidated.safetensors",
            "flax_model.msgpack",
            "images/logo.png",
            "model.gguf",
            "model.fp16-00001-of-00002.safetensors",
            "modeling_custom.py",
            "onnx/model.onnx",
            "original/params.json",
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model.bin.index.json",
            "rust_model.ot",
            "tf_model.h5",
            "trainer_state.json",
            "training_args.bin",
            "requirements.txt",
            "license.py",
            "sub/model.safetensors",
        ];
        let needed = needed(&[&wanted[..], &unwanted[..]].concat());
        assert_eq!(needed, BTreeSet::from(wanted));
        assert!(has_weights(&needed));
    }

    #[test]
    fn pickles_are_taken_only_where_there_is_nothing_else() {
        let check = |paths: &[&str], wanted: &[&str]| {
            assert_eq!(needed(paths), wanted.iter().copied().collect::<BTreeSet<_>>(), "{paths:?}");
        };
        check(&["config.json", "model.safetensors", "pytorch_model.bin"], &["config.json", "model.safetensors"]);
        let pickles = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "training_args.bin"];
        check(&pickles, &pickles[..2]);
        check(&["weights.safetensors", "pytorch_model.bin"], &["weights.safetensors"]);
        check(&["vector.safetensors", "config.json"], &["vector.safetensors", "config.json"]);
        assert!(!has_weights(&needed(&["config.json", "training_args.bin", "model.gguf"])));
    }

    #[test]
    fn paths_that_leave_the_folder_are_not_safe() {
        for path in [
            "",
            "../x",
            "a/../x",
            "/etc/passwd",
            "a//b",
            "./a",
            "a/.",
            "..\\x",
            "C:x",
            "a\0b",
            "a\nb",
            "a/",
            "\\\\host\\x",
        ] {
            assert!(!is_safe(path), "{path:?}");
        }
        assert!(is_safe("additional_chat_templates/tool use.jinja") && is_safe("日本語.json"));
        assert!(!is_safe(&"a/".repeat(600)));
    }

    proptest! {
        /// What is safe lies below the folder that it is joined to, whatever it is called.
        #[test]
        fn what_is_safe_stays_below_its_folder(path in "[a./\\\\:~ -]{0,16}") {
            if is_safe(&path) {
                let root = std::path::Path::new("/root/folder");
                let joined = root.join(&path);
                prop_assert!(joined.starts_with(root) && joined != root);
                prop_assert!(joined.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
