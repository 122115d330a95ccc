//! The vector in plain words: each sentence is made from the numbers, each figure says which chart it came from.

use mergescope_core::alignment::Role;
use mergescope_core::analysis::{Estimate, GroupSums, OutOfRange, RoundedEffect, Sums};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::recipe::Rounding;
use mergescope_core::scaling::{Spread, scaled};

use super::{LayerCosine, Metric, View, whereabouts};
use crate::format;

/// A cosine between layers that is worth a sentence however large they are.
const ALIKE: f64 = 0.1;
/// A cosine is beyond chance at this many times its deviation between unrelated tensors, which is 1 ∕ √elements.
const DEVIATIONS: f64 = 4.0;
/// Fewer layers than this have no early and late ones: each two are compared by name.
const MANY_LAYERS: usize = 4;
/// cos(v, target − pre) worth a sentence. Vectors of different trainings from one base are nearly orthogonal
/// (arXiv 2212.04089, fig. 5).
const LINEAGE: f64 = 0.3;
/// From here on the cosine reads as 1.00, and what the target holds of v as all of it.
const ALL: f64 = 0.995;
/// A share of exact zeros worth a sentence.
const ZEROS: f64 = 0.01;
/// A share of lost updates that calls for another way of writing.
const MANY_LOST: f64 = 0.2;
/// How much more must be lost at a smaller w to mention it.
const MUCH_WORSE: f64 = 0.1;
/// The smaller w: this part of the current one.
const SMALLER: f64 = 0.2;
/// A share of w that rounding changes before it is worth a figure.
const OFF: f64 = 0.01;

/// The chart that shows where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chart {
    /// Bars by layer.
    Layers,
    /// The layer × part grid in that metric.
    Grid(Metric),
    /// The layer × layer cosine.
    LayerCosine,
}

impl Chart {
    /// Its name in JSON and of its SVG file: `layers`, `grid-zero_share`, `layer-cosine-all`.
    pub fn key(self) -> String {
        match self {
            Self::Layers => "layers".to_owned(),
            Self::Grid(metric) => format!("grid-{}", metric.key()),
            Self::LayerCosine => "layer-cosine-all".to_owned(),
        }
    }
}

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// A figure, and the chart that shows it.
    Figure {
        /// As it is read.
        text: String,
        /// Where it comes from.
        chart: Chart,
    },
}

/// One sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    /// Its pieces in order, spaces included.
    pub pieces: Vec<Piece>,
}

impl Sentence {
    /// A sentence that begins with these words.
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self::default().words(words)
    }

    /// And these words.
    pub(super) fn words(mut self, words: impl Into<String>) -> Self {
        self.pieces.push(Piece::Text(words.into()));
        self
    }

    /// And this figure.
    pub(super) fn figure(mut self, text: impl Into<String>, chart: Chart) -> Self {
        self.pieces.push(Piece::Figure { text: text.into(), chart });
        self
    }

    /// All pieces as one text.
    pub fn text(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Figure { text, .. } => text.clone(),
        };
        self.pieces.iter().map(text).collect()
    }
}

/// What the numbers say: [`about_vector`], then [`about_w`].
///
/// `layer_cosine` is of all parts together, where it has been measured.
pub fn summary(view: &View<'_>, layer_cosine: Option<&LayerCosine>) -> Vec<Sentence> {
    let mut sentences = about_vector(view, layer_cosine);
    sentences.extend(about_w(view, None, None));
    sentences
}

