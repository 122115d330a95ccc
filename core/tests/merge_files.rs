//! Merge files of mergekit: read as recipes, written from recipes, and there and back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot read its files has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::place;
use mergescope_core::recipe::mergekit::{Exported, Imported, ModelFacts, export, import};
use mergescope_core::recipe::{Method, MethodSpec, OutputDtype, Recipe, Rounding, Sparsify, VectorSpec};
use mergescope_core::scaling::{Between, Curve, Factors, Keep, Pattern, Point, Scaling, ScalingSpec};
use proptest::prelude::*;

/// Names as in Qwen2, with a head of its own.
fn qwen2(layers: u32) -> ModelFacts {
    let parts = [
        "self_attn.q_proj.weight",
        "self_attn.q_proj.bias",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.o_proj.weight",
        "mlp.gate_proj.weight",
        "mlp.up_proj.weight",
        "mlp.down_proj.weight",
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
    ];
    let mut tensors = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"].map(str::to_owned).to_vec();
    tensors.extend((0..layers).flat_map(|layer| parts.map(|part| format!("model.layers.{layer}.{part}"))));
    ModelFacts { layers, tensors, dtype: Some(Dtype::BF16) }
}

/// Names as in Mixtral's files, or as in those of Qwen3's mixtures.
fn mixture(layers: u32, is_mixtral: bool) -> ModelFacts {
    let mut facts = qwen2(layers);
    facts.tensors.retain(|name| !name.contains("mlp"));
    let (experts, projections) = match is_mixtral {
        true => ("block_sparse_moe", ["w1", "w2", "w3"]),
        false => ("mlp", ["gate_proj", "down_proj", "up_proj"]),
    };
    for layer in 0..layers {
        let of_layer = format!("model.layers.{layer}.{experts}");
        facts.tensors.push(format!("{of_layer}.gate.weight"));
        for expert in 0..12 {
            let names = projections.map(|projection| format!("{of_layer}.experts.{expert}.{projection}.weight"));
            facts.tensors.extend(names);
        }
    }
    facts
}

fn read(text: &str, layers: Option<u32>) -> Result<Imported, String> {
    import(text, Path::new("/merge"), &|_| layers.map(qwen2)).map_err(|error| error.to_string())
}

/// One of our own, in the manner of those that people publish.
fn file(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/merge_files").join(name)).unwrap()
}

#[track_caller]
fn carried(text: &str, layers: Option<u32>) -> Recipe {
    let imported = read(text, layers).unwrap();
    assert_eq!(imported.not_carried, []);
    imported.recipe
}

/// The coefficient of every tensor in every vector.
fn coefficients(recipe: &Recipe, facts: &ModelFacts) -> Vec<Vec<f32>> {
    let of = |vector: &VectorSpec| {
        let scaling = Scaling::new(vector.w, &vector.scaling, facts.layers).unwrap();
        facts.tensors.iter().map(|name| scaling.coefficient(name, place(name))).collect()
    };
    recipe.vectors().map(of).collect()
}

fn coefficient(recipe: &Recipe, name: &str, layers: u32) -> f32 {
    Scaling::new(recipe.vector.w, &recipe.vector.scaling, layers).unwrap().coefficient(name, place(name))
}

fn vector(recipe: &Recipe, index: usize) -> (&str, &str, f64) {
    let vector = recipe.vectors().nth(index).unwrap();
    (&vector.pre, &vector.post, vector.w)
}

#[test]
fn a_chat_vector_is_target_and_vector() {
    let imported = read(&file("task_arithmetic_chat_vector.yml"), None).unwrap();
    let recipe = imported.recipe;
    assert_eq!(recipe.target, "tokyotech-llm/Llama-3-Swallow-8B-v0.1");
    assert_eq!(recipe.vector.pre, "meta-llama/Meta-Llama-3-8B");
    assert_eq!(recipe.vector.post, "meta-llama/Meta-Llama-3-8B-Instruct");
    assert_eq!((recipe.vector.w, &recipe.vector.scaling), (0.8, &ScalingSpec::default()));
    assert_eq!((recipe.output.dtype, recipe.output.rounding), (OutputDtype::Bf16, Rounding::MergekitBf16));
    assert!(
        imported.notes[0].contains("is the target that the other models' vectors are added to"),
        "{:?}",
        imported.notes
    );
}

#[test]
fn ties_has_a_vector_for_each_model_but_the_base() {
    let imported = read(&file("ties_of_three.yaml"), None).unwrap();
    let recipe = imported.recipe;
    assert_eq!(imported.not_carried, []);
    let base = "mistralai/Mistral-7B-v0.1";
    assert_eq!((recipe.method.name, recipe.method.normalize, recipe.target.as_str()), (Method::Ties, Some(true), base));
    assert_eq!(vector(&recipe, 0), (base, "example-org/mistral-7b-math", 0.5));
    assert_eq!(vector(&recipe, 1), (base, "example-org/mistral-7b-code", 0.3));
    assert_eq!(recipe.vectors().map(|vector| vector.density).collect::<Vec<_>>(), [Some(0.5), Some(0.3)]);
    assert_eq!((recipe.output.dtype, recipe.output.rounding), (OutputDtype::F16, Rounding::Nearest));
    assert!(imported.notes[0].contains("mergekit would compute in float16"), "{:?}", imported.notes);
}

#[test]
fn slerp_by_part_gives_every_tensor_mergekits_t() {
    let text = file("slerp_by_part.yaml");
    // The slices say how many layers there are, so that the models need not be at hand.
    for (layers, recipe) in [(32, carried(&text, None)), (32, carried(&text, Some(32)))] {
        assert_eq!((recipe.method.name, recipe.vector.pre.as_str()), (Method::Slerp, ""));
        let of = |name: &str| coefficient(&recipe, name, layers);
        assert_eq!(of("model.layers.0.self_attn.q_proj.weight"), 0.0);
        assert_eq!(of("model.layers.31.self_attn.o_proj.weight"), 1.0);
        assert_eq!(of("model.layers.0.mlp.up_proj.weight"), 1.0);
        assert_eq!(of("model.layers.7.input_layernorm.weight"), 0.5);
        assert_eq!(of("model.embed_tokens.weight"), 0.5);
        // t = 1 ∕ 31 of four stretches: 4 ∕ 31 of the way from 0 to 0.5.
        assert_eq!(of("model.layers.1.self_attn.k_proj.weight"), (0.5 * 4.0 / 31.0) as f32);
    }
}

