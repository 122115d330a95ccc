//! A merge file as text.

use std::fmt::Write as _;
use std::path::Path;

use super::{Export, File};
use crate::checkpoint::Dtype;
use crate::recipe::mergekit::ModelFacts;
use crate::recipe::mergekit::apart::{Steps, apart};
use crate::recipe::mergekit::weights::Weighted;
use crate::recipe::{Method, OutputDtype, OutputSpec, Rounding};

impl Export<'_> {
    /// In what mergekit computes, and what it writes.
    fn dtypes(&mut self, file: &File, known: Option<&ModelFacts>) -> (&'static str, Option<&'static str>) {
        // Stochastic rounding is named, and its seed with it. Whoever adds a field decides here what becomes of it.
        let OutputSpec { dtype, rounding, seed: _, shard_bytes, allow_nonfinite } = &self.recipe.output;
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
        let computed = match rounding {
            Rounding::MergekitBf16 => "bfloat16",
            Rounding::MergekitF32 => "float32",
            Rounding::Nearest => {
                self.note_rounding(file, written != Some("float32") && written.is_some());
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
        (computed, written)
    }

    /// What one rounding makes other than mergekit's steps.
    fn note_rounding(&mut self, file: &File, sixteen_bits: bool) {
        let method = self.recipe.method.name;
        let plain = method == Method::TaskArithmetic && self.recipe.vectors().all(|vector| vector.sparsify.is_none());
        let steps = match (file.method, plain) {
            (Method::Linear, _) => Steps::Linear,
            (_, true) => Steps::Added,
            _ => Steps::Other,
        };
        // A sum that is spelt out has no mode that repeats it.
        let same = match steps {
            _ if file.method != method => "",
            Steps::Added => "; rounding = \"mergekit-f32\" gives mergekit's bits",
            _ => "; rounding = \"mergekit-f32\" repeats mergekit's steps",
        };
        let floor = match method {
            Method::ModelStock | Method::Sce => {
                ". It has a floor of 10⁻⁶ under what it divides by, which short vectors come below"
            }
            _ => "",
        };
        self.notes.push(format!(
            "mergekit rounds after every step, here in float32, and Mergescope once: {}{same}{floor}",
            apart(steps, sixteen_bits)
        ));
    }

    pub(super) fn write(&mut self, file: &File, known: Option<&ModelFacts>) -> String {
        let (dtype, out_dtype) = self.dtypes(file, known);
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
