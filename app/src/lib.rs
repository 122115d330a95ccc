//! Mergescope, the program: one engine (`mergescope-core`) shown in a window or on a command line.
//!
//! Both build the same [`Recipe`](mergescope_core::recipe::Recipe) and call the same functions.

pub mod bench;
pub mod bundled;
pub mod cli;
pub mod curve_edit;
pub mod demo;
pub mod evaluate;
pub mod format;
pub mod past;
pub mod report;
pub mod served;
pub mod vector;
pub mod window;