#[test]
fn a_gradient_of_two_points_needs_no_number_of_layers() {
    let imported = read(&file("della_with_gradient.yaml"), None).unwrap();
    let recipe = imported.recipe;
    assert_eq!(recipe.vector.scaling.curve, Curve::Linear { first: 0.2, last: 0.8 });
    assert_eq!(coefficient(&recipe, "model.layers.0.mlp.up_proj.weight", 24), 0.2);
    assert_eq!(coefficient(&recipe, "model.layers.23.mlp.up_proj.weight", 24), 0.8);
    assert_eq!(coefficient(&recipe, "lm_head.weight", 24), 0.2, "as mergekit: the gradient's first value");
    assert_eq!((recipe.method.lambda, recipe.method.density, recipe.method.epsilon), (Some(1.1), Some(0.6), Some(0.1)));
    assert!(imported.notes.iter().any(|note| note.contains("taken to be those of Llama and Qwen")));
    assert!(imported.notes.iter().any(|note| note.contains("at random")));
    let real = carried(&file("della_with_gradient.yaml"), Some(24));
    assert_eq!(coefficient(&real, "model.norm.weight", 24), 0.2);
}

#[test]
fn every_method_that_both_have_is_read() {
    let recipe = carried(&file("dare_ties_mix.yaml"), Some(4));
    assert_eq!((recipe.method.name, recipe.method.density, recipe.others.len()), (Method::DareTies, Some(0.53), 1));
    let recipe = carried(&file("breadcrumbs.yaml"), Some(4));
    assert_eq!((recipe.method.name, recipe.method.gamma), (Method::Breadcrumbs, Some(0.02)));
    assert_eq!((recipe.output.dtype, recipe.output.rounding), (OutputDtype::Bf16, Rounding::MergekitF32));
    let recipe = carried(&file("linear_soup.yaml"), Some(4));
    assert_eq!((recipe.method.name, recipe.target.as_str()), (Method::Linear, "example-org/seed-1"));
    assert_eq!(vector(&recipe, 2), ("", "example-org/seed-3@v2", 0.5));
    let recipe = carried(&file("model_stock.yaml"), Some(4));
    assert_eq!((recipe.method.name, recipe.others.len()), (Method::ModelStock, 2));
    let recipe = carried(&file("sce.yaml"), Some(4));
    assert_eq!((recipe.method.name, recipe.method.select_topk), (Method::Sce, Some(0.1)));
    let recipe = carried(&file("nuslerp.yaml"), Some(4));
    assert_eq!((recipe.method.flatten, recipe.method.row_wise), (Some(false), Some(true)));
    assert_eq!(vector(&recipe, 1), ("example-org/base", "example-org/b", 0.7));
}

#[test]
fn a_linear_merge_of_plus_and_minus_w_is_a_vector() {
    let imported = read(&file("linear_vector.yaml"), None).unwrap();
    let recipe = imported.recipe;
    assert_eq!((recipe.method.name, recipe.target.as_str()), (Method::TaskArithmetic, "example-org/target"));
    assert_eq!(vector(&recipe, 0), ("example-org/sft", "example-org/grpo", 0.75));
    assert_eq!(recipe.output.rounding, Rounding::Nearest, "the steps of another method are not mergekit's");
    let [note] = imported.notes.as_slice() else { panic!("{:?}", imported.notes) };
    for words in [
        "+w and −w",
        "mergekit adds up the whole models in float32: up to 3 elements in 100 differ by a last bit",
        "For its very bits, write a recipe with method linear",
        "rounding = \"mergekit-bf16\"",
    ] {
        assert!(note.contains(words), "{note}");
    }
    let note = |dtypes: &str| {
        let text = file("linear_vector.yaml").replace("dtype: bfloat16", dtypes);
        read(&text, None).unwrap().notes.concat()
    };
    assert!(note("dtype: float32").contains("up to two thirds of the elements differ"), "{}", note("dtype: float32"));
    let widened = note("dtype: bfloat16\nout_dtype: float32");
    assert!(widened.contains("rounds that sum before it writes it with more bits"), "{widened}");
}

#[test]
fn slices_that_follow_each_other_are_one_curve() {
    let text = file("slices_in_order.yaml");
    for recipe in [carried(&text, None), carried(&text, Some(24))] {
        let of = |name: &str| coefficient(&recipe, name, 24);
        assert_eq!(of("model.layers.7.mlp.up_proj.weight"), 0.2);
        assert_eq!(of("model.layers.8.mlp.up_proj.weight"), 0.4);
        assert_eq!(of("model.layers.23.self_attn.q_proj.bias"), 1.0);
        // The embeddings belong to the first slice, the final norm and the head to the last.
        assert_eq!(["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"].map(of), [0.2, 0.4, 0.4]);
    }
    assert!(read(&text, Some(28)).unwrap_err().contains("the slices have 24 layers together, and the model has 28"));
}

#[test]
fn slices_may_have_different_filters() {
    let text = "
merge_method: task_arithmetic
base_model: /m/base
slices:
  - sources:
      - {model: /m/post, layer_range: [0, 1], parameters: {weight: [{filter: mlp, value: 0.9}, {value: 0.2}]}}
  - sources:
      - {model: /m/post, layer_range: [1, 3], parameters: {weight: [0.5, 0.7]}}
dtype: float32
";
    for recipe in [carried(text, None), carried(text, Some(3))] {
        let layer =
            |part: &str| [0, 1, 2].map(|layer| coefficient(&recipe, &format!("model.layers.{layer}.{part}"), 3));
        assert_eq!(layer("mlp.up_proj.weight"), [0.9, 0.5, 0.7]);
        assert_eq!(layer("self_attn.q_proj.weight"), [0.2, 0.5, 0.7]);
        let outside = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"];
        assert_eq!(outside.map(|name| coefficient(&recipe, name, 3)), [0.2, 0.5, 0.5]);
    }
}

