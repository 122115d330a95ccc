//! Arguments of what lets models answer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mergescope_core::engine::server::{Delivery, PathMapping};
use mergescope_core::engine::{Accelerator, Precision};
use mergescope_core::evaluate::grade::{Grader, Pattern};
use mergescope_core::evaluate::questions::AnswerForm;
use mergescope_core::evaluate::sweep::PromptArm;
use mergescope_core::recipe::ControlKind;

use super::{MethodArgs, ModelArgs, RecipeArgs, one_of};
use crate::evaluate::grid;
use crate::report::svg::Theme;

/// Both ways to name the models, which clap would not show together.
const TRY_USAGE: &str = "mergescope try --pre MODEL --post MODEL --target MODEL --prompt TEXT [OPTIONS]
       mergescope try --recipe FILE --prompt TEXT [OPTIONS]
       mergescope try --model MODEL --prompt TEXT [OPTIONS]";
/// The same for `sweep`.
const SWEEP_USAGE: &str = "mergescope sweep --pre MODEL --post MODEL --target MODEL --questions FILE [OPTIONS]
       mergescope sweep --recipe FILE --questions FILE [OPTIONS]";

/// Arguments of `try`.
#[derive(Debug, Args)]
#[command(override_usage = TRY_USAGE)]
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
    /// A server that answers instead.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `sweep`.
#[derive(Debug, Args)]
#[command(override_usage = SWEEP_USAGE)]
pub struct SweepArgs {
    /// What is merged, and how.
    #[command(flatten)]
    pub models: ModelArgs,
    /// How vectors are combined, and what of them is kept.
    #[command(flatten)]
    pub method: MethodArgs,
    /// Question file: JSONL, JSON, CSV or TSV; which fields are question and answer is guessed
    #[arg(long, value_name = "FILE", required_unless_present = "spec")]
    pub questions: Option<PathBuf>,
    /// Values of w, such as 0,0.25,0.5 or -0.5:1.5:0.25 (from, to, step); 0 is always among them [default: 0,0.25,0.5,0.75,1]
    #[arg(short, long = "w", value_name = "W,…", allow_hyphen_values = true, value_parser = Grid::parse)]
    pub w: Option<Grid>,
    /// The experiment of a paper: grid, ways of asking, controls and grader as there
    #[arg(long, value_parser = ["arXiv-2508.02913", "arXiv-2509.01363"])]
    pub preset: Option<String>,
    /// Start from the sweep.toml of an earlier sweep; flags given here override it
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// Share of the questions to choose w on; the others are reported. 0 is none [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = split_share, allow_negative_numbers = true)]
    pub split: Option<f64>,
    /// Ask at most so many of the questions, drawn by a hash of their ids
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
    /// Answers to each question; more than one needs --temperature
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub samples: Option<u32>,
    /// Models of the recipe that answer too, as lines to compare with [default: post]
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    pub reference: Vec<ReferenceArg>,
    /// Vectors that should not help, measured at the w that is chosen
    #[arg(long, value_name = "CONTROL,…", value_delimiter = ',', value_parser = one_of(&ControlKind::ALL, ControlKind::label))]
    pub controls: Vec<ControlKind>,
    /// Measure the controls at every w
    #[arg(long, requires = "controls")]
    pub controls_everywhere: bool,
    /// What the sweep folder is called; it is continued if it is there [default: sweep-QUESTIONS]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Results that were measured elsewhere, beside these: a log of lm-eval, or CSV with w, question_id and right, or with w,
    /// right and n for counts
    #[arg(long, value_name = "FILE")]
    pub import: Vec<PathBuf>,
    /// How questions are put and graded.
    #[command(flatten)]
    pub asking: AskingArgs,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What answers.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// A server that answers instead.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Ask only at these w now, such as the one that a server has loaded; what the folder has is shown with it
    #[arg(long, value_name = "W,…", allow_hyphen_values = true, value_parser = Grid::parse)]
    pub only: Option<Grid>,
    /// Say what would be asked, with a first prompt, and ask nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Colours of the chart; auto follows the reader's system
    #[arg(long, default_value = "auto", value_parser = one_of(&Theme::ALL, Theme::label))]
    pub theme: Theme,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// A model that a sweep compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReferenceArg {
    /// The model before fine-tuning
    Pre,
    /// The model after fine-tuning
    Post,
    /// The target alone, where w = 0 has other vectors in it
    Target,
    /// No model
    None,
}

