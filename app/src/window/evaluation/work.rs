//! The work behind the tab: reading questions and answers, asking, and grading. It runs off the window's thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mergescope_core::alignment::Role;
use mergescope_core::engine::EngineError;
use mergescope_core::error::chain;
use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::log::import::{self, ImportedArm};
use mergescope_core::evaluate::log::{Contents, SampleLog};
use mergescope_core::evaluate::questions::{Field, Mapping, Preset, QuestionFile, Template};
use mergescope_core::evaluate::sweep::{Sweep, SweepError, SweepEvent, SweepProgress, SweepSpec, SweepTable};
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;

use super::items::Items;
use super::{place, settings};
use crate::evaluate::failures::Failures;
use crate::evaluate::pace::Pace;
use crate::evaluate::words::{self, Sentence};
use crate::format;
use crate::served::Reach;
use crate::window::engine::{Engine, EngineChoice};
use crate::window::engine_thread::EngineWork;
use crate::window::jobs::{JobError, Outcome};

/// Shortest time between two tables of a run.
const TABLE_EVERY: Duration = Duration::from_millis(500);
/// A table is made so many times less often than making it takes, so that a run is not slowed down by being watched.
const TABLE_SHARE: u32 = 10;

/// Why a conversation cannot be had with a model.
fn no_template(role: Role) -> String {
    let name = role.label();
    let or_else = match role {
        Role::Target => "",
        Role::Pre | Role::Post => ", or do without it as a line to compare with",
    };
    format!(
        "{name} has no chat template that makes a conversation of the questions: choose raw text under Fields and prompt{or_else}"
    )
}

/// Everything that questions and answers depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The recipe, whatever its w: a sweep has its own.
    pub recipe: Recipe,
    /// What is asked, whatever grades it.
    pub asked: SweepSpec,
    /// What answers.
    pub choice: EngineChoice,
    /// Which models it can answer for.
    pub reach: Reach,
    /// Files with results that others measured.
    pub imports: Vec<PathBuf>,
}

/// What a question file has and how it would be asked, were nothing said.
#[derive(Clone, Debug)]
pub struct Questions {
    /// Its fields, with an example of each.
    pub fields: Vec<Field>,
    /// How many records it has.
    pub records: usize,
    /// What its fields seem to mean; nothing where that cannot be guessed.
    pub mapping: Mapping,
    /// How its questions would be put.
    pub template: Option<Template>,
    /// A field that is called like an id and cannot be one.
    pub unusable_id: Option<String>,
}

/// A sweep that can be run, with the answers that are there.
#[derive(Clone)]
pub struct Prepared {
    /// The sweep.
    pub sweep: Arc<Sweep>,
    /// Where its answers are.
    pub folder: PathBuf,
    /// What answers.
    pub choice: EngineChoice,
    /// Which models are asked.
    pub reach: Reach,
    /// What numbers depend on beside the weights.
    pub identity: String,
    /// Results that others measured.
    pub imported: Arc<Vec<ImportedArm>>,
    /// The answers of the log.
    pub contents: Arc<Contents>,
    /// How many answers there are, of how many.
    pub progress: SweepProgress,
    /// Time that the answers which are missing will take, if they go as the earlier ones did; `None` without any.
    pub left: Option<Duration>,
    /// Why answers are errors, in words; `None` where none is.
    pub failures: Option<String>,
    /// Why results that others measured cannot be shown.
    pub unread: Vec<String>,
    /// The first prompt as text.
    pub first_prompt: String,
}

impl Prepared {
    /// How many answers a run would ask for.
    pub fn missing(&self) -> usize {
        self.progress.total.saturating_sub(self.progress.answered)
    }
}

/// What the answers come to.
#[derive(Clone)]
pub struct Findings {
    /// The numbers.
    pub table: Arc<SweepTable>,
    /// The numbers in words.
    pub sentences: Vec<Sentence>,
    /// Question by question; `None` while a model is being asked.
    pub items: Option<Arc<Items>>,
}

/// What came of reading questions and answers.
pub struct Preparation {
    /// What the question file has, if it could be read.
    pub questions: Option<Questions>,
    /// The sweep and what its answers come to, or why there is none.
    pub result: Result<(Prepared, Findings), String>,
}

/// What a run tells.
pub enum SweepNews {
    /// A model is being loaded; its name.
    Loading(String),
    /// A model answers; its name.
    Asking(String),
    /// What the answers so far come to.
    Findings(Box<Findings>),
    /// What all answers come to, also of a run that ended early, and why some are errors.
    Ended(Box<Findings>, Arc<Contents>, SweepProgress, Option<String>),
}

