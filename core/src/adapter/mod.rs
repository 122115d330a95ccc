//! v, or w·v, as a low-rank adapter (LoRA, arXiv 2106.09685) in PEFT's format: a small file beside the target instead of a
//! merged model.
//!
//! Of each matrix the first singular directions are kept, which is the best that factors of that rank can do (Eckart and
//! Young 1936). Every scale is 1 (alpha = rank), so that B · A itself is what is added to the target's weights. What the
//! factors leave is measured element by element, as they are written, and told; so is all that v moves and the adapter
//! does not. Work happens as in a [merge](mod@crate::merge): in a hidden folder beside the output, renamed into place.
//!
//! What other programs take was tried in 2026 (`core/tests/goldens/check_lora*.py`). PEFT loads everything written here.
//! vLLM 0.32 takes factors of linear layers, and of head and embeddings for some models; it refuses `modules_to_save` and
//! biases. llama.cpp's converter takes factors, passes norms over or refuses them, and refuses biases; it divides alpha by each
//! tensor's own rank, and cannot load GPT-2's `Conv1D`. Attention and MLP at a uniform rank, which is the default, mean the
//! same in all three.

mod card;
mod config;
mod copies;
mod factors;
mod plan;
mod report;
mod spec;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::alignment::{Alignment, ModelId, Models, Participation, Role, Triple, element_bytes};
use crate::analysis::{Matrix, SpectrumError};
use crate::checkpoint::{Dtype, TensorInfo, dtype_label, takes_part};
use crate::merge::card::CARD_FILE;
use crate::merge::fit;
use crate::merge::output::{self, Staging, WrittenFile};
use crate::merge::verify;
use crate::merge::{self, MergeError, RECIPE_FILE, Verify};
use crate::numeric::first_nonfinite;
use crate::preflight::preflight;
use crate::progress::{Control, Stage};
use crate::recipe::Recipe;
use crate::stream::{self, Resources, StreamError};

use config::stored_rank;
use write::Aside;

pub use plan::{AdapterPlan, Fate, Kind, PlannedTensor, Reason};
pub use report::{ADAPTER_REPORT_FILE, AdapterReport, AdapterTensor, Form, Kept, Omitted};
pub use spec::{AdapterPart, AdapterSpec, AdapterSpecError, Content, MAX_RANK, Ranks};

/// What a tensor takes in the header of a weight file at most, beside the name of its module: `base_model.model.` before it,
/// `.base_layer.parameter` behind it, dtype, two dimensions and two offsets of 20 digits.
const MOST_ENTRY_BYTES: u64 = 256;

/// Why no adapter was made. Whatever the reason, the output folder does not exist and the inputs are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// What is asked for is no adapter.
    #[error(transparent)]
    Spec(#[from] AdapterSpecError),
    /// The models, the recipe or the output folder would not do for a merge either.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The recipe is more than target + w·v.
    #[error(
        "an adapter holds one vector as it is, and the recipe has several, a method or a control; merge it, then export the difference of merged and target"
    )]
    Combined,
    /// Nothing would be in it.
    #[error(
        "the adapter would be empty: v moves no weight of {parts} that an adapter can hold; choose other parts, or merge instead"
    )]
    Nothing {
        /// The parts chosen.
        parts: String,
    },
    /// Programs that fuse experts want one rank.
    #[error(
        "experts that are stored one by one need one rank for all, since transformers joins them when it loads the model; choose uniform ranks"
    )]
    Experts,
    /// The factors of a tensor do not fit into the memory given.
    #[error(
        "factors of `{tensor}` ({rows} × {cols}) need {} MiB of memory and {} MiB are given; give more, or choose a lower rank",
        needed_bytes.div_ceil(1 << 20),
        given_bytes >> 20
    )]
    Memory {
        /// The tensor.
        tensor: String,
        /// Its rows.
        rows: u64,
        /// Its columns.
        cols: u64,
        /// What it takes at the least.
        needed_bytes: u64,
        /// What is given.
        given_bytes: u64,
    },
    /// A factor has elements that the dtype cannot hold.
    #[error("w·v is so large in `{tensor}` that {} cannot hold its factors; choose bf16 or f32", dtype_label(*dtype))]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The dtype.
        dtype: Dtype,
    },
    /// A tensor cannot be decomposed.
    #[error(transparent)]
    Spectrum(SpectrumError),
}

