//! What follows the slider: everything that depends on w over the whole vector, worked out once for each w.

use std::collections::HashMap;
use std::sync::Arc;

use mergescope_core::analysis::{Cell, Estimate, Group, RoundedEffect, TensorAnalysis};
use mergescope_core::layout::Part;
use mergescope_core::scaling::{Scaling, ScalingSpec, Spread};

use super::jobs::JobId;
use super::session::{Measured, Session};
use crate::vector::{LayerCosine, Metric, PartSet, Sentence, View, summary};

/// Models of more tensors than this are large.
const LARGE: usize = 4_000;

/// The measured vector at the current w, for drawing.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The vector.
    pub measured: &'a Measured,
    /// The vector as it would enter the target.
    pub view: View<'a>,
    /// Whether the preview of rounding is there; until then nothing is known of what survives.
    pub has_preview: bool,
    /// Differs whenever what depends on w does.
    pub key: Key,
    survival: Option<&'a Survival>,
}

/// The w, the preview and the shares that numbers belong to.
pub type Key = (u64, u64, u64);

/// The share of the updates that survives in each cell, experts taken together.
type Survival = HashMap<(Group, Part), Estimate>;

impl<'a> Source<'a> {
    /// What there is to draw; `None` until the vector is measured.
    pub fn of(session: &'a Session, live: &'a Live) -> Option<Self> {
        let source = Self::new(session, &live.shares)?;
        let survival = Some(&live.survival).filter(|_| live.key == Some(source.key));
        Some(Self { survival, ..source })
    }

    fn new(session: &'a Session, shares: &'a Shares) -> Option<Self> {
        let measured = session.vector.done()?;
        // Until the next frame follows.
        if shares.values.len() != measured.analysis.tensors.len() {
            return None;
        }
        let preview = session.details.preview.done();
        let view = View {
            analysis: &measured.analysis,
            overview: &measured.overview,
            preview: preview.unwrap_or(&measured.no_preview),
            output: &session.recipe.output,
            w: session.recipe.vector.w,
            shares: &shares.values,
        };
        let key = (session.recipe.vector.w.to_bits(), session.details.preview_number(), shares.number);
        Some(Self { measured, view, has_preview: preview.is_some(), key, survival: None })
    }

    /// Whether there are too many tensors to work out everything about them in one frame.
    pub fn is_large(&self) -> bool {
        self.view.analysis.tensors.len() > LARGE
    }

    /// A metric of a cell.
    pub fn value(&self, metric: Metric, cell: &Cell) -> Estimate {
        let is_whole = metric == Metric::RoundingSurvival && cell.row.expert.is_none();
        let known = self.survival.filter(|_| is_whole);
        let known = known.and_then(|survival| survival.get(&(cell.group, cell.row.part)));
        known.copied().unwrap_or_else(|| self.view.value(metric, &cell.sums, &cell.tensors))
    }
}

/// What w is multiplied by for each tensor of the measured vector.
#[derive(Clone, Debug, Default)]
struct Shares {
    /// The vector and the scaling that they are of.
    of: Option<(JobId, ScalingSpec)>,
    /// By position in the analysis; all 0 when the scaling has no coefficients for this model.
    values: Arc<[f64]>,
    /// Whether it has coefficients.
    is_sound: bool,
    /// Differs from one scaling or vector to the next.
    number: u64,
}

impl Shares {
    fn follow(&mut self, session: &Session) {
        let Some(measured) = session.vector.done() else { return };
        let spec = &session.recipe.vector.scaling;
        if self.of.as_ref().is_some_and(|(number, known)| *number == measured.number && known == spec) {
            return;
        }
        let layers = session.preflight.done().map_or(0, |preflight| preflight.alignment.layers());
        let share = |scaling: Option<&Scaling>, tensor: &TensorAnalysis| {
            scaling.map_or(0.0, |scaling| scaling.share(tensor.stored_name(), tensor.place))
        };
        let scaling = Scaling::new(1.0, spec, layers).ok();
        self.values = measured.analysis.tensors.iter().map(|tensor| share(scaling.as_ref(), tensor)).collect();
        self.is_sound = scaling.is_some();
        self.of = Some((measured.number, spec.clone()));
        self.number += 1;
    }
}

/// Numbers and sentences at one w.
#[derive(Debug, Default)]
pub struct Live {
    key: Option<Key>,
    /// What the sentences about the vector belong to: the vector, and the comparison of its layers.
    vector_key: Option<(u64, u64)>,
    shares: Shares,
    survival: Survival,
    /// What reaches the output; `None` while the preview is being prepared.
    pub effect: Option<RoundedEffect>,
    /// The coefficients that its effective w is to be held against.
    pub asked: Option<Spread>,
    /// What is written: `bf16`, or several types.
    pub dtype: String,
    about_vector: Vec<Sentence>,
    about_w: Vec<Sentence>,
}

impl Live {
    /// Works out again what w, the vector or the output has changed.
    pub fn follow(&mut self, session: &Session) {
        self.shares.follow(session);
        let shares = self.shares.clone();
        let Some(source) = Source::new(session, &shares) else {
            *self = Self::default();
            return;
        };
        let vector_key = (source.measured.number, session.details.comparison_number());
        if self.vector_key != Some(vector_key) {
            self.vector_key = Some(vector_key);
            let products = session.details.layer_products.done();
            let cosine = products.map(|products| LayerCosine::new(products, PartSet::All));
            self.about_vector = summary::about_vector(&source.view, cosine.as_ref());
        }
        if self.key == Some(source.key) && self.effect.is_some() == (source.has_preview && shares.is_sound) {
            return;
        }
        self.key = Some(source.key);
        self.dtype = source.view.written_dtype();
        self.survival.clear();
        (self.effect, self.asked, self.about_w) = (None, None, Vec::new());
        if source.has_preview && shares.is_sound {
            let view = &source.view;
            let cells = source.measured.overview.groups.iter().flat_map(|group| &group.cells);
            self.survival.extend(cells.map(|cell| ((cell.group, cell.row.part), view.cell_survival(cell))));
            let all: Vec<usize> = (0..view.analysis.tensors.len()).collect();
            let effect = view.effect(&all);
            (self.effect, self.asked) = (Some(effect), view.asked(all));
            self.about_w = summary::about_w(view, Some(effect), Some(self.sum_of_survival(&source)));
        }
    }

    /// The share of all updates that survives, from that of the cells.
    fn sum_of_survival(&self, source: &Source<'_>) -> Estimate {
        let cells = source.measured.overview.groups.iter().flat_map(|group| &group.cells);
        Estimate::combined(cells.filter_map(|cell| {
            let estimate = self.survival.get(&(cell.group, cell.row.part))?;
            Some((cell.sums.updates() as f64, *estimate))
        }))
    }

    /// What the numbers say.
    pub fn sentences(&self) -> impl Iterator<Item = &Sentence> {
        self.about_vector.iter().chain(&self.about_w)
    }
}
