//! What an adapter holds of w·v, tensor by tensor, and what it does not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::plan::{Kind, Reason};
use crate::checkpoint::{Dtype, dtype_label};
use crate::layout::{Part, Place};
use crate::merge::FileReport;
use crate::recipe::Recipe;

/// The report as JSON, beside the adapter.
pub const ADAPTER_REPORT_FILE: &str = "adapter-report.json";

/// What was written for one tensor of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterTensor {
    /// Its name in the target.
    pub name: String,
    /// Layer and part.
    pub place: Place,
    /// The module that PEFT finds it in.
    pub module: String,
    /// How it is held.
    pub form: Form,
    /// Rows as stored, as far as all three models have them.
    pub rows: u64,
    /// Columns as stored; 1 for a vector.
    pub cols: u64,
    /// Element type written.
    pub dtype: Dtype,
    /// What v was multiplied by.
    pub coefficient: f32,
    /// ‖w·v‖² (Frobenius), w being the coefficient.
    pub energy: f64,
    /// ‖w·v − what is written‖², measured over all elements with factors as they are written, rounding included. Of a copy,
    /// what its rounding took.
    pub rest: f64,
    /// Elements taken as 0 since pre or post is NaN or infinite there.
    pub nonfinite: u64,
}

/// How a tensor is held.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// As two factors.
    Factored {
        /// Kind of module.
        kind: Kind,
        /// Directions; 0 for a tensor that does not change.
        rank: u32,
        /// Singular values of w·v that are in the factors, descending.
        singular_values: Vec<f64>,
        /// No true one is further from these; 0 after a full decomposition.
        error: f64,
    },
    /// As target + w·v.
    Copied,
}

/// A tensor that v moves and the adapter does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Omitted {
    /// Its name in the target.
    pub name: String,
    /// Layer and part.
    pub place: Place,
    /// Why.
    pub reason: Reason,
    /// ‖w·v‖² that is not in the adapter.
    pub energy: f64,
}

/// What an adapter holds.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterReport {
    /// The recipe as run, with the fingerprints of its inputs.
    pub recipe: Recipe,
    /// The folder written.
    pub output: PathBuf,
    /// `model_type` of the target.
    pub model_type: Option<String>,
    /// r and alpha of its config.
    pub rank: u32,
    /// Whether all factors have that rank, those of lower ones filled up with zeros.
    pub is_uniform: bool,
    /// What is in it, in natural name order.
    pub tensors: Vec<AdapterTensor>,
    /// What is not, in natural name order.
    pub left_out: Vec<Omitted>,
    /// Bytes of the weight file.
    pub bytes_written: u64,
    /// The files but for the report itself, read back and found to be what was meant.
    pub files: Vec<FileReport>,
    /// Time from opening the models to the committed output.
    pub elapsed: Duration,
}

/// Sums over some tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Kept {
    /// Tensors in the adapter.
    pub tensors: u64,
    /// ‖w·v‖² of all that v moves, in the adapter or not.
    pub energy: f64,
    /// ‖w·v − what is written‖² of those in the adapter.
    pub rest: f64,
    /// ‖w·v‖² of those that are not.
    pub left_out: f64,
}

impl Kept {
    /// Share of ‖w·v‖² that the adapter holds: 1 − (rest + left out) ∕ energy. Below 0 where rounding does more than w·v
    /// would; `None` where nothing moves.
    pub fn share(&self) -> Option<f64> {
        share(self.energy, self.rest + self.left_out)
    }

    /// The same of the tensors in the adapter alone, as if nothing were left out.
    pub fn of_those_in_it(self) -> Self {
        Self { energy: self.energy - self.left_out, left_out: 0.0, ..self }
    }

    fn add(&mut self, tensor: &AdapterTensor) {
        self.tensors += 1;
        self.energy += tensor.energy;
        self.rest += tensor.rest;
    }
}

/// 1 − lost ∕ energy.
fn share(energy: f64, lost: f64) -> Option<f64> {
    (energy > 0.0).then(|| 1.0 - lost / energy)
}

impl AdapterTensor {
    /// Share of ‖w·v‖² of this tensor that the adapter holds.
    pub fn kept(&self) -> Option<f64> {
        share(self.energy, self.rest)
    }

    /// The most that any factors of that rank could hold, by the bound on the singular values; `None` for copies.
    pub fn at_most(&self) -> Option<f64> {
        let Form::Factored { singular_values, error, .. } = &self.form else { return None };
        let most: f64 = singular_values.iter().map(|value| (value + error) * (value + error)).sum();
        (self.energy > 0.0).then(|| (most / self.energy).min(1.0))
    }

    /// Directions; `None` for a copy.
    pub fn rank(&self) -> Option<u32> {
        match self.form {
            Form::Factored { rank, .. } => Some(rank),
            Form::Copied => None,
        }
    }
}

impl AdapterReport {
    /// Over everything that v moves.
    pub fn total(&self) -> Kept {
        self.sum(|_| true)
    }

    /// Per layer, ascending, then beside the layers.
    pub fn layers(&self) -> Vec<(Option<u32>, Kept)> {
        let mut layers: Vec<Option<u32>> = self.places().map(|place| place.layer).collect();
        layers.sort_by_key(|layer| (layer.is_none(), *layer));
        layers.dedup();
        layers.into_iter().map(|layer| (layer, self.sum(|place| place.layer == layer))).collect()
    }

    /// Per part that occurs.
    pub fn parts(&self) -> Vec<(Part, Kept)> {
        let occurs = |part: &Part| self.places().any(|place| place.part == *part);
        Part::ALL.into_iter().filter(occurs).map(|part| (part, self.sum(|place| place.part == part))).collect()
    }

