//! From a recipe to a merge file.

use std::fmt::Write as _;
use std::path::Path;

use super::filters::filtered;
use super::weights::Weighted;
use super::{MergekitError, ModelFacts, NotCarried};
use crate::checkpoint::Dtype;
use crate::layout::place;
use crate::recipe::{Method, OutputDtype, OutputSpec, Parameter, Recipe, Rounding, Sparsify, VectorSpec};
use crate::scaling::{Curve, Factors, Scaling, ScalingSpec};

/// A recipe as a merge file.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The merge file.
    pub yaml: String,
    /// Where the file means the same and may round in another way.
    pub notes: Vec<String>,
    /// What the file does not say. Where there is any, mergekit makes another model of it.
    pub not_carried: Vec<NotCarried>,
}

/// Writes a recipe as a merge file; `facts` says what is known of a model.
pub fn export(recipe: &Recipe, facts: &dyn Fn(&str) -> Option<ModelFacts>) -> Result<Exported, MergekitError> {
    recipe.check_method().map_err(|error| MergekitError::anywhere(error.to_string()))?;
    let known = facts(&recipe.target).filter(|facts| facts.layers > 0);
    let mut export =
        Export { recipe, names: Names::of(recipe, known.as_ref())?, notes: Vec::new(), not_carried: Vec::new() };
    let file = export.file()?;
    let yaml = export.write(&file, known.as_ref());
    Ok(Exported { yaml, notes: export.notes, not_carried: export.not_carried })
}

/// The tensors that filters are made for.
struct Names {
    all: Vec<String>,
    /// Whether the target has them, or they are taken for granted.
    are_real: bool,
    layers: u32,
    /// Whether `layers` is the model's.
    layers_known: bool,
}

/// What a model of Llama's and Qwen's kind calls its tensors.
const USUAL_OUTSIDE: [&str; 3] = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"];
const USUAL_IN_LAYER: [&str; 22] = [
    "self_attn.q_proj.weight",
    "self_attn.q_proj.bias",
    "self_attn.k_proj.weight",
    "self_attn.k_proj.bias",
    "self_attn.v_proj.weight",
    "self_attn.v_proj.bias",
    "self_attn.o_proj.weight",
    "self_attn.q_norm.weight",
    "self_attn.k_norm.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
    "mlp.gate.weight",
    "mlp.experts.0.gate_proj.weight",
    "mlp.experts.0.up_proj.weight",
    "mlp.experts.0.down_proj.weight",
    "mlp.shared_expert.up_proj.weight",
    "mlp.shared_expert_gate.weight",
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    "pre_feedforward_layernorm.weight",
    "post_feedforward_layernorm.weight",
];

impl Names {
    fn of(recipe: &Recipe, known: Option<&ModelFacts>) -> Result<Self, MergekitError> {
        if let Some(facts) = known.filter(|facts| !facts.tensors.is_empty()) {
            return Ok(Self { all: facts.tensors.clone(), are_real: true, layers: facts.layers, layers_known: true });
        }
        let listed = recipe.vectors().find_map(|vector| match &vector.scaling.curve {
            Curve::Layers { values } => Some(values.len() as u32),
            _ => None,
        });
        let layers = known.map(|facts| facts.layers).or(listed).filter(|layers| *layers > 0);
        let speaks_of_layers =
            |vector: &VectorSpec| vector.scaling.curve != Curve::Flat || !vector.scaling.keep.layers.is_empty();
        if layers.is_none() && recipe.vectors().any(speaks_of_layers) {
            return Err(MergekitError::anywhere(format!(
                "a gradient has a point for each layer, and how many layers {} has is not known, since it is neither at hand nor \
                 in the Hub cache; download it, or say --layers",
                recipe.target
            )));
        }
        let count = layers.unwrap_or(1);
        let in_layers = (0..count).flat_map(|layer| USUAL_IN_LAYER.map(|part| format!("model.layers.{layer}.{part}")));
        let all = USUAL_OUTSIDE.iter().map(|name| (*name).to_owned()).chain(in_layers).collect();
        Ok(Self { all, are_real: false, layers: count, layers_known: layers.is_some() })
    }
}