#[test]
fn filters_fall_through_from_model_to_slice_to_file() {
    let text = "
merge_method: task_arithmetic
base_model: /m/base
models:
  - model: /m/post
    parameters: {weight: [{filter: mlp, value: 0.2}]}
parameters:
  weight:
    - {filter: self_attn, value: [0, 1]}
    - {filter: '*', value: 0.9}
dtype: float32
";
    // What mergekit 0.1.5 gave for a model of four layers.
    let recipe = carried(text, Some(4));
    let layer = |part: &str| [0, 1, 2, 3].map(|layer| coefficient(&recipe, &format!("model.layers.{layer}.{part}"), 4));
    assert_eq!(layer("self_attn.q_proj.weight"), [0.0, (1.0 / 3.0) as f32, (2.0 / 3.0) as f32, 1.0]);
    assert_eq!(layer("mlp.up_proj.weight"), [0.2; 4]);
    assert_eq!(layer("input_layernorm.weight"), [0.9; 4]);
    assert_eq!(coefficient(&recipe, "model.norm.weight", 4), 0.9);
}

/// What mergekit 0.1.5 did with models of these kinds: it holds the experts of a layer in two tensors of other names.
#[test]
fn filters_find_the_experts_that_they_find_in_mergekit() {
    let found = |facts: &ModelFacts, filter: &str| {
        let text = format!(
            "merge_method: task_arithmetic\nbase_model: b\nmodels: [{{model: a, parameters: {{weight: \
             [{{filter: '{filter}', value: 0.25}}, {{value: 1}}]}}}}]\ndtype: float32"
        );
        let imported = import(&text, Path::new("/"), &|_| Some(facts.clone())).unwrap();
        assert_eq!((imported.not_carried, imported.notes), (Vec::new(), Vec::new()), "{filter}");
        let hits = facts.tensors.iter().filter(|name| coefficient(&imported.recipe, name, 2) == 0.25);
        // Of each kind of tensor, the first.
        let firsts =
            hits.filter_map(|name| name.strip_prefix("model.layers.1.")).filter(|name| !name.contains("experts.1"));
        firsts.filter(|name| !name.contains("experts") || name.contains(".0.")).map(str::to_owned).collect::<Vec<_>>()
    };
    let mixtral = mixture(2, true);
    let all = ["gate.weight", "experts.0.w1.weight", "experts.0.w2.weight", "experts.0.w3.weight"];
    let all = all.map(|name| format!("block_sparse_moe.{name}"));
    assert_eq!(found(&mixtral, "mlp"), all);
    assert_eq!(found(&mixtral, "mlp.gate."), all[..1]);
    assert_eq!(found(&mixtral, "experts"), all[1..]);
    assert_eq!(found(&mixtral, "gate_up_proj"), [all[1].clone(), all[3].clone()]);
    assert_eq!(found(&mixtral, "down_proj"), [all[2].clone()]);
    for filter in ["block_sparse_moe", "w1", "experts.0"] {
        assert_eq!(found(&mixtral, filter), [] as [String; 0]);
    }
    let qwen3 = mixture(2, false);
    let of = ["mlp.experts.0.gate_proj.weight", "mlp.experts.0.up_proj.weight"];
    assert_eq!(found(&qwen3, "up_proj"), of);
    assert_eq!(found(&qwen3, "gate"), ["mlp.gate.weight", of[0], of[1]]);
    assert_eq!(found(&qwen3, "gate_proj"), [] as [String; 0]);
}

#[test]
fn a_gradient_of_a_filter_reaches_experts_layer_by_layer() {
    let text = "merge_method: task_arithmetic\nbase_model: b\nmodels: [{model: a, parameters: {weight: \
                [{filter: mlp.experts, value: [0.25, 0.75]}, {filter: self_attn, value: [1, 0]}, {value: 0.5}]}}]\ndtype: float32";
    let facts = mixture(2, true);
    let imported = import(text, Path::new("/"), &|_| Some(facts.clone())).unwrap();
    assert_eq!(imported.not_carried, []);
    let of = |name: &str| [0, 1].map(|layer| coefficient(&imported.recipe, &format!("model.layers.{layer}.{name}"), 2));
    assert_eq!(of("block_sparse_moe.experts.11.w2.weight"), [0.25, 0.75]);
    assert_eq!(of("block_sparse_moe.gate.weight"), [0.5, 0.5]);
}

