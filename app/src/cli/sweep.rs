//! `mergescope sweep`: the same questions at several w, and what the answers support.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mergescope_core::alignment::Role;
use mergescope_core::engine::server::Delivery;
use mergescope_core::evaluate::grade::{Grader, Pattern};
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::log::import::{self, ImportedArm};
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::questions::{Preset, PromptForm, QuestionFile, Template};
use mergescope_core::evaluate::sweep::{
    ArmModel, ChoiceScoring, ControlArm, ControlsAt, ExamplesSpec, PerturbationSpec, PromptArm, SplitSpec, Sweep,
    SweepEvent, SweepSpec, SweepTable,
};
use serde_json::{Value, json};

use super::args::{PerturbationKind, ReferenceArg, SweepArgs};
use super::exit::Exit;
use super::print::{self, Printer, note};
use super::progress::{Job, SweepBar};
use super::server;
use super::table::{Align, Table};
use crate::evaluate::{chart, page, presets, tables, words};
use crate::format;

/// What a sweep folder holds.
const LOG_FILE: &str = "samples.jsonl";
const SPEC_FILE: &str = "sweep.toml";
/// Share of slips of the character noise.
const NOISE_RATE: f64 = 0.05;

/// Asks what is missing, then tells what all of it comes to.
pub fn run(args: &SweepArgs) -> anyhow::Result<Exit> {
    let printer = Printer::new(args.json);
    let mut recipe = args.models.recipe()?;
    args.method.apply(&mut recipe, false)?;
    let spec = spec(args)?;
    let imported = imported(&args.import)?;
    let job = Job::begin();
    let sweep = Sweep::open(&recipe, &spec, &job.control)?;
    if args.dry_run {
        drop(job);
        printer.text(&plan_text(&sweep))?;
        printer.document(&plan_document(&sweep))?;
        return Ok(Exit::Done);
    }
    let folder = folder(args, &spec)?;
    let mut engine = server::engine(&args.engine, &args.server, &recipe, &folder.join("served"), &job.control)?;
    let mut log = SampleLog::open(&folder.join(LOG_FILE))?;
    write(&folder.join(SPEC_FILE), &toml_text(&spec)?)?;
    let identity = engine.identity();
    printer.text(&heading(&sweep, &identity))?;

    let only = args.only.as_deref().map(grid).transpose()?;
    let as_loaded =
        args.server.server.is_some() && args.server.server_delivery.unwrap_or_default() == Delivery::AsLoaded;
    ensure!(
        !as_loaded || only.as_ref().is_some_and(|only| only.len() == 1),
        "a server as it was loaded has one w; say with --only which it is, and run again for each of the others \
         (or let --server-delivery bring it there)"
    );
    let wanted = |model: ArmModel| match (&only, model) {
        (None, _) => true,
        (Some(only), ArmModel::W(w)) => only.contains(&w),
        (Some(_), _) => false,
    };
    let bar = SweepBar::begin(&job);
    let result = sweep.run_only(&wanted, &mut *engine, &mut log, &job.control, &mut |event| match event {
        SweepEvent::Loading { model } => bar.loading(&model.label()),
        SweepEvent::Asking { model } => bar.asking(&model.label()),
        SweepEvent::Answered { progress } => bar.answered(&progress),
        SweepEvent::Done { .. } => {}
    });
    drop(bar);
    drop(job);
    let stopped = match result {
        Ok(()) => None,
        Err(error) => Some(error),
    };

    let table = sweep.table(log.contents(), &identity, &imported);
    let files = files(&sweep, &table, &log, &identity, &folder, args)?;
    printer.text(&report(&table))?;
    printer.text(&format!("\nWritten: {}", files.join(", ")))?;
    printer.document(&document(&sweep, &table, &identity, &folder))?;
    if let Some(error) = stopped {
        note("What was answered is kept; the same command goes on from there");
        return Err(error.into());
    }
    Ok(Exit::Done)
}

