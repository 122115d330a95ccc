//! What the window can write: merged models, adapters and vectors; one of them under way, and how the last one ended.

use std::path::{Path, PathBuf};

use mergescope_core::adapter::{AdapterReport, AdapterSpec, Kept};
use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{ChangeSums, LayerChange, MergeReport, SavedVector};
use mergescope_core::preflight::Finding;
use mergescope_core::progress::Progress;
use mergescope_core::recipe::{OutputDtype, OutputSpec};
use mergescope_core::scaling::Spread;

use super::jobs::JobId;

/// Something to be written, as a dialog asks for it.
pub enum Work {
    /// The merged model.
    Merge {
        /// The folder to write.
        output: PathBuf,
        /// How to write it.
        spec: OutputSpec,
    },
    /// w·v as an adapter.
    Adapter {
        /// The folder to write.
        output: PathBuf,
        /// What goes in.
        spec: AdapterSpec,
        /// Element type of the factors.
        dtype: OutputDtype,
    },
    /// The vector that is shown.
    Vector {
        /// The folder to write.
        output: PathBuf,
        /// Element type of v.
        dtype: OutputDtype,
    },
}

impl Work {
    /// The folder to write.
    pub fn output(&self) -> &Path {
        match self {
            Self::Merge { output, .. } | Self::Adapter { output, .. } | Self::Vector { output, .. } => output,
        }
    }
}

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// A merged model.
    Merge,
    /// An adapter.
    Adapter,
    /// A vector.
    Vector,
}

impl Product {
    /// The work as a noun.
    pub fn work(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Adapter => "export of the adapter",
            Self::Vector => "saving of the vector",
        }
    }

    /// Why nothing else can be written while it is.
    pub fn under_way(self) -> &'static str {
        match self {
            Self::Merge => "A merge is under way",
            Self::Adapter => "An adapter is being exported",
            Self::Vector => "A vector is being saved",
        }
    }

    /// The answer of somebody who does not want to stop it.
    pub fn keep_on(self) -> &'static str {
        match self {
            Self::Merge => "Keep merging",
            Self::Adapter => "Keep exporting",
            Self::Vector => "Keep saving",
        }
    }

    /// The label of the button that starts it.
    pub fn button(self) -> &'static str {
        match self {
            Self::Merge => "Merge…",
            Self::Adapter => "Export adapter…",
            Self::Vector => "Save vector…",
        }
    }
}

/// Something that is being written.
pub struct Writing {
    /// Its job.
    pub id: JobId,
    /// What it is.
    pub product: Product,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Layers of what is written.
    pub layers: u32,
    /// Whether it was asked to stop.
    pub cancelling: bool,
}

/// A merge that was made, and its sums.
pub struct Written {
    /// Tells this merge from others of the session.
    pub id: JobId,
    /// Tensor by tensor.
    pub report: MergeReport,
    /// Layer by layer.
    pub layers: Vec<LayerChange>,
    /// Over all.
    pub total: ChangeSums,
    /// The coefficients that its effective w is to be held against; `None` when nothing was moved, or when there is no one w.
    pub asked: Option<Spread>,
    /// Whether it is target + w·v and nothing else, so that it has an effective w.
    pub is_plain: bool,
    /// The target's short name.
    pub target: String,
    /// The type of most of what was written.
    pub dtype: String,
}

impl Written {
    /// Sums up a report.
    pub fn new(id: JobId, report: MergeReport) -> Self {
        let target = Path::new(&report.recipe.target).file_name();
        let target = target.map_or_else(|| report.recipe.target.clone(), |name| name.to_string_lossy().into_owned());
        let largest = report.tensors.iter().max_by_key(|tensor| tensor.shape.iter().product::<u64>());
        let dtype = largest.map(|tensor| dtype_label(tensor.dtype)).unwrap_or_default();
        let is_plain = report.recipe.is_plain();
        let (layers, total, asked) = (report.layers(), report.total(), report.asked());
        Self { id, layers, total, asked, is_plain, target, dtype, report }
    }
}

/// An adapter that was made, and its sums.
pub struct WrittenAdapter {
    /// Tensor by tensor.
    pub report: AdapterReport,
    /// Layer by layer.
    pub layers: Vec<(Option<u32>, Kept)>,
    /// Over all.
    pub total: Kept,
}

impl WrittenAdapter {
    /// Sums up a report.
    pub fn new(report: AdapterReport) -> Self {
        Self { layers: report.layers(), total: report.total(), report }
    }
}

/// How the last work ended.
pub enum End {
    /// A model was written.
    Merged(Box<Written>),
    /// An adapter was written.
    Exported(Box<WrittenAdapter>),
    /// A vector was written.
    Saved(Box<SavedVector>),
    /// The models do not fit together.
    Refused(Product, Vec<Finding>),
    /// It failed, and why.
    Failed(Product, String),
    /// It was cancelled.
    Cancelled(Product),
}

impl End {
    /// The folder that was written.
    pub fn output(&self) -> Option<&Path> {
        match self {
            Self::Merged(written) => Some(&written.report.output),
            Self::Exported(written) => Some(&written.report.output),
            Self::Saved(saved) => Some(&saved.output),
            Self::Refused(..) | Self::Failed(..) | Self::Cancelled(_) => None,
        }
    }
}