impl From<SpectrumError> for AdapterError {
    fn from(error: SpectrumError) -> Self {
        match error {
            SpectrumError::Memory { name: tensor, rows, cols, needed_bytes, given_bytes } => {
                Self::Memory { tensor, rows, cols, needed_bytes, given_bytes }
            }
            SpectrumError::Stream(error) => error.into(),
            other => Self::Spectrum(other),
        }
    }
}

impl From<StreamError> for AdapterError {
    fn from(error: StreamError) -> Self {
        Self::Merge(error.into())
    }
}

impl AdapterError {
    /// Whether the person cancelled it, which is no failure.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Merge(error) if error.is_cancelled())
    }

    fn write(path: &Path, source: io::Error) -> Self {
        Self::Merge(MergeError::Write { path: path.to_owned(), source })
    }

    fn at((path, source): (PathBuf, io::Error)) -> Self {
        Self::write(&path, source)
    }
}

/// Plans the adapter that `recipe` asks for, by its `adapter` or the default one. Reads no weights.
pub fn plan(triple: &Triple, recipe: &Recipe) -> Result<AdapterPlan, AdapterError> {
    let spec = recipe.adapter.clone().unwrap_or_default();
    spec.check()?;
    fit::check(recipe, &Models::from(triple)).map_err(MergeError::from)?;
    if !recipe.is_plain() || recipe.vector.control.is_some() {
        return Err(AdapterError::Combined);
    }
    let plan = AdapterPlan::new(triple, recipe, &spec).map_err(MergeError::from)?;
    if plan.factored().next().is_none() {
        let parts = spec.parts.iter().map(|part| part.label()).collect::<Vec<_>>().join(", ");
        return Err(AdapterError::Nothing { parts });
    }
    if spec.ranks == Ranks::PerTensor && plan.has_experts() {
        return Err(AdapterError::Experts);
    }
    Ok(plan)
}

/// Refuses an output folder that [`export`] would refuse, as far as that can be told without writing.
pub fn check_output(output: &Path, triple: &Triple, recipe: &Recipe, plan: &AdapterPlan) -> Result<u64, AdapterError> {
    let most_bytes = plan.most_bytes(triple, recipe);
    output::check(output, &Models::from(triple))?.check_space(2 * most_bytes)?;
    Ok(most_bytes)
}