/// How questions are put and graded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Questions")]
pub struct AskingArgs {
    /// The prompt, with {question}, {choices} or any field of the file in braces [default: as fits the file]
    #[arg(long, value_name = "TEXT")]
    pub template: Option<String>,
    /// The template is raw text, not a message for the chat template
    #[arg(long, requires = "template")]
    pub raw: bool,
    /// Instructions for the whole conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// A further way of asking, beside the plain one, such as "steps=Think step by step."; may be given several times
    #[arg(long, value_name = "NAME=TEXT", value_parser = ask)]
    pub ask: Vec<PromptArm>,
    /// Answered examples before each question
    #[arg(long, value_name = "N")]
    pub examples: Option<usize>,
    /// Take the examples from this file, not from the first questions
    #[arg(long, value_name = "FILE", requires = "examples")]
    pub examples_file: Option<PathBuf>,
    /// Ask every question a second time, changed
    #[arg(long, value_name = "CHANGE")]
    pub perturb: Option<PerturbationKind>,
    /// Decides how questions are changed [default: 0]
    #[arg(long, value_name = "N", requires = "perturb")]
    pub perturb_seed: Option<u64>,
    /// Share of the letters of words that --perturb character-noise makes a slip at [default: 0.05]
    #[arg(long, value_name = "SHARE", requires = "perturb")]
    pub perturb_rate: Option<f64>,
    /// Graders, the one that counts first: strict, flexible, boxed, choice, exact, substring, or
    /// regex:PATTERN, which comes last [default: as fits]
    #[arg(long, value_name = "GRADER,…", value_parser = Graders::parse)]
    pub grader: Vec<Graders>,
    /// Take the likeliest choice instead of letting the model write
    #[arg(long, value_name = "BY", value_parser = ["letter", "text"])]
    pub choices_by: Option<String>,
    /// The field of the question
    #[arg(long, value_name = "FIELD")]
    pub question_field: Option<String>,
    /// The field of the answer
    #[arg(long, value_name = "FIELD")]
    pub answer_field: Option<String>,
    /// What the answer's field holds
    #[arg(long, value_parser = one_of(&AnswerForm::ALL, AnswerForm::label))]
    pub answer_form: Option<AnswerForm>,
    /// The field that tells questions apart
    #[arg(long, value_name = "FIELD")]
    pub id_field: Option<String>,
    /// The fields of the choices, or one that holds a list
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',')]
    pub choices_field: Vec<String>,
}

/// How questions are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PerturbationKind {
    /// A sentence that has nothing to do with the question
    IrrelevantSentence,
    /// Sentences before the last in another order
    ShuffledSentences,
    /// Slips in one letter of twenty
    CharacterNoise,
    /// Other numbers, where the answer can be computed
    ChangedNumbers,
}

/// A server that answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Ask this OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama) instead of running the model here
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// How w reaches it [default: as_loaded]
    ///
    /// as_loaded: somebody has loaded the model. sglang: each merge is written and loaded. vllm_lora: w·v as an adapter for each
    /// w. llama_cpp_lora: the adapter that it was started with, scaled for each request. Adapters keep less than a merge does.
    #[arg(long, requires = "server", value_parser = one_of(&Delivery::ALL, Delivery::label))]
    pub server_delivery: Option<Delivery>,
    /// The model's name there [default: the first that it lists]
    #[arg(long, value_name = "NAME", requires = "server")]
    pub server_model: Option<String>,
    /// Environment variable that holds the key; the key itself is never written anywhere
    #[arg(long, value_name = "VARIABLE", requires = "server")]
    pub server_key_env: Option<String>,
    /// Where the server finds a folder of this machine; may be given several times
    #[arg(long, value_name = "LOCAL=THERE", requires = "server", value_parser = path_mapping)]
    pub server_path: Vec<PathMapping>,
    /// Folder for the merges or adapters that a server is to load; they stay there [default: beside the sweep]
    #[arg(long, value_name = "DIR", requires = "server")]
    pub server_folder: Option<PathBuf>,
    /// Number of llama.cpp's adapter [default: 0]
    #[arg(long, value_name = "N", requires = "server")]
    pub server_lora_id: Option<u32>,
    /// Requests at the same time [default: 8]
    #[arg(long, value_name = "N", requires = "server", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub server_concurrency: Option<u16>,
    /// Longest wait for the next part of an answer, in seconds [default: 600]
    #[arg(long, value_name = "SECONDS", requires = "server", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub server_timeout: Option<u64>,
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
    #[arg(long, value_name = "T", value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: Option<f64>,
    /// Draw among the likeliest tokens that together have this probability [default: 1]
    #[arg(long, value_name = "P", value_parser = above_zero::<1>, allow_negative_numbers = true)]
    pub top_p: Option<f64>,
    /// Draw among so many of the likeliest tokens [default: all]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Make tokens that occurred less likely; 1 does nothing [default: 1]
    #[arg(long, value_name = "X", value_parser = above_zero::<100>, allow_negative_numbers = true)]
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

