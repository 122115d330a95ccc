//! What can be said on the command line.

mod bench;
mod evaluate;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use mergescope_core::adapter::{AdapterPart, Ranks};
use mergescope_core::merge::{Part, Verify};
use mergescope_core::recipe::{ControlKind, Method, OutputDtype, Rounding};

use super::{exit, size};
use crate::report::svg::Theme;
pub use bench::BenchArgs;
pub use evaluate::{EngineArgs, Grid, PerturbationKind, ReferenceArg, SamplingArgs, ServerArgs, SweepArgs, TryArgs};

/// Workbench for reasoning vectors: v = post − pre, merged = target + w·v
///
/// Without a subcommand a window opens. MODEL, --pre, --post and --target take a model folder, a .safetensors, .bin or
/// .gguf file, or org/name[@revision] of a model in the local Hugging Face cache. Models are only ever read, and nothing is
/// downloaded but by `mergescope download`.
#[derive(Debug, Parser)]
#[command(name = "mergescope", version, after_help = exit::HELP)]
pub struct Cli {
    /// What to do; without it the window opens.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The work that can be done without a window.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do the whole job on the three small models that come with the program
    ///
    /// Preflight, the vector layer by layer, merge and report; then the window, if there is a display.
    #[command(after_help = exit::HELP)]
    Demo(DemoArgs),
    /// Download a model of the Hugging Face Hub into the local cache
    ///
    /// Shows the files and their size, and asks before anything is downloaded. What was begun is gone on from; every file is
    /// verified. HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE count as everywhere.
    #[command(after_help = exit::HELP)]
    Download(DownloadArgs),
    /// Show what a model is made of
    #[command(after_help = exit::HELP)]
    Inspect(InspectArgs),
    /// Say whether three models fit together, and what to do if not
    #[command(after_help = exit::HELP)]
    Preflight(PreflightArgs),
    /// Show what a vector looks like: by layer, by part, and in words
    ///
    /// Measures v = post − pre and writes nothing but what is asked for. Nothing is merged: w is only for a preview of what
    /// rounding would leave of w·v, and of how far target + w·v would be from the target.
    #[command(after_help = exit::HELP)]
    Analyze(AnalyzeArgs),
    /// Write target + w·(post − pre) as a new model
    #[command(after_help = exit::HELP)]
    Merge(MergeArgs),
    /// Let a model answer a prompt; with a recipe target + w·v does, merged while it loads
    ///
    /// Nothing is written. The answer appears as it is made.
    #[command(after_help = exit::HELP)]
    Try(Box<TryArgs>),
    /// Ask the same questions at several w, and tell a gain from luck
    ///
    /// Models are merged while they load; nothing but answers is written. Run again, it goes on where it was stopped.
    #[command(after_help = exit::HELP)]
    Sweep(Box<SweepArgs>),
    /// Write post − pre as a folder of its own, which merges take in place of the two models
    #[command(after_help = exit::HELP)]
    SaveVector(SaveVectorArgs),
    /// List the merges of the past, show the recipe of one, or compare two
    ///
    /// They are numbered from the latest, which is 1. Whoever merges in the window or here, it is the same list.
    #[command(after_help = exit::HELP)]
    History(HistoryArgs),
    /// Write w·(post − pre) as a low-rank adapter (LoRA) for the target
    ///
    /// A small folder that PEFT loads, and with the default parts and ranks vLLM and llama.cpp's convert_lora_to_gguf.py
    /// too. How much of w·v it keeps is measured and told, and so is what it leaves out.
    #[command(after_help = exit::HELP)]
    Lora(LoraArgs),
    /// Measure merging and analysis on this machine, against the time that reading and writing the same bytes takes
    ///
    /// Makes models in the shape of real ones, measures in turns with and without them in the page cache, and tells ratios:
    /// times alone depend on what else the machine does.
    #[command(after_help = exit::HELP)]
    Bench(BenchArgs),
    /// List what was interrupted, with what is there of each
    ///
    /// `merge` to the same folder goes on with a merge; a vector, adapter or conversion begins anew. They lie in hidden folders
    /// beside the output that was to be.
    #[command(after_help = exit::HELP)]
    Unfinished(UnfinishedArgs),
    /// Write a model anew as safetensors in the Hub's layout, its weights bit for bit
    ///
    /// For PyTorch's .bin, GGUF files of plain floats, and models to be put into larger or smaller files.
    #[command(after_help = exit::HELP)]
    Convert(ConvertModelArgs),
    /// Check recipe files, and translate the merge files of mergekit
    #[command(subcommand)]
    Recipe(RecipeCommand),
}

