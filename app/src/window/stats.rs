//! The measured vector by layer and by part, and the sentence that sums it up.

use mergescope_core::analysis::VectorAnalysis;
use mergescope_core::layout::{Part, Place};

use crate::format;

/// A layer, or something beside the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A layer, zero-based.
    Layer(u32),
    /// Embeddings, head, final norm or others, outside all layers.
    Beside(Part),
}

impl Group {
    /// Where a tensor belongs.
    pub fn of(place: Place) -> Self {
        place.layer.map_or(Self::Beside(place.part), Self::Layer)
    }

    /// Layers in order, then embeddings, head, final norm and the rest.
    fn rank(self) -> (u32, u32) {
        match self {
            Self::Layer(layer) => (0, layer),
            Self::Beside(Part::Embed) => (1, 0),
            Self::Beside(Part::Head) => (2, 0),
            Self::Beside(part) => (3, part as u32),
        }
    }

    /// Its name in a table: `19`, `embed`.
    pub fn label(self) -> String {
        match self {
            Self::Layer(layer) => layer.to_string(),
            Self::Beside(part) => part.label().to_owned(),
        }
    }

    /// Its name in a sentence: `Layer 19`, `Embeddings`.
    pub fn title(self) -> String {
        match self {
            Self::Layer(layer) => format!("Layer {layer}"),
            Self::Beside(Part::Embed) => "Embeddings".to_owned(),
            Self::Beside(Part::Head) => "Output head".to_owned(),
            Self::Beside(Part::Norm) => "Final norm".to_owned(),
            Self::Beside(part) => format!("Outside the layers: {part}"),
        }
    }
}

/// Sums of squares over the tensors of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStats {
    /// Which group.
    pub group: Group,
    /// ‖pre‖².
    pub pre_sq: f64,
    /// ‖v‖².
    pub v_sq: f64,
    /// ‖pre‖² and ‖v‖² of each part that occurs, in the order of [`Part::ALL`].
    pub parts: Vec<(Part, f64, f64)>,
}

impl GroupStats {
    /// ‖v‖ of the group.
    pub fn norm(&self) -> f64 {
        self.v_sq.sqrt()
    }

    /// ‖v‖ ∕ ‖pre‖ of the group; NaN when pre is all zeros.
    pub fn relative(&self) -> f64 {
        ratio(self.v_sq, self.pre_sq)
    }

    /// The share of ‖v‖² in a part; 0 when v is zero.
    pub fn share(&self, part: Part) -> f64 {
        let part_sq: f64 = self.parts.iter().filter(|(known, ..)| *known == part).map(|(.., v_sq)| v_sq).sum();
        if self.v_sq > 0.0 { part_sq / self.v_sq } else { 0.0 }
    }

    /// The same for one part of the group alone; `None` when the group has no such part.
    pub fn only(&self, part: Part) -> Option<Self> {
        let &(_, pre_sq, v_sq) = self.parts.iter().find(|(known, ..)| *known == part)?;
        Some(Self { group: self.group, pre_sq, v_sq, parts: vec![(part, pre_sq, v_sq)] })
    }
}

/// √(a ∕ b); NaN when b is zero.
fn ratio(a_sq: f64, b_sq: f64) -> f64 {
    if b_sq > 0.0 { (a_sq / b_sq).sqrt() } else { f64::NAN }
}

/// The vector by group, and over all.
#[derive(Clone, Debug)]
pub struct VectorStats {
    /// Layers in order, then what is beside them.
    pub groups: Vec<GroupStats>,
    /// The parts that occur, in the order of [`Part::ALL`].
    pub parts: Vec<Part>,
    /// ‖pre‖² over all.
    pub pre_sq: f64,
    /// ‖v‖² over all.
    pub v_sq: f64,
    /// Elements that take part.
    pub elements: u64,
    /// Elements in which v is exactly zero.
    pub zeros: u64,
    /// Elements that are NaN or infinite.
    pub nonfinite: u64,
}

impl VectorStats {
    /// Sums the tensors of an analysis.
    pub fn new(analysis: &VectorAnalysis) -> Self {
        let mut stats =
            Self { groups: Vec::new(), parts: Vec::new(), pre_sq: 0.0, v_sq: 0.0, elements: 0, zeros: 0, nonfinite: 0 };
        for tensor in &analysis.tensors {
            let (pre_sq, v_sq) = (tensor.sums.gram.pre_pre, tensor.sums.gram.v_v);
            stats.pre_sq += pre_sq;
            stats.v_sq += v_sq;
            stats.elements += tensor.sums.elements;
            stats.zeros += tensor.sums.zeros;
            stats.nonfinite += tensor.sums.nonfinite.iter().sum::<u64>();
            let group = Group::of(tensor.place);
            let position = stats.groups.binary_search_by_key(&group.rank(), |known| known.group.rank());
            let position = position.unwrap_or_else(|free| {
                stats.groups.insert(free, GroupStats { group, pre_sq: 0.0, v_sq: 0.0, parts: Vec::new() });
                free
            });
            let sums = &mut stats.groups[position];
            sums.pre_sq += pre_sq;
            sums.v_sq += v_sq;
            match sums.parts.iter_mut().find(|(part, ..)| *part == tensor.place.part) {
                Some((_, part_pre_sq, part_v_sq)) => {
                    *part_pre_sq += pre_sq;
                    *part_v_sq += v_sq;
                }
                None => sums.parts.push((tensor.place.part, pre_sq, v_sq)),
            }
        }
        let shown_at = |part: Part| Part::ALL.iter().position(|&known| known == part);
        for group in &mut stats.groups {
            group.parts.sort_by_key(|(part, ..)| shown_at(*part));
        }
        let occurs = |part: Part| stats.groups.iter().any(|group| group.parts.iter().any(|(known, ..)| *known == part));
        stats.parts = Part::ALL.into_iter().filter(|&part| occurs(part)).collect();
        stats
    }