/// Writes the adapter that `recipe` asks for, by its `adapter` or the default one, to the folder `output`, which must not
/// exist.
///
/// Factors are of the recipe's output dtype, `Target` standing for that of each tensor (f32 where that is f64 or f8), rounded
/// to nearest whatever the recipe says of rounding. The same inputs and recipe give the same bytes, whatever the resources.
/// Beside the buffers for reading, of `resources.memory_bytes` one tensor at a time takes (8 · columns or
/// 3 · columns + 2 · rows) · (rank + 8) numbers of f64, whichever is more.
pub fn export(
    recipe: &Recipe,
    output: &Path,
    resources: &Resources,
    control: &Control,
) -> Result<AdapterReport, AdapterError> {
    let began = Instant::now();
    let spec = recipe.adapter.clone().unwrap_or_default();
    let open = || Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target);
    let triple = open().map_err(MergeError::from)?;
    let models = Models::from(&triple);
    let place = output::check(output, &models)?;
    let plan = plan(&triple, recipe)?;
    let preflight = preflight(&triple, control).map_err(MergeError::from)?;
    if !preflight.passes() {
        return Err(MergeError::Unfit { findings: preflight.findings }.into());
    }
    let recipe = Recipe { adapter: Some(spec.clone()), ..merge::lasting(recipe, &models, control)? };

    let staging = place.stage()?;
    // The factors wait in one file for their place in another.
    staging.place().check_space(2 * plan.most_bytes(&triple, &recipe))?;
    let run = Run { triple: &triple, plan: &plan, recipe: &recipe, spec: &spec, resources, control };
    let written = run.write(&staging)?;
    merge::check_unchanged(&models)?;
    let mut report = AdapterReport {
        recipe,
        output: output.to_owned(),
        model_type: triple.target.config().and_then(|config| config.model_type()).map(str::to_owned),
        rank: written.rank,
        is_uniform: spec.ranks == Ranks::Uniform,
        tensors: written.tensors,
        left_out: written.left_out,
        bytes_written: written.file.bytes,
        files: Vec::new(),
        elapsed: began.elapsed(),
    };
    let config = config::adapter_config(&triple, &report.recipe, &report.tensors, report.rank, report.is_uniform);
    let files = [
        written.file,
        staging.write("adapter_config.json", &config)?,
        staging.write(RECIPE_FILE, &card::recipe_file(&report.recipe))?,
    ];
    let folder = staging.path();
    report.files = verify::sync_and_read_back_files(folder, &files, resources, control)?;
    // The card has the hashes of all files but its own and the report's, the report of all but its own.
    let card = staging.write(CARD_FILE, &card::model_card(&triple, &report))?;
    report.files.push(verify::small_file(folder, &card, Verify::Memory)?);
    let written = staging.write(ADAPTER_REPORT_FILE, &format!("{:#}\n", report.document()))?;
    verify::small_file(folder, &written, Verify::Memory)?;
    staging.commit(control)?;
    report.elapsed = began.elapsed();
    Ok(report)
}

/// The element type in which a tensor's factors or copy are written.
fn written_dtype(recipe: &Recipe, target: &TensorInfo) -> Dtype {
    match recipe.output.dtype.written(target.dtype) {
        dtype @ (Dtype::BF16 | Dtype::F16 | Dtype::F32) => dtype,
        // PyTorch multiplies no factors of f8, and f64 is for no adapter.
        _ => Dtype::F32,
    }
}

struct Run<'a> {
    triple: &'a Triple,
    plan: &'a AdapterPlan,
    recipe: &'a Recipe,
    spec: &'a AdapterSpec,
    resources: &'a Resources,
    control: &'a Control,
}

struct Written {
    tensors: Vec<AdapterTensor>,
    left_out: Vec<Omitted>,
    rank: u32,
    file: WrittenFile,
}