#[test]
fn what_goes_by_all_experts_of_a_layer_is_not_carried_over() {
    let ways = [
        ("ties", "weight: 0.5, density: 0.3", "", Some("which elements are kept")),
        ("ties", "weight: 0.5", "", None),
        ("breadcrumbs", "weight: 0.5, density: 0.9", "", Some("which elements are kept")),
        ("dare_linear", "weight: 0.5, density: 0.5", "", None),
        ("della", "weight: 0.5, density: 0.5", "", Some("which elements are kept")),
        ("task_arithmetic", "weight: 0.5", "", None),
        ("linear", "weight: 0.5", "", None),
        ("slerp", "", "t: 0.5", Some("the angle")),
        ("nuslerp", "weight: 0.5", "", Some("the angle")),
        // The rows of a stack are the rows of its experts.
        ("nuslerp", "weight: 0.5", "nuslerp_flatten: false", None),
        ("nuslerp", "weight: 0.5", "nuslerp_flatten: false, nuslerp_row_wise: true", Some("between columns")),
        ("model_stock", "", "", Some("the angles")),
        ("sce", "", "", Some("the weight of each model")),
    ];
    for (method, of_models, of_all, what) in ways {
        let second =
            if method == "slerp" { String::new() } else { format!(", {{model: /m/c, parameters: {{{of_models}}}}}") };
        let first = if method == "linear" { "/m/base" } else { "/m/a" };
        let text = format!(
            "merge_method: {method}\nbase_model: /m/base\nmodels: [{{model: {first}, parameters: {{{of_models}}}}}{second}]\n\
             parameters: {{{of_all}}}\ndtype: float32\nout_dtype: bfloat16"
        );
        let facts = |_: &str| Some(mixture(2, true));
        let imported = import(&text, Path::new("/"), &facts).unwrap();
        let exported = export(&imported.recipe, &facts).unwrap();
        for lost in [imported.not_carried, exported.not_carried] {
            match what {
                None => assert_eq!(lost, [], "{text}"),
                Some(what) => {
                    assert_eq!(lost.len(), 1, "{lost:?}");
                    assert_eq!(lost[0].what, format!("the experts under `{method}`"));
                    assert!(lost[0].why.contains("in one tensor") && lost[0].why.contains(what), "{lost:?}");
                }
            }
        }
        // Without experts there is nothing to lose.
        let dense = import(&text, Path::new("/"), &|_| Some(qwen2(2))).unwrap();
        assert_eq!(dense.not_carried, []);
    }
}

#[test]
fn filters_for_a_mixture_are_those_that_mergekit_matches() {
    let mut recipe = Recipe::new("org/pre", "org/post", "org/pre");
    recipe.vector.scaling.factors = Factors { router: 0.25, mlp: 0.5, ..Factors::default() };
    let mixtral = |_: &str| Some(mixture(2, true));
    let Exported { yaml, not_carried, .. } = export(&recipe, &mixtral).unwrap();
    assert_eq!(not_carried, []);
    assert!(yaml.contains("filter: mlp.gate\n") && yaml.contains("filter: experts"), "{yaml}");
    assert!(!yaml.contains("block_sparse_moe"), "{yaml}");
    // One expert alone has no weight of its own there.
    recipe.vector.scaling.patterns.push(Pattern { tensors: "*.experts.3.*".to_owned(), factor: 0.0 });
    let lost = export(&recipe, &mixtral).unwrap().not_carried;
    assert_eq!((lost.len(), lost[0].place.as_str()), (1, "vector.scaling"));
    assert!(lost[0].why.contains("has it in one tensor with other experts of its layer"), "{lost:?}");
}

#[test]
fn characters_that_mean_something_in_a_pattern_are_only_themselves() {
    let text = "
merge_method: task_arithmetic
base_model: /m/base
models: [{model: /m/post, parameters: {weight: [{filter: 'q_pro?', value: 1}, {filter: 'l[0]', value: 2}, {value: 0.5}]}}]
dtype: float32
";
    let recipe = carried(text, Some(2));
    assert_eq!(coefficient(&recipe, "model.layers.0.self_attn.q_proj.weight", 2), 0.5);
    assert_eq!(recipe.vector.scaling.patterns[1].tensors, "*l[[]0[]]*");
}

#[test]
fn what_a_recipe_cannot_say_is_named_and_the_rest_carried() {
    let text = "
merge_method: ties
base_model: example-org/base
models:
  - model: example-org/a
    parameters: {weight: 0.5, density: [0.2, 0.9]}
  - model: example-org/b
    parameters: {wieght: 0.3, weight: 0.3, density: 0.4}
tokenizer_source: union
chat_template: chatml
dtpye: bfloat16
out_dtype: float64
";
    let imported = read(text, Some(4)).unwrap();
    let named: Vec<String> = imported.not_carried.iter().map(ToString::to_string).collect();
    for words in [
        "line 11, column 1: `dtpye`: no key of a merge file, so mergekit ignores it; did you mean `dtype`?",
        "line 8, column 18: `wieght`: no parameter of mergekit; did you mean `weight`?",
        "line 6, column 40: `density`: a recipe has one density for all tensors of a model",
        "line 9, column 19: the tokenizer of `union`",
        "line 10, column 16: `chat_template`",
        "line 12, column 12: float64",
    ] {
        assert!(named.iter().any(|line| line.starts_with(words)), "{words} is not in {named:#?}");
    }
    assert_eq!(named.len(), 6, "{named:#?}");
    assert_eq!(vector(&imported.recipe, 1), ("example-org/base", "example-org/b", 0.3));
}

