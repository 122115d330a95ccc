//! What is done with bytes that nobody vouches for: one function for each kind of input that comes with a model, a recipe or
//! a question file. The fuzz targets in `fuzz/` and the tests below call the same functions.
//!
//! Each reads its input as the program would and looks at what comes of it. It must end, without a panic, whatever the bytes;
//! where it finds a promise broken it panics itself, which is what the fuzzer looks for.

use std::path::Path;

use crate::checkpoint::{
    Config, HeaderError, HeaderTensor, Index, RowOrder, byte_count, read_gguf, read_header, read_pickle,
    tensors_of_pickle,
};
use crate::engine::{ChatRole, DecoderConfig, Message, render_chat_template};
use crate::evaluate::questions::{Preset, Prompter, QuestionFile};
use crate::recipe::mergekit::{self, ModelFacts};
use crate::recipe::{Recipe, file};

/// A kind of input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its fuzz target, and of the folder with its seeds.
    pub name: &'static str,
    /// What is done with an input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target { name: "header", run: header },
    Target { name: "index", run: index },
    Target { name: "config", run: config },
    Target { name: "pickle", run: pickle },
    Target { name: "gguf", run: gguf },
    Target { name: "recipe", run: recipe },
    Target { name: "merge_file", run: merge_file },
    Target { name: "questions", run: questions },
    Target { name: "chat_template", run: chat_template },
];

/// Reads from `bytes`, and zeros behind them: a file of any size whose head is known.
fn reader(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<()> {
    |offset, buffer: &mut [u8]| {
        buffer.fill(0);
        let known = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
        let count = known.len().min(buffer.len());
        buffer[..count].copy_from_slice(&known[..count]);
        Ok(())
    }
}

/// What every reader of headers promises: ranges within the file, as long as dtype and shape say, and each name once.
fn check_tensors(tensors: &[HeaderTensor], file_bytes: u64) {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "each name stands for one tensor");
    for tensor in tensors {
        assert_eq!(
            byte_count(tensor.dtype, &tensor.shape),
            Some(tensor.bytes),
            "{tensor:?} is as long as its shape says"
        );
        let end = tensor.offset.checked_add(tensor.bytes);
        assert!(end.is_some_and(|end| end <= file_bytes), "{tensor:?} lies within {file_bytes} bytes");
        if let RowOrder::Interleaved { head_rows } = tensor.rows {
            assert!(head_rows > 0 && head_rows.is_multiple_of(2) && tensor.shape[0].is_multiple_of(head_rows));
        }
    }
}

/// The header of a safetensors file: the input as a file, and as the JSON of one that is as long as it should be.
pub fn header(bytes: &[u8]) {
    if let Ok(tensors) = read_header(bytes.len() as u64, reader(bytes)) {
        check_tensors(&tensors, bytes.len() as u64);
    }
    let file = [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let mut file_bytes = file.len() as u64;
    for _ in 0..2 {
        match read_header(file_bytes, reader(&file)) {
            Ok(tensors) => check_tensors(&tensors, file_bytes),
            Err(HeaderError::FileSize { expected, .. }) => file_bytes = expected,
            Err(_) => break,
        }
    }
}

/// `model.safetensors.index.json`.
pub fn index(bytes: &[u8]) {
    let _ = Index::parse(bytes);
}

/// `config.json`, and what the decoder makes of it.
pub fn config(bytes: &[u8]) {
    if let Ok(config) = Config::from_json(bytes) {
        let _ = (config.model_type(), config.architecture(), config.ties_embeddings(), config.quantisation());
        let _ = DecoderConfig::new(&config);
    }
}

/// A PyTorch checkpoint: the input as a file, and as the pickle of one.
pub fn pickle(bytes: &[u8]) {
    let _ = tensors_of_pickle(bytes);
    if let Ok(tensors) = read_pickle(bytes.len() as u64, reader(bytes)) {
        check_tensors(&tensors, bytes.len() as u64);
    }
}

/// A GGUF file, and one that is longer than the input.
pub fn gguf(bytes: &[u8]) {
    for file_bytes in [bytes.len() as u64, bytes.len() as u64 + (1 << 20)] {
        if let Ok(tensors) = read_gguf(file_bytes, reader(bytes)) {
            check_tensors(&tensors, file_bytes);
        }
    }
}

/// A recipe: what is read is written the same.
pub fn recipe(bytes: &[u8]) {
    let path = Path::new("recipe.toml");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = file::format_of(path, text);
    let Ok(recipe) = Recipe::from_toml(text, path) else { return };
    let _ = recipe.check_method();
    let written = recipe.to_toml();
    match Recipe::from_toml(&written, path) {
        Ok(again) => assert_eq!(again.to_toml(), written, "a recipe is saved as it was read"),
        Err(error) => panic!("{error}: what was saved cannot be read again:\n{written}"),
    }
}

/// A merge file of mergekit, and what is written of the recipe that it becomes.
pub fn merge_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let facts = |_: &str| Some(ModelFacts::of_layers(4));
    if let Ok(imported) = mergekit::import(text, Path::new("/models"), &facts) {
        let _ = mergekit::export(&imported.recipe, &facts);
    }
}

/// A question file in each of the formats, its fields, its questions and its first prompts.
pub fn questions(bytes: &[u8]) {
    for name in ["questions.jsonl", "questions.json", "questions.csv", "questions.tsv"] {
        let Ok(file) = QuestionFile::from_bytes(name, bytes) else { continue };
        let Ok(preset) = Preset::of(&file) else { continue };
        let Ok(set) = file.questions(&preset.mapping) else { continue };
        let Ok(prompter) = Prompter::new(&preset.template, &set) else { continue };
        for question in set.questions.iter().take(3) {
            let _ = prompter.preview(question);
        }
    }
}

