//! Where the vector is: which layers moved furthest, and which parts hold most of ‖v‖².
//!
//! These are two answers, each from its own numbers: how far a layer moved is its own ‖v‖ ∕ ‖pre‖, what a part holds is its
//! share of all ‖v‖², in whatever layers it lies.

use mergescope_core::analysis::{Group, GroupSums};
use mergescope_core::layout::Part;

use super::{Chart, Metric, Sentence, View, labels};
use crate::format;

/// Layers whose relative norm comes this close to the highest are named with it.
const CLOSE: f64 = 0.85;
/// Rows of such layers that are named.
const MOST_ROWS: usize = 3;
/// A part that holds this much of what the largest holds is named with it.
const COMPARABLE: f64 = 0.5;
/// So is one that comes this close to the last one named: of nearly equal parts all are, or none is.
const NEARLY_EQUAL: f64 = 0.9;
/// And one that holds this share of ‖v‖², whatever the largest holds.
const MUCH: f64 = 0.2;
/// More parts than these are not named one by one.
const MOST_PARTS: usize = 4;

/// The sentence; `None` where v has no shares to give.
pub(super) fn sentence(view: &View<'_>) -> Option<Sentence> {
    let parts = most_of(held(view));
    let largest = parts.first()?.share;
    let furthest = furthest(view.overview.layers());
    let start = match &furthest {
        Some(Furthest::All) => Sentence::new("All layers moved ").figure("about as far", Chart::Layers).words("; "),
        Some(Furthest::Rows(names)) => Sentence::default().figure(names, Chart::Layers).words(" moved furthest; "),
        Some(Furthest::Many { peak, others }) => {
            let others = format!(" moved furthest, {} others nearly as far; ", format::count(*others as u64));
            Sentence::default().figure(format!("Layer {peak}"), Chart::Layers).words(others)
        }
        None => Sentence::default(),
    };
    if parts.len() > MOST_PARTS {
        let none = if furthest.is_some() { "no" } else { "No" };
        // Rounded up, so that it is true of the largest.
        let most = format::percent((largest * 100.0).ceil() / 100.0);
        return Some(
            start.words(format!("{none} part holds more than ")).figure(most, Chart::Layers).words(" of ‖v‖²."),
        );
    }
    let is_inside = parts.iter().all(|part| part.is_inside);
    let mut sentence = start.words(match furthest {
        // No name begins with a capital.
        None => "Of ‖v‖² ",
        // Else it would read as the share within the layers just named.
        Some(Furthest::Rows(_) | Furthest::Many { .. }) if is_inside => "over all layers ",
        Some(_) => "",
    });
    for (position, Held { name, share, is_plural, .. }) in together(parts).into_iter().enumerate() {
        let verb = match (position, is_plural) {
            (0, true) => " hold ",
            (0, false) => " holds ",
            _ => " ",
        };
        let comma = if position > 0 { ", " } else { "" };
        sentence = sentence.words(comma).figure(name, Chart::Grid(Metric::Norm)).words(verb);
        sentence = sentence.figure(format::percent(share), Chart::Layers);
        if position == 0 && furthest.is_some() {
            sentence = sentence.words(" of ‖v‖²");
        }
    }
    Some(sentence.words("."))
}

/// Where the relative norm is highest.
#[derive(Debug, PartialEq)]
enum Furthest {
    /// No layer stands out.
    All,
    /// These layers, as they are called at the beginning of a sentence.
    Rows(String),
    /// One of many, scattered among the others.
    Many { peak: String, others: usize },
}