#[test]
fn a_file_that_is_no_merge_says_where_and_what_to_do() {
    let ta = "merge_method: task_arithmetic\nbase_model: b\n";
    let long = "[".repeat(100);
    let stack = file("passthrough_stack.yaml");
    let cases: Vec<(String, &str)> = vec![
        ("merge_method: tise\nmodels: [{model: a}]".into(), "line 1, column 15: `tise` is no merge method; did you mean `ties`?"),
        (stack, "line 4, column 15: passthrough stacks layers"),
        ("merge_method: karcher\nmodels: [{model: a}]".into(), "does not have mergekit's method karcher; it has task_arithmetic"),
        ("merge_method: ties\nmodel: [{model: a}]".into(), "there are neither `models` nor `slices`; list the models (line 2, column 1 `model`: no key of a merge file, so mergekit ignores it; did you mean `models`?)"),
        ("merge_metod: ties\nmodels: [{model: a}]".into(), "did you mean `merge_method`?"),
        (format!("{ta}models: []"), "line 3, column 9: `models` is empty"),
        (format!("{ta}models: a"), "line 3, column 9: `models` is a list (lines that begin with `- `), and here is `a`"),
        (format!("{ta}models: [{{parameters: {{weight: 1}}}}]"), "line 3, column 10: a model of the list needs `model`"),
        (format!("{ta}models: [{{model: a}}]"), "there is no `weight` for `a`; say it under parameters"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: much}}}}]"), "line 3, column 42: `weight` is a number, and here is `much`"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: []}}}}]"), "`weight` is an empty list"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: [1, {{value: 2}}]}}}}]"), "`weight` mixes numbers and tables"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: [{{filtre: x, value: 2}}]}}}}]"), "did you mean `filter`?"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: [{{filter: mlp, value: 2}}]}}}}]"), "no filter matches `model.embed_tokens.weight`; add an entry without a filter"),
        (format!("{ta}models: [{{model: a+lora}}]"), "merge it into its base model first"),
        (format!("{ta}models: [{{model: a}}, {{model: a}}]"), "`a` is listed twice"),
        (format!("{ta}models: [{{model: b}}]\nparameters: {{weight: 1}}"), "there is no model beside base_model"),
        (format!("{ta}models: [{{model: a}}]\nslices: []"), "there are `models` and `slices`"),
        (format!("{ta}modules: {{}}"), "`modules` merges several towers"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: 1}}}}]\ndtype: bf16"), "`bf16` is no dtype; write bfloat16"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: 1}}}}]\ndtype: bfloat61"), "did you mean `bfloat16`?"),
        ("merge_method: task_arithmetic\nmodels: [{model: a, parameters: {weight: 1}}]".into(), "task_arithmetic needs `base_model`"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}, {model: c}]\nparameters: {t: 0.5}".into(), "slerp goes from base_model, `a`, to one other model, and beside `a` there are 2: `b`, `c`; list the one to go to"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: a}]\nparameters: {t: 0.5}".into(), "beside `a` there is none; list the one to go to"),
        (format!("{ta}models:\n- model: c\n  parameters: {{weight: 1}}\n- model: a\n  parameters: {{wieght: 1}}"), "line 7, column 16: `wieght` is no parameter of mergekit; did you mean `weight`, which is missing for `a`?"),
        (format!("{ta}models:\n- model: c\n  params: {{weight: 1}}\n- model: a\n  params: {{weight: 1}}"), "line 5, column 3: `weight` is missing for `c`: `params` is no key of a model of the list, so mergekit ignores it; did you mean `parameters`?"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparamters: {t: 0.5}".into(), "line 4, column 1: `t` is missing: `paramters` is no key of a merge file, so mergekit ignores it; did you mean `parameters`?"),
        (format!("{ta}models:\n- modle: c\n  parameters: {{weight: 1}}"), "line 4, column 3: a model of the list needs `model`, and `modle` is no key of it; did you mean `model`?"),
        (format!("{ta}models: [{{model: a, parameters: {{weight: 1e39}}}}]"), "line 3, column 42: `weight` is 1e39, which is too large for a float32"),
        ("version = 1\ntarget = \"a\"\n[vector]\npost = \"b\"\nw = 1\n".into(), "this is a recipe in TOML and no merge file; give it a name that ends in .toml"),
        ("merge_method: ties\nbase_model: b\nmodels: [{model: a, parameters: {weight: 1, density: 1.5}}]".into(), "line 3, column 54: `density` is 1.5; it is a share, from 0 to 1"),
        ("merge_method: della\nbase_model: b\nmodels: [{model: a, parameters: {weight: 1, density: 0.9}}]".into(), "density + epsilon are probabilities"),
        ("merge_method: ties\nbase_model: b\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n- sources: [{model: a, layer_range: [1, 4]}]".into(), "line 5, column 37: layers 1 to 3 would become layers 2 and following"),
        ("merge_method: ties\nbase_model: b\nslices:\n- sources: [{model: a, layer_range: [3, 2]}]".into(), "holds no layer"),
        ("merge_method: ties\nbase_model: b\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n- sources: [{model: c, layer_range: [2, 4]}]".into(), "a slice lacks `a`"),
        ("merge_method: ties\nbase_model: b\nslices:\n- residual_weight: 0.5\n  sources: [{model: a, layer_range: [0, 2]}]".into(), "`residual_weight` of a slice cannot be carried over"),
        (format!("a: {long}"), "nested deeper than 32 levels"),
        ("merge_method: ties\n  base_model: b".into(), "this is not YAML"),
        ("merge_method: ties\nbase_model: b\nslices:\n- sources: [{model: a, layer_range: [0, 4000000000]}]".into(), "no model has more than 10000 layers"),
        (
            format!("{ta}models: [{{model: a}}]\nparameters:\n  weight:\n{}  - value: 1\n", "  - {filter: x, value: [0, 1]}\n".repeat(3000)),
            "its 3001 filters come to more than 10000 patterns",
        ),
        ("hello".into(), "a merge file is a table of keys, and here is `hello`"),
    ];
    for (text, words) in cases {
        match read(&text, Some(4)) {
            Err(message) => assert!(message.contains(words), "{message}\ndoes not say\n{words}\nof\n{text}"),
            Ok(imported) => panic!("{text}\nis read as {imported:#?}"),
        }
    }
}

#[test]
fn a_gradient_that_needs_the_model_says_so() {
    let text =
        "merge_method: task_arithmetic\nbase_model: b\nmodels: [{model: a, parameters: {weight: [0, 0.5, 0.2]}}]";
    let message = read(text, None).unwrap_err();
    assert!(message.contains("a gradient of 3 points, and how many layers there are is not known"), "{message}");
    assert!(message.contains("say how many (--layers)"), "{message}");
    let recipe = carried(text, Some(5));
    let point = |layer, value| Point { layer, value };
    let points = vec![point(0, 0.0), point(2, 0.5), point(4, 0.2)];
    assert_eq!(recipe.vector.scaling.curve, Curve::Points { points, between: Between::Linear });
    let imported = import(text, Path::new("/"), &|_| Some(ModelFacts::of_layers(6))).unwrap();
    assert!(matches!(imported.recipe.vector.scaling.curve, Curve::Layers { .. }));
}

