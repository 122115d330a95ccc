//! What the window and the command line share about a sweep: its words, tables and chart.

pub mod chart;
pub mod failures;
pub mod grid;
pub mod pace;
pub mod page;
pub mod presets;
pub mod tables;
pub mod words;