/// The choices that flags, a preset and an earlier sweep make.
fn spec(args: &SweepArgs) -> anyhow::Result<SweepSpec> {
    let mut spec = match &args.spec {
        None => SweepSpec { split: None, ..SweepSpec::default() },
        Some(path) => read_spec(path)?,
    };
    if let Some(name) = &args.preset {
        presets::apply(name, &mut spec);
    }
    if let Some(questions) = &args.questions {
        spec.questions = questions.to_string_lossy().into_owned();
    }
    if let Some(w) = &args.w {
        spec.w = grid(w)?;
    }
    if let Some(share) = args.split {
        spec.split = (share > 0.0).then_some(SplitSpec { share, seed: 0 });
    }
    spec.limit = args.limit.or(spec.limit);
    spec.samples = args.samples.unwrap_or(spec.samples);
    if !args.reference.is_empty() {
        let role = |reference: &ReferenceArg| match reference {
            ReferenceArg::Pre => Some(Role::Pre),
            ReferenceArg::Post => Some(Role::Post),
            ReferenceArg::None => None,
        };
        spec.references = args.reference.iter().filter_map(role).collect();
    }
    if !args.controls.is_empty() {
        spec.controls = args.controls.iter().map(|kind| ControlArm { kind: *kind, seed: 0 }).collect();
    }
    if args.controls_everywhere {
        spec.controls_at = ControlsAt::Grid;
    }
    asking(args, &mut spec)?;
    spec.sampling = args.sampling.sampling(spec.sampling);
    spec.max_tokens = args.sampling.max_tokens.map(|most| most as usize).or(spec.max_tokens);
    if !args.sampling.stop.is_empty() {
        spec.stop.clone_from(&args.sampling.stop);
    }
    Ok(spec)
}

fn asking(args: &SweepArgs, spec: &mut SweepSpec) -> anyhow::Result<()> {
    let asking = &args.asking;
    if let Some(text) = &asking.template {
        // In a shell a line break is hard to type.
        let text = text.replace("\\n", "\n");
        spec.template = Some(if asking.raw { Template::raw(&text) } else { Template::chat(&text) });
    }
    if let Some(system) = &asking.system {
        let file = QuestionFile::read(Path::new(&spec.questions))?;
        let mut template = match spec.template.take() {
            Some(template) => template,
            None => Preset::of(&file)?.template,
        };
        template.system.clone_from(system);
        spec.template = Some(template);
    }
    if !asking.ask.is_empty() {
        let mut prompts = vec![PromptArm { label: "plain".to_owned(), instruction: String::new() }];
        for arm in &asking.ask {
            let (label, text) = arm
                .split_once('=')
                .with_context(|| format!("--ask {arm}: write it as NAME=TEXT, such as steps=Think step by step."))?;
            prompts.push(PromptArm { label: label.to_owned(), instruction: text.to_owned() });
        }
        spec.prompts = prompts;
    }
    if let Some(count) = asking.examples {
        let file = asking.examples_file.as_ref().map(|path| path.to_string_lossy().into_owned());
        spec.examples = (count > 0).then_some(ExamplesSpec { count, file });
    }
    if let Some(kind) = asking.perturb {
        let change = match kind {
            PerturbationKind::IrrelevantSentence => Perturbation::IrrelevantSentence,
            PerturbationKind::ShuffledSentences => Perturbation::ShuffledSentences,
            PerturbationKind::CharacterNoise => Perturbation::CharacterNoise { rate: NOISE_RATE },
            PerturbationKind::ChangedNumbers => Perturbation::ChangedNumbers,
        };
        spec.perturbation = Some(PerturbationSpec { change, seed: asking.perturb_seed.unwrap_or(0) });
    }
    if !asking.grader.is_empty() {
        spec.graders = asking.grader.iter().flat_map(|names| graders(names)).collect::<anyhow::Result<_>>()?;
    }
    spec.choices = match asking.choices_by.as_deref() {
        Some("letter") => Some(ChoiceScoring::Letter),
        Some(_) => Some(ChoiceScoring::Text),
        None => spec.choices,
    };
    let fields = [&asking.question_field, &asking.answer_field, &asking.id_field];
    if fields.iter().any(|field| field.is_some()) || asking.answer_form.is_some() || !asking.choices_field.is_empty() {
        let file = QuestionFile::read(Path::new(&spec.questions))?;
        let guessed = mergescope_core::evaluate::questions::Mapping::guess(&file).unwrap_or_default();
        let mapping = spec.mapping.get_or_insert(guessed);
        if let Some(field) = &asking.question_field {
            mapping.question.clone_from(field);
        }
        if let Some(field) = &asking.answer_field {
            mapping.answer.clone_from(field);
        }
        mapping.id = asking.id_field.clone().or(mapping.id.take());
        mapping.answer_form = asking.answer_form.unwrap_or(mapping.answer_form);
        if !asking.choices_field.is_empty() {
            mapping.choices.clone_from(&asking.choices_field);
        }
    }
    Ok(())
}

/// Graders by name, separated by commas; a pattern may hold commas itself.
fn graders(names: &str) -> Vec<anyhow::Result<Grader>> {
    if let Some(pattern) = names.strip_prefix("regex:") {
        return vec![Pattern::new(pattern).map(Grader::Regex).map_err(Into::into)];
    }
    let known = |name: &str| {
        let found = Grader::BUILT_IN.into_iter().find(|grader| grader.label() == name);
        found.with_context(|| {
            let names: Vec<_> = Grader::BUILT_IN.iter().map(Grader::label).collect();
            format!("--grader {name}: expected {} or regex:PATTERN", names.join(", "))
        })
    };
    names.split(',').map(|name| known(name.trim())).collect()
}