#[test]
fn names_of_models_are_relative_to_the_file_or_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("models/post")).unwrap();
    let text = "merge_method: slerp\nbase_model: ./models/pre\nmodels: [{model: models/post}]\nparameters: {t: 0.5}";
    let recipe = import(text, folder.path(), &|_| None).unwrap().recipe;
    assert_eq!(recipe.vector.post, folder.path().join("models/post").to_str().unwrap());
    // What is missing is named as it would be.
    assert_eq!(recipe.target, folder.path().join("models/pre").to_str().unwrap());
    let text = "merge_method: slerp\nbase_model: org/pre@main\nmodels: [{model: {model: {path: /a+b, revision: x}}}]\nparameters: {t: 0.5}";
    let recipe = import(text, folder.path(), &|_| None).unwrap().recipe;
    assert_eq!((recipe.target.as_str(), recipe.vector.post.as_str()), ("org/pre@main", "/a+b@x"));
}

fn exported(recipe: &Recipe, layers: Option<u32>) -> Exported {
    export(recipe, &|_| layers.map(qwen2)).unwrap()
}

#[test]
fn a_recipe_is_written_as_one_would_by_hand() {
    let mut recipe = Recipe::new("org/pre", "org/post", "org/target");
    recipe.vector.w = 0.75;
    recipe.vector.scaling.keep.norm = true;
    let Exported { yaml, notes, not_carried } = exported(&recipe, Some(4));
    let expected = "\
merge_method: task_arithmetic
base_model: org/pre
models:
  - model: org/target
    parameters:
      weight: 1.0
  - model: org/post
    parameters:
      weight:
        - filter: norm
          value: 0.0
        - value: 0.75
dtype: float32
out_dtype: bfloat16
";
    assert_eq!(yaml, expected);
    assert_eq!(not_carried, []);
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(note.starts_with("mergekit rounds after every step"), "{note}");
    assert!(note.contains("up to 2 elements in 1,000 differ by a last bit; rounding = \"mergekit-f32\""), "{note}");
    recipe.output.dtype = OutputDtype::F32;
    let note = exported(&recipe, Some(4)).notes.concat();
    assert!(note.contains("up to 3 elements in 10 differ"), "{note}");
    recipe.output.rounding = Rounding::MergekitF32;
    assert_eq!(exported(&recipe, Some(4)).notes, [] as [String; 0]);
    let mut recipe = Recipe::new("org/pre", "org/post", "org/pre");
    recipe.method = MethodSpec::new(Method::Sce);
    recipe.vector.w = 1.0;
    let note = exported(&recipe, Some(4)).notes.concat();
    assert!(note.contains("repeats mergekit's steps") && note.contains("a floor of 10⁻⁶"), "{note}");
    recipe.adapter = Some(mergescope_core::adapter::AdapterSpec::default());
    let Exported { notes, .. } = exported(&recipe, Some(4));
    assert!(notes[0].contains("what an adapter holds is no part of a merge file"), "{notes:?}");
}

#[test]
fn a_curve_and_a_factor_can_be_said_of_a_model_that_is_not_at_hand() {
    let mut recipe = Recipe::new("org/pre", "org/post", "org/target");
    recipe.vector.scaling.curve = Curve::Lines { alpha: 0.25, beta: 0.75 };
    recipe.output.dtype = OutputDtype::Bf16;
    for factors in [
        Factors { mlp: 0.5, ..Factors::default() },
        Factors { attention: 0.5, ..Factors::default() },
        Factors { router: 0.5, norm: 0.0, ..Factors::default() },
    ] {
        recipe.vector.scaling.factors = factors;
        let Exported { yaml, not_carried, .. } = export(&recipe, &|_| Some(ModelFacts::of_layers(4))).unwrap();
        assert_eq!(not_carried, [], "{yaml}");
        let filters = yaml.lines().filter_map(|line| line.trim().strip_prefix("- filter: "));
        for filter in filters {
            assert!(!filter.contains(char::is_numeric), "{yaml}");
        }
        // Whichever of these it turns out to be.
        for facts in [qwen2(4), mixture(4, false), mixture(4, true)] {
            let back = import(&yaml, Path::new("/"), &|_| Some(facts.clone())).unwrap().recipe;
            assert_eq!(coefficients(&recipe, &facts), coefficients(&back, &facts), "{yaml}");
        }
    }
}

#[test]
fn a_number_in_a_filter_is_not_that_of_a_layer() {
    let mut facts = qwen2(4);
    facts.tensors.extend((0..4).map(|tower| format!("towers.{tower}.weight")));
    let mut recipe = Recipe::new("org/pre", "org/post", "org/pre");
    recipe.vector.scaling.patterns.push(Pattern { tensors: "towers.2.*".to_owned(), factor: 0.0 });
    let Exported { yaml, not_carried, .. } = export(&recipe, &|_| Some(facts.clone())).unwrap();
    assert_eq!(not_carried, []);
    assert!(yaml.contains("filter: towers.2\n"), "{yaml}");
}

#[test]
fn what_a_merge_file_cannot_say_is_named() {
    let mut recipe = Recipe::new("org/pre", "org/post", "org/target");
    recipe.vector.control =
        Some(mergescope_core::recipe::ControlSpec { kind: mergescope_core::recipe::ControlKind::Noise, seed: 3 });
    recipe.vector.sparsify = Some(Sparsify::Trim);
    recipe.vector.density = Some(0.5);
    recipe.output.rounding = Rounding::Stochastic;
    let places = |recipe: &Recipe, layers| {
        exported(recipe, layers).not_carried.into_iter().map(|lost| lost.place).collect::<Vec<_>>()
    };
    assert_eq!(places(&recipe, Some(4)), ["vector.sparsify", "vector.control", "output.rounding"]);
    // Without the target neither its type is known nor what a pattern could match.
    let mut recipe = Recipe::new("org/pre", "org/post", "org/target");
    recipe.vector.scaling.patterns.push(Pattern { tensors: "*.wqkv.*".to_owned(), factor: 0.5 });
    assert_eq!(places(&recipe, None), ["vector.scaling", "output.dtype"]);
    let message = |recipe: &Recipe| export(recipe, &|_| None).unwrap_err().to_string();
    recipe.vector.scaling = ScalingSpec { curve: Curve::Linear { first: 0.0, last: 1.0 }, ..ScalingSpec::default() };
    assert!(message(&recipe).contains("how many layers org/target has is not known"), "{}", message(&recipe));
    recipe.vector.scaling = ScalingSpec::default();
    recipe.method = MethodSpec::new(Method::Ties);
    assert!(message(&recipe).contains("only task_arithmetic and linear can say that"), "{}", message(&recipe));
    recipe.method = MethodSpec::new(Method::Trim);
    assert!(message(&recipe).contains("no method that trims"), "{}", message(&recipe));
    let mut recipe = Recipe::new("", "/saved/vector", "org/target");
    assert!(message(&recipe).contains("is a saved vector"), "{}", message(&recipe));
    recipe.vector.pre = "org/pre".to_owned();
    recipe.others.push(recipe.vector.clone());
    assert!(message(&recipe).contains("listed twice"), "{}", message(&recipe));
}