/// A chat template, run on a short conversation: it ends for want of fuel at the latest.
pub fn chat_template(bytes: &[u8]) {
    if let Ok(source) = std::str::from_utf8(bytes) {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        let messages = [message(ChatRole::System, "You are brief."), message(ChatRole::User, "1 + 1?")];
        let _ = render_chat_template(source, &messages);
    }
}

/// An input like one of `seeds`: a few bytes changed, moved, doubled or left out, or numbers made large. The same for the same
/// `number`.
pub fn mutated(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut draw = Draw(number);
    let Some(seed) = seeds.get(draw.below(seeds.len())) else { return Vec::new() };
    let mut bytes = seed.clone();
    for _ in 0..1 + draw.below(8) {
        let at = draw.below(bytes.len() + 1);
        let count = draw.below(bytes.len() - at + 1).min(1 << draw.below(8));
        match draw.below(9) {
            0 => bytes[at..at + count.min(1)].iter_mut().for_each(|byte| *byte ^= 1 << draw.below(8)),
            1 => bytes[at..at + count.min(1)].iter_mut().for_each(|byte| *byte = draw.next() as u8),
            2 => drop(bytes.drain(at..at + count)),
            3 => {
                let doubled = bytes[at..at + count].to_vec();
                let to = draw.below(bytes.len() + 1);
                drop(bytes.splice(to..to, doubled));
            }
            // A number that is too large, or just so.
            4 => {
                let edges = [0, 1, 0x7f, 0xff, 0xffff, i32::MAX as u64, u64::from(u32::MAX), i64::MAX as u64, u64::MAX];
                let edge = edges[draw.below(edges.len())].wrapping_sub(draw.below(2) as u64).to_le_bytes();
                let width = [1, 2, 4, 8][draw.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&edge[..width]);
            }
            // The same in digits.
            5 => {
                let from = bytes[at..].iter().position(u8::is_ascii_digit).map(|digit| at + digit);
                if let Some(from) = from {
                    let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let words = [
                        "0",
                        "-1",
                        "1e309",
                        "NaN",
                        "4294967296",
                        "18446744073709551615",
                        "18446744073709551616",
                        "\"\"",
                    ];
                    drop(bytes.splice(from..from + length, words[draw.below(words.len())].bytes()));
                }
            }
            6 => {
                let words = [
                    "{", "}", "[", "]", "\"", "\\", ":", ",", "\n", "\0", "{{", "{%", "%}", "&a ", "*a", "- ", "../",
                    "\u{feff}",
                ];
                drop(bytes.splice(at..at, words[draw.below(words.len())].bytes()));
            }
            7 => bytes.truncate(at),
            _ => {
                let other = &seeds[draw.below(seeds.len())];
                let from = draw.below(other.len() + 1);
                let piece = other[from..].iter().take(1 << draw.below(9)).copied();
                drop(bytes.splice(at..at + count, piece));
            }
        }
        // Doubling what was doubled grows without end.
        bytes.truncate(1 << 16);
    }
    bytes
}

/// Numbers from a number: SplitMix64 (Steele, Lea and Flood 2014).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`; 0 where there is none.
    fn below(&mut self, count: usize) -> usize {
        // Slightly uneven, which does not matter here.
        (self.next() % (count as u64).max(1)) as usize
    }
}

/// The seeds of a target: the files of its folder under `seeds`, in name order.
pub fn seeds(folder: &Path, target: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder.join(target))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seeds_of(target: &str) -> Vec<Vec<u8>> {
        seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds"), target).unwrap()
    }

    /// Runs a target on its seeds, on inputs like them, and on any bytes.
    fn holds(name: &str, cases: u32) {
        let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
        let seeds = seeds_of(name);
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| (target.run)(seed));
        let inputs = prop_oneof![
            8 => any::<u64>().prop_map(move |number| mutated(&seeds, number)),
            1 => proptest::collection::vec(any::<u8>(), 0..300),
        ];
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
        let result = proptest::test_runner::TestRunner::new(config).run(&inputs, |input| {
            (target.run)(&input);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    macro_rules! properties {
        ($($name:ident $cases:literal)*) => {$(
            #[test]
            fn $name() {
                holds(stringify!($name), $cases);
            }
        )*};
    }

    properties! {
        header 3000
        index 1000
        config 1000
        pickle 3000
        gguf 3000
        recipe 1000
        merge_file 1000
        questions 500
        chat_template 200
    }

    #[test]
    fn every_target_has_its_test_and_its_fuzz_target() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{target:?}");
            let source = std::fs::read_to_string(folder.join(format!("targets/{}.rs", target.name))).unwrap();
            assert!(source.contains(&format!("fuzzing::{}(", target.name)), "{target:?}");
        }
    }

    #[test]
    fn seeds_are_inputs_that_are_read() {
        let any =
            |name: &str, reads: fn(&[u8]) -> bool| assert!(seeds_of(name).iter().any(|seed| reads(seed)), "{name}");
        any("header", |seed| read_header(seed.len() as u64, reader(seed)).is_ok());
        any("pickle", |seed| read_pickle(seed.len() as u64, reader(seed)).is_ok());
        any("pickle", |seed| tensors_of_pickle(seed).is_ok_and(|tensors| tensors > 0));
        any("gguf", |seed| read_gguf(seed.len() as u64, reader(seed)).is_ok());
        any("index", |seed| Index::parse(seed).is_ok());
        any("config", |seed| Config::from_json(seed).is_ok());
    }
}
