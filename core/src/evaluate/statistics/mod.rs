//! Is a difference more than luck? Intervals and exact tests for shares of right answers, also with few questions.
//!
//! Nothing here rests on a normal approximation of a share, which fails at 30 questions and near 0 and 100 %. What cannot be
//! said (of no questions, say) is `None`, never NaN.

mod bootstrap;
mod fisher;
mod holm;
mod interval;
mod paired;
mod power;
mod samples;
mod special;

pub use bootstrap::{RESAMPLES, paired_bootstrap};
pub use fisher::{fisher_exact, unpaired_interval};
pub use holm::holm;
pub use interval::{Confidence, ConfidenceError, Interval, Share};
pub use paired::Paired;
pub use power::{PairedDesign, mcnemar_power};
pub use samples::{Attempts, Average, pass_at_k};
