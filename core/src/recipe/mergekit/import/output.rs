//! How the model is written, and what is not weights.

use super::Import;
use crate::checkpoint::Dtype;
use crate::recipe::mergekit::apart::{Steps, apart};
use crate::recipe::mergekit::yaml::{Scalar, Spot, shortened};
use crate::recipe::mergekit::{MergekitError, ModelFacts};
use crate::recipe::nearest::did_you_mean;
use crate::recipe::{OutputDtype, OutputSpec, Parameter, Recipe, Rounding};

impl Import<'_> {
    /// dtype and out_dtype.
    pub(super) fn output(
        &mut self,
        recipe: &mut Recipe,
        facts: &dyn Fn(&str) -> Option<ModelFacts>,
    ) -> Result<(), MergekitError> {
        let computed = self.config.dtype.as_ref().map(float_of).transpose()?;
        let written = self.config.out_dtype.as_ref().map(float_of).transpose()?;
        let dtype = match written.or(computed) {
            None => OutputDtype::Target,
            Some((_, Float::F16)) => OutputDtype::F16,
            Some((_, Float::Bf16)) => OutputDtype::Bf16,
            Some((_, Float::F32)) => OutputDtype::F32,
            Some((spot, Float::F64)) => {
                self.lose(spot, "float64", "Mergescope writes float32 at most; left out, it is that");
                OutputDtype::F32
            }
        };
        let rounding = match computed {
            // mergekit's steps are those of another method.
            _ if self.spelt_out.is_some() => {
                self.note_spelt_out(computed.map(|(_, float)| float), written.map(|(_, float)| float));
                Rounding::Nearest
            }
            Some((_, Float::F32)) => Rounding::MergekitF32,
            Some((_, Float::Bf16)) => Rounding::MergekitBf16,
            Some((spot, float)) => {
                self.notes.push(format!(
                    "{spot}: mergekit would compute in {}; here the result is computed exactly and rounded once",
                    float.label()
                ));
                Rounding::Nearest
            }
            None => {
                let mut models: Vec<&str> =
                    recipe.vectors().flat_map(|vector| [vector.pre.as_str(), &vector.post]).collect();
                models.push(&recipe.target);
                models.retain(|model| !model.is_empty());
                let dtypes: Vec<Option<Dtype>> =
                    models.into_iter().map(|model| facts(model).and_then(|facts| facts.dtype)).collect();
                match dtypes.first() {
                    Some(Some(Dtype::F32)) if dtypes.iter().all(|dtype| *dtype == dtypes[0]) => Rounding::MergekitF32,
                    Some(Some(Dtype::BF16)) if dtypes.iter().all(|dtype| *dtype == dtypes[0]) => Rounding::MergekitBf16,
                    _ => {
                        self.notes.push(
                            "there is no dtype: mergekit would compute in the models' own; here the result is computed \
                             exactly and rounded once"
                                .to_owned(),
                        );
                        Rounding::Nearest
                    }
                }
            }
        };
        recipe.output = OutputSpec { dtype, rounding, ..OutputSpec::default() };
        if self.method.uses(Parameter::Seed) {
            self.notes.push(format!(
                "{} keeps elements at random: with the same probabilities as mergekit, but not the same elements",
                self.method
            ));
        }
        Ok(())
    }

    /// How a sum that `linear` spells out was read, and how far that lies from what mergekit makes of it.
    fn note_spelt_out(&mut self, computed: Option<Float>, written: Option<Float>) {
        let Some(target) = &self.spelt_out else { return };
        let written = written.or(computed);
        let differing = match (computed, written) {
            (Some(Float::F16 | Float::Bf16), Some(Float::F32 | Float::F64)) => {
                "it rounds that sum before it writes it with more bits, so that nearly all elements differ"
            }
            (_, Some(Float::F32 | Float::F64)) => apart(Steps::Linear, false),
            (_, Some(Float::F16 | Float::Bf16)) => apart(Steps::Linear, true),
            (_, None) => apart(Steps::Other, true),
        };
        let mode = if computed == Some(Float::Bf16) { "mergekit-bf16" } else { "mergekit-f32" };
        self.notes.push(format!(
            "{}: weights of 1, +w and −w that are not normalised are `{}` + w·(post − pre), and are read as that, computed exactly \
             and rounded once. mergekit adds up the whole models in float32: {differing}. For its very bits, write a recipe with \
             method linear, normalize = false, each model as a [[vector]] without pre, and rounding = \"{mode}\"",
            target.spot,
            shortened(&target.spec())
        ));
    }

    /// What is not weights.
    pub(super) fn surroundings(&mut self, recipe: &Recipe) {
        let from_target = format!("what is not weights comes from the target, {}", recipe.target);
        if let Some(tokenizer) = &self.config.tokenizer {
            let spot = tokenizer.spot;
            let source = tokenizer.source.spec();
            let is_target = match source.as_str() {
                "union" => false,
                "base" => {
                    let base = self.config.base.as_ref().or(self.models.first().map(|model| &model.reference));
                    base.is_some_and(|base| self.model(base) == recipe.target)
                }
                _ => self.model(&tokenizer.source) == recipe.target,
            };
            let more = tokenizer.more.clone();
            if !is_target {
                let what = format!("the tokenizer of `{}`", shortened(&source));
                self.lose(spot, what, format!("{from_target}, and its vocabulary is kept"));
            }
            if let Some(key) = more {
                self.lose(
                    spot,
                    format!("`{key}` of the tokenizer"),
                    "the target's tokenizer and rows are kept as they are",
                );
            }
        }
        if let Some(template) = &self.config.chat_template {
            let spot = template.spot;
            self.lose(spot, "`chat_template`", format!("{from_target}; change it there, or in the merged model"));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    const ALL: [Self; 4] = [Self::F16, Self::Bf16, Self::F32, Self::F64];

    fn label(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

fn float_of(word: &Scalar) -> Result<(Spot, Float), MergekitError> {
    let name = word.text.as_str();
    let short = match name {
        "bf16" => Some(Float::Bf16),
        "fp16" | "f16" | "half" => Some(Float::F16),
        "fp32" | "f32" | "float" => Some(Float::F32),
        _ => None,
    };
    match Float::ALL.into_iter().find(|float| float.label() == name) {
        Some(float) => Ok((word.spot, float)),
        None => {
            let meant = match short {
                Some(float) => format!("; write {}", float.label()),
                None => did_you_mean(name, Float::ALL.map(Float::label)),
            };
            let message =
                format!("`{}` is no dtype{meant} (there are float16, bfloat16, float32, float64)", shortened(name));
            Err(MergekitError::at(word.spot, message))
        }
    }
}