/// What can be done with recipe files.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// Say what recipes do, whether they are sound, and whether their models are there
    ///
    /// Reads headers alone. Ends with 0 where every file could be merged as it is. Takes merge files of mergekit too.
    #[command(after_help = exit::HELP)]
    Check(RecipeCheckArgs),
    /// Write a merge file of mergekit (YAML) as a recipe
    ///
    /// What a recipe has no word for is named, and without --lossy nothing is written then.
    #[command(after_help = exit::HELP)]
    Import(ConvertArgs),
    /// Write a recipe as a merge file of mergekit (YAML)
    ///
    /// What mergekit has no word for is named, and without --lossy nothing is written then.
    #[command(after_help = exit::HELP)]
    Export(ConvertArgs),
}

/// Arguments of `unfinished`.
#[derive(Debug, Args)]
pub struct UnfinishedArgs {
    /// The folder that outputs were to be written into
    #[arg(default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
    /// Remove those that no process works on
    #[arg(long)]
    pub remove: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `recipe check`.
#[derive(Debug, Args)]
pub struct RecipeCheckArgs {
    /// Recipes, or merge files of mergekit
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `recipe import` and `recipe export`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The file to read
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave out what cannot be carried over
    #[arg(long)]
    pub lossy: bool,
    /// Replace the file to write, if there is one
    #[arg(long)]
    pub force: bool,
    /// How many layers the models have, where they are not at hand; gradients need it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9999))]
    pub layers: Option<u32>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder to write, which must not exist [default: a new one among the temporary files]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Open no window at the end
    #[arg(long)]
    pub no_window: bool,
    /// Scaling coefficient
    #[arg(short, long = "w", value_name = "W", default_value = "0.5", value_parser = w, allow_hyphen_values = true)]
    pub w: f64,
}

/// Arguments of `download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// The model, as ORG/NAME or ORG/NAME@REVISION with a branch, tag or commit
    #[arg(value_name = "ORG/NAME[@REVISION]")]
    pub model: String,
    /// Show what would be downloaded, and download nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Download without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Models to look into
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `preflight`.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// The model before fine-tuning
    #[arg(long, value_name = "MODEL", required_unless_present = "vector")]
    pub pre: Option<String>,
    /// The model after fine-tuning
    #[arg(long, value_name = "MODEL", required_unless_present = "vector")]
    pub post: Option<String>,
    /// A saved vector, in place of pre and post (`mergescope save-vector`)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pre", "post"])]
    pub vector: Option<String>,
    /// The model that the vector will be added to
    #[arg(long, value_name = "MODEL")]
    pub target: String,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// What a recipe can say too. Flags override the recipe.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// All but w.
    #[command(flatten)]
    pub models: ModelArgs,
    /// Scaling coefficient, such as 0.5 or -1 [default: 0.5]
    #[arg(short, long = "w", value_name = "W", value_parser = w, allow_hyphen_values = true)]
    pub w: Option<f64>,
}

