//! The vector by layer and by part: sums of sums.

use crate::layout::{Part, Place};

use super::{Sums, TensorAnalysis, VectorAnalysis};

/// A layer, or something beside the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

/// A row of the layer × part grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// What its tensors do.
    pub part: Part,
    /// One expert of a mixture, where experts are shown one by one; `None` for a part as a whole.
    pub expert: Option<u32>,
}

/// The tensors of one layer (or beside the layers) and one row, taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its layer, or what it is beside the layers.
    pub group: Group,
    /// Its part, or expert.
    pub row: Row,
    /// Positions in [`VectorAnalysis::tensors`].
    pub tensors: Vec<usize>,
    /// Their sums.
    pub sums: Sums,
}

/// A layer, or something beside the layers, with its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSums {
    /// Which.
    pub group: Group,
    /// Over all its tensors.
    pub all: Sums,
    /// By part, in the order of [`Part::ALL`]; experts taken together.
    pub cells: Vec<Cell>,
}

impl GroupSums {
    /// The cell of a part; `None` when the group has none.
    pub fn cell(&self, part: Part) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.row.part == part)
    }

    /// The share of the group's ‖v‖² that lies in a part; 0 when v is zero.
    pub fn share(&self, part: Part) -> f64 {
        let part_sq = self.cell(part).map_or(0.0, |cell| cell.sums.gram.v_v);
        if self.all.gram.v_v > 0.0 { part_sq / self.all.gram.v_v } else { 0.0 }
    }
}

/// The vector by layer and part, and over all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Layers in order, then embeddings, head, final norm and the rest.
    pub groups: Vec<GroupSums>,
    /// Each part that occurs, over all layers and beside them, in the order of [`Part::ALL`].
    pub parts: Vec<(Part, Sums)>,
    /// Over all tensors.
    pub total: Sums,
}

impl Overview {
    /// Adds up the tensors of an analysis.
    pub fn new(analysis: &VectorAnalysis) -> Self {
        let mut groups: Vec<GroupSums> = Vec::new();
        for cell in cells(analysis, |tensor| Row { part: tensor.place.part, expert: None }) {
            match groups.last_mut().filter(|last| last.group == cell.group) {
                Some(last) => {
                    last.all.add(&cell.sums);
                    last.cells.push(cell);
                }
                None => groups.push(GroupSums { group: cell.group, all: cell.sums, cells: vec![cell] }),
            }
        }
        let mut parts = Vec::new();
        for part in Part::ALL {
            let cells: Vec<&Cell> = groups.iter().filter_map(|group| group.cell(part)).collect();
            if !cells.is_empty() {
                parts.push((part, cells.into_iter().map(|cell| &cell.sums).sum()));
            }
        }
        let total = groups.iter().map(|group| &group.all).sum();
        Self { groups, parts, total }
    }

    /// The layers, without what is beside them.
    pub fn layers(&self) -> &[GroupSums] {
        let end = self.groups.partition_point(|group| matches!(group.group, Group::Layer(_)));
        &self.groups[..end]
    }

    /// Embeddings, head, final norm and the rest.
    pub fn beside(&self) -> &[GroupSums] {
        &self.groups[self.layers().len()..]
    }
}

/// Each expert of each layer, over its projections; none for a model without numbered experts.
pub fn expert_cells(analysis: &VectorAnalysis) -> Vec<Cell> {
    let row = |tensor: &TensorAnalysis| Row { part: tensor.place.part, expert: tensor.place.expert };
    let mut cells = cells(analysis, row);
    cells.retain(|cell| cell.row.expert.is_some());
    cells
}

/// The cells that `row` divides the tensors into, by group, then by row.
fn cells(analysis: &VectorAnalysis, row: impl Fn(&TensorAnalysis) -> Row) -> Vec<Cell> {
    let shown_at = |part: Part| Part::ALL.iter().position(|&known| known == part);
    let key = |(group, row): (Group, Row)| (group.rank(), shown_at(row.part), row.expert);
    let mut places: Vec<(Group, Row, usize)> = analysis
        .tensors
        .iter()
        .enumerate()
        .map(|(position, tensor)| (Group::of(tensor.place), row(tensor), position))
        .collect();
    places.sort_by_key(|&(group, row, position)| (key((group, row)), position));
    places
        .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .map(|places| {
            let (group, row, _) = places[0];
            let tensors: Vec<usize> = places.iter().map(|(.., position)| *position).collect();
            let sums = tensors.iter().map(|&position| &analysis.tensors[position].sums).sum();
            Cell { group, row, tensors, sums }
        })
        .collect()
}
