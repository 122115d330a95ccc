//! `mergescope bench`: what merging and measuring cost here, against what reading and writing the same bytes costs.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::Context as _;
use mergescope_core::stream::Resources;
use serde_json::{Value, json};

use super::args::BenchArgs;
use super::exit::Exit;
use super::print::Printer;
use super::progress::Job;
use super::table::{Align, Table};
use crate::bench::cache;
use crate::bench::child::{Taken, watch};
use crate::bench::outcome::Outcome;
use crate::bench::step::Step;
use crate::bench::triple::BenchTriple;
use crate::bench::workplace::Workplace;
use crate::format;

/// What another program is called in the results.
const BESIDE: &str = "beside";

/// Prepares the models, measures in turns, and tells.
pub fn run(args: &BenchArgs) -> anyhow::Result<Exit> {
    if let (Some(step), Some(folder), Some(scratch)) = (args.step, &args.dir, &args.scratch) {
        let took = step.run(&BenchTriple::open(folder)?, scratch, &args.resources.resources())?;
        Printer::new(false).text(&took.as_secs_f64().to_string())?;
        return Ok(Exit::Done);
    }
    let printer = Printer::new(args.json);
    let job = Job::begin();
    let place = match &args.dir {
        Some(folder) => Workplace::of(&std::path::absolute(folder)?)?,
        None => Workplace::temporary()?,
    };
    printer.say(&format!("Models in the shape of {} in {}", args.shape.label(), format::path(place.folder())))?;
    let triple = BenchTriple::prepare(&place, args.shape, args.sparse, &job.control)?;
    let measured = Bench { args, triple: &triple, place, job }.measure()?;
    let bytes = measured.model_bytes;
    printer.text(&text(args, &measured))?;
    printer.document(&document(args, bytes, &measured))?;
    Ok(Exit::Done)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    triple: &'a BenchTriple,
    place: Workplace,
    job: Job,
}

/// What was measured with the models in memory, and on the disk alone.
struct Measured {
    /// Bytes of one model's weight files.
    model_bytes: u64,
    steps: Vec<Step>,
    warm: Outcome,
    cold: Option<Outcome>,
}

impl Bench<'_> {
    fn measure(&self) -> anyhow::Result<Measured> {
        let steps = steps(&self.args.steps);
        let files = self.triple.all_weights()?;
        let target = self.triple.weights("target")?;
        let model_bytes = target.iter().map(|path| Ok(fs::metadata(path)?.len())).sum::<std::io::Result<u64>>()?;
        // Holes are on no disk, and would only drive other files out of the cache.
        let is_cold = !self.args.warm && !self.args.sparse && cache::CAN_EVICT;
        let (mut warm, mut cold) = (Outcome::default(), Outcome::default());
        for turn in 0..self.args.turns as usize {
            // Each begins another turn, so that what gets slower with time is nobody's disadvantage.
            let mut order = steps.clone();
            order.rotate_left(turn % steps.len());
            if !self.args.sparse {
                cache::warm(&files)?;
            }
            for step in &order {
                warm.add(step.label(), self.step(*step)?);
            }
            if let Some(command) = &self.args.beside {
                warm.add(BESIDE, self.beside(command)?);
            }
            if !is_cold {
                continue;
            }
            for step in &order {
                cache::evict(&files)?;
                cold.add(step.label(), self.step(*step)?);
            }
            if let Some(command) = &self.args.beside {
                cache::evict(&files)?;
                cold.add(BESIDE, self.beside(command)?);
            }
        }
        Ok(Measured { model_bytes, steps, warm, cold: is_cold.then_some(cold) })
    }

    fn step(&self, step: Step) -> anyhow::Result<Taken> {
        let Resources { threads, memory_bytes, .. } = self.args.resources.resources();
        let program = env::current_exe().context("this program's own file cannot be found")?;
        let scratch = self.place.output();
        let mut command = Command::new(program);
        command.args(["bench", "--step", step.label(), "--threads", &threads.to_string()]);
        command.args(["--memory", &memory_bytes.to_string()]);
        command.arg("--dir").arg(self.triple.folder()).arg("--scratch").arg(&scratch);
        let taken = watch(&mut command, true, &self.job.control)?;
        self.place.clear()?;
        Ok(taken)
    }

    fn beside(&self, command: &str) -> anyhow::Result<Taken> {
        let mut words = command.split_whitespace();
        let program = words.next().context("--beside names no program")?;
        let scratch = self.place.output();
        let mut command = Command::new(program);
        command.args(words).args(["pre", "post", "target"].map(|role| self.triple.model(role))).arg(&scratch);
        let taken = watch(&mut command, false, &self.job.control)?;
        self.place.clear()?;
        Ok(taken)
    }
}

