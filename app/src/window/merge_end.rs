//! A merge under way, and how one ended.

use std::path::Path;

use mergescope_core::checkpoint::dtype_label;
use mergescope_core::merge::{ChangeSums, LayerChange, MergeReport};
use mergescope_core::preflight::Finding;
use mergescope_core::progress::Progress;
use mergescope_core::scaling::Spread;

use super::jobs::JobId;

/// A merge that is under way.
pub struct RunningMerge {
    /// Its job.
    pub id: JobId,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Layers of the model that is written.
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

/// How the last merge ended.
pub enum MergeEnd {
    /// A model was written.
    Written(Box<Written>),
    /// The models do not fit together.
    Refused(Vec<Finding>),
    /// It failed, and why.
    Failed(String),
    /// It was cancelled.
    Cancelled,
}
