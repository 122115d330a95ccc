//! Arguments of `bench`.

use std::path::PathBuf;

use clap::Args;

use super::{ResourceArgs, one_of};
use crate::bench::shape::Shape;
use crate::bench::step::Step;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The model whose shape the made-up ones have
    #[arg(long, default_value = "qwen2.5-0.5b", value_parser = one_of(&Shape::ALL, Shape::label))]
    pub shape: Shape,
    /// Folder for the models, on the disk that is to be measured: they stay in DIR/mergescope-bench for the next time [default: a
    /// new one among the temporary files, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Models full of holes that read as zeros: they take no room, whatever their size, and show what memory a size takes and what a
    /// number of tensors costs
    #[arg(long)]
    pub sparse: bool,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub turns: u32,
    /// What is measured, separated by commas: its floor comes with it [default: merge,analysis]
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = one_of(&Step::ALL, Step::label))]
    pub steps: Vec<Step>,
    /// Measure only with the models in memory, not also with an empty page cache
    #[arg(long)]
    pub warm: bool,
    /// Another program to be measured in the same turns against the merge: it is run with the folders of pre, post and target and
    /// the one to write, and its whole time counts. Words are separated by spaces
    #[arg(long, value_name = "COMMAND")]
    pub beside: Option<String>,
    /// What the work may use.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// Do one step once, on models that are there, and print its seconds: what the benchmark runs in a process of its own.
    #[arg(long, value_name = "STEP", hide = true, requires_all = ["dir", "scratch"], value_parser = one_of(&Step::ALL, Step::label))]
    pub step: Option<Step>,
    /// Where that step may write.
    #[arg(long, value_name = "DIR", hide = true)]
    pub scratch: Option<PathBuf>,
}
