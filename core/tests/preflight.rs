//! What preflight says of three models on disk.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

mod support;

use std::sync::Arc;

use mergescope_core::alignment::Triple;
use mergescope_core::checkpoint::{Checkpoint, Dtype};
use mergescope_core::preflight::{Finding, Preflight, PreflightError, Severity, preflight};
use mergescope_core::progress::Control;
use serde_json::{Value, json};
use support::{Folders, Model, Size, Tensor, encode, related, values};

const Q: &str = "model.layers.1.self_attn.q_proj.weight";

fn check(pre: &Model, post: &Model, target: &Model) -> Preflight {
    preflight(&Folders::write(pre, post, target).open(), &Control::new()).unwrap()
}

/// The one finding of that code.
#[track_caller]
fn finding<'a>(result: &'a Preflight, code: &str) -> &'a Finding {
    let found: Vec<&Finding> = result.findings.iter().filter(|finding| finding.code == code).collect();
    assert_eq!(found.len(), 1, "one {code} in {:#?}", result.findings);
    found[0]
}

#[track_caller]
fn assert_none(result: &Preflight, code: &str) {
    assert!(!result.findings.iter().any(|finding| finding.code == code), "no {code} in {:#?}", result.findings);
}

/// Related models with the same tokenizer, of which the parts of a test are changed.
fn models() -> (Model, Model, Model) {
    let (pre, post, target) = related(Size::default(), Dtype::F32);
    let with = |model: Model| model.with_file("tokenizer.json", tokenizer(&["a", "b", "c"]));
    (with(pre), with(post), with(target))
}

fn tokenizer(tokens: &[&str]) -> String {
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "a"}}).to_string()
}

#[test]
fn three_ordinary_models_pass_without_a_word() {
    let (pre, post, target) = models();
    let result = check(&pre, &post, &target);
    assert_eq!(result.findings, []);
    assert!(result.passes());
    let lineage = result.lineage.expect("something moves");
    // The tuned models of the test differ from pre by noise of 0.05 of its weights, independent of one another.
    assert!((lineage.relative_norm - 0.05).abs() < 0.005, "{lineage:?}");
    assert!((lineage.target_distance - 0.05).abs() < 0.005, "{lineage:?}");
    assert!(lineage.cos_vector_target.abs() < 0.05, "{lineage:?}");
    assert!(lineage.sampled > 10_000);
    assert_eq!(result.alignment.moving_elements(), pre.tensors.iter().map(|t| t.bytes.len() as u64 / 4).sum::<u64>());
}

#[test]
fn the_sample_is_the_same_every_time_and_for_any_sharding() {
    let (pre, post, target) = models();
    let one = check(&pre, &post, &target).lineage;
    let two = check(&pre.with_shards(3), &post.with_shards(2), &target).lineage;
    assert_eq!(one, two);
}

#[test]
fn a_tensor_that_pre_or_post_lacks_is_an_error() {
    let (pre, post, target) = models();
    let result = check(&pre.clone().without_tensor(Q), &post, &target);
    let missing = finding(&result, "missing-tensor");
    assert_eq!(missing.severity, Severity::Error);
    assert_eq!(missing.title, "pre lacks 1 tensor");
    assert_eq!(missing.tensors, [Q]);
    assert!(!result.passes() && result.lineage.is_none());

    let result = check(&pre, &post.without_tensor(Q), &target);
    assert_eq!(finding(&result, "missing-tensor").title, "post lacks 1 tensor");
}

