//! Layers, parts and experts by name.

use mergescope_core::analysis::{Group, Row};
use mergescope_core::layout::Part;

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

#[cfg(test)]
mod tests {
    use super::*;

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
