//! What was asked and answered, kept so that nothing is generated twice; and results that others measured.
//!
//! A [`SampleLog`] is a file of one JSON line for each generation. A [`SampleKey`] says what a generation depends on: a sweep
//! that was stopped goes on by leaving out the keys that the log has. Grades are not in it: they follow from the text, and
//! another grader needs no new generation. [`mod@import`] reads results that others measured.

mod file;
pub mod import;
mod key;
mod lines;
mod sample;

pub use file::{Contents, DamagedLine, LogError, MAX_LOG_BYTES, SampleLog};
pub use key::{KeyParts, ModelKey, ModelParts, SampleKey};
pub use lines::MAX_LINE_BYTES;
pub use sample::{LoggedLikelihood, Sample};

#[cfg(test)]
mod tests;