/// What does not depend on w: size, where it is, which layers go together, zeros, lineage, NaN.
pub fn about_vector(view: &View<'_>, layer_cosine: Option<&LayerCosine>) -> Vec<Sentence> {
    let overview = view.overview;
    let total = &overview.total;
    let nonfinite = nonfinite(total);
    if total.elements == 0 {
        return vec![Sentence::new("No tensor of these models takes part, so there is no vector to see.")];
    }
    if total.gram.v_v == 0.0 {
        let zero = Sentence::new("The vector is zero: pre and post hold the same weights ")
            .words("(")
            .figure(Metric::ZeroShare.text(total.zero_share()), Chart::Grid(Metric::ZeroShare))
            .words(" of the entries of v are exactly zero). Choose as post a model that was tuned from pre.");
        let nothing = Sentence::new("No element is finite in all three models, so nothing can be said of the vector.");
        let small = Sentence::new(
            "The elements of the vector are so small that their squares are zero: it has no norm to see.",
        );
        let first = match total.finite() {
            0 => nothing,
            finite if total.zeros < finite => small,
            _ => zero,
        };
        return std::iter::once(first).chain(nonfinite).collect();
    }
    let mut sentences = Vec::from_iter(size(total));
    sentences.extend(whereabouts::sentence(view));
    let chance = chance(view.overview.layers());
    sentences.extend(layer_cosine.into_iter().flat_map(|cosine| alike(cosine, chance)));
    if total.zero_share() >= ZEROS {
        sentences.push(
            Sentence::default()
                .figure(Metric::ZeroShare.text(total.zero_share()), Chart::Grid(Metric::ZeroShare))
                .words(" of its entries are zero."),
        );
    }
    sentences.extend(lineage(total));
    sentences.extend(nonfinite);
    sentences
}

/// What a merge at the current w would keep of it.
///
/// `effect` is [`View::effect`] and `survival` is [`View::survival`] of all tensors, where they are known.
pub fn about_w(view: &View<'_>, effect: Option<RoundedEffect>, survival: Option<Estimate>) -> Vec<Sentence> {
    let total = &view.overview.total;
    if total.gram.v_v == 0.0 || total.elements == 0 {
        return Vec::new();
    }
    let grid = Chart::Grid(Metric::RoundingSurvival);
    if view.w == 0.0 {
        return vec![Sentence::new("At w = 0 nothing is added: the merged model is the target.")];
    }
    if view.shares.iter().all(|share| *share == 0.0) {
        return vec![Sentence::new(
            "Nothing is added: the scaling is 0 in every tensor, so the merged model is the target.",
        )];
    }
    let is_lost = (0..view.analysis.tensors.len()).all(|position| view.coefficient(position) == 0.0);
    if is_lost && view.w.abs() < 1.0 {
        let w = format::w(view.w);
        let words = format!("At w = {w} nothing is added: in f32, which a merge computes in, that is 0.");
        return vec![Sentence::new(words)];
    }
    let Some(asked) = view.asked(0..view.analysis.tensors.len()) else { return Vec::new() };
    if view.output.rounding == Rounding::Stochastic {
        let words =
            format!("{}stochastic rounding keeps the mean of every update, so the effective w is ", at_w(view, &asked));
        let mean = if asked.differs() { format::significant(asked.mean) } else { coefficient(asked.least, view.w) };
        return vec![Sentence::new(words).figure(mean, grid).words(".")];
    }
    let survival = survival.unwrap_or_else(|| view.survival_at(view.w));
    if survival.value.is_nan() {
        return Vec::new();
    }
    let lost = 1.0 - survival.value;
    let dtype = view.written_dtype();
    let is_wide = view.written_dtypes().into_iter().all(|dtype| matches!(dtype, Dtype::F32 | Dtype::F64));
    let mut sentence = Sentence::new(format!("{}{dtype} would lose ", at_w(view, &asked)))
        .figure(format::percent(lost), grid)
        .words(" of the updates");
    let effect = effect.unwrap_or_else(|| {
        let all: Vec<usize> = (0..view.analysis.tensors.len()).collect();
        view.effect(&all)
    });
    let effective = effect.effective_w;
    let mut estimated = survival.is_estimated();
    if effective.value.is_finite() && (effective.value - asked.mean).abs() > OFF * asked.root_mean_square {
        estimated |= effective.is_estimated();
        sentence = sentence.words(", an effective w of ").figure(format::significant(effective.value), grid);
    }
    let overflowing = effect.overflowing;
    if overflowing.value > 0.0 {
        estimated |= overflowing.is_estimated();
        sentence = sentence.words("; ").figure(format::percent(overflowing.value), grid).words(" would overflow");
    }
    let small = smaller(view.w);
    let then = view.survival_at(small);
    if 1.0 - then.value >= lost + MUCH_WORSE {
        estimated |= then.is_estimated();
        sentence =
            sentence.words(format!("; at {}, ", format::w(small))).figure(format::percent(1.0 - then.value), grid);
    }
    if estimated {
        sentence = sentence.words(" (estimated)");
    }
    if lost >= MANY_LOST {
        // f32 output has no wider type to go to.
        sentence = sentence.words(match is_wide {
            true => ": consider a larger w",
            false => ": consider f32 output or stochastic rounding",
        });
    }
    vec![sentence.words(".")]
}

