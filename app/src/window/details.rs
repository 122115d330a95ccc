//! What is worked out of the measured vector in the background: the preview of rounding, the comparison of layers, and
//! spectra that were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use mergescope_core::alignment::{Alignment, Triple};
use mergescope_core::analysis::{LayerProducts, RoundingPreview, Spectrum, VectorAnalysis};
use mergescope_core::progress::Progress;
use mergescope_core::recipe::{OutputDtype, OutputSpec, Rounding};

use super::jobs::{Job, JobError, JobId, Jobs, Outcome};
use super::stage::Stage;

/// Background work on one measured vector.
#[derive(Default)]
pub struct Details {
    /// What rounding would leave at any w.
    pub preview: Stage<RoundingPreview>,
    /// What `preview` is for.
    preview_for: Option<(OutputDtype, Rounding)>,
    /// Counts previews, so that what was read off one is not taken for another's.
    preview_number: u64,
    /// v of each layer against v of each other.
    pub layer_products: Stage<LayerProducts>,
    /// Counts comparisons.
    comparison_number: u64,
    /// Whether the person stopped the comparison.
    pub comparison_stopped: bool,
    /// Singular values, by the tensor's name in the target.
    spectra: BTreeMap<String, Stage<Spectrum>>,
}

impl Details {
    /// The number of the preview that is ready; another number means other values.
    pub fn preview_number(&self) -> u64 {
        self.preview_number
    }

    /// The number of the comparison that is ready; another number means other values.
    pub fn comparison_number(&self) -> u64 {
        self.comparison_number
    }

    /// Stops comparing the layers.
    pub(super) fn stop_comparing(&self, jobs: &Jobs) {
        if let Some(id) = self.layer_products.job() {
            jobs.cancel(id);
        }
    }

    /// Stops measuring the spectrum of a tensor.
    pub(super) fn stop_spectrum(&self, jobs: &Jobs, name: &str) {
        if let Some(id) = self.spectrum(name).job() {
            jobs.cancel(id);
        }
    }

    /// The spectrum of a tensor.
    pub fn spectrum(&self, name: &str) -> &Stage<Spectrum> {
        self.spectra.get(name).unwrap_or(&Stage::Waiting)
    }

    /// Prepares the preview of `output`, unless that is done or being done.
    pub(super) fn follow_output(&mut self, jobs: &mut Jobs, analysis: &Arc<VectorAnalysis>, output: &OutputSpec) {
        let wanted = (output.dtype, output.rounding);
        if self.preview_for == Some(wanted) {
            return;
        }
        if let Some(id) = self.preview.job() {
            jobs.cancel(id);
        }
        let job = Job::Preview { analysis: analysis.clone(), output: output.clone() };
        self.preview = Stage::Running(jobs.start(job), None);
        self.preview_for = Some(wanted);
        self.preview_number += 1;
    }

    pub(super) fn compare_layers(&mut self, jobs: &mut Jobs, triple: Triple, alignment: Alignment) {
        if matches!(self.layer_products, Stage::Waiting | Stage::Failed(_)) {
            self.comparison_stopped = false;
            self.layer_products = Stage::Running(jobs.start(Job::LayerProducts { triple, alignment }), None);
        }
    }

    pub(super) fn measure_spectrum(&mut self, jobs: &mut Jobs, triple: Triple, alignment: Alignment, name: &str) {
        if matches!(self.spectrum(name), Stage::Waiting | Stage::Failed(_)) {
            let id = jobs.start(Job::Spectrum { triple, alignment, name: name.to_owned() });
            self.spectra.insert(name.to_owned(), Stage::Running(id, None));
        }
    }

    /// Cancels everything and forgets what was made: there are other models now.
    pub(super) fn forget(&mut self, jobs: &Jobs) {
        for id in self.jobs() {
            jobs.cancel(id);
        }
        let (preview_number, comparison_number) = (self.preview_number + 1, self.comparison_number + 1);
        *self = Self { preview_number, comparison_number, ..Self::default() };
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        let spectra = self.spectra.values().filter_map(Stage::job);
        self.preview.job().into_iter().chain(self.layer_products.job()).chain(spectra)
    }

    pub(super) fn is_about(&self, id: JobId) -> bool {
        self.jobs().any(|job| job == id)
    }

    pub(super) fn on_progress(&mut self, id: JobId, progress: Progress) -> bool {
        self.layer_products.on_progress(id, progress)
            || self.spectra.values_mut().any(|spectrum| spectrum.on_progress(id, progress))
    }

    pub(super) fn on_finished(&mut self, id: JobId, result: Result<Outcome, JobError>) {
        if self.preview.job() == Some(id) {
            self.preview_number += 1;
            self.preview.finish(result, |outcome| match outcome {
                Outcome::Previewed(preview) => Some(preview),
                _ => None,
            });
        } else if self.layer_products.job() == Some(id) {
            self.comparison_number += 1;
            self.comparison_stopped = matches!(result, Err(JobError::Cancelled));
            self.layer_products.finish(result, |outcome| match outcome {
                Outcome::Compared(products) => Some(products),
                _ => None,
            });
        } else if let Some(spectrum) = self.spectra.values_mut().find(|spectrum| spectrum.job() == Some(id)) {
            spectrum.finish(result, |outcome| match outcome {
                Outcome::Decomposed(spectrum) => Some(spectrum),
                _ => None,
            });
        }
    }
}