/// Values of w: a list, or from:to:step.
fn grid(text: &str) -> anyhow::Result<Vec<f64>> {
    let number = |part: &str| {
        let number = part.trim().replace('−', "-").parse::<f64>().ok().filter(|number| number.is_finite());
        number.with_context(|| format!("-w {text}: `{part}` is no number; write 0,0.25,0.5 or -0.5:1.5:0.25"))
    };
    let parts: Vec<&str> = text.split(':').collect();
    if let [from, to, step] = parts.as_slice() {
        let (from, to, step) = (number(from)?, number(to)?, number(step)?);
        ensure!(step > 0.0 && to >= from, "-w {text}: from:to:step goes up in steps above 0");
        let steps = ((to - from) / step + 1e-9).floor();
        ensure!(steps <= 1000.0, "-w {text}: that are {} values; a grid has at most 200", steps + 1.0);
        // In decimals as they were typed: 0.1 + 0.2 should be 0.3.
        let tidy = |value: f64| (value * 1e9).round() / 1e9;
        return Ok((0..=steps as u32).map(|at| tidy(from + f64::from(at) * step)).collect());
    }
    ensure!(parts.len() == 1, "-w {text}: write 0,0.25,0.5 or from:to:step");
    text.split(',').map(number).collect()
}

fn imported(paths: &[PathBuf]) -> anyhow::Result<Vec<ImportedArm>> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(import::read(path)?);
    }
    Ok(all)
}

fn read_spec(path: &Path) -> anyhow::Result<SweepSpec> {
    const MAX_BYTES: u64 = 1 << 20;
    let bytes = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    ensure!(bytes <= MAX_BYTES, "{} has {bytes} bytes and is no sweep", path.display());
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no sweep", path.display()))
}

fn toml_text(spec: &SweepSpec) -> anyhow::Result<String> {
    toml::to_string_pretty(spec).context("the sweep cannot be written down")
}