/// The beginning of a sentence about w, with how it is spread: `At w = 0.50, spread as 0.10 to 0.55 over the tensors
/// (0.41 in the mean), `.
fn at_w(view: &View<'_>, asked: &Spread) -> String {
    let w = format::w(view.w);
    let all = view.analysis.tensors.len();
    let moved = (0..all).filter(|&position| view.moves(position)).count();
    let over = match moved == all {
        true => "the tensors".to_owned(),
        false => format!("{} of {}", format::count(moved as u64), format::plural(all, "tensor")),
    };
    if asked.differs() {
        let [least, most] = [asked.least, asked.most].map(|end| coefficient(end, view.w));
        let mean = format::significant(asked.mean);
        format!("At w = {w}, spread as {least} to {most} over {over} ({mean} in the mean), ")
    } else if asked.least != scaled(view.w, 1.0) {
        format!("At w = {w}, which comes to {} in {over}, ", coefficient(asked.least, view.w))
    } else if moved < all {
        format!("At w = {w}, added to {over}, ")
    } else {
        format!("At w = {w} ")
    }
}

/// A coefficient in words: w as it was typed, others to three decimals or, where they are small, digits.
fn coefficient(value: f32, w: f64) -> String {
    let exact = f64::from(value);
    match exact.abs() {
        _ if value == scaled(w, 1.0) => format::w(w),
        0.01..1e3 => format::w((exact * 1e3).round() / 1e3),
        _ => format::significant(exact),
    }
}

/// A fifth of w, to two digits.
fn smaller(w: f64) -> f64 {
    // A number printed is a number parsed; a NaN loses nothing and is not shown.
    format!("{:.1e}", w * SMALLER).parse().unwrap_or(f64::NAN)
}

fn size(total: &Sums) -> Option<Sentence> {
    if total.out_of_range() == Some(OutOfRange::Large) {
        return Some(Sentence::new("The elements of the vector are so large that it has no norm."));
    }
    let relative = total.gram.relative_norm();
    if relative.is_nan() {
        return Some(Sentence::new("The weights of pre are all zero, so the vector has no relative size."));
    }
    let start = Sentence::new("The vector is ").figure(format::relative(relative), Chart::Layers);
    Some(start.words(" of the weights."))
}

/// The |cosine| up to which two layers may be unrelated: four deviations for the layer that moves fewest elements, and
/// no less than 0.1.
fn chance(layers: &[GroupSums]) -> f64 {
    let moved = layers.iter().map(|layer| layer.all.finite().saturating_sub(layer.all.zeros));
    // A layer that does not move has no cosine.
    let least = moved.filter(|&moved| moved > 0).min();
    let cosine = least.map_or(ALIKE, |least| (DEVIATIONS / (least as f64).sqrt()).max(ALIKE));
    // To the digits that are shown, so that what is said is what was used.
    round_up(cosine)
}

/// A cosine to two decimals, away from zero.
fn round_up(cosine: f64) -> f64 {
    let rounded = (cosine * 100.0).round() / 100.0;
    if rounded < cosine { rounded + 0.01 } else { rounded }
}