/// A model with its parameters, each by filter.
type ModelEntry = (String, Vec<(&'static str, Vec<Weighted>)>);

/// A merge file, before it is text.
struct File {
    method: Method,
    base: Option<String>,
    models: Vec<ModelEntry>,
    parameters: Vec<(&'static str, Vec<Weighted>)>,
}

struct Export<'a> {
    recipe: &'a Recipe,
    names: Names,
    notes: Vec<String>,
    not_carried: Vec<NotCarried>,
}

impl Export<'_> {
    fn lose(&mut self, place: impl Into<String>, what: impl Into<String>, why: impl Into<String>) {
        self.not_carried.push(NotCarried { place: place.into(), what: what.into(), why: why.into() });
    }

    /// What a message calls a vector.
    fn key(&self, vector: usize) -> String {
        if self.recipe.others.is_empty() { "vector".to_owned() } else { format!("vector {}", vector + 1) }
    }

    fn file(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        let method = recipe.method.name;
        if method == Method::Trim {
            return Err(MergekitError::anywhere(
                "mergekit has no method that trims and adds without electing signs; use ties, or task_arithmetic without density",
            ));
        }
        self.check_vectors();
        let mut file = match method {
            Method::Linear => self.averaged()?,
            Method::Slerp => self.slerp()?,
            Method::Nuslerp => self.between_two()?,
            Method::TaskArithmetic => self.added()?,
            _ => self.combined()?,
        };
        self.parameters(&mut file);
        for (position, (model, _)) in file.models.iter().enumerate() {
            if file.models[..position].iter().any(|(other, _)| other == model) {
                let message =
                    format!("{model} would be listed twice, which mergekit refuses; add its vectors up to one");
                return Err(MergekitError::anywhere(message));
            }
        }
        Ok(file)
    }

    /// Names what mergekit cannot do to a vector.
    fn check_vectors(&mut self) {
        let method = self.recipe.method.name;
        for (index, vector) in self.recipe.vectors().enumerate() {
            let key = self.key(index);
            if let Some(sparsify) = vector.sparsify
                && sparsify != method.sparsify()
            {
                let why = format!("with {method} every vector has the same ({})", method.sparsify().label());
                self.lose(format!("{key}.sparsify"), format!("`{}`", sparsify.label()), why);
            }
            if let Some(control) = vector.control {
                let why = "mergekit has no controls; the file is of the vector itself";
                self.lose(format!("{key}.control"), format!("`{}`", control.kind.label()), why);
            }
            if !self.names.are_real {
                self.check_usual_names(&key, &vector.scaling);
            }
        }
    }

    /// Patterns that no usual name matches could match any name.
    fn check_usual_names(&mut self, key: &str, scaling: &ScalingSpec) {
        let why = "the target is not at hand, and no tensor of Llama or Qwen has such a name; download it";
        let patterns = scaling.patterns.iter().map(|pattern| &pattern.tensors).chain(&scaling.keep.tensors);
        let unmatched: Vec<String> = patterns
            .filter(|pattern| {
                glob::Pattern::new(pattern).is_ok_and(|glob| !self.names.all.iter().any(|name| glob.matches(name)))
            })
            .cloned()
            .collect();
        for pattern in unmatched {
            self.lose(format!("{key}.scaling"), format!("`{pattern}`"), why);
        }
        if scaling.factors.other != Factors::default().other {
            self.lose(format!("{key}.scaling.factors"), "`other`", why);
        }
        let uniform = ScalingSpec { curve: Curve::Flat, ..ScalingSpec::default() };
        if *scaling != uniform && !self.notes.iter().any(|note| note.starts_with("the target is not at hand")) {
            self.notes.push(
                "the target is not at hand, so filters are made for the names of tensors in Llama and Qwen".to_owned(),
            );
        }
    }

    /// The coefficient of every tensor.
    fn coefficients(&self, vector: &VectorSpec) -> Result<Vec<f64>, MergekitError> {
        let scaling = Scaling::new(vector.w, &vector.scaling, self.names.layers)
            .map_err(|error| MergekitError::anywhere(error.to_string()))?;
        Ok(self.names.all.iter().map(|name| vector.w * scaling.share(name, place(name))).collect())
    }

    /// A coefficient for each tensor as a setting.
    fn setting(&mut self, key: &str, values: &[f64]) -> Result<Vec<Weighted>, MergekitError> {
        let tensors: Vec<(&str, f64)> = self.names.all.iter().map(String::as_str).zip(values.iter().copied()).collect();
        let found = filtered(&tensors, self.names.layers.max(1));
        if !self.names.layers_known && found.entries.iter().any(|entry| entry.points.len() > 1) {
            return Err(MergekitError::anywhere("the number of layers is not known; say --layers"));
        }
        if let Some(first) = found.differing.first() {
            let why = format!(
                "no filter tells it from others; {} more would get another weight too",
                found.differing.len() - 1
            );
            self.lose(format!("{key}.scaling"), format!("the weight of `{first}`"), why);
        }
        Ok(found.entries)
    }

    fn weight(&mut self, index: usize, vector: &VectorSpec) -> Result<Vec<Weighted>, MergekitError> {
        let values = self.coefficients(vector)?;
        let key = self.key(index);
        self.setting(&key, &values)
    }

    /// target + Σ w·(post − pre).
    fn added(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_saved_vectors()?;
        let pre = &recipe.vector.pre;
        if recipe.vectors().any(|vector| vector.pre != *pre) {
            return self.spelt_out();
        }
        let mut models = Vec::new();
        if recipe.target != *pre {
            self.refuse_normalize("the target would count as one of the vectors");
            models.push((recipe.target.clone(), vec![("weight", one(1.0))]));
        }
        let lambda = if recipe.target == *pre { 1.0 } else { self.folded_lambda() };
        for (index, vector) in recipe.vectors().enumerate() {
            let values: Vec<f64> = self.coefficients(vector)?.into_iter().map(|value| value * lambda).collect();
            let key = self.key(index);
            let weight = self.setting(&key, &values)?;
            models.push((vector.post.clone(), vec![("weight", weight)]));
        }
        Ok(File { method: Method::TaskArithmetic, base: Some(pre.clone()), models, parameters: Vec::new() })
    }

    /// The same where vectors begin at several models: target + Σ w·post − Σ w·pre.
    fn spelt_out(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_normalize("weights of +w and −w have no sum to divide by");
        let lambda = self.folded_lambda();
        let mut sums: Vec<(String, Vec<f64>)> = vec![(recipe.target.clone(), vec![1.0; self.names.all.len()])];
        let mut add = |model: &str, values: &[f64], sign: f64| {
            let position = sums.iter().position(|(other, _)| other == model).unwrap_or_else(|| {
                sums.push((model.to_owned(), vec![0.0; values.len()]));
                sums.len() - 1
            });
            for (sum, value) in sums[position].1.iter_mut().zip(values) {
                *sum += sign * lambda * value;
            }
        };
        for vector in recipe.vectors() {
            let values = self.coefficients(vector)?;
            add(&vector.post, &values, 1.0);
            add(&vector.pre, &values, -1.0);
        }
        let mut models = Vec::new();
        for (model, values) in sums {
            let weight = self.setting("vector", &values)?;
            models.push((model, vec![("weight", weight)]));
        }
        self.notes.push(
            "the vectors begin at several models, and mergekit knows one base: written as a linear merge with weights of +w \
             and −w, whose steps round otherwise in the last bit"
                .to_owned(),
        );
        let parameters = vec![("normalize", flag(false))];
        Ok(File { method: Method::Linear, base: None, models, parameters })
    }

    fn folded_lambda(&mut self) -> f64 {
        let lambda = self.recipe.method.lambda();
        if lambda != 1.0 {
            self.notes.push(format!(
                "lambda {lambda} is multiplied into the weights, since mergekit's would scale the target too"
            ));
        }
        lambda
    }

    fn refuse_normalize(&mut self, why: &str) {
        if self.recipe.method.normalize() {
            self.lose("method.normalize", "`true`", why);
        }
    }

    fn refuse_saved_vectors(&self) -> Result<(), MergekitError> {
        match self.recipe.vectors().find(|vector| vector.stands_alone()) {
            Some(vector) => Err(MergekitError::anywhere(format!(
                "{} is a saved vector, and mergekit merges models alone; name the two models that it is the difference of",
                vector.post
            ))),
            None => Ok(()),
        }
    }

    /// Methods that thin out, elect or weigh model − base_model, and add that to the base.
    fn combined(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        let method = recipe.method.name;
        self.refuse_saved_vectors()?;
        if let Some(vector) = recipe.vectors().find(|vector| vector.pre != recipe.target) {
            return Err(MergekitError::anywhere(format!(
                "mergekit adds what {method} makes to the model that the vectors begin at, and here that is {}, and the target \
                 is {}; only task_arithmetic and linear can say that",
                vector.pre, recipe.target
            )));
        }
        let mut models = Vec::new();
        for (index, vector) in recipe.vectors().enumerate() {
            let mut settings = Vec::new();
            if method.uses_w() {
                settings.push(("weight", self.weight(index, vector)?));
            }
            let rule = recipe.method.rule_of(vector);
            if method.sparsify() != Sparsify::None {
                for (parameter, value) in [
                    (Parameter::Density, rule.density),
                    (Parameter::Gamma, rule.gamma),
                    (Parameter::Epsilon, rule.epsilon),
                ] {
                    if method.sparsify().uses(parameter) {
                        settings.push((parameter.label(), one(value)));
                    }
                }
            }
            models.push((vector.post.clone(), settings));
        }
        Ok(File { method, base: Some(recipe.target.clone()), models, parameters: Vec::new() })
    }

    fn averaged(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_vectors()?;
        let mut models = Vec::new();
        for (index, vector) in recipe.vectors().enumerate() {
            models.push((vector.post.clone(), vec![("weight", self.weight(index, vector)?)]));
        }
        let listed = recipe.vectors().any(|vector| vector.post == recipe.target);
        let base = (recipe.vector.post != recipe.target && listed).then(|| recipe.target.clone());
        if !listed {
            let why = format!(
                "mergekit takes what is not weights from one of the models that it averages, here from {}",
                recipe.vector.post
            );
            self.lose("target", format!("`{}`", recipe.target), why);
        }
        Ok(File { method: Method::Linear, base, models, parameters: Vec::new() })
    }

    fn refuse_vectors(&self) -> Result<(), MergekitError> {
        match self.recipe.vectors().find(|vector| !vector.stands_alone()) {
            Some(vector) => Err(MergekitError::anywhere(format!(
                "{} takes whole models in mergekit, and here it has the vector from {} to {}",
                self.recipe.method.name, vector.pre, vector.post
            ))),
            None => Ok(()),
        }
    }

    fn slerp(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        self.refuse_vectors()?;
        let t = self.weight(0, &recipe.vector)?;
        let models = [&recipe.target, &recipe.vector.post].map(|model| (model.clone(), Vec::new())).to_vec();
        Ok(File { method: Method::Slerp, base: Some(recipe.target.clone()), models, parameters: vec![("t", t)] })
    }

    fn between_two(&mut self) -> Result<File, MergekitError> {
        let recipe = self.recipe;
        let whole = recipe.vectors().all(VectorSpec::stands_alone);
        if !whole && recipe.vectors().any(|vector| vector.pre != recipe.target) {
            return Err(MergekitError::anywhere(
                "nuslerp of vectors adds them in mergekit to the model that they begin at; make that the target",
            ));
        }
        if whole && recipe.target != recipe.vector.post {
            let why = format!("mergekit takes what is not weights from the first model, {}", recipe.vector.post);
            self.lose("target", format!("`{}`", recipe.target), why);
        }
        let mut models = Vec::new();
        for (index, vector) in recipe.vectors().enumerate() {
            models.push((vector.post.clone(), vec![("weight", self.weight(index, vector)?)]));
        }
        let base = (!whole).then(|| recipe.target.clone());
        Ok(File { method: Method::Nuslerp, base, models, parameters: Vec::new() })
    }

    /// What the method says for all models, where it is said.
    fn parameters(&mut self, file: &mut File) {
        let spec = &self.recipe.method;
        if file.method != spec.name {
            return;
        }
        let says = |parameter| spec.name.uses(parameter);
        let folded = file.method == Method::TaskArithmetic && file.base.as_deref() != Some(&self.recipe.target);
        let mut parameters = Vec::new();
        if let Some(value) = spec.normalize
            && says(Parameter::Normalize)
            && !folded
        {
            parameters.push(("normalize", flag(value)));
        }
        if let Some(value) = spec.rescale
            && says(Parameter::Rescale)
        {
            parameters.push(("rescale", flag(value)));
        }
        if let Some(value) = spec.lambda
            && !folded
        {
            parameters.push(("lambda", one(value)));
        }
        if let Some(value) = spec.select_topk {
            parameters.push(("select_topk", one(value)));
        }
        if let Some(value) = spec.flatten {
            parameters.push(("nuslerp_flatten", flag(value)));
        }
        if let Some(value) = spec.row_wise {
            parameters.push(("nuslerp_row_wise", flag(value)));
        }
        if spec.name.uses(Parameter::Seed) {
            self.notes.push(format!(
                "{} keeps elements at random: mergekit does so with the same probabilities, but not the same elements",
                spec.name
            ));
        }
        file.parameters.append(&mut parameters);
    }

    /// In what mergekit computes, and what it writes.
    fn dtypes(&mut self, known: Option<&ModelFacts>) -> (&'static str, Option<&'static str>) {
        let OutputSpec { dtype, rounding, shard_bytes, allow_nonfinite, .. } = &self.recipe.output;
        let computed = match rounding {
            Rounding::MergekitBf16 => "bfloat16",
            Rounding::MergekitF32 => "float32",
            Rounding::Nearest => {
                self.notes.push(
                    "mergekit rounds after every step, and Mergescope once: computed in float32, a few elements in 10,000 differ \
                     in the last bit"
                        .to_owned(),
                );
                "float32"
            }
            Rounding::Stochastic => {
                self.lose(
                    "output.rounding",
                    "`stochastic`",
                    "mergekit rounds to the nearest; say nearest or mergekit-f32",
                );
                "float32"
            }
        };
        let written = match dtype {
            OutputDtype::Bf16 => Some("bfloat16"),
            OutputDtype::F16 => Some("float16"),
            OutputDtype::F32 => Some("float32"),
            OutputDtype::Target => match known.and_then(|facts| facts.dtype) {
                Some(Dtype::BF16) => Some("bfloat16"),
                Some(Dtype::F16) => Some("float16"),
                Some(Dtype::F32) => Some("float32"),
                _ => None,
            },
        };
        if written.is_none() {
            let why = match known.is_some_and(|facts| !facts.tensors.is_empty()) {
                true => "the target's weights are of several types, and mergekit writes one; say bf16, f16 or f32",
                false => {
                    "the target is not at hand, so its type is not known, and mergekit would write float32; \
                          say bf16, f16 or f32"
                }
            };
            self.lose("output.dtype", "`target`", why);
        }
        if *shard_bytes != OutputSpec::default().shard_bytes {
            self.notes.push(
                "the size of weight files is no part of a merge file; mergekit-yaml takes --out-shard-size".to_owned(),
            );
        }
        if *allow_nonfinite {
            self.notes.push("mergekit always carries NaN and infinity through".to_owned());
        }
        if self.recipe.inputs.is_some() {
            self.notes
                .push("mergekit does not check that the models are those that the recipe was made with".to_owned());
        }
        (computed, written)
    }

    fn write(&mut self, file: &File, known: Option<&ModelFacts>) -> String {
        let (dtype, out_dtype) = self.dtypes(known);
        let mut text = format!("merge_method: {}\n", file.method.label());
        if let Some(base) = &file.base {
            let _ = writeln!(text, "base_model: {}", model(base));
        }
        text.push_str("models:\n");
        for (name, settings) in &file.models {
            let _ = writeln!(text, "  - model: {}", model(name));
            if !settings.is_empty() {
                text.push_str("    parameters:\n");
                settings.iter().for_each(|(name, entries)| write_setting(&mut text, "      ", name, entries));
            }
        }
        if !file.parameters.is_empty() {
            text.push_str("parameters:\n");
            file.parameters.iter().for_each(|(name, entries)| write_setting(&mut text, "  ", name, entries));
        }
        let _ = writeln!(text, "dtype: {dtype}");
        if let Some(out_dtype) = out_dtype {
            let _ = writeln!(text, "out_dtype: {out_dtype}");
        }
        text
    }
}

fn one(value: f64) -> Vec<Weighted> {
    vec![Weighted { filter: None, points: vec![value] }]
}

/// mergekit takes 1 for true and 0 for false.
fn flag(value: bool) -> Vec<Weighted> {
    one(f64::from(u8::from(value)))
}

fn write_setting(text: &mut String, indent: &str, name: &str, entries: &[Weighted]) {
    let value = |points: &[f64]| match points {
        [one] if matches!(name, "normalize" | "rescale" | "nuslerp_flatten" | "nuslerp_row_wise") => {
            (*one != 0.0).to_string()
        }
        [one] => number(*one),
        many => format!("[{}]", many.iter().map(|value| number(*value)).collect::<Vec<_>>().join(", ")),
    };
    if let [Weighted { filter: None, points }] = entries {
        let _ = writeln!(text, "{indent}{name}: {}", value(points));
        return;
    }
    let _ = writeln!(text, "{indent}{name}:");
    for entry in entries {
        match &entry.filter {
            Some(filter) => {
                let _ = writeln!(text, "{indent}  - filter: {}", string(filter));
                let _ = writeln!(text, "{indent}    value: {}", value(&entry.points));
            }
            None => {
                let _ = writeln!(text, "{indent}  - value: {}", value(&entry.points));
            }
        }
    }
}

/// With a decimal point and without an exponent: YAML 1.1, which mergekit reads, takes `1e-7` for a word.
fn number(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// A model as mergekit takes it: a `+` or `@` in a path would mean an adapter or a revision.
fn model(name: &str) -> String {
    let is_path = Path::new(name).is_absolute() || name.starts_with(['.', '~']);
    if is_path && name.contains(['+', '@']) || name.contains('+') {
        return format!("{{model: {{path: {}}}}}", string(name));
    }
    string(name)
}

/// A word as it is where YAML takes it for one, else in quotes.
fn string(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '/' | '@');
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '_'));
    let is_word = begins && text.chars().all(plain) && yaml_word(text);
    // JSON's strings are YAML's.
    if is_word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// Whether YAML 1.1 does not take it for a truth value or for nothing.
fn yaml_word(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null")
}