impl Run<'_> {
    /// Decomposes one tensor after the other, then lays out the weight file.
    fn write(&self, staging: &Staging) -> Result<Written, AdapterError> {
        // A pass that turns out not to be needed counts as done.
        let bytes: Vec<u64> = self.plan.tensors.iter().map(|planned| self.most_read(planned)).collect();
        self.control.begin(Stage::Decomposing, bytes.iter().sum());
        let mut aside = Aside::create(staging.path()).map_err(AdapterError::at)?;
        let (mut tensors, mut left_out, mut done) = (Vec::new(), Vec::new(), 0);
        for (planned, bytes) in self.plan.tensors.iter().zip(bytes) {
            match &planned.fate {
                Fate::Factored { module, kind } => tensors.push(self.factor(planned, module, *kind, &mut aside)?),
                Fate::Copied { module, parameter } => {
                    tensors.push(self.copy(planned, module, parameter, &mut aside)?);
                }
                Fate::LeftOut(reason) => left_out.push(self.leave_out(planned, *reason)?),
            }
            done += bytes;
            let read = self.control.snapshot().done_bytes;
            self.control.advance(done.saturating_sub(read), planned.place.layer);
        }
        let ranks: Vec<u32> = tensors.iter().filter_map(AdapterTensor::rank).map(stored_rank).collect();
        if tensors.iter().all(|tensor| tensor.energy == 0.0) {
            let parts = self.spec.parts.iter().map(|part| part.label()).collect::<Vec<_>>().join(", ");
            return Err(AdapterError::Nothing { parts });
        }
        let highest = ranks.iter().copied().max().unwrap_or(1);
        let (rank, uniform) = match self.spec.ranks {
            Ranks::Uniform => (highest, Some(highest)),
            Ranks::PerTensor => (most_common(&ranks), None),
        };
        let file = aside.finish(staging.path(), uniform)?;
        Ok(Written { tensors, left_out, rank, file })
    }

    /// Bytes that are read for a tensor at most, as far as that can be told.
    fn most_read(&self, planned: &PlannedTensor) -> u64 {
        let Some(matrix) = self.matrix(planned) else { return 0 };
        match planned.fate {
            Fate::Factored { .. } => (matrix.most_passes(self.spec.rank as usize) + 1) * matrix.bytes(),
            Fate::Copied { .. } | Fate::LeftOut(Reason::Kept) => 0,
            Fate::LeftOut(_) => matrix.bytes(),
        }
    }

    fn matrix(&self, planned: &PlannedTensor) -> Option<Matrix<'_>> {
        Matrix::of(self.triple, &self.plan.alignment.tensors[planned.aligned], self.resources.read_path)
    }

    fn factor(
        &self,
        planned: &PlannedTensor,
        module: &str,
        kind: Kind,
        aside: &mut Aside,
    ) -> Result<AdapterTensor, AdapterError> {
        let target = self.plan.target(self.triple, planned);
        let dtype = written_dtype(self.recipe, target);
        // Only a vocabulary of no common rows has none.
        let Some(matrix) = self.matrix(planned) else {
            return Err(SpectrumError::Still { name: planned.name.clone() }.into());
        };
        let (factors, report) =
            factors::factor(planned, kind, &matrix, self.spec, dtype, self.resources, self.control)?;
        self.check_finite(planned, report.nonfinite)?;
        let (first, second) = (target.shape[0], target.shape[1]);
        let (names, inputs, outputs) = match kind {
            Kind::Linear => (["lora_A.weight", "lora_B.weight"], second, first),
            Kind::Conv1d => (["lora_A.weight", "lora_B.weight"], first, second),
            Kind::Embedding => (["lora_embedding_A", "lora_embedding_B"], first, second),
        };
        let names = names.map(|name| format!("base_model.model.{module}.{name}"));
        let added = aside.add_factors(names, &factors, inputs, outputs, dtype);
        added.map_err(|error| AdapterError::write(aside.path(), error))?;
        Ok(AdapterTensor { module: module.to_owned(), ..report })
    }

    fn copy(
        &self,
        planned: &PlannedTensor,
        module: &str,
        parameter: &str,
        aside: &mut Aside,
    ) -> Result<AdapterTensor, AdapterError> {
        self.control.check().map_err(StreamError::from)?;
        let target = self.plan.target(self.triple, planned);
        let dtype = written_dtype(self.recipe, target);
        let vector = match self.plan.alignment.tensors[planned.aligned].participation {
            Participation::Moves { pre, post, .. } => {
                Some((&self.triple.pre.tensors()[pre], &self.triple.post.tensors()[post]))
            }
            _ => None,
        };
        // PEFT puts a module that has factors around the one that has the bias.
        let is_wrapped = |other: &PlannedTensor| matches!(&other.fate, Fate::Factored { module: m, .. } if m == module);
        let layer = if self.plan.factored().any(is_wrapped) { ".base_layer" } else { "" };
        let name = format!("base_model.model.{module}{layer}.{parameter}");
        aside.begin_whole(name, dtype, target.shape.clone());
        let copied = copies::copy(self.triple, target, vector, planned.coefficient, dtype, aside)?;
        self.check_finite(planned, copied.nonfinite)?;
        Ok(AdapterTensor {
            name: planned.name.clone(),
            place: planned.place,
            module: module.to_owned(),
            form: Form::Copied,
            rows: target.elements(),
            cols: 1,
            dtype,
            coefficient: planned.coefficient,
            energy: copied.energy,
            rest: copied.rest,
            nonfinite: copied.nonfinite,
        })
    }

    fn leave_out(&self, planned: &PlannedTensor, reason: Reason) -> Result<Omitted, AdapterError> {
        let coefficient = f64::from(planned.coefficient);
        let energy = match self.matrix(planned) {
            Some(matrix) if coefficient != 0.0 => {
                let (energy, nonfinite) = matrix.energy(self.resources, self.control)?;
                self.check_finite(planned, nonfinite)?;
                coefficient * coefficient * energy
            }
            _ => 0.0,
        };
        Ok(Omitted { name: planned.name.clone(), place: planned.place, reason, energy })
    }

    /// Refuses a tensor of which `count` elements are NaN or infinite in some model, unless that is allowed.
    fn check_finite(&self, planned: &PlannedTensor, count: u64) -> Result<(), AdapterError> {
        if count == 0 || self.recipe.output.allow_nonfinite {
            return Ok(());
        }
        let aligned = &self.plan.alignment.tensors[planned.aligned];
        let counterparts = match aligned.participation {
            Participation::Moves { pre, post, .. } => [Some(pre), Some(post), Some(aligned.target)],
            _ => [None, None, Some(aligned.target)],
        };
        for (role, position) in Role::ALL.into_iter().zip(counterparts) {
            let Some(tensor) = position.map(|position| &self.triple.get(role).tensors()[position]) else { continue };
            if role == Role::Target || holds_nonfinite(self.triple, role, tensor)? {
                let path = self.triple.get(role).path_of(tensor).to_owned();
                let model = ModelId { vector: 0, role };
                return Err(MergeError::NonFinite { model, tensor: tensor.name.clone(), path }.into());
            }
        }
        Ok(())
    }
}