/// The layers that come within 15 % of the highest; `None` when there is one layer or none.
fn furthest(layers: &[GroupSums]) -> Option<Furthest> {
    let heights: Vec<f64> = layers.iter().map(|layer| layer.all.gram.relative_norm()).collect();
    let finite = (0..heights.len()).filter(|&at| heights[at].is_finite());
    let peak = finite.max_by(|&a, &b| heights[a].total_cmp(&heights[b]))?;
    if layers.len() < 2 || heights[peak] == 0.0 {
        return None;
    }
    let close: Vec<usize> = (0..heights.len()).filter(|&at| heights[at] >= CLOSE * heights[peak]).collect();
    if close.len() == layers.len() {
        return Some(Furthest::All);
    }
    let name = |at: usize| labels::group_short(layers[at].group);
    let rows: Vec<&[usize]> = close.chunk_by(|a, b| a + 1 == *b).collect();
    if rows.len() > MOST_ROWS {
        return Some(Furthest::Many { peak: name(peak), others: close.len() - 1 });
    }
    let rows = rows.into_iter().filter_map(|row| Some((*row.first()?, *row.last()?)));
    let names: Vec<String> = rows
        .map(|(first, last)| if first == last { name(first) } else { format!("{}–{}", name(first), name(last)) })
        .collect();
    let layers = if close.len() == 1 { "Layer" } else { "Layers" };
    Some(Furthest::Rows(format!("{layers} {}", format::list(names.iter().map(String::as_str)))))
}

/// A part, or several, with its share of all ‖v‖².
#[derive(Debug)]
struct Held {
    name: String,
    share: f64,
    /// Whether it lies in the layers.
    is_inside: bool,
    is_plural: bool,
}

/// Every part of the layers and everything beside them that holds any of v, the largest share first.
fn held(view: &View<'_>) -> Vec<Held> {
    let overview = view.overview;
    let inside = overview.parts.iter().map(|&(part, _)| {
        let cells = overview.layers().iter().filter_map(|layer| layer.cell(part));
        (part, true, cells.map(|cell| cell.sums.gram.v_v).sum::<f64>())
    });
    let beside = overview.beside().iter().filter_map(|group| match group.group {
        Group::Beside(part) => Some((part, false, group.all.gram.v_v)),
        Group::Layer(_) => None,
    });
    let held = inside.chain(beside).map(|(part, is_inside, v_sq)| {
        let (name, is_plural) = name(part, is_inside);
        Held { name, share: v_sq / overview.total.gram.v_v, is_inside, is_plural }
    });
    let mut held: Vec<Held> = held.filter(|part| part.share > 0.0).collect();
    held.sort_by(|a, b| b.share.total_cmp(&a.share));
    held
}

/// What a part is called within a sentence, and whether that is a plural.
fn name(part: Part, is_inside: bool) -> (String, bool) {
    let (name, is_plural) = match (part, is_inside) {
        (Part::Norm, true) => ("the norms", true),
        (Part::Norm, false) => ("the final norm", false),
        (Part::Expert, true) => ("the experts", true),
        (Part::Router, true) => ("the routers", true),
        (Part::Embed, _) => ("the embeddings", true),
        (Part::Head, _) => ("the output head", false),
        (Part::Other, true) => ("other tensors of the layers", true),
        (Part::Other, false) => ("other tensors outside the layers", true),
        (part, true) => (part.label(), false),
        (part, false) => return (format!("{part} outside the layers"), false),
    };
    (name.to_owned(), is_plural)
}

/// Those worth naming, of all in descending order.
fn most_of(mut held: Vec<Held>) -> Vec<Held> {
    let is_named = |at: usize| {
        let share = held[at].share;
        share >= MUCH || share >= COMPARABLE * held[0].share || share >= NEARLY_EQUAL * held[at - 1].share
    };
    let count = (1..held.len()).take_while(|&at| is_named(at)).count() + 1;
    held.truncate(count);
    held
}