    /// What is left out, by reason and part: how many tensors, and their ‖w·v‖².
    pub fn omissions(&self) -> Vec<(Reason, Part, u64, f64)> {
        let mut found: Vec<(Reason, Part, u64, f64)> = Vec::new();
        for omitted in &self.left_out {
            let (reason, part) = (omitted.reason, omitted.place.part);
            match found.iter_mut().find(|entry| (entry.0, entry.1) == (reason, part)) {
                Some(entry) => (entry.2, entry.3) = (entry.2 + 1, entry.3 + omitted.energy),
                None => found.push((reason, part, 1, omitted.energy)),
            }
        }
        found.sort_by_key(|entry| (entry.0, entry.1));
        found
    }

    /// What PEFT is known to pass over in this adapter, without a word.
    ///
    /// transformers 5 joins experts that are stored one by one. PEFT 0.21 follows for most mixtures, and then takes every
    /// module that is called as theirs are for one of them, shared experts and dense layers too; for `qwen2_moe` it does
    /// not follow. `core/tests/goldens/check_lora.py` shows both.
    pub fn warning(&self) -> Option<String> {
        fn last(tensor: &AdapterTensor) -> &str {
            tensor.module.rsplit('.').next().unwrap_or_default()
        }
        let is_expert = |tensor: &AdapterTensor| tensor.place.expert.is_some();
        let factored = || self.tensors.iter().filter(|tensor| tensor.rank().is_some());
        let of_experts: BTreeSet<&str> = factored().filter(|tensor| is_expert(tensor)).map(last).collect();
        let drops_experts = self.model_type.as_deref() == Some("qwen2_moe");
        let passed_over: Vec<&AdapterTensor> = factored()
            .filter(|tensor| of_experts.contains(last(tensor)) && is_expert(tensor) == drops_experts)
            .collect();
        let energy: f64 = passed_over.iter().map(|tensor| tensor.energy).sum();
        let share = 100.0 * energy / self.total().energy;
        let which = if drops_experts { "of experts" } else { "called as tensors of experts are, but is none" };
        (!passed_over.is_empty()).then(|| {
            format!(
                "PEFT 0.21 with transformers 5 passes over what is {which} ({} of {} tensors, {share:.2} % of ‖w·v‖²) and says nothing; \
                 merge instead, or load it with {other}.",
                passed_over.len(),
                self.tensors.len(),
                // llama.cpp cannot hold a mixture some of whose layers are dense at all.
                other = if drops_experts { "llama.cpp" } else { "vLLM" },
            )
        })
    }

    /// The lowest and the highest rank of the tensors that change.
    pub fn ranks(&self) -> Option<(u32, u32)> {
        let ranks = || self.tensors.iter().filter_map(AdapterTensor::rank).filter(|&rank| rank > 0);
        Some((ranks().min()?, ranks().max()?))
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.tensors.iter().map(|tensor| tensor.place).chain(self.left_out.iter().map(|omitted| omitted.place))
    }

    fn sum(&self, takes: impl Fn(Place) -> bool) -> Kept {
        let mut kept = Kept::default();
        self.tensors.iter().filter(|tensor| takes(tensor.place)).for_each(|tensor| kept.add(tensor));
        for omitted in self.left_out.iter().filter(|omitted| takes(omitted.place)) {
            kept.energy += omitted.energy;
            kept.left_out += omitted.energy;
        }
        kept
    }

    /// Everything, for machines; `null` where there is no number.
    pub fn document(&self) -> Value {
        let sums = |kept: &Kept| {
            json!({
                "tensors": kept.tensors, "energy": kept.energy, "rest": kept.rest, "left_out": kept.left_out,
                "kept": kept.share(),
            })
        };
        let with = |name: &str, key: Value, kept: &Kept| {
            let mut entry = sums(kept);
            entry[name] = key;
            entry
        };
        let tensors = self.tensors.iter().map(|tensor| {
            let Place { layer, part, expert } = tensor.place;
            let mut entry = json!({
                "name": tensor.name, "layer": layer, "part": part, "expert": expert, "module": tensor.module,
                "form": "copied", "rows": tensor.rows, "cols": tensor.cols, "dtype": dtype_label(tensor.dtype),
                "coefficient": tensor.coefficient, "energy": tensor.energy, "rest": tensor.rest,
                "kept": tensor.kept(), "nonfinite": tensor.nonfinite,
            });
            if let Form::Factored { kind, rank, singular_values, error } = &tensor.form {
                entry["form"] = json!(kind);
                entry["rank"] = json!(rank);
                entry["singular_values"] = json!(singular_values);
                entry["error"] = json!(error);
                entry["at_most"] = json!(tensor.at_most());
            }
            entry
        });
        let left_out = self.left_out.iter().map(|omitted| {
            let Place { layer, part, expert } = omitted.place;
            json!({
                "name": omitted.name, "layer": layer, "part": part, "expert": expert, "reason": omitted.reason,
                "energy": omitted.energy,
            })
        });
        json!({
            "output": self.output.to_string_lossy(),
            "rank": self.rank,
            "uniform": self.is_uniform,
            "bytes_written": self.bytes_written,
            "files": self.files,
            "elapsed_secs": self.elapsed.as_secs_f64(),
            "total": sums(&self.total()),
            "layers": self.layers().iter().map(|(layer, kept)| with("layer", json!(layer), kept)).collect::<Vec<_>>(),
            "parts": self.parts().iter().map(|(part, kept)| with("part", json!(part), kept)).collect::<Vec<_>>(),
            "tensors": tensors.collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
            "warning": self.warning(),
            "recipe": self.recipe,
        })
    }
}