#[test]
fn a_tensor_that_only_some_have_is_a_warning() {
    let (pre, post, target) = models();
    let extra = Tensor::of("model.layers.0.extra.weight", Dtype::F32, &[2], &[1.0, 2.0]);
    let buffer = Tensor::of("model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::F32, &[2], &[1.0, 2.0]);
    let result = check(&pre, &post.clone().with_tensor(extra.clone()).with_tensor(buffer), &target);
    let found = finding(&result, "extra-tensor");
    assert_eq!((found.severity, found.title.as_str()), (Severity::Warning, "post has 1 tensor that target lacks"));
    assert_eq!(found.tensors, ["model.layers.0.extra.weight"]);
    assert_eq!(finding(&result, "extra-buffer").severity, Severity::Note);

    let result = check(&pre, &post, &target.with_tensor(extra));
    let found = finding(&result, "target-only");
    assert_eq!(
        (found.severity, found.title.as_str()),
        (Severity::Warning, "target has 1 tensor that neither pre nor post has")
    );
    assert!(result.passes());
}

#[test]
fn a_shape_mismatch_is_an_error_that_shows_all_shapes() {
    let (pre, post, target) = models();
    let wide = Tensor::of(Q, Dtype::F32, &[32, 33], &values(9, 32 * 33, 0.02));
    let result = check(&pre, &post.with_tensor(wide), &target);
    let shape = finding(&result, "shape-mismatch");
    assert_eq!(shape.title, "post has 1 tensor of another shape than target");
    assert_eq!(shape.detail, format!("`{Q}`: pre [32, 32], post [32, 33], target [32, 32]"));
    assert_eq!(shape.severity, Severity::Error);
}

#[test]
fn integers_among_floats_are_told() {
    const NORM: &str = "model.norm.weight";
    let (pre, post, target) = models();
    // Integer matrices are refused as packed weights when a model is opened; a vector is not.
    let integers = Tensor::of(NORM, Dtype::U8, &[32], &[1.0; 32]);
    let result = check(&pre.clone().with_tensor(integers.clone()), &post, &target);
    let dtype = finding(&result, "dtype-mismatch");
    assert_eq!(dtype.title, "pre has 1 tensor of integers where target has floats");
    assert_eq!(dtype.detail, format!("`{NORM}`: pre u8, post f32, target f32"));
    assert_eq!(dtype.severity, Severity::Error);

    let result = check(&pre, &post, &target.with_tensor(integers));
    assert_eq!(finding(&result, "integer-target").severity, Severity::Warning);
    assert!(result.passes());
}

#[test]
fn models_with_other_names_have_nothing_to_add() {
    let (pre, post, target) = models();
    let mut renamed = target;
    for tensor in &mut renamed.tensors {
        tensor.name = format!("language_model.{}", tensor.name);
    }
    let result = check(&pre, &post, &renamed);
    let nothing = finding(&result, "nothing-moves");
    assert_eq!(nothing.severity, Severity::Error);
    assert!(nothing.detail.starts_with("Names differ by a prefix: pre has `model.layers.0."), "{}", nothing.detail);
}

#[test]
fn mixed_dtypes_are_a_note() {
    let (pre, _, _) = related(Size::default(), Dtype::F32);
    let recode = |model: &Model, dtype: Dtype| {
        let mut model = model.clone();
        for tensor in &mut model.tensors {
            *tensor = Tensor::raw(
                &tensor.name,
                dtype,
                &tensor.shape,
                encode(dtype, &support::decode(Dtype::F32, &tensor.bytes)),
            );
        }
        model
    };
    let result = check(&recode(&pre.tuned(5, 0.05), Dtype::F64), &pre, &recode(&pre.tuned(6, 0.05), Dtype::BF16));
    let mixed = finding(&result, "mixed-dtypes");
    assert_eq!(mixed.severity, Severity::Note);
    assert_eq!(mixed.detail, "pre f64, post f32, target bf16; every value is read exactly and the sum is rounded once");

    let scaled = |dtype| {
        let mut model = Model::new();
        for seed in 0..3 {
            model = model.with_tensor(Tensor::of(
                &format!("model.layers.{seed}.mlp.up_proj.weight"),
                dtype,
                &[8, 8],
                &values(seed, 64, 1.0),
            ));
        }
        model
    };
    let result = check(&scaled(Dtype::BF16), &scaled(Dtype::BF16).tuned(1, 0.5), &scaled(Dtype::F8_E4M3));
    assert_eq!(finding(&result, "f8-target").tensors.len(), 3);
}

#[test]
fn tied_and_untied_heads_are_told_apart() {
    let (pre, post, target) = models();
    let shape = [40, 32];
    let head = |seed| Tensor::of("lm_head.weight", Dtype::F32, &shape, &values(seed, 40 * 32, 0.02));
    let untied =
        |model: &Model, seed| model.clone().with_tensor(head(seed)).with_setting("tie_word_embeddings", json!(false));

    // post has a head that the tied target has no place for.
    let result = check(&pre, &untied(&post, 7), &target);
    let warning = finding(&result, "untied-head");
    assert_eq!(warning.severity, Severity::Warning);
    assert_eq!(warning.title, "post has an output head of its own, target's is tied to its embeddings");
    assert_eq!(warning.tensors, ["lm_head.weight"]);
    assert_none(&result, "extra-tensor");

    // The same, but it only repeats the embeddings.
    let copy =
        Tensor::raw("lm_head.weight", Dtype::F32, &shape, post.tensor("model.embed_tokens.weight").bytes.clone());
    let result = check(&pre, &post.clone().with_tensor(copy), &target);
    assert_eq!(finding(&result, "tied-copy").severity, Severity::Note);

    // pre and post are tied, target is not: their embeddings stand in for the head.
    let result = check(&pre, &post, &untied(&target, 8));
    let notes: Vec<&str> = result
        .findings
        .iter()
        .filter(|finding| finding.code == "tied-stand-in")
        .map(|finding| finding.title.as_str())
        .collect();
    assert_eq!(
        notes,
        [
            "pre ties its output head to its embeddings, target does not",
            "post ties its output head to its embeddings, target does not",
        ]
    );
    assert!(result.passes());

    // All three store a head, but target's config says that it is not used.
    let unused = target.with_tensor(head(9));
    let result = check(&untied(&pre, 8), &untied(&post, 8), &unused);
    assert_eq!(finding(&result, "tied-head-unused").severity, Severity::Warning);
}

#[test]
fn vocabularies_of_other_lengths_share_their_common_rows() {
    let size = Size::default();
    let (_, _, target) = models();
    let pre = Model::qwen2(Size { vocab: 36, ..size }, Dtype::F32, 1);
    let result = check(&pre, &pre.tuned(2, 0.05), &target);
    let rows = finding(&result, "vocabulary-rows");
    assert_eq!(rows.severity, Severity::Note);
    assert_eq!(
        rows.detail,
        "`model.embed_tokens.weight`: 36 rows take part (pre 36, post 36, target 40); 4 are target's own"
    );
    assert!(result.passes());
}

#[test]
fn settings_that_equal_shapes_hide_are_compared() {
    let (pre, post, target) = models();
    let result = check(&pre, &post.clone().with_setting("rope_theta", json!(300_000)), &target);
    let theta = finding(&result, "config-rope-theta");
    assert_eq!(theta.severity, Severity::Warning);
    assert_eq!(theta.title, "rope_theta differs: pre 10000, post 300000, target 10000");
    assert_eq!(theta.detail, "Queries and keys were trained for other rotations; the output uses target's");

    for (key, value, code, severity) in [
        ("num_attention_heads", json!(8), "config-attention-heads", Severity::Error),
        ("num_key_value_heads", json!(4), "config-key-value-heads", Severity::Error),
        ("head_dim", json!(16), "config-head-dim", Severity::Error),
        ("rope_scaling", json!({"type": "yarn", "factor": 4.0}), "config-rope-scaling", Severity::Warning),
        ("model_type", json!("llama"), "config-model-type", Severity::Warning),
        ("architectures", json!(["LlamaForCausalLM"]), "config-architecture", Severity::Warning),
        ("hidden_act", json!("gelu"), "config-hidden-act", Severity::Warning),
        ("max_position_embeddings", json!(4096), "config-positions", Severity::Note),
        ("rms_norm_eps", json!(1e-5), "config-norm-eps", Severity::Note),
        ("eos_token_id", json!([1, 2]), "config-eos", Severity::Note),
    ] {
        let result = check(&pre, &post, &target.clone().with_setting(key, value));
        assert_eq!(finding(&result, code).severity, severity, "{key}");
        assert_eq!(result.passes(), severity < Severity::Error, "{key}");
    }
    // A window that is switched off is no window, and 1e4 is 10000.
    let same = target.with_setting("sliding_window", json!(4096)).with_setting("rope_theta", json!(1e4));
    assert_eq!(check(&pre, &post, &same).findings, []);
}

#[test]
fn settings_of_the_wrong_type_are_differences_and_no_panic() {
    let (pre, post, target) = models();
    let odd = [
        "num_attention_heads",
        "head_dim",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "hidden_size",
        "architectures",
    ]
    .iter()
    .fold(target, |model, key| model.with_setting(key, json!({"a": [null, "x".repeat(10_000)]})));
    let result = check(&pre, &post, &odd);
    assert!(!result.passes());
    assert!(result.findings.iter().all(|finding| finding.title.len() < 400), "{:#?}", result.findings);
}

#[test]
fn a_model_without_a_config_is_a_note() {
    let (pre, mut post, target) = models();
    post.config = None;
    let result = check(&pre, &post, &target);
    assert_eq!(finding(&result, "no-config").title, "post has no config.json");
    assert!(result.passes());
}

#[test]
fn tokenizers_are_compared_token_by_token() {
    let (pre, post, target) = models();
    let with = |model: &Model, text: String| {
        let mut model = model.clone();
        model.files.clear();
        model.with_file("tokenizer.json", text)
    };
    let result = check(&pre, &with(&post, tokenizer(&["a", "c", "b"])), &target);
    let ids = finding(&result, "tokenizer-ids");
    assert_eq!(ids.severity, Severity::Warning);
    assert_eq!(ids.title, "2 of 3 token ids of post stand for another token than in target");
    assert_eq!(ids.detail, "id 1 is `c` in post, `b` in target; id 2 is `b` in post, `c` in target");

    let result = check(&pre, &with(&post, tokenizer(&["a", "b", "c", "<think>"])), &target);
    let added = finding(&result, "tokenizer-added");
    assert_eq!((added.severity, added.detail.as_str()), (Severity::Note, "1 token only in post, 0 only in target"));

    let result = check(&pre, &with(&post, "[".repeat(10_000)), &target);
    let unreadable = finding(&result, "tokenizer-unreadable");
    assert_eq!(unreadable.title, "The tokenizer.json of post cannot be read");

    let bare = |model: &Model| {
        let mut model = model.clone();
        model.files.clear();
        model
    };
    let result = check(&bare(&pre), &post, &target);
    assert_eq!(finding(&result, "no-tokenizer").title, "pre has no tokenizer.json or vocab.json");

    // The older pair of files says the same as the newer one.
    let old = bare(&pre).with_file("vocab.json", r#"{"a":0,"b":1}"#).with_file("added_tokens.json", r#"{"c":2}"#);
    let result = check(&old, &post, &target);
    assert_eq!(result.findings, []);
}

#[test]
fn a_tokenizer_of_absurd_size_is_not_read() {
    let (pre, post, target) = models();
    let folders = Folders::write(&pre, &post, &target);
    // A sparse file: it takes no room on the disk.
    std::fs::File::create(folders.post().join("tokenizer.json")).unwrap().set_len(1 << 40).unwrap();
    let result = preflight(&folders.open(), &Control::new()).unwrap();
    assert_eq!(finding(&result, "tokenizer-unreadable").detail, "it has more than 67108864 bytes");
    assert!(result.passes());
}

#[test]
fn swapped_pre_and_post_are_suspected() {
    let (pre, post, target) = models();
    let result = check(&post, &pre, &target);
    let swapped = finding(&result, "swapped");
    assert_eq!(swapped.severity, Severity::Warning);
    assert_eq!(swapped.title, "pre and post may be swapped: target is nearer to post");
    assert_none(&result, "counted-twice");
}

#[test]
fn a_target_that_has_the_vector_already_is_suspected() {
    let (pre, post, _) = models();
    // target = pre + 0.45 · v.
    let mut target = pre.clone();
    for (tensor, tuned) in target.tensors.iter_mut().zip(&post.tensors) {
        let [from, to] = [&tensor.bytes, &tuned.bytes].map(|bytes| support::decode(Dtype::F32, bytes));
        let mixed: Vec<f32> = from.iter().zip(to).map(|(from, to)| from + 0.45 * (to - from)).collect();
        tensor.bytes = encode(Dtype::F32, &mixed);
    }
    let result = check(&pre, &post, &target);
    let twice = finding(&result, "counted-twice");
    assert_eq!(twice.severity, Severity::Warning);
    assert!(twice.detail.starts_with("cos(v, target − pre) is 1.00"), "{}", twice.detail);
    assert_none(&result, "swapped");
}

#[test]
fn a_vector_whose_squares_are_lost_in_f64_is_not_called_zero() {
    let model = |value: f64| {
        let bytes = value.to_le_bytes().repeat(4);
        Model::new().with_tensor(Tensor::raw("model.layers.0.mlp.up_proj.weight", Dtype::F64, &[2, 2], bytes))
    };
    let result = check(&model(0.0), &model(1e-170), &model(-1e-170));
    assert_none(&result, "zero-vector");
    assert_none(&result, "target-is-pre");
}

#[test]
fn the_same_model_in_two_roles_is_told() {
    let (pre, post, target) = models();
    let same_weights = check(&pre, &pre, &target);
    let zero = finding(&same_weights, "zero-vector");
    assert_eq!(
        (zero.severity, zero.title.as_str()),
        (Severity::Warning, "pre and post have the same weights, so the vector is zero")
    );
    assert!(same_weights.lineage.unwrap().cos_vector_target.is_nan());

    let folders = Folders::write(&pre, &post, &target);
    let open = |path: std::path::PathBuf| Arc::new(Checkpoint::open(&path).unwrap());
    let [pre, post, target] = [folders.pre(), folders.post(), folders.target()].map(open);
    let of = |pre: &Arc<Checkpoint>, post: &Arc<Checkpoint>, target: &Arc<Checkpoint>| {
        let triple = Triple { pre: pre.clone(), post: post.clone(), target: target.clone() };
        preflight(&triple, &Control::new()).unwrap()
    };
    let result = of(&pre, &pre, &target);
    assert_eq!(finding(&result, "zero-vector").title, "pre and post are the same model, so the vector is zero");
    let result = of(&pre, &post, &pre);
    assert_eq!(finding(&result, "target-is-pre").severity, Severity::Note);
    let result = of(&pre, &post, &post);
    assert_eq!(
        finding(&result, "target-is-post").title,
        "target and post are the same model: it has the vector already"
    );
    assert_none(&result, "swapped");
}

#[test]
fn unrelated_models_are_told() {
    let (pre, post, _) = models();
    let stranger = Model::qwen2(Size::default(), Dtype::F32, 99);
    let result = check(&pre, &stranger, &pre.tuned(4, 0.05));
    assert_eq!(finding(&result, "unrelated-post").severity, Severity::Warning);
    assert!(finding(&result, "unrelated-post").detail.starts_with("‖post − pre‖ is 1.4"));
    let result = check(&pre, &post, &stranger);
    assert_eq!(finding(&result, "unrelated-target").severity, Severity::Warning);
    assert_none(&result, "unrelated-post");
}

#[test]
fn nan_and_infinity_are_named_with_their_model() {
    let (pre, mut post, mut target) = models();
    post.tensor_mut(Q).bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    target.tensor_mut("model.norm.weight").bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let result = check(&pre, &post, &target);
    let nonfinite = finding(&result, "nonfinite");
    assert_eq!(nonfinite.severity, Severity::Warning);
    assert_eq!(nonfinite.detail, format!("post: `{Q}`; target: `model.norm.weight`"));
    assert!(nonfinite.action.contains("refuses them unless NaN and infinity are allowed"));
    assert_eq!(nonfinite.tensors, [Q, "model.norm.weight"]);
    assert!(result.lineage.unwrap().relative_norm.is_finite());
}

#[test]
fn empty_models_and_tensors_of_any_rank_are_no_surprise() {
    let nothing = check(&Model::new(), &Model::new(), &Model::new());
    assert_eq!(finding(&nothing, "nothing-moves").severity, Severity::Error);

    let odd = |seed| {
        Model::new()
            .with_tensor(Tensor::of("scalar", Dtype::F32, &[], &values(seed, 1, 1.0)))
            .with_tensor(Tensor::of("empty", Dtype::BF16, &[0, 7], &[]))
            .with_tensor(Tensor::of("lm_head.weight", Dtype::F16, &[0, 7], &[]))
            .with_tensor(Tensor::of("one", Dtype::F64, &[1, 1, 1, 1, 1], &values(seed, 1, 1.0)))
    };
    let result = check(&odd(1), &odd(2), &odd(3));
    assert!(result.passes(), "{:#?}", result.findings);
    assert_eq!(result.lineage.unwrap().sampled, 2);
}

#[test]
fn weights_that_are_all_nan_or_all_zero_are_no_surprise() {
    let all = |value: f32| Model::new().with_tensor(Tensor::of("a", Dtype::F32, &[64], &[value; 64]));
    let result = check(&all(f32::NAN), &all(f32::NAN), &all(f32::NAN));
    assert_eq!(finding(&result, "nonfinite").detail, "pre: `a`; post: `a`; target: `a`");
    assert_none(&result, "zero-vector");
    let result = check(&all(0.0), &all(1.0), &all(2.0));
    assert!(result.passes());
    assert!(serde_json::to_string(&result).is_ok());
}

#[test]
fn findings_are_ordered_by_severity_and_written_as_json() {
    let (pre, post, target) = models();
    let target = target
        .with_setting("max_position_embeddings", json!(1))
        .with_setting("rope_theta", json!(1))
        .with_setting("num_attention_heads", json!(2));
    let result = check(&pre, &post, &target);
    assert!(result.findings.is_sorted_by(|a, b| a.severity >= b.severity));
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(json["findings"][0]["severity"], "error");
    assert!(json["lineage"]["relative_norm"].is_number());
    assert!(json.get("alignment").is_none());
}

#[test]
fn it_can_be_cancelled() {
    let (pre, post, target) = models();
    let control = Control::new();
    control.cancel();
    let result = preflight(&Folders::write(&pre, &post, &target).open(), &control);
    assert!(matches!(result, Err(PreflightError::Cancelled(_))));
}