/// Which layers move alike or against each other, where the cosine is beyond ±`chance`.
fn alike(cosine: &LayerCosine, chance: f64) -> Vec<Sentence> {
    // No cosine of so few elements means anything.
    if chance >= 1.0 {
        return Vec::new();
    }
    let within = format!("within ±{} is chance", format::fixed(chance, 2));
    let layers = &cosine.layers;
    let mut sentences = Vec::new();
    let mut say = |what: String, value: f64, name: &str| {
        let how = if value > 0.0 { "move alike" } else { "move against each other" };
        // Once is enough.
        let within = if sentences.is_empty() { format!("; {within}") } else { String::new() };
        let figures = format!(" ({name} {}{within}).", format::fixed(value, 2));
        sentences.push(Sentence::new(format!("{what} ")).figure(how, Chart::LayerCosine).words(figures));
    };
    if layers.len() < MANY_LAYERS {
        for (a, b) in (0..layers.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
            if cosine.at(a, b).abs() > chance {
                let what = format!("Layers {} and {}", layers[a], layers[b]);
                say(what, cosine.at(a, b), "cosine");
            }
        }
    } else {
        if let Some(block) = cosine.early_and_late().filter(|block| block.mean.abs() > chance) {
            let what = match (block.early, block.late) {
                ((a, b), (c, d)) if a == b && c == d => format!("Layers {a} and {c}"),
                ((a, b), (c, d)) if a == b => format!("Layer {a} and late layers ({c}–{d})"),
                ((a, b), (c, d)) if c == d => format!("Early layers ({a}–{b}) and layer {c}"),
                ((a, b), (c, d)) => format!("Early layers ({a}–{b}) and late ones ({c}–{d})"),
            };
            say(what, block.mean, "mean cosine");
        }
        let neighbours = cosine.neighbours();
        if neighbours.abs() > chance {
            say("Layers that follow each other".to_owned(), neighbours, "mean cosine");
        }
    }
    let largest = cosine.largest();
    if sentences.is_empty() && largest.is_finite() && largest <= chance {
        let size = match format::fixed(largest, 2).as_str() {
            "0.00" => "below 0.01 in size".to_owned(),
            _ => format!("within ±{}", format::fixed(round_up(largest), 2)),
        };
        sentences.push(
            Sentence::new("No two layers move alike or opposed: cosines ")
                .figure(size, Chart::LayerCosine)
                .words(if chance > ALIKE { format!(" ({within}).") } else { ".".to_owned() }),
        );
    }
    sentences
}

/// How v lies to what made the target out of pre.
fn lineage(total: &Sums) -> Option<Sentence> {
    let cos = total.gram.cos_vector_target();
    if cos.is_nan() || cos.abs() < LINEAGE {
        return None;
    }
    // How often v fits into target − pre, which has it once when the target is post.
    let held = total.gram.v_u / total.gram.v_v;
    let (before, after) = if cos >= ALL && held >= ALL {
        (
            "The target already holds all of this vector: cos(v, target − pre) is ",
            ". Adding it goes further the same way; choose as target another model than post.",
        )
    } else if cos > 0.0 {
        (
            "The target already holds part of this vector: cos(v, target − pre) is ",
            ". Try a small w, check that pre and post are not swapped, or take as pre the model that target and post were \
             both tuned from.",
        )
    } else {
        (
            "The vector points back the way the target came: cos(v, target − pre) is ",
            ". Adding it undoes part of what made the target; check that the three models are in the right places.",
        )
    };
    let chart = Chart::Grid(Metric::CosVectorTarget);
    Some(Sentence::new(before).figure(format::fixed(cos, 2), chart).words(after))
}

fn nonfinite(total: &Sums) -> Option<Sentence> {
    if total.left_out == 0 {
        return None;
    }
    let roles = Role::ALL.into_iter().zip(total.nonfinite).filter(|(_, count)| *count > 0);
    let roles: Vec<String> =
        roles.map(|(role, count)| format!("{} in {}", format::count(count), role.label())).collect();
    let (entries, are, they) = match total.left_out {
        1 => ("entry", "is", "it is"),
        _ => ("entries", "are", "they are"),
    };
    let of_models = format::list(roles.iter().map(String::as_str));
    Some(
        Sentence::default()
            .figure(format::count(total.left_out), Chart::Grid(Metric::Nonfinite))
            .words(format!(" {entries} {are} NaN or infinite: {of_models}; {they} left out of sums and counts.")),
    )
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