/// Values of w.
#[derive(Clone, Debug)]
pub struct Grid(pub Vec<f64>);

impl Grid {
    fn parse(text: &str) -> Result<Self, String> {
        grid::parse(text).map(Self)
    }
}

/// Graders that were named together.
#[derive(Clone, Debug)]
pub struct Graders(pub Vec<Grader>);

impl Graders {
    /// Graders by name, separated by commas. A pattern may hold commas itself, so all that follows `regex:` is the pattern.
    fn parse(text: &str) -> Result<Self, String> {
        let mut graders = Vec::new();
        let mut rest = Some(text);
        while let Some(names) = rest {
            if let Some(pattern) = names.trim_start().strip_prefix("regex:") {
                if pattern.is_empty() {
                    return Err("regex: needs a pattern behind it, such as regex:Answer: (\\d+)".to_owned());
                }
                graders.push(Grader::Regex(Pattern::new(pattern).map_err(|error| error.to_string())?));
                break;
            }
            let (name, others) = names.split_once(',').map_or((names, None), |(name, others)| (name, Some(others)));
            let found = Grader::BUILT_IN.into_iter().find(|grader| grader.label() == name.trim());
            graders.push(found.ok_or_else(|| {
                let known: Vec<_> = Grader::BUILT_IN.iter().map(Grader::label).collect();
                format!("expected {} or regex:PATTERN, not {name:?}", known.join(", "))
            })?);
            rest = others;
        }
        Ok(Self(graders))
    }
}

fn ask(text: &str) -> Result<PromptArm, String> {
    let (label, instruction) =
        text.split_once('=').ok_or("write it as NAME=TEXT, such as steps=Think step by step.")?;
    Ok(PromptArm { label: label.to_owned(), instruction: instruction.to_owned() })
}

fn path_mapping(text: &str) -> Result<PathMapping, String> {
    let (local, there) = text.split_once('=').ok_or("write it as LOCAL=THERE")?;
    Ok(PathMapping { local: PathBuf::from(local), server: there.to_owned() })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected a whole number from 1 on".to_owned())
}

fn number(text: &str, fits: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    // A minus sign may have come from a paper.
    let number: Option<f64> = text.replace('−', "-").parse().ok();
    number.filter(|number| fits(*number)).ok_or_else(|| format!("expected {expected}"))
}

fn temperature(text: &str) -> Result<f64, String> {
    number(text, |number| (0.0..=100.0).contains(&number), "a number from 0 to 100")
}

fn above_zero<const MOST: i32>(text: &str) -> Result<f64, String> {
    let fits = |number: f64| number > 0.0 && number <= f64::from(MOST);
    number(text, fits, &format!("a number above 0 and up to {MOST}"))
}

/// Some questions must be left to report on.
fn split_share(text: &str) -> Result<f64, String> {
    number(text, |share| (0.0..1.0).contains(&share), "a share from 0 up to, but not, 1, such as 0.5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_end_a_list_of_graders() {
        let labels = |text: &str| -> Vec<String> {
            let Graders(graders) = Graders::parse(text).unwrap();
            let shown = |grader: &Grader| match grader {
                Grader::Regex(pattern) => pattern.as_str().to_owned(),
                other => other.label().to_owned(),
            };
            graders.iter().map(shown).collect()
        };
        assert_eq!(labels("flexible, strict"), ["flexible", "strict"]);
        assert_eq!(labels("flexible,regex:a{1,2},strict"), ["flexible", "a{1,2},strict"]);
        assert_eq!(labels("regex:x,y"), ["x,y"]);
        for wrong in ["", "flexible,", "foo", "regex:", "flexible,regex:", "regex:("] {
            assert!(Graders::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Graders::parse("kind").unwrap_err().contains("expected strict, flexible"));
    }
}