/// The steps that were asked for, each floor before what stands on it.
fn steps(asked: &[Step]) -> Vec<Step> {
    let asked = if asked.is_empty() { Step::USUAL.as_slice() } else { asked };
    let is_needed = |step: &Step| asked.contains(step) || asked.iter().any(|other| other.floor() == *step);
    Step::ALL.into_iter().filter(is_needed).collect()
}

/// Bytes that a step moves, for models of `model` bytes each; `None` where that is another amount than its floor's: methods read
/// some models more than once, and layers are compared without the target.
fn moved(step: Step, model: u64) -> Option<u64> {
    match step {
        Step::MergeFloor | Step::Merge | Step::MergeUnread => Some(4 * model),
        Step::ReadFloor | Step::ReadMapped | Step::ReadDirect | Step::Analysis => Some(3 * model),
        Step::Ties | Step::Dare | Step::Della | Step::LayerCosine | Step::Preflight => None,
    }
}

fn text(args: &BenchArgs, measured: &Measured) -> String {
    let turns = format::plural(args.turns as usize, "turn");
    let mut text =
        format!("{} a model, {turns}; × is against the floor of the same turn\n", format::bytes(measured.model_bytes));
    let states = [("Models in memory", Some(&measured.warm)), ("Empty page cache", measured.cold.as_ref())];
    for (state, outcome) in states.into_iter().filter_map(|(state, outcome)| Some((state, outcome?))) {
        text += &format!("\n{state}\n");
        let mut table = Table::new(&[
            ("", Align::Left),
            ("seconds", Align::Right),
            ("moved", Align::Right),
            ("× floor", Align::Right),
            ("least to most", Align::Right),
            ("anonymous memory", Align::Right),
        ]);
        let labels =
            measured.steps.iter().map(|step| (step.label(), step.floor().label(), moved(*step, measured.model_bytes)));
        let beside = args.beside.as_ref().map(|_| (BESIDE, Step::MergeFloor.label(), None));
        for (label, floor, bytes) in labels.chain(beside) {
            let Some(secs) = outcome.median_secs(label) else { continue };
            let ratio = outcome.ratio(label, floor).filter(|_| label != floor);
            table.row([
                label.to_owned(),
                format::fixed(secs, 3),
                bytes.map_or_else(String::new, |bytes| format::speed(bytes as f64 / secs)),
                ratio.map_or_else(String::new, |ratio| format::fixed(ratio.median, 2)),
                ratio.map_or_else(String::new, |ratio| {
                    format!("{} to {}", format::fixed(ratio.least, 2), format::fixed(ratio.most, 2))
                }),
                outcome.anonymous_bytes(label).map_or_else(String::new, format::memory),
            ]);
        }
        text += &table.render();
        if let Some(ratio) = outcome.ratio(BESIDE, Step::Merge.label()) {
            let [median, least, most] = [ratio.median, ratio.least, ratio.most].map(|ratio| format::fixed(ratio, 1));
            text += &format!("The merge is {median} times as fast as the program beside it ({least} to {most})\n");
        }
    }
    if measured.cold.is_none() && !args.warm && !args.sparse {
        text += "\nFiles can be put out of the page cache on Linux alone: only what is in memory was measured\n";
    }
    text
}

fn document(args: &BenchArgs, model_bytes: u64, measured: &Measured) -> Value {
    let of = |outcome: &Outcome| -> Value {
        let labels = measured.steps.iter().map(|step| (step.label(), step.floor().label()));
        let beside = args.beside.as_ref().map(|_| (BESIDE, Step::MergeFloor.label()));
        let entries = labels.chain(beside).map(|(label, floor)| {
            let ratio = outcome.ratio(label, floor);
            let value = json!({
                "secs": outcome.secs(label),
                "floor": floor,
                "ratio": ratio.map(|ratio| json!({ "median": ratio.median, "least": ratio.least, "most": ratio.most })),
                "anonymous_bytes": outcome.anonymous_bytes(label),
            });
            (label.to_owned(), value)
        });
        Value::Object(entries.collect())
    };
    json!({
        "shape": args.shape.label(),
        "model_bytes": model_bytes,
        "turns": args.turns,
        "threads": args.resources.resources().threads,
        "beside": args.beside,
        "warm": of(&measured.warm),
        "cold": measured.cold.as_ref().map(of),
    })
}
