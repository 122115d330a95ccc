//! What follows the slider: everything that depends on w over the whole vector, worked out once for each w.
//!
//! 1. A pass over all tensors takes milliseconds for a model of twenty thousand. Survival is taken by cell, when cells show
//!    it, and the sum over all follows from that.
//! 2. While something is dragged, what a large model's sentences need takes turns, one pass a frame: the effective w, what
//!    survives at w, what would at a smaller w. They then speak of a w some frames ago, all of the same.

use std::collections::HashMap;

use mergescope_core::analysis::{Cell, Estimate, Group, RoundedEffect};
use mergescope_core::layout::Part;
use mergescope_core::scaling::Scaling;

use super::session::{Measured, Session};
use crate::vector::{LayerCosine, Metric, Sentence, View, summary};

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

/// The w and the preview that numbers belong to.
pub type Key = (u64, u64);

/// The share of the updates that survives in each cell, experts taken together.
type Survival = HashMap<(Group, Part), Estimate>;

impl<'a> Source<'a> {
    /// What there is to draw; `None` until the vector is measured.
    pub fn of(session: &'a Session, live: &'a Live) -> Option<Self> {
        let source = Self::without_live(session)?;
        let survival = Some(&live.survival).filter(|_| live.key == Some(source.key));
        Some(Self { survival, ..source })
    }

    fn without_live(session: &'a Session) -> Option<Self> {
        let measured = session.vector.done()?;
        let preview = session.details.preview.done();
        // A w that can scale nothing, such as 1e39, adds nothing.
        let scaling = Scaling::new(session.recipe.vector.w).or_else(|_| Scaling::new(0.0)).ok()?;
        let view = View {
            analysis: &measured.analysis,
            overview: &measured.overview,
            preview: preview.unwrap_or(&measured.no_preview),
            output: &session.recipe.output,
            w: session.recipe.vector.w,
            scaling,
        };
        let key = (session.recipe.vector.w.to_bits(), session.details.preview_number());
        Some(Self { measured, view, has_preview: preview.is_some(), key, survival: None })
    }

    /// A metric of a cell.
    pub fn value(&self, metric: Metric, cell: &Cell) -> Estimate {
        let is_whole = metric == Metric::RoundingSurvival && cell.row.expert.is_none();
        let known = self.survival.filter(|_| is_whole);
        let known = known.and_then(|survival| survival.get(&(cell.group, cell.row.part)));
        known.copied().unwrap_or_else(|| self.view.value(metric, &cell.sums, &cell.tensors))
    }
}

/// Numbers and sentences at one w.
#[derive(Debug)]
pub struct Live {
    key: Option<Key>,
    /// What the sentences about the vector belong to: the vector, and the comparison of its layers.
    vector_key: Option<(u64, u64)>,
    survival: Survival,
    /// What reaches the output; `None` while the preview is being prepared.
    pub effect: Option<RoundedEffect>,
    /// What `effect` belongs to, its w, and the share of all updates that survives there.
    effect_key: Option<Key>,
    effect_w: f64,
    total_survival: Option<Estimate>,
    /// The type that most elements are written in: `bf16`.
    pub dtype: String,
    about_vector: Vec<Sentence>,
    about_w: Vec<Sentence>,
    /// What `about_w` belongs to.
    words_key: Option<Key>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            key: None,
            vector_key: None,
            survival: Survival::new(),
            effect: None,
            effect_key: None,
            effect_w: 0.0,
            total_survival: None,
            dtype: String::new(),
            about_vector: Vec::new(),
            about_w: Vec::new(),
            words_key: None,
        }
    }
}

impl Live {
    /// Works out again what w, the vector or the output has changed; true when some of it is left for the next frame.
    ///
    /// Cells need their survival at once when they show it: `cells_show_survival`.
    pub fn follow(&mut self, session: &Session, dragging: bool, cells_show_survival: bool) -> bool {
        let Some(source) = Source::without_live(session) else {
            *self = Self::default();
            return false;
        };
        let vector_key = (source.measured.number, session.details.comparison_number());
        if self.vector_key != Some(vector_key) {
            self.vector_key = Some(vector_key);
            let products = session.details.layer_products.done();
            let cosine = products.map(|products| LayerCosine::new(products, None));
            self.about_vector = summary::about_vector(&source.view, cosine.as_ref());
        }
        let now = Some(source.key);
        if self.key != now {
            self.key = now;
            self.survival.clear();
        }
        if cells_show_survival && source.has_preview && self.survival.is_empty() {
            let cells = source.measured.overview.groups.iter().flat_map(|group| &group.cells);
            let survival = cells.map(|cell| {
                let estimate = source.view.survival(cell.tensors.iter().copied());
                ((cell.group, cell.row.part), estimate)
            });
            self.survival.extend(survival);
        }
        let take_turns = dragging && source.view.analysis.tensors.len() > LARGE;
        let words_are_due = self.words_key != self.effect_key;
        if self.effect_key != now && !(take_turns && words_are_due) {
            self.follow_effect(&source);
            if take_turns {
                return true;
            }
        }
        if self.words_key != self.effect_key {
            if self.total_survival.is_none() {
                self.total_survival = Some(self.effect_view(&source).survival_at(self.effect_w));
                if take_turns {
                    return true;
                }
            }
            self.follow_words(&source);
        }
        self.effect_key != now
    }

    fn follow_effect(&mut self, source: &Source<'_>) {
        let view = &source.view;
        self.effect_key = Some(source.key);
        self.effect_w = view.w;
        self.total_survival = (!self.survival.is_empty()).then(|| self.sum_of_survival(source));
        self.dtype = view.written_dtype();
        self.effect = source.has_preview.then(|| {
            view.preview.effect((0..view.analysis.tensors.len()).map(|tensor| (tensor, view.coefficient(tensor))))
        });
    }

    /// Makes the sentences for the w that the effective w is of, which may be that of the frame before.
    fn follow_words(&mut self, source: &Source<'_>) {
        self.words_key = self.effect_key;
        let view = self.effect_view(source);
        let known = self.effect.filter(|_| source.has_preview);
        self.about_w = known.map_or_else(Vec::new, |effect| summary::about_w(&view, Some(effect), self.total_survival));
    }

    /// The vector at the w that the effective w is of.
    fn effect_view<'a>(&self, source: &Source<'a>) -> View<'a> {
        let w = self.effect_w;
        View { w, scaling: Scaling::new(w).unwrap_or(source.view.scaling), ..source.view }
    }

    /// The share of all updates that survives: cells are strata, so their counts and their variances add up.
    fn sum_of_survival(&self, source: &Source<'_>) -> Estimate {
        let (mut updates, mut surviving, mut variance) = (0.0, 0.0, 0.0);
        for cell in source.measured.overview.groups.iter().flat_map(|group| &group.cells) {
            let Some(estimate) = self.survival.get(&(cell.group, cell.row.part)) else { continue };
            if estimate.value.is_finite() {
                let count = cell.sums.updates() as f64;
                updates += count;
                surviving += count * estimate.value;
                variance += (count * estimate.margin).powi(2);
            }
        }
        if updates == 0.0 {
            return Estimate::NONE;
        }
        Estimate { value: surviving / updates, margin: variance.sqrt() / updates }
    }

    /// What the numbers say.
    pub fn sentences(&self) -> impl Iterator<Item = &Sentence> {
        self.about_vector.iter().chain(&self.about_w)
    }
}
