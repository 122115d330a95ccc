//! The engine of Mergescope.
//!
//! Fine-tuning teaches a model a skill; v = post − pre is that skill as a vector over the weights, and target + w·v
//! carries it to another model of the same shape (task arithmetic: arXiv 2212.04089; for reasoning: arXiv 2509.01363 and
//! arXiv 2508.02913). This crate opens the three checkpoints, says whether they fit, measures v and writes the merged
//! model, in bounded memory and without ever touching its inputs. It knows nothing of windows or terminals.
//!
//! Modules stand in the order in which data passes through them; each may use those above it and none below.

pub mod error;
pub mod positional;
pub mod progress;

mod open_files;

mod http;

pub mod hub;

pub mod checkpoint;

mod numeric;

pub mod layout;

pub mod alignment;

pub mod preflight;

pub mod scaling;

pub mod recipe;

mod method;

pub mod stream;

pub mod analysis;

pub mod merge;

pub mod adapter;

pub mod engine;

pub mod evaluate;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

#[cfg(feature = "benching")]
pub mod benching;