/// The folder of the sweep: new, empty, or one of an earlier sweep.
fn folder(args: &SweepArgs, spec: &SweepSpec) -> anyhow::Result<PathBuf> {
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => {
            let stem = Path::new(&spec.questions).file_stem().unwrap_or_default().to_string_lossy();
            PathBuf::from(format!("sweep-{stem}"))
        }
    };
    if folder.exists() && !folder.join(LOG_FILE).exists() {
        ensure!(folder.is_dir(), "{} exists and is not a folder; choose another with --out", folder.display());
        let mut entries =
            fs::read_dir(&folder).with_context(|| format!("{} cannot be looked into", folder.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} exists and holds no sweep ({LOG_FILE}); choose a new folder with --out",
            folder.display()
        );
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    // Whole or not at all: a reader never sees half of it.
    let staging = path.with_extension("part");
    fs::write(&staging, text)
        .and_then(|()| fs::rename(&staging, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Writes what the answers come to beside them; gives the paths.
fn files(
    sweep: &Sweep,
    table: &SweepTable,
    log: &SampleLog,
    engine: &str,
    folder: &Path,
    args: &SweepArgs,
) -> anyhow::Result<Vec<String>> {
    let document = format!("{:#}\n", document(sweep, table, engine, folder));
    let contents = log.contents();
    let written = [
        ("sweep.svg", chart::sweep(table).to_svg(args.theme)),
        ("sweep.csv", tables::arms(table).to_csv()),
        ("questions.csv", tables::matrix(sweep, table, contents, engine).to_csv()),
        ("report.html", page::page(sweep, table, contents, engine, args.theme)),
        ("sweep.json", document),
    ];
    let mut paths = vec![folder.join(LOG_FILE).display().to_string()];
    for (name, text) in written {
        let path = folder.join(name);
        write(&path, &text)?;
        paths.push(path.display().to_string());
    }
    Ok(paths)
}

/// What is asked of whom, before it is.
fn heading(sweep: &Sweep, engine: &str) -> String {
    let questions = sweep.questions();
    let dev = questions.iter().filter(|question| sweep.is_dev(question)).count();
    let mut text = format!(
        "{} of {} ({}), {engine}\n",
        format::plural(questions.len(), "question"),
        print::line(&sweep.spec().questions),
        sweep.preset().name,
    );
    if dev > 0 {
        text += &format!(
            "w is chosen on {}, and reported on the other {}\n",
            format::count(dev as u64),
            format::count((questions.len() - dev) as u64)
        );
    }
    if !sweep.left_out().is_empty() {
        text += &format!("{} cannot be changed so and left out\n", format::plural(sweep.left_out().len(), "question"));
    }
    if let Some(least) = sweep.detectable_before() {
        text += &format!("So many questions show a gain from about {} on\n", words::points(least));
    }
    text
}

fn plan_text(sweep: &Sweep) -> String {
    let arms = sweep.arms(None);
    let mut text = heading(sweep, "nothing asked yet");
    text +=
        &format!("\nWould ask for {} in this order:\n", format::plural(arms.len() * sweep.answers_per_arm(), "answer"));
    for arm in &arms {
        text += &format!("  {}\n", sweep.label(*arm));
    }
    let first = arms.first().map(|arm| sweep.asked(*arm));
    if let Some((asked, question)) = first.and_then(|asked| Some((asked, asked.set.questions.first()?))) {
        let shown = asked.prompter.preview(question);
        let template =
            if matches!(sweep.template().form, PromptForm::Raw) { "raw text" } else { "by the chat template" };
        text += &format!(
            "\nThe first prompt ({template}), to which {} is right:\n\n{shown}\n",
            print::line(&question.answer)
        );
    }
    text
}

fn plan_document(sweep: &Sweep) -> Value {
    let arms = sweep.arms(None);
    let first = arms.first().and_then(|arm| Some(sweep.asked(*arm).prompts.first()?.clone()));
    json!({
        "dry_run": true,
        "questions": sweep.questions().len(),
        "answers": arms.len() * sweep.answers_per_arm(),
        "arms": arms.iter().map(|arm| sweep.label(*arm)).collect::<Vec<_>>(),
        "first_prompt": first,
        "minimum_detectable_gain": sweep.detectable_before(),
        "spec": sweep.spec(),
    })
}

/// The table and what it supports.
fn report(result: &SweepTable) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("right", Align::Right),
        ("95 % interval", Align::Right),
        ("answers", Align::Right),
        ("against w = 0", Align::Right),
        ("mended, broken", Align::Right),
        ("p", Align::Right),
        ("tokens", Align::Right),
        ("in steps", Align::Right),
    ]);
    let dash = || format::NONE.to_owned();
    for arm in &result.arms {
        let against = arm.against;
        table.row([
            arm.label.clone(),
            arm.right.map_or_else(dash, |right| format::percent_fixed(right.mean, 1)),
            arm.right.map_or_else(dash, |right| {
                format!(
                    "{} – {}",
                    format::percent_fixed(right.interval.low, 1),
                    format::percent_fixed(right.interval.high, 1)
                )
            }),
            format::count(arm.tally.graded()),
            against.map_or_else(String::new, |against| signed_points(against.difference)),
            against.map_or_else(String::new, |against| format!("{}, {}", against.gained, against.lost)),
            against.map_or_else(String::new, |against| p_cell(against.p_holm.unwrap_or(against.p))),
            arm.mean_tokens.map_or_else(dash, |tokens| format::fixed(tokens, 1)),
            arm.in_steps.map_or_else(dash, |share| format::percent_fixed(share, 0)),
        ]);
    }
    let mut text = format!("\n{}\n", table.render());
    text += "p is exact and paired by question; of values of w it is corrected for all that were tried (Holm)\n\n";
    for sentence in words::conclusion(result) {
        text += &sentence.text();
        text.push('\n');
    }
    text
}

fn signed_points(difference: f64) -> String {
    let text = format::fixed(difference * 100.0, 1);
    if difference > 0.0 { format!("+{text}") } else { text }
}

fn p_cell(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format::fixed(p, 3) }
}

fn document(sweep: &Sweep, table: &SweepTable, engine: &str, folder: &Path) -> Value {
    let sentences: Vec<String> = words::conclusion(table).iter().map(words::Sentence::text).collect();
    json!({
        "folder": print::path(folder),
        "engine": engine,
        "max_tokens": sweep.max_tokens(),
        "sampling": sweep.spec().sampling,
        "table": table,
        "conclusion": sentences,
        "spec": sweep.spec(),
        "recipe": sweep.recipe(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_a_list_or_a_range() {
        assert_eq!(grid("0,0.25,−0.5").unwrap(), [0.0, 0.25, -0.5]);
        assert_eq!(grid("-0.5:0.7:0.1").unwrap().last(), Some(&0.7));
        assert_eq!(grid("-0.5:1.5:0.25").unwrap().len(), 9);
        assert_eq!(grid("0:1:0.1").unwrap()[3], 0.3);
        for wrong in ["", "a", "0:1", "0:1:0", "1:0:0.5", "0:1:0.1:2", "0,nan", "0:9e9:0.001"] {
            assert!(grid(wrong).is_err(), "{wrong}");
        }
    }
}