    /// What the numbers say, in two or three sentences.
    pub fn summary(&self) -> String {
        if self.v_sq == 0.0 {
            return "The vector is zero: pre and post hold the same weights. Choose a post that was tuned from pre."
                .to_owned();
        }
        let mut text = format!("The vector is {} of the weights.", format::percent(ratio(self.v_sq, self.pre_sq)));
        let layers: Vec<&GroupStats> =
            self.groups.iter().filter(|group| matches!(group.group, Group::Layer(_))).collect();
        if let Some(largest) = largest_layers(&layers) {
            text += &format!(" It is largest in {largest}");
            let (names, share) = self.largest_parts();
            text += &format!("; {} of it lies in {names}.", format::percent(share));
        }
        let zero_share = self.zeros as f64 / self.elements.max(1) as f64;
        if zero_share >= 0.01 {
            text += &format!(" {} of its elements are exactly zero.", format::percent(zero_share));
        }
        if self.nonfinite > 0 {
            text += &format!(" {} are NaN or infinite.", format::plural(self.nonfinite as usize, "value"));
        }
        text
    }

    /// The one or two parts with the largest share of ‖v‖², and that share.
    fn largest_parts(&self) -> (String, f64) {
        let mut shares: Vec<(Part, f64)> = self
            .parts
            .iter()
            .map(|&part| {
                let sums = self.groups.iter().flat_map(|group| &group.parts);
                (part, sums.filter(|(known, ..)| *known == part).map(|(.., v_sq)| v_sq).sum::<f64>() / self.v_sq)
            })
            .collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        let names = format::list(shares.iter().take(2).map(|(part, _)| part.label()));
        (names, shares.iter().take(2).map(|(_, share)| share).sum())
    }
}

/// The layers around the highest that come within 15 % of it: `layer 3`, `layers 17–21`.
fn largest_layers(layers: &[&GroupStats]) -> Option<String> {
    const CLOSE: f64 = 0.85;
    let height = |position: usize| layers[position].relative();
    let peak =
        (0..layers.len()).filter(|&at| height(at).is_finite()).max_by(|&a, &b| height(a).total_cmp(&height(b)))?;
    let close = |position: &usize| height(*position) >= CLOSE * height(peak);
    let first = (0..=peak).rev().take_while(close).last().unwrap_or(peak);
    let last = (peak..layers.len()).take_while(close).last().unwrap_or(peak);
    let name = |position: usize| layers[position].group.label();
    Some(if first == last {
        format!("layer {}", name(peak))
    } else if first == 0 && last + 1 == layers.len() {
        format!("layer {}, though much the same in all", name(peak))
    } else {
        format!("layers {}–{}", name(first), name(last))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mergescope_core::analysis::{Gram, LogHistogram, Sample, Sums, TensorAnalysis};
    use mergescope_core::checkpoint::Dtype;

    use super::*;

    fn tensor(layer: Option<u32>, part: Part, pre_sq: f64, v_sq: f64) -> TensorAnalysis {
        TensorAnalysis {
            name: String::new(),
            place: Place { layer, part, expert: None },
            dtype: Dtype::BF16,
            shape: vec![10],
            sums: Sums {
                elements: 10,
                gram: Gram { pre_pre: pre_sq, v_v: v_sq, ..Gram::default() },
                ..Sums::default()
            },
            vector_histogram: LogHistogram::default(),
            pre_histogram: LogHistogram::default(),
            sample: Sample::default(),
        }
    }

    fn stats(tensors: Vec<TensorAnalysis>) -> VectorStats {
        VectorStats::new(&VectorAnalysis { tensors, bytes_read: 0, elapsed: Duration::ZERO, cached: false })
    }

    #[test]
    fn squares_add_up_and_shares_divide_them() {
        let stats = stats(vec![
            tensor(None, Part::Embed, 100.0, 1.0),
            tensor(Some(0), Part::Up, 50.0, 3.0),
            tensor(Some(0), Part::Q, 50.0, 1.0),
        ]);
        let layer = &stats.groups[0];
        assert_eq!(layer.group, Group::Layer(0));
        assert_eq!((layer.norm(), layer.relative()), (2.0, 0.2));
        assert_eq!((layer.share(Part::Q), layer.share(Part::Up), layer.share(Part::K)), (0.25, 0.75, 0.0));
        assert_eq!(stats.parts, [Part::Q, Part::Up, Part::Embed]);
        assert_eq!(stats.groups[1].group, Group::Beside(Part::Embed));
        assert_eq!(layer.only(Part::Q).unwrap().relative(), (1.0f64 / 50.0).sqrt());
        assert_eq!(layer.only(Part::Norm), None);
    }

    #[test]
    fn the_sentence_is_made_from_the_numbers() {
        let v_sq = [1.0, 1.0, 9.0, 10.0, 2.0];
        let layers = (0..).zip(v_sq).map(|(layer, v_sq)| tensor(Some(layer), Part::Gate, 1e4, v_sq));
        let text = stats(layers.collect()).summary().replace('\u{a0}', " ");
        assert_eq!(text, "The vector is 2.1 % of the weights. It is largest in layers 2–3; 100 % of it lies in gate.");
    }

    #[test]
    fn a_vector_of_nothing_says_so() {
        assert!(stats(vec![tensor(Some(0), Part::Q, 1.0, 0.0)]).summary().starts_with("The vector is zero"));
    }
}