fn holds_nonfinite(triple: &Triple, role: Role, tensor: &TensorInfo) -> Result<bool, StreamError> {
    const STEP: u64 = 1 << 20;
    debug_assert!(takes_part(tensor.dtype), "only floats take part");
    let mut buffer = Vec::new();
    for (first, count) in stream::cut(0, tensor.bytes, STEP) {
        let bytes = stream::sized(&mut buffer, count);
        triple.get(role).read(tensor, first, bytes)?;
        if first_nonfinite(tensor.dtype, bytes).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rank that most have; of several, the highest.
fn most_common(ranks: &[u32]) -> u32 {
    let count = |rank: u32| ranks.iter().filter(|&&other| other == rank).count();
    ranks.iter().copied().max_by_key(|&rank| (count(rank), rank)).unwrap_or(1)
}

impl AdapterPlan {
    /// More bytes than the weight file of any adapter that `recipe` can lead to has, for the models that were planned for: every
    /// tensor with the highest rank, and a header of long entries.
    pub fn most_bytes(&self, triple: &Triple, recipe: &Recipe) -> u64 {
        let asked = u64::from(recipe.adapter.clone().unwrap_or_default().rank);
        // No matrix has more directions than it has rows or columns; the others are filled up to the highest that occurs.
        let directions =
            |planned: &PlannedTensor| self.target(triple, planned).shape.iter().min().copied().unwrap_or(0);
        let rank = asked.min(self.factored().map(directions).max().unwrap_or(0));
        let bytes = |planned: &PlannedTensor| {
            let target = self.target(triple, planned);
            let width = element_bytes(written_dtype(recipe, target));
            let entry = |module: &str| module.len() as u64 + MOST_ENTRY_BYTES;
            match &planned.fate {
                Fate::Factored { module, .. } => width * rank * target.shape.iter().sum::<u64>() + 2 * entry(module),
                Fate::Copied { module, .. } => width * target.elements() + entry(module),
                Fate::LeftOut(_) => 0,
            }
        };
        self.tensors.iter().map(bytes).fold(MOST_ENTRY_BYTES, u64::saturating_add)
    }

    fn target<'a>(&self, triple: &'a Triple, planned: &PlannedTensor) -> &'a TensorInfo {
        let alignment: &Alignment = &self.alignment;
        &triple.target.tensors()[alignment.tensors[planned.aligned].target]
    }
}
