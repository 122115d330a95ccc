//! What the window and the command line share about a measured vector: its numbers, words, tables and colours.
//!
//! Nothing here draws on a screen or reads a weight. [`View`] puts a measurement together with a w and an output;
//! [`Figures`] are the numbers of any set of its tensors, [`summary`](summary::summary) says in words what stands out,
//! [`tables`] hold what each chart shows.

mod colour_scale;
pub mod figures;
pub mod labels;
pub mod layer_cosine;
pub mod magnitudes;
pub mod metric;
pub mod pairs;
mod part_set;
pub mod spectra;
pub mod summary;
pub mod svg;
pub mod tables;
#[cfg(test)]
mod testing;
mod view;
mod whereabouts;

pub use colour_scale::{Amounts, ColourScale, extremes};
pub use figures::Figures;
pub use layer_cosine::LayerCosine;
pub use metric::{Metric, Scale};
pub use pairs::Pair;
pub use part_set::PartSet;
pub use summary::{Chart, Piece, Sentence, summary};
pub use view::{View, tensors_of};
