//! The charts of a measured vector as pictures.

mod bars;
mod curves;
mod heat;

pub use bars::layers;
pub use curves::{histogram, spectrum};
pub use heat::{grid, layer_cosine};

use mergescope_core::analysis::Group;

use super::{View, labels};

/// Room for the labels of the y axis.
const LEFT: f64 = 56.0;
/// Room at the right.
const RIGHT: f64 = 16.0;
/// Width of the drawings.
const WIDTH: f64 = 960.0;
/// Distance of two layers between the last layer and what is beside the layers.
const GAP: f64 = 0.5;
/// Least width for the name of what is beside the layers.
const NAME_WIDTH: f64 = 44.0;
/// Least distance between two numbers on the x axis.
const LABEL_SPACING: f64 = 30.0;
/// Widest slot: a model of few layers needs no walls.
const MAX_SLOT: f64 = 72.0;

/// Where a layer, or what is beside the layers, stands on the x axis.
#[derive(Clone, Debug, PartialEq)]
struct Slot {
    /// The position in the overview's groups.
    group: usize,
    left: f64,
    width: f64,
    /// What is written below it, if anything.
    label: Option<String>,
    title: String,
}

/// The x axis that all charts over the same layers share.
fn slots(view: &View<'_>) -> Vec<Slot> {
    let groups = &view.overview.groups;
    let layers = view.overview.layers().len();
    let beside = (groups.len() - layers) as f64;
    let room = WIDTH - LEFT - RIGHT;
    let gap = if layers > 0 && beside > 0.0 { GAP } else { 0.0 };
    // Names want their width; layers share the rest.
    let even = room / (layers as f64 + beside + gap).max(1.0);
    let (slot, named) = if even >= NAME_WIDTH {
        (even.min(MAX_SLOT), even.min(MAX_SLOT))
    } else {
        ((room - beside * NAME_WIDTH) / (layers as f64 + gap).max(1.0), NAME_WIDTH)
    };
    let every = label_every(slot);
    let mut left = LEFT;
    let mut slots = Vec::with_capacity(groups.len());
    for (position, group) in groups.iter().enumerate() {
        let is_layer = matches!(group.group, Group::Layer(_));
        if position == layers {
            left += gap * slot;
        }
        let width = if is_layer { slot } else { named };
        let labelled = !is_layer || position % every == 0;
        slots.push(Slot {
            group: position,
            left,
            width,
            label: labelled.then(|| labels::group_short(group.group)),
            title: labels::group_title(group.group),
        });
        left += width;
    }
    slots
}

/// Of layers that far apart each how-manieth has its number: a round one, so that they are easy to count on from.
fn label_every(spacing: f64) -> usize {
    let every = (LABEL_SPACING / spacing).ceil().max(1.0) as usize;
    [1, 2, 4, 5, 8, 10, 20, 50, 100].into_iter().find(|&step| step >= every).unwrap_or(every)
}

/// A round step that divides a range into about `lines` parts: 1, 2 or 5 times a power of ten.
fn nice_step(range: f64, lines: f64) -> f64 {
    let raw = range / lines;
    if !(raw.is_finite() && raw > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|&step| step >= raw);
    step.unwrap_or(10.0 * power)
}

/// A number on an axis with as many decimals as its step needs.
fn axis_number(value: f64, step: f64) -> String {
    let decimals = -step.log10().floor();
    if decimals > 4.0 {
        return crate::format::norm(value);
    }
    crate::format::fixed(value, decimals.max(0.0) as usize)
}

/// Words as a sentence begins.
fn sentence_case(words: &str) -> String {
    let mut characters = words.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// A name in at most that much room, its beginning left out where it is longer: names of one model differ at the end.
fn fitting(name: &str, room: f64, character_width: f64) -> String {
    // Chinese, Japanese and Korean characters are as wide as two.
    let width = |character: char| if character >= '\u{2e80}' { 2.0 * character_width } else { character_width };
    if name.chars().map(width).sum::<f64>() <= room {
        return name.to_owned();
    }
    let mut left = room - character_width;
    let kept = name.char_indices().rev().take_while(|&(_, character)| {
        left -= width(character);
        left >= 0.0
    });
    let start = kept.last().map_or(name.len(), |(start, _)| start);
    format!("…{}", &name[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(fitting("layers.3.q", 60.0, 6.0), "layers.3.q");
        assert_eq!(fitting("model.layers.3.q", 60.0, 6.0), "…ayers.3.q");
        assert_eq!(fitting("層層層層.重み", 48.0, 6.0), "…層.重み");
        assert_eq!(fitting("ab", 0.0, 6.0), "…");
    }
}
