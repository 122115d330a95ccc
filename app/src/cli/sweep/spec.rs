//! From flags to the choices of a sweep.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use mergescope_core::alignment::Role;
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::questions::{Mapping, Preset, QuestionFile, Template};
use mergescope_core::evaluate::sweep::{
    ChoiceScoring, ControlArm, ControlsAt, ExamplesSpec, PerturbationSpec, PromptArm, SplitSpec, SweepSpec,
};

use crate::cli::args::{Grid, PerturbationKind, ReferenceArg, SweepArgs};
use crate::cli::exit::Usage;
use crate::evaluate::presets;

/// The choices that flags, a preset and an earlier sweep make.
pub fn spec(args: &SweepArgs) -> anyhow::Result<SweepSpec> {
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
    if let Some(Grid(w)) = &args.w {
        spec.w.clone_from(w);
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
            ReferenceArg::Target => Some(Role::Target),
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
    if spec.samples > 1 && spec.sampling.temperature <= 0.0 {
        let samples = spec.samples;
        let message = format!("--samples {samples} gives {samples} times the same at temperature 0; add --temperature");
        return Err(Usage(message).into());
    }
    Ok(spec)
}

/// The values of w that --only asks for now; `None` where it asks for all.
pub fn only(args: &SweepArgs, spec: &SweepSpec) -> Result<Option<Vec<f64>>, Usage> {
    let Some(Grid(only)) = &args.only else { return Ok(None) };
    let mut grid: Vec<f64> = spec.w.iter().copied().chain([0.0]).collect();
    grid.sort_by(f64::total_cmp);
    // 0 and −0 are one w.
    grid.dedup();
    if let Some(w) = only.iter().find(|w| !grid.contains(w)) {
        let known: Vec<String> = grid.iter().map(f64::to_string).collect();
        let message = format!("--only {w} is none of the values of w, which are {}; add it to -w", known.join(", "));
        return Err(Usage(message));
    }
    Ok(Some(only.clone()))
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
        prompts.extend(asking.ask.iter().cloned());
        spec.prompts = prompts;
    }
    if let Some(count) = asking.examples {
        let file = asking.examples_file.as_ref().map(|path| path.to_string_lossy().into_owned());
        spec.examples = (count > 0).then_some(ExamplesSpec { count, file });
    }
    if let Some(kind) = asking.perturb {
        if asking.perturb_rate.is_some() && !matches!(kind, PerturbationKind::CharacterNoise) {
            let message = "--perturb-rate is for --perturb character-noise; the other changes have no share";
            return Err(Usage(message.to_owned()).into());
        }
        let change = match kind {
            PerturbationKind::IrrelevantSentence => Perturbation::IrrelevantSentence,
            PerturbationKind::ShuffledSentences => Perturbation::ShuffledSentences,
            PerturbationKind::CharacterNoise => {
                Perturbation::CharacterNoise { rate: asking.perturb_rate.unwrap_or(presets::NOISE_RATE) }
            }
            PerturbationKind::ChangedNumbers => Perturbation::ChangedNumbers,
        };
        spec.perturbation = Some(PerturbationSpec { change, seed: asking.perturb_seed.unwrap_or(0) });
    }
    if !asking.grader.is_empty() {
        spec.graders = asking.grader.iter().flat_map(|named| named.0.iter().cloned()).collect();
    }
    spec.choices = match asking.choices_by.as_deref() {
        Some("letter") => Some(ChoiceScoring::Letter),
        Some(_) => Some(ChoiceScoring::Text),
        None => spec.choices,
    };
    let fields = [&asking.question_field, &asking.answer_field, &asking.id_field];
    if fields.iter().any(|field| field.is_some()) || asking.answer_form.is_some() || !asking.choices_field.is_empty() {
        let file = QuestionFile::read(Path::new(&spec.questions))?;
        let guessed = Mapping::guess(&file).unwrap_or_default();
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

fn read_spec(path: &Path) -> anyhow::Result<SweepSpec> {
    const MAX_BYTES: u64 = 1 << 20;
    let found = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    // A pipe would be waited for without end.
    ensure!(found.is_file(), "{} cannot be read: it is not a file", path.display());
    let bytes = found.len();
    ensure!(bytes <= MAX_BYTES, "{} has {bytes} bytes and is no sweep", path.display());
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no sweep", path.display()))
}