/// What the window and a run tell each other at any time: the latest is what counts, and nothing waits in line.
pub struct Shared {
    graders: Mutex<Vec<Grader>>,
    progress: Mutex<SweepProgress>,
}

impl Shared {
    /// Of a run that begins there, and is graded so.
    pub fn new(graders: Vec<Grader>, progress: SweepProgress) -> Self {
        Self { graders: Mutex::new(graders), progress: Mutex::new(progress) }
    }

    /// What grades, as was chosen last.
    pub fn graders(&self) -> Vec<Grader> {
        self.graders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets others grade.
    pub fn set_graders(&self, graders: Vec<Grader>) {
        *self.graders.lock().unwrap_or_else(PoisonError::into_inner) = graders;
    }

    /// How many answers are there, of how many.
    pub fn progress(&self) -> SweepProgress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_progress(&self, progress: SweepProgress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

impl Findings {
    fn of(sweep: &Sweep, log: &Contents, engine: &str, imported: &[ImportedArm], with_items: bool) -> Self {
        let table = sweep.table(log, engine, imported);
        let items = with_items.then(|| Arc::new(Items::of(sweep, &table, log, engine)));
        Self { sentences: words::conclusion(&table), table: Arc::new(table), items }
    }
}

/// Reads what a wish names: a job of its own.
pub fn prepare(
    wish: Wish,
    graders: Vec<Grader>,
    parent: Option<PathBuf>,
) -> impl FnOnce(&dyn Engine, &Control) -> Result<Outcome, JobError> {
    move |_, control| {
        let questions = questions(&wish.asked);
        let result = open(&wish, graders, parent.as_deref(), control);
        if control.is_cancelled() {
            return Err(JobError::Cancelled);
        }
        Ok(Outcome::Prepared(Box::new(Preparation { questions, result })))
    }
}

fn questions(spec: &SweepSpec) -> Option<Questions> {
    let file = QuestionFile::read(Path::new(&spec.questions)).ok()?;
    let preset = Preset::of(&file).ok();
    let mapping = preset.as_ref().map(|preset| preset.mapping.clone()).unwrap_or_default();
    let unusable_id = file.unusable_id(spec.mapping.as_ref().unwrap_or(&mapping)).map(str::to_owned);
    Some(Questions {
        records: file.len(),
        mapping,
        template: preset.map(|preset| preset.template),
        unusable_id,
        fields: file.fields,
    })
}

fn open(
    wish: &Wish,
    graders: Vec<Grader>,
    parent: Option<&Path>,
    control: &Control,
) -> Result<(Prepared, Findings), String> {
    let words = |error: &dyn std::error::Error| chain(error);
    let parent = parent.ok_or("This system names no folder to keep answers in; set HOME and start again")?;
    let spec = SweepSpec { graders, ..wish.asked.clone() };
    let sweep = Sweep::open(&wish.recipe, &spec, control).map_err(|error| words(&error))?;
    let has_choices = sweep.questions().iter().any(|question| !question.choices.is_empty());
    let sweep = sweep.with_graders(settings::graders(sweep.graders(), has_choices));
    let (mut imported, mut unread) = (Vec::new(), Vec::new());
    for path in &wish.imports {
        match import::read(path) {
            Ok(arms) => imported.extend(arms),
            // The rest is shown all the same.
            Err(error) => unread.push(format::sentence(&words(&error))),
        }
    }
    if matches!(wish.choice, EngineChoice::Embedded(_))
        && let Some(role) = sweep.without_chat_template().first()
    {
        return Err(no_template(*role));
    }
    let identity = wish.choice.identity();
    let folder = place::folder(parent, &wish.asked.questions, &wish.recipe);
    let log = place::log(&folder);
    let contents = match log.exists() {
        true => SampleLog::read(&log).map_err(|error| words(&error))?,
        false => Contents::default(),
    };
    let findings = Findings::of(&sweep, &contents, &identity, &imported, true);
    let wanted = |model| wish.reach.has(model);
    let progress = sweep.progress_of(&wanted, &contents, &identity);
    let failures = failures(&sweep, wish.reach, &contents, &identity);
    let left = Pace::of(&sweep, &wanted, &contents, Some(&identity), wish.choice.at_once()).left;
    let first = sweep.arms(None).first().map(|arm| sweep.asked(*arm));
    let first = first.and_then(|asked| Some(asked.prompter.preview(asked.set.questions.first()?)));
    let prepared = Prepared {
        sweep: Arc::new(sweep),
        folder,
        choice: wish.choice.clone(),
        reach: wish.reach,
        identity,
        imported: Arc::new(imported),
        contents: Arc::new(contents),
        progress,
        left,
        failures,
        unread,
        first_prompt: first.unwrap_or_default(),
    };
    Ok((prepared, findings))
}

/// Why answers are errors, in words.
fn failures(sweep: &Sweep, reach: Reach, log: &Contents, engine: &str) -> Option<String> {
    let failures = Failures::of(sweep, &|model| reach.has(model), log, engine);
    (failures.count() > 0).then(|| failures.text("Go on"))
}

/// Grades the answers that are there by others: a job of its own.
pub fn grade(
    prepared: Prepared,
    graders: Vec<Grader>,
) -> impl FnOnce(&dyn Engine, &Control) -> Result<Outcome, JobError> {
    move |_, _| {
        let sweep = prepared.sweep.with_graders(graders);
        let findings = Findings::of(&sweep, &prepared.contents, &prepared.identity, &prepared.imported, true);
        Ok(Outcome::Graded(Arc::new(sweep), Box::new(findings)))
    }
}

/// Asks for what the log does not have: a job of the engine's thread.
pub fn run(prepared: Prepared, shared: Arc<Shared>) -> EngineWork {
    Box::new(move |engine, control, teller| {
        let Prepared { sweep, folder, imported, reach, .. } = &prepared;
        let wanted = |model| reach.has(model);
        let kept =
            |error: std::io::Error| EngineError::caused(format!("cannot keep answers in {}", folder.display()), error);
        fs::create_dir_all(folder).map_err(kept)?;
        let mut log = SampleLog::open(&place::log(folder)).map_err(|error| failed(&error.into()))?;
        let identity = engine.identity();
        let mut watch = Watch { sweep: (**sweep).clone(), shared: &shared, imported, identity: &identity, next: None };
        shared.set_progress(sweep.progress_of(&wanted, log.contents(), &identity));
        let result = sweep.run_watched(&wanted, engine, &mut log, control, &mut |event, contents| match event {
            SweepEvent::Loading { model } => teller.tell_sweep(SweepNews::Loading(model.label())),
            SweepEvent::Asking { model } => teller.tell_sweep(SweepNews::Asking(model.label())),
            SweepEvent::Answered { progress } => {
                shared.set_progress(progress);
                if let Some(findings) = watch.findings(contents, false) {
                    teller.tell_sweep(SweepNews::Findings(Box::new(findings)));
                }
            }
            SweepEvent::Done { .. } => {
                if let Some(findings) = watch.findings(contents, true) {
                    teller.tell_sweep(SweepNews::Findings(Box::new(findings)));
                }
            }
        });
        watch.follow_graders();
        let contents = Arc::new(log.contents().clone());
        let findings = Findings::of(&watch.sweep, &contents, &identity, imported, true);
        let now = watch.sweep.progress_of(&wanted, &contents, &identity);
        let progress = SweepProgress { answered: now.answered, total: now.total, ..shared.progress() };
        let failures = failures(&watch.sweep, *reach, &contents, &identity);
        teller.tell_sweep(SweepNews::Ended(Box::new(findings), contents, progress, failures));
        result.map(|()| Outcome::Answered).map_err(|error| failed(&error))
    })
}

/// An error of a sweep as one of its engine.
fn failed(error: &SweepError) -> EngineError {
    match error {
        SweepError::Engine(EngineError::Cancelled(_)) => EngineError::Cancelled(mergescope_core::progress::Cancelled),
        error if error.is_cancelled() => EngineError::Cancelled(mergescope_core::progress::Cancelled),
        other => EngineError::failed(chain(other)),
    }
}

/// What is told of a run, and when.
struct Watch<'a> {
    sweep: Sweep,
    shared: &'a Shared,
    imported: &'a [ImportedArm],
    identity: &'a str,
    /// When the next table may be made.
    next: Option<Instant>,
}

impl Watch<'_> {
    /// Takes up graders that were chosen meanwhile; whether there were others.
    fn follow_graders(&mut self) -> bool {
        let wanted = self.shared.graders();
        let are_others = self.sweep.graders() != wanted.as_slice();
        if are_others {
            self.sweep = self.sweep.with_graders(wanted);
        }
        are_others
    }

    /// What the answers come to, when it is time to say so again.
    fn findings(&mut self, contents: &Contents, is_model_done: bool) -> Option<Findings> {
        let began = Instant::now();
        let is_due = self.next.is_none_or(|next| began >= next);
        if !(self.follow_graders() || is_due || is_model_done) {
            return None;
        }
        let findings = Findings::of(&self.sweep, contents, self.identity, self.imported, is_model_done);
        self.next = Some(Instant::now() + TABLE_EVERY.max(began.elapsed() * TABLE_SHARE));
        Some(findings)
    }
}