#[test]
fn vectors_from_several_bases_are_written_as_a_linear_merge() {
    let mut recipe = Recipe::new("a/pre", "a/post", "a/target");
    recipe.others.push(VectorSpec { w: 0.25, ..VectorSpec::new("b/pre", "b/post") });
    let Exported { yaml, notes, .. } = exported(&recipe, Some(2));
    assert!(notes.concat().contains("up to 3 elements in 100 differ by a last bit"), "{notes:?}");
    assert!(!notes.concat().contains("gives mergekit's bits"), "no mode repeats what is spelt out: {notes:?}");
    assert!(yaml.starts_with("merge_method: linear\nmodels:\n  - model: a/target\n"), "{yaml}");
    let back = carried(&yaml, Some(2));
    assert_eq!(
        (back.target.as_str(), vector(&back, 0), vector(&back, 1)),
        ("a/target", ("a/pre", "a/post", 0.5), ("b/pre", "b/post", 0.25))
    );
}

#[test]
fn names_that_yaml_would_misread_stand_in_quotes() {
    let mut recipe = Recipe::new("/m/a+b", "/m/with space: #1", "/m/über");
    recipe.output.dtype = OutputDtype::F32;
    recipe.vector.w = 1e-7;
    let Exported { yaml, .. } = exported(&recipe, None);
    assert!(yaml.contains("{model: {path: \"/m/a+b\"}}") && yaml.contains("weight: 0.0000001"), "{yaml}");
    let back = carried(&yaml, None);
    assert_eq!(
        (back.target, back.vector.pre, back.vector.post, back.vector.w),
        ("/m/über".to_owned(), "/m/a+b".to_owned(), "/m/with space: #1".to_owned(), 1e-7)
    );
}

#[test]
fn the_classic_slerp_file_comes_back_the_same() {
    let facts = qwen2(32);
    let first = carried(&file("slerp_by_part.yaml"), Some(32));
    let Exported { yaml, not_carried, .. } = exported(&first, Some(32));
    assert_eq!(not_carried, []);
    let second = carried(&yaml, Some(32));
    assert_eq!(coefficients(&first, &facts), coefficients(&second, &facts));
}

const LAYERS: u32 = 6;

fn curve() -> impl Strategy<Value = Curve> {
    let value = || -2.0_f64..2.0;
    prop_oneof![
        Just(Curve::Flat),
        (value(), value()).prop_map(|(first, last)| Curve::Linear { first, last }),
        (value(), value()).prop_map(|(alpha, beta)| Curve::Lines { alpha, beta }),
        (0_u32..6, value(), value()).prop_map(|(count, inside, outside)| Curve::First { count, inside, outside }),
        (0_u32..6, value(), value()).prop_map(|(at, before, after)| Curve::Step { at, before, after }),
        (0.0_f64..5.0, 0.5_f64..4.0, value(), value()).prop_map(|(centre, width, base, peak)| Curve::Bump {
            centre,
            width,
            base,
            peak
        }),
        prop::collection::vec(value(), LAYERS as usize).prop_map(|values| Curve::Layers { values }),
        (value(), value(), value()).prop_map(|(a, b, c)| Curve::Points {
            points: vec![Point { layer: 0, value: a }, Point { layer: 2, value: b }, Point { layer: 5, value: c }],
            between: Between::Smooth,
        }),
    ]
}

fn scaling() -> impl Strategy<Value = ScalingSpec> {
    let factor = || prop_oneof![Just(1.0), Just(0.0), -1.0_f64..2.0];
    let factors = (factor(), factor(), factor(), factor(), factor()).prop_map(|(attention, mlp, norm, embed, head)| {
        Factors { attention, mlp, norm, embed, head, ..Factors::default() }
    });
    let globs = ["*.q_proj.*", "*layernorm*", "model.layers.[0-3].mlp.*", "*.bias", "*.layers.2.*", "lm_?ead*", "*"];
    let pattern = (prop::sample::select(globs.to_vec()), factor())
        .prop_map(|(tensors, factor)| Pattern { tensors: tensors.to_owned(), factor });
    let keep = (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of((0_u32..3, 0_u32..3))).prop_map(
        |(embed, head, norm, layers)| Keep {
            embed,
            head,
            norm,
            layers: layers.map(|(first, more)| [first, first + more].into()).into_iter().collect(),
            ..Keep::default()
        },
    );
    let patterns = prop_oneof![Just(Vec::new()), prop::collection::vec(pattern, 0..3)];
    (curve(), prop_oneof![Just(Factors::default()), factors], patterns, prop_oneof![Just(Keep::default()), keep])
        .prop_map(|(curve, factors, patterns, keep)| ScalingSpec { curve, factors, patterns, keep })
}

