//! Pictures as SVG, drawn without a window: the same numbers always give the same bytes.
//!
//! Every colour is a class, so that one picture is light or dark as its reader is. Continuous scales have 33 steps
//! from end to end. Bars, cells and curves carry a `<title>` that says their number, which browsers show under the pointer.

mod paper;
mod style;

pub use paper::{Drawing, escape};
pub use style::{Theme, css};

/// The last step of a continuous colour scale; the first is 0.
pub const LEVELS: usize = 32;