/// What a recipe can say too, but for w. Flags override the recipe.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// The model before fine-tuning; `none` makes post a saved vector, or for linear, slerp and nuslerp a whole model
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["recipe", "vector"])]
    pub pre: Option<String>,
    /// The model after fine-tuning
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["recipe", "vector"])]
    pub post: Option<String>,
    /// A saved vector, in place of pre and post (`mergescope save-vector`)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pre", "post"])]
    pub vector: Option<String>,
    /// The model that the vector is added to
    #[arg(long, value_name = "MODEL", required_unless_present = "recipe")]
    pub target: Option<String>,
    /// Start from a recipe, such as the mergescope.toml beside a merged model, or from a merge file of mergekit; flags given
    /// here override it
    ///
    /// Relative paths in the file are relative to its folder. A merge file that says what a recipe cannot is refused; see
    /// `mergescope recipe import`.
    /// The recipe's fingerprints make sure that its models are the same as then; with --pre, --post or --target they
    /// do not count.
    #[arg(long = "recipe", id = "recipe", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Element type of the output's floats [default: target, each tensor as in the target]
    #[arg(long, value_parser = one_of(&OutputDtype::ALL, OutputDtype::label))]
    pub dtype: Option<OutputDtype>,
    /// How sums become elements of that type [default: nearest]
    ///
    /// The mergekit modes give the bits of mergekit 0.1.5's task_arithmetic with dtype float32 or bfloat16.
    #[arg(long, value_parser = one_of(&Rounding::ALL, Rounding::label))]
    pub rounding: Option<Rounding>,
}

/// What the work may use.
#[derive(Debug, Args)]
pub struct ResourceArgs {
    /// Worker threads; the result does not depend on it [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory for buffers, whatever the models' size; the result does not depend on it [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub memory: Option<u64>,
}