/// Parts of the layers as one, what lies beside them by itself; the largest share first.
fn together(parts: Vec<Held>) -> Vec<Held> {
    let (inside, mut shown): (Vec<Held>, Vec<Held>) = parts.into_iter().partition(|part| part.is_inside);
    if let Some(first) = inside.first() {
        shown.push(Held {
            name: format::list(inside.iter().map(|part| part.name.as_str())),
            share: inside.iter().map(|part| part.share).sum(),
            is_inside: true,
            is_plural: inside.len() > 1 || first.is_plural,
        });
    }
    shown.sort_by(|a, b| b.share.total_cmp(&a.share));
    shown
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Measured, tensor};
    use super::*;

    fn said(tensors: &[(Option<u32>, Part, f64)]) -> String {
        let tensors = tensors.iter().map(|&(layer, part, v_sq)| tensor(layer, part, 1e4, v_sq)).collect();
        let measured = Measured::new(tensors);
        sentence(&measured.view(0.5)).map(|sentence| sentence.text().replace('\u{a0}', " ")).unwrap_or_default()
    }

    /// Layers whose gate holds these shares.
    fn layers(v_sq: &[f64]) -> Vec<(Option<u32>, Part, f64)> {
        (0..).zip(v_sq).map(|(layer, &v_sq)| (Some(layer), Part::Gate, v_sq)).collect()
    }

    /// One layer of these parts.
    fn parts(shares: &[(Part, f64)]) -> Vec<(Option<u32>, Part, f64)> {
        let layer = |part| if matches!(part, Part::Embed | Part::Head) { None } else { Some(0) };
        shares.iter().map(|&(part, v_sq)| (layer(part), part, v_sq)).collect()
    }

    #[test]
    fn layers_that_moved_furthest_are_named_and_parts_over_all_layers() {
        assert_eq!(
            said(&layers(&[1.0, 1.0, 9.0, 10.0, 2.0])),
            "Layers 2–3 moved furthest; over all layers gate holds 100 % of ‖v‖²."
        );
        let mut mixture = layers(&[1.0, 1.0, 1.0, 9.0]);
        mixture.extend([(Some(0), Part::Expert, 200.0), (Some(1), Part::Expert, 188.0)]);
        assert_eq!(said(&mixture), "Layers 0–1 moved furthest; over all layers the experts hold 97 % of ‖v‖².");
        assert_eq!(said(&layers(&[2.0, 2.0])), "All layers moved about as far; gate holds 100 % of ‖v‖².");
    }

    #[test]
    fn no_layer_that_came_as_far_is_left_out() {
        let far = |layers_far: &[usize]| {
            let v_sq: Vec<f64> = (0..12).map(|layer| if layers_far.contains(&layer) { 9.9 } else { 1.0 }).collect();
            said(&layers(&v_sq))
        };
        assert!(far(&[2]).starts_with("Layer 2 moved furthest;"));
        assert!(far(&[2, 5, 6, 11]).starts_with("Layers 2, 5–6 and 11 moved furthest;"));
        assert!(far(&[1, 3, 6, 7, 11]).starts_with("Layer 11 moved furthest, 4 others nearly as far;"));
    }

    #[test]
    fn every_part_that_holds_about_as_much_is_named() {
        let three = [(Part::Gate, 30.0), (Part::Up, 29.0), (Part::Down, 30.0), (Part::Q, 11.0)];
        assert_eq!(said(&parts(&three)), "Of ‖v‖² gate, down and up hold 89 %.");
        // Below half of the largest, but hardly less than the last one named.
        let chain = [(Part::Gate, 48.0), (Part::Up, 25.0), (Part::Down, 23.0), (Part::Q, 4.0)];
        assert_eq!(said(&parts(&chain)), "Of ‖v‖² gate, up and down hold 96 %.");
        let all = [Part::Q, Part::K, Part::V, Part::O, Part::Gate].map(|part| (part, 1.0));
        assert_eq!(said(&parts(&all)), "No part holds more than 20 % of ‖v‖².");
    }

    #[test]
    fn what_lies_beside_the_layers_is_named_with_its_own_share() {
        let mut tensors = layers(&[25.0, 5.0]);
        tensors.extend([(None, Part::Embed, 20.0), (None, Part::Head, 50.0)]);
        assert_eq!(
            said(&tensors),
            "Layer 0 moved furthest; the output head holds 50 % of ‖v‖², gate 30 %, the embeddings 20 %."
        );
        assert_eq!(said(&[(None, Part::Norm, 1.0)]), "Of ‖v‖² the final norm holds 100 %.");
        assert_eq!(
            said(&parts(&[(Part::Other, 6.0), (Part::Norm, 2.0), (Part::Embed, 2.0)])),
            "Of ‖v‖² other tensors of the layers and the norms hold 80 %, the embeddings 20 %."
        );
    }

    #[test]
    fn a_vector_of_nothing_is_nowhere() {
        assert_eq!(said(&layers(&[0.0, 0.0])), "");
        assert_eq!(said(&[]), "");
    }
}