/// Recipes that mergekit can say: methods, parameters, weights by tensor, and rounding as mergekit's.
fn recipe() -> impl Strategy<Value = Recipe> {
    let methods = Method::ALL.into_iter().filter(|method| *method != Method::Trim).collect::<Vec<_>>();
    let vector = (-2.0_f64..2.0, scaling(), 0.1_f64..0.9, 0.0_f64..0.1, 0.0_f64..0.1);
    let outputs = (any::<bool>(), prop::sample::select(vec![OutputDtype::Bf16, OutputDtype::F16, OutputDtype::F32]));
    let flags = (prop::option::of(any::<bool>()), prop::option::of(any::<bool>()), prop::option::of(0.5_f64..2.0));
    (prop::sample::select(methods), prop::collection::vec(vector, 2..4), outputs, flags, any::<bool>()).prop_map(
        |(method, vectors, (f32_steps, dtype), (normalize, rescale, lambda), apart)| {
            use mergescope_core::recipe::Parameter;
            let (_, most) = method.vectors();
            let whole = matches!(method, Method::Linear | Method::Slerp);
            // Only where vectors are plainly added may the target be another model than the one they begin at.
            let apart = apart && method == Method::TaskArithmetic;
            let pre = if whole { "" } else { "org/pre" };
            let target = if method == Method::Linear {
                "org/post-0"
            } else if apart {
                "org/target"
            } else {
                "org/pre"
            };
            let mut vectors =
                vectors.into_iter().take(most).enumerate().map(|(index, (w, scaling, density, gamma, epsilon))| {
                    let uses = |parameter| method.sparsify().uses(parameter);
                    VectorSpec {
                        w: if method.uses_w() { w } else { 1.0 },
                        scaling: if method.uses_w() { scaling } else { ScalingSpec::default() },
                        density: uses(Parameter::Density).then_some(density),
                        gamma: uses(Parameter::Gamma).then_some(gamma),
                        epsilon: uses(Parameter::Epsilon).then_some(epsilon),
                        ..VectorSpec::new(pre, format!("org/post-{index}"))
                    }
                });
            let mut recipe = Recipe::new("", "", target);
            recipe.vector = vectors.next().unwrap();
            recipe.others = vectors.collect();
            recipe.method = MethodSpec {
                normalize: normalize.filter(|_| method.uses(Parameter::Normalize) && !apart),
                rescale: rescale.filter(|_| method.uses(Parameter::Rescale)),
                lambda: lambda.filter(|_| method.uses(Parameter::Lambda) && !apart),
                ..MethodSpec::new(method)
            };
            recipe.output.dtype = dtype;
            recipe.output.rounding = if f32_steps { Rounding::MergekitF32 } else { Rounding::MergekitBf16 };
            recipe
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_slip_in_a_merge_file_makes_it_panic(
        name in prop::sample::select(vec!["slerp_by_part.yaml", "slices_in_order.yaml", "della_with_gradient.yaml", "ties_of_three.yaml"]),
        cuts in prop::collection::vec((0.0_f64..1.0, 0_usize..30, "[a-z0-9:\\-\\[\\]{}, \n.&*]{0,8}"), 1..4),
        known in any::<bool>(),
    ) {
        let mut text = file(name);
        for (at, len, new) in cuts {
            let start = (at * text.len() as f64) as usize;
            let end = (start + len).min(text.len());
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                text.replace_range(start..end, &new);
            }
        }
        if let Ok(imported) = read(&text, known.then_some(24)) {
            // What is read can be used: the recipe is sound, or says in words why it is not.
            let _ = imported.recipe.check_method();
            let _ = export(&imported.recipe, &|_| known.then(|| qwen2(24)));
        }
    }

    #[test]
    fn a_recipe_for_a_mixture_comes_back_with_the_same_coefficients(
        vectors in prop::collection::vec((-2.0_f64..2.0, scaling()), 1..3),
        is_mixtral in any::<bool>(),
    ) {
        let mut recipe = Recipe::new("", "", "org/pre");
        let mut vectors = vectors.into_iter().enumerate().map(|(index, (w, scaling))| {
            VectorSpec { w, scaling, ..VectorSpec::new("org/pre", format!("org/post-{index}")) }
        });
        recipe.vector = vectors.next().unwrap();
        recipe.others = vectors.collect();
        let facts = mixture(LAYERS, is_mixtral);
        let known = |_: &str| Some(facts.clone());
        let exported = export(&recipe, &known).unwrap();
        prop_assert_eq!(&exported.not_carried, &[]);
        let back = import(&exported.yaml, Path::new("/"), &known).unwrap();
        prop_assert_eq!(&back.not_carried, &[], "{}", exported.yaml);
        prop_assert_eq!(coefficients(&recipe, &facts), coefficients(&back.recipe, &facts), "{}", exported.yaml);
    }

    #[test]
    fn a_recipe_that_mergekit_can_say_comes_back_with_the_same_coefficients(recipe in recipe()) {
        prop_assume!(recipe.check_method().is_ok());
        let facts = qwen2(LAYERS);
        let known = |_: &str| Some(facts.clone());
        let exported = export(&recipe, &known).unwrap();
        prop_assert_eq!(&exported.not_carried, &[]);
        let back = import(&exported.yaml, Path::new("/"), &known).unwrap();
        prop_assert_eq!(&back.not_carried, &[], "{}", exported.yaml);
        let back = back.recipe;
        prop_assert_eq!(coefficients(&recipe, &facts), coefficients(&back, &facts), "{}", exported.yaml);
        let models = |recipe: &Recipe| {
            let vectors = recipe.vectors().map(|vector| (vector.pre.clone(), vector.post.clone()));
            (recipe.target.clone(), vectors.collect::<Vec<_>>())
        };
        prop_assert_eq!(models(&recipe), models(&back));
        let rules = |recipe: &Recipe| {
            let rules = recipe.vectors().map(|vector| recipe.method.rule_of(vector)).collect::<Vec<_>>();
            (recipe.method.name, rules, recipe.method.normalize(), recipe.method.lambda().to_bits())
        };
        prop_assert_eq!(rules(&recipe), rules(&back));
        prop_assert_eq!(&recipe.output, &back.output);
    }
}
