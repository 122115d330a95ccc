//! The vector in plain words: each sentence is made from the numbers, each figure says which chart it came from.

use mergescope_core::alignment::Role;
use mergescope_core::analysis::{Estimate, Group, GroupSums, RoundedEffect, Sums};
use mergescope_core::layout::Part;
use mergescope_core::recipe::{OutputDtype, Rounding};

use super::{LayerCosine, Metric, View, labels};
use crate::format;

/// Layers whose relative norm comes this close to the highest are named with it.
const CLOSE: f64 = 0.85;
/// A mean cosine between layers that is more than chance: that of unrelated tensors is about 1 ∕ √elements.
const ALIKE: f64 = 0.1;
/// cos(v, target − pre) worth a sentence. Vectors of different trainings from one base are nearly orthogonal
/// (arXiv 2212.04089, fig. 5).
const LINEAGE: f64 = 0.3;
/// A share of exact zeros worth a sentence.
const ZEROS: f64 = 0.01;
/// A share of lost updates that calls for another way of writing.
const MANY_LOST: f64 = 0.2;
/// A share of ‖v‖² outside the layers worth a sentence.
const MUCH: f64 = 0.2;
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
    fn new(words: impl Into<String>) -> Self {
        Self::default().words(words)
    }

    fn words(mut self, words: impl Into<String>) -> Self {
        self.pieces.push(Piece::Text(words.into()));
        self
    }

    fn figure(mut self, text: impl Into<String>, chart: Chart) -> Self {
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

/// What does not depend on w: size, where it is largest, which layers go together, zeros, lineage, NaN.
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
        let nothing = Sentence::new("The vector is zero: no element is finite in all three models.");
        let first = if total.finite() == 0 { nothing } else { zero };
        return std::iter::once(first).chain(nonfinite).collect();
    }
    let mut sentences = Vec::from_iter(size(total));
    sentences.extend(largest(view));
    sentences.extend(beside(view));
    sentences.extend(layer_cosine.into_iter().flat_map(alike));
    if total.zero_share() >= ZEROS {
        sentences.push(
            Sentence::default()
                .figure(Metric::ZeroShare.text(total.zero_share()), Chart::Grid(Metric::ZeroShare))
                .words(" of its entries are exactly zero."),
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
    let w = format::w(view.w);
    let grid = Chart::Grid(Metric::RoundingSurvival);
    if view.w == 0.0 {
        return vec![Sentence::new("At w = 0 nothing is added: the merged model is the target.")];
    }
    if view.output.rounding == Rounding::Stochastic {
        let words = "Stochastic rounding keeps the mean of every update, so the effective w is ";
        return vec![Sentence::new(words).figure(w, grid).words(".")];
    }
    let survival = survival.unwrap_or_else(|| view.survival_at(view.w));
    if survival.value.is_nan() {
        return Vec::new();
    }
    let lost = 1.0 - survival.value;
    let about = |estimated: bool| if estimated { "about " } else { "" };
    let dtype = view.written_dtype();
    let mut sentence = Sentence::new(format!("At w = {w} {dtype} would lose {}", about(survival.is_estimated())))
        .figure(format::percent(lost), grid)
        .words(" of the updates");
    let effect = effect.unwrap_or_else(|| {
        let all: Vec<usize> = (0..view.analysis.tensors.len()).collect();
        view.effect(&all)
    });
    let effective = effect.effective_w;
    let mut estimated = survival.is_estimated();
    if effective.value.is_finite() && (effective.value - view.w).abs() > OFF * view.w.abs() {
        estimated |= effective.is_estimated();
        sentence = sentence
            .words(format!(", for an effective w of {}", about(effective.is_estimated())))
            .figure(format::fixed(effective.value, 3), grid);
    }
    let small = smaller(view.w);
    let then = view.survival_at(small);
    if 1.0 - then.value >= lost + MUCH_WORSE {
        estimated |= then.is_estimated();
        sentence = sentence
            .words(format!("; at {} it would lose {}", format::w(small), about(then.is_estimated())))
            .figure(format::percent(1.0 - then.value), grid);
    }
    if estimated {
        sentence = sentence.words(" (estimated)");
    }
    // f32 output has no wider type to go to.
    if lost >= MANY_LOST {
        sentence = sentence.words(match view.output.dtype {
            OutputDtype::F32 => ": consider a larger w",
            _ if dtype == "f32" || dtype == "f64" => ": consider a larger w",
            _ => ": consider f32 output or stochastic rounding",
        });
    }
    vec![sentence.words(".")]
}

/// A fifth of w, to two digits.
fn smaller(w: f64) -> f64 {
    // A number printed is a number parsed; a NaN loses nothing and is not shown.
    format!("{:.1e}", w * SMALLER).parse().unwrap_or(f64::NAN)
}

fn size(total: &Sums) -> Option<Sentence> {
    let relative = total.gram.relative_norm();
    if relative.is_nan() {
        return Some(Sentence::new("The weights of pre are all zero, so the vector has no relative size."));
    }
    let start = Sentence::new("The vector is ").figure(format::percent(relative), Chart::Layers);
    Some(start.words(" of the weights."))
}

/// In which layers and in which of their parts.
fn largest(view: &View<'_>) -> Option<Sentence> {
    let (names, share) = largest_parts(view)?;
    let mut sentence = Sentence::new("It is largest in ");
    if let Some(layers) = largest_layers(view.overview.layers()) {
        sentence = sentence.figure(layers, Chart::Layers).words(", in ");
    }
    let grid = Chart::Grid(Metric::RelativeNorm);
    Some(sentence.figure(names, grid).words(format!(" ({} of ‖v‖²).", format::percent(share))))
}

/// The layers around the highest that come within 15 % of it; `None` when there is one layer or none.
fn largest_layers(layers: &[GroupSums]) -> Option<String> {
    if layers.len() < 2 {
        return None;
    }
    let height = |position: usize| layers[position].all.gram.relative_norm();
    let peak =
        (0..layers.len()).filter(|&at| height(at).is_finite()).max_by(|&a, &b| height(a).total_cmp(&height(b)))?;
    if height(peak) == 0.0 {
        return None;
    }
    let close = |position: &usize| height(*position) >= CLOSE * height(peak);
    let first = (0..=peak).rev().take_while(close).last().unwrap_or(peak);
    let last = (peak..layers.len()).take_while(close).last().unwrap_or(peak);
    let name = |position: usize| labels::group_short(layers[position].group);
    Some(if first == last {
        format!("layer {}", name(peak))
    } else if first == 0 && last + 1 == layers.len() {
        format!("layer {}, though much the same in all", name(peak))
    } else {
        format!("layers {}–{}", name(first), name(last))
    })
}

/// The one or two parts of the layers with the largest share of all ‖v‖², and that share.
fn largest_parts(view: &View<'_>) -> Option<(String, f64)> {
    let total = view.overview.total.gram.v_v;
    let within = |part: Part| {
        let cells = view.overview.layers().iter().filter_map(|layer| layer.cell(part));
        (part, cells.map(|cell| cell.sums.gram.v_v).sum::<f64>() / total)
    };
    let mut shares: Vec<(Part, f64)> = view.overview.parts.iter().map(|(part, _)| within(*part)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.retain(|(_, share)| *share > 0.0);
    // A second part that holds hardly anything is not where v is.
    let second = shares.get(1).is_some_and(|(_, share)| *share >= shares[0].1 / 2.0);
    shares.truncate(if second { 2 } else { 1 });
    let share = shares.iter().map(|(_, share)| share).sum();
    (!shares.is_empty()).then(|| (format::list(shares.iter().map(|(part, _)| part.label())), share))
}

/// Embeddings or head, where they hold much of the vector or moved further than every layer.
fn beside(view: &View<'_>) -> Option<Sentence> {
    let relative = |group: &GroupSums| group.all.gram.relative_norm();
    let share = |group: &GroupSums| group.all.gram.v_v / view.overview.total.gram.v_v;
    let highest = view.overview.layers().iter().map(relative).filter(|norm| norm.is_finite()).fold(0.0, f64::max);
    let notable = view.overview.beside().iter();
    let notable = notable.filter(|group| share(group) >= MUCH || highest > 0.0 && relative(group) > highest);
    let group = notable.max_by(|a, b| share(a).total_cmp(&share(b)))?;
    let place = match group.group {
        Group::Beside(Part::Embed) => "the embeddings",
        Group::Beside(Part::Head) => "the output head",
        Group::Beside(Part::Norm) => "the final norm",
        _ => "other tensors outside the layers",
    };
    let mut sentence = Sentence::default()
        .figure(format::percent(share(group)), Chart::Layers)
        .words(format!(" of ‖v‖² is in {place}"));
    if highest > 0.0 && relative(group) > highest {
        let further = format!(", further from pre than any layer ({})", format::percent(relative(group)));
        sentence = sentence.words(further);
    }
    Some(sentence.words("."))
}

/// Which layers move alike or against each other, where the mean cosine is beyond ±0.1.
fn alike(cosine: &LayerCosine) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    let how = |mean: f64| if mean > 0.0 { "move alike" } else { "move against each other" };
    let mean_of = |mean: f64| format!("(mean cosine {}; within ±{ALIKE} is chance).", format::fixed(mean, 2));
    let far = cosine.early_and_late().filter(|block| block.mean.abs() >= ALIKE);
    if let Some(block) = far {
        let range = |(first, last): (u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}–{last}"),
        };
        sentences.push(
            Sentence::new(format!("Early layers ({}) and late ones ({}) ", range(block.early), range(block.late)))
                .figure(how(block.mean), Chart::LayerCosine)
                .words(format!(" {}", mean_of(block.mean))),
        );
    }
    let neighbours = cosine.neighbours();
    // In a model of two layers the neighbours are the early and the late one.
    if neighbours.abs() >= ALIKE && cosine.layers.len() > 2 {
        sentences.push(
            Sentence::new("Layers that follow each other ")
                .figure(how(neighbours), Chart::LayerCosine)
                .words(format!(" {}", mean_of(neighbours))),
        );
    }
    let largest = cosine.largest();
    if sentences.is_empty() && largest.is_finite() && largest < ALIKE {
        let words = "No two layers move alike or against each other: every cosine is within ";
        sentences.push(
            Sentence::new(words).figure(format!("±{}", format::fixed(largest, 2)), Chart::LayerCosine).words("."),
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
    let chart = Chart::Grid(Metric::CosVectorTarget);
    let (before, after) = if cos > 0.0 {
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
    Some(Sentence::new(before).figure(format::fixed(cos, 2), chart).words(after))
}

fn nonfinite(total: &Sums) -> Option<Sentence> {
    if total.left_out == 0 {
        return None;
    }
    let roles = Role::ALL.into_iter().zip(total.nonfinite).filter(|(_, count)| *count > 0);
    let roles: Vec<&str> = roles.map(|(role, _)| role.label()).collect();
    let (entries, are) = if total.left_out == 1 { ("entry", "is") } else { ("entries", "are") };
    Some(Sentence::new(format!(
        "{} {entries} {are} NaN or infinite in {} and left out of all numbers.",
        format::count(total.left_out),
        format::list(roles),
    )))
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