/// Arguments of `analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// v itself does not depend on w and the output; they count for the preview of a merge.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Singular values and magnitudes of a tensor of v; may be given several times
    ///
    /// They tell how many directions v moves the tensor in, whether a low-rank adapter could hold it, and whether these
    /// are directions in which pre was strong already.
    /// Of a stack of experts NAME[3] is expert 3. What is no matrix, such as the weights of a norm, has magnitudes alone.
    #[arg(long, value_name = "TENSOR")]
    pub spectrum: Vec<String>,
    /// Another vector to compare v with, by its own pre and post; may be given several times
    #[arg(long, num_args = 2, value_names = ["PRE", "POST"])]
    pub other: Vec<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// Write a CSV file for each table to this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    pub csv: Option<PathBuf>,
    /// Write an SVG file for each chart to this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
    /// Write one page with everything in it to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Colour norms, RMS and max |v| in layer × part charts by their logarithm, so that small ones differ too
    #[arg(long)]
    pub log: bool,
    /// Colours of the charts; auto follows the reader's system
    #[arg(long, default_value = "auto", value_parser = one_of(&Theme::ALL, Theme::label))]
    pub theme: Theme,
    /// What the work may use.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Measure anew, and keep nothing for the next time
    #[arg(long)]
    pub no_cache: bool,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// What is merged, and how.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// How vectors are combined, and what of them is kept.
    #[command(flatten)]
    pub method: MethodArgs,
    /// Folder to write, which must not exist
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of all that is drawn at random: stochastic rounding, DARE, DELLA, controls [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Most bytes of tensors in one weight file, such as 5GB or 2GiB [default: 5GB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub shard_size: Option<u64>,
    /// Carry NaN and infinity in a model through instead of refusing them
    #[arg(long)]
    pub allow_nonfinite: bool,
    /// Go on with a run of the same that was interrupted, or do nothing; without this one is gone on with if it is there. Where it
    /// has ended meanwhile, that is said and no error
    #[arg(long, conflicts_with_all = ["anew", "dry_run"])]
    pub resume: bool,
    /// Begin anew, and remove what a run to the same folder left that was interrupted
    #[arg(long)]
    pub anew: bool,
    /// Whether what was written is read back and held against what was meant, and from where [default: memory]
    ///
    /// memory reads it as the system holds it, while it is on its way to the disk; disk waits for that and reads it from there,
    /// which takes longer. The hashes in report and card are of what was meant, with none as well.
    #[arg(long, value_parser = one_of(&Verify::ALL, Verify::label))]
    pub verify: Option<Verify>,
    /// Write one part of the merge, such as 2/8 for the second of eight: some of its weight files, for many machines at once
    ///
    /// Parts share a hidden folder beside DIR, and may be written in any order and at the same time by machines that have it.
    /// One that was interrupted goes on when it is started again; of one that is written nothing is done. When all are, run the
    /// same command with --finish. A merge is divided by its weight files: --shard-size makes more of them.
    #[arg(long, value_name = "I/N", value_parser = |text: &str| text.parse::<Part>(), conflicts_with_all = ["finish", "resume", "dry_run", "verify"])]
    pub part: Option<Part>,
    /// Put the parts together: see that all are written, read them back, and make DIR appear
    #[arg(long, conflicts_with_all = ["resume", "anew", "dry_run"])]
    pub finish: bool,
    /// What the work may use.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Check everything and say what would be written, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// What a recipe says of its method. Numbers that a method has no use for are refused.
#[derive(Debug, Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArgs {
    /// How vectors are combined [default: task_arithmetic]
    ///
    /// The names and defaults are mergekit's. linear and slerp take whole models, and nuslerp can: `none` in place of their PRE.
    #[arg(long, value_parser = one_of(&Method::ALL, Method::label))]
    pub method: Option<Method>,
    /// A further vector, with its own coefficient; may be given several times
    ///
    /// `none` for PRE makes POST a saved vector or a whole model. `-` for W where the method has no use for one.
    #[arg(long, num_args = 3, value_names = ["PRE", "POST", "W"], allow_hyphen_values = true)]
    pub also: Vec<String>,
    /// Share of each tensor's elements that are kept, 0 to 1 (ties, trim, dare, della, breadcrumbs); of every vector
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub density: Option<f64>,
    /// Share of the largest elements that breadcrumbs drops [default: 0.01]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub gamma: Option<f64>,
    /// Half the spread of DELLA's probabilities [default: 0.15]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub epsilon: Option<f64>,
    /// Scale what is kept until its magnitudes add up to those of the whole vector [default: true for dare and della]
    #[arg(long, value_name = "BOOL")]
    pub rescale: Option<bool>,
    /// Divide by the sum of the weights that took part [default: true for ties, della and linear]
    #[arg(long, value_name = "BOOL")]
    pub normalize: Option<bool>,
    /// What the combined vector is multiplied by [default: 1]
    #[arg(long, value_name = "X", value_parser = w, allow_hyphen_values = true)]
    pub lambda: Option<f64>,
    /// Share of each tensor's elements that SCE selects [default: 1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub select_topk: Option<f64>,
    /// Put in the place of the first vector one that should not help, to tell its gain from chance
    #[arg(long, value_parser = one_of(&ControlKind::ALL, ControlKind::label))]
    pub control: Option<ControlKind>,
}

/// Arguments of `save-vector`.
#[derive(Debug, Args)]
pub struct SaveVectorArgs {
    /// The model before fine-tuning
    #[arg(long, value_name = "MODEL")]
    pub pre: String,
    /// The model after fine-tuning
    #[arg(long, value_name = "MODEL")]
    pub post: String,
    /// Folder to write, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Element type: f32 holds each difference to 24 bits, bf16 takes half the room and holds 8
    #[arg(long, default_value = "f32", value_parser = one_of(&VECTOR_DTYPES, OutputDtype::label))]
    pub dtype: OutputDtype,
    /// What the work may use.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub struct ConvertModelArgs {
    /// The model
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Folder to write, which must not exist
    #[arg(short, long, visible_alias = "output", value_name = "DIR")]
    pub out: PathBuf,
    /// Most bytes of tensors in one weight file, such as 5GB or 2GiB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size::parse)]
    pub shard_size: u64,
    /// What the work may use.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lora`.
#[derive(Debug, Args)]
pub struct LoraArgs {
    /// What is decomposed. Factors are rounded to nearest whatever --rounding says.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Folder to write, which must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Rank of the factors, or with --energy the highest [default: 16]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub rank: Option<u32>,
    /// Share of each tensor's ‖w·v‖² to keep, such as 0.9: it gets the lowest rank that does
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub energy: Option<f64>,
    /// How ranks that differ are written [default: uniform]
    ///
    /// uniform fills up with zeros to the highest, which every program takes; per-tensor is smaller, and llama.cpp reads it wrong.
    #[arg(long, value_parser = one_of(&Ranks::ALL, Ranks::label))]
    pub ranks: Option<Ranks>,
    /// What goes in, separated by commas [default: attention,mlp]
    ///
    /// Norms and biases are stored whole, which PEFT alone takes. Embeddings that are the output head too are always left
    /// out. other is matrices of unknown name and routers, taken for linear layers.
    #[arg(long, value_name = "PART,…", value_delimiter = ',', value_parser = one_of(&AdapterPart::ALL, AdapterPart::label))]
    pub parts: Vec<AdapterPart>,
    /// Write v itself, without w and its spread, to be weighted where it is loaded
    #[arg(long)]
    pub vector_alone: bool,
    /// Take NaN and infinity in a model as no change instead of refusing them
    #[arg(long)]
    pub allow_nonfinite: bool,
    /// What the work may use.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Check everything and say what would be written, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// What to do; without it they are listed
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with merges of the past.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Print the recipe of a merge, as run, with the fingerprints of its models
    Show {
        /// Its number
        number: usize,
        /// Write the recipe to this file, which must not exist
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say in what the recipes of two merges differ
    Diff {
        /// The number of the one
        left: usize,
        /// The number of the other
        right: usize,
    },
    /// Forget all of them; what they wrote stays
    Clear,
}

/// What a vector can be saved in.
const VECTOR_DTYPES: [OutputDtype; 3] = [OutputDtype::F32, OutputDtype::Bf16, OutputDtype::F16];

/// A number, with a hyphen or a minus sign. Whether it can scale anything is for the engine to say.
fn w(text: &str) -> Result<f64, String> {
    text.replace('−', "-").parse().map_err(|_| "w is a number, such as 0.5 or -1".to_owned())
}

/// Takes the label of one of the engine's choices.
fn one_of<T>(all: &'static [T], label: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|&choice| label(choice))).try_map(move |text| {
        let chosen = all.iter().copied().find(|&choice| label(choice) == text);
        chosen.ok_or_else(|| format!("{text} is none of the choices"))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn merge(args: &[&str]) -> Result<MergeArgs, clap::Error> {
        let given = ["mergescope", "merge", "--out", "o", "--pre", "a", "--post", "b", "--target", "c"];
        match Cli::try_parse_from(given.iter().chain(args))?.command {
            Some(Command::Merge(args)) => Ok(args),
            other => panic!("not merge but {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn w_may_be_negative_however_it_is_written() {
        for (args, w) in [(["-w", "-0.5"], -0.5), (["-w", "−1"], -1.0), (["--w", "-1e-3"], -1e-3), (["-w", "2"], 2.0)]
        {
            assert_eq!(merge(&args).unwrap().recipe.w, Some(w), "{args:?}");
        }
        assert_eq!(merge(&["-w-2"]).unwrap().recipe.w, Some(-2.0));
        assert!(merge(&["-w", "much"]).unwrap_err().to_string().contains("w is a number"));
    }

    #[test]
    fn every_choice_of_the_engine_can_be_made() {
        for dtype in OutputDtype::ALL {
            assert_eq!(merge(&["--dtype", dtype.label()]).unwrap().recipe.models.dtype, Some(dtype));
        }
        for rounding in Rounding::ALL {
            assert_eq!(merge(&["--rounding", rounding.label()]).unwrap().recipe.models.rounding, Some(rounding));
        }
        let message = merge(&["--dtype", "bf61"]).unwrap_err().to_string();
        assert!(message.contains("target, bf16, f16, f32"), "{message}");
    }

    #[test]
    fn models_come_from_flags_or_a_recipe() {
        assert!(Cli::try_parse_from(["mergescope", "merge", "--out", "o", "--pre", "a"]).is_err());
        assert!(Cli::try_parse_from(["mergescope", "merge", "--out", "o", "--recipe", "r"]).is_ok());
    }
}
