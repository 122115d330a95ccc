//! Arguments of what lets models answer.

use clap::Args;
use mergescope_core::engine::{Accelerator, Precision};

use super::{MethodArgs, RecipeArgs, one_of};

/// Arguments of `try`.
#[derive(Debug, Args)]
#[command(mut_arg("pre", |arg| arg.required_unless_present_any(["model"])))]
#[command(mut_arg("post", |arg| arg.required_unless_present_any(["model"])))]
#[command(mut_arg("target", |arg| arg.required_unless_present_any(["model"])))]
pub struct TryArgs {
    /// A model as it stands, in place of a recipe or of pre, post and target
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["pre", "post", "target", "vector", "recipe", "w"])]
    pub model: Option<String>,
    /// What is merged, and how.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// How vectors are combined, and what of them is kept.
    #[command(flatten)]
    pub method: MethodArgs,
    /// What the model is asked
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Instructions for the whole conversation
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Let the model continue the prompt as it stands, without its chat template
    ///
    /// A model that has no chat template is always given the prompt so.
    #[arg(long)]
    pub raw: bool,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What answers.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// How tokens are chosen, and when an answer ends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Cut the answer off after so many tokens [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// 0 takes the likeliest token, 1 draws as the model says, more is bolder [default: 0]
    #[arg(long, value_name = "T", value_parser = number::<0, 100>)]
    pub temperature: Option<f64>,
    /// Draw among the likeliest tokens that together have this probability [default: 1]
    #[arg(long, value_name = "P", value_parser = number::<0, 1>)]
    pub top_p: Option<f64>,
    /// Draw among so many of the likeliest tokens [default: all]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Make tokens that occurred less likely; 1 does nothing [default: 1]
    #[arg(long, value_name = "X", value_parser = number::<0, 100>)]
    pub repetition_penalty: Option<f64>,
    /// What is drawn at random follows from this [default: 0]
    #[arg(long = "sampling-seed", visible_alias = "seed", value_name = "N")]
    pub seed: Option<u64>,
}

/// What answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Number format of the weights in memory [default: f32]
    ///
    /// q8_0 is a fast preview: its rounding can hide a small step in w.
    #[arg(long, value_parser = one_of(&Precision::ALL, Precision::label))]
    pub precision: Option<Precision>,
    /// Where the model runs [default: cpu]
    #[arg(long, value_parser = one_of(&Accelerator::ALL, Accelerator::label))]
    pub device: Option<Accelerator>,
    /// Most answers that are made at the same time [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: Option<u16>,
}

/// A number of a range.
fn number<const LEAST: i32, const MOST: i32>(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| (f64::from(LEAST)..=f64::from(MOST)).contains(number));
    number.ok_or_else(|| format!("expected a number from {LEAST} to {MOST}"))
}
