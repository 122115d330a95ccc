//! What cells and shapes are called.

use mergescope_core::analysis::{Group, Row};

use crate::format;
use crate::vector::labels;

/// A cell's name: `Layer 19, gate`, `Layer 3, expert 17`, `Embeddings`.
pub fn cell(group: Group, row: Row) -> String {
    match group {
        Group::Beside(_) => labels::group_title(group),
        Group::Layer(_) => format!("{}, {}", labels::group_title(group), labels::row_label(row)),
    }
}

/// A shape: `4,864 × 896`.
pub fn shape(dims: &[u64]) -> String {
    dims.iter().map(|&dim| format::count(dim)).collect::<Vec<_>>().join(" × ")
}
