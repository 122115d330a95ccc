//! Layers, parts and experts by name.

use std::collections::BTreeSet;

use mergescope_core::analysis::{Group, Row};
use mergescope_core::layout::{Part, Place};

use crate::format;

/// A group's name on an axis or in a table: `19`, `embed`.
pub fn group_short(group: Group) -> String {
    match group {
        Group::Layer(layer) => layer.to_string(),
        Group::Beside(part) => part.label().to_owned(),
    }
}

/// A group's name in a heading: `Layer 19`, `Embeddings`.
pub fn group_title(group: Group) -> String {
    match group {
        Group::Layer(layer) => format!("Layer {layer}"),
        Group::Beside(Part::Embed) => "Embeddings".to_owned(),
        Group::Beside(Part::Head) => "Output head".to_owned(),
        Group::Beside(Part::Norm) => "Final norm".to_owned(),
        Group::Beside(part) => format!("Outside the layers: {part}"),
    }
}

/// A row of the layer × part grid: `gate`, `expert 12`.
pub fn row_label(row: Row) -> String {
    match row.expert {
        None => row.part.label().to_owned(),
        Some(expert) if row.part == Part::Expert => format!("expert {expert}"),
        Some(expert) => format!("{} of expert {expert}", row.part),
    }
}

/// What tensors at those places are together: `2 tensors`, `128 experts`, `8 experts and 3 other tensors`.
///
/// Experts are counted however their weights are divided into tensors.
pub fn members(places: impl IntoIterator<Item = Place>) -> String {
    let (mut experts, mut others) = (BTreeSet::new(), 0);
    for place in places {
        match place.expert {
            Some(expert) => _ = experts.insert((place.layer, expert)),
            None => others += 1,
        }
    }
    match (experts.len(), others) {
        (0, others) => format::plural(others, "tensor"),
        (experts, 0) => format::plural(experts, "expert"),
        (experts, others) => {
            format!("{} and {}", format::plural(experts, "expert"), format::plural(others, "other tensor"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_counted_and_not_their_tensors() {
        let place = |part, expert| Place { layer: Some(1), part, expert };
        assert_eq!(members([place(Part::Q, None); 2]), "2 tensors");
        let experts = [0, 0, 0, 1, 1, 1].map(|expert| place(Part::Expert, Some(expert)));
        assert_eq!(members(experts), "2 experts");
        assert_eq!(members(experts.into_iter().chain([place(Part::Expert, None)])), "2 experts and 1 other tensor");
    }

    #[test]
    fn everything_in_a_model_has_a_name() {
        let groups = [Group::Layer(19), Group::Beside(Part::Embed), Group::Beside(Part::Other)];
        assert_eq!(groups.map(group_short), ["19", "embed", "other"]);
        assert_eq!(groups.map(group_title), ["Layer 19", "Embeddings", "Outside the layers: other"]);
        let rows = [(Part::Gate, None), (Part::Expert, Some(3)), (Part::Router, Some(1))];
        let labels = rows.map(|(part, expert)| row_label(Row { part, expert }));
        assert_eq!(labels, ["gate", "expert 3", "router of expert 1"]);
    }
}
