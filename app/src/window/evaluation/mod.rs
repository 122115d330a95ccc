//! What the Evaluate tab knows and does, without drawing: choices, what was read for them, the run, and what answers come to.
//!
//! Whenever choices, recipe or files change while the tab is in view, `follow` reads them anew on a thread. A run is a job of
//! the engine's thread; while it goes on, choices of what is asked wait for its end, and graders take effect at once.

pub mod items;
mod place;
mod settings;
pub mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::log::Contents;
use mergescope_core::evaluate::sweep::{SweepProgress, SweepTable};
use mergescope_core::progress::Progress;
use mergescope_core::recipe::Recipe;

use super::answerer::AnswererSettings;
use super::jobs::{Event, Job, JobError, JobId, Jobs, Outcome};
use crate::format;
pub use items::{Answer, Filter, Items};
pub use settings::Settings;
pub use work::{Findings, Prepared, Questions};
use work::{Preparation, Shared, SweepNews, Wish};

/// How far a run is.
pub struct Run {
    id: JobId,
    /// Who is being loaded or asked, in words.
    pub model: String,
    /// Whether it is being loaded.
    pub is_loading: bool,
    /// How far the loading is.
    pub loading: Option<Progress>,
    /// Whether it was asked to stop.
    pub stopping: bool,
    shared: Arc<Shared>,
}

impl Run {
    /// How many answers are there, of how many.
    pub fn progress(&self) -> SweepProgress {
        self.shared.progress()
    }
}

/// How the last run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is answered.
    Whole,
    /// The person stopped it.
    Stopped,
    /// It could not go on, and why.
    Failed(String),
}

/// The state behind the tab.
#[derive(Default)]
pub struct Evaluation {
    /// The choices.
    pub settings: Settings,
    /// The question file that choices are about.
    pub questions: Option<Questions>,
    /// What can be run, by the choices as they were read last.
    pub prepared: Option<Prepared>,
    /// What the answers come to.
    pub findings: Option<Findings>,
    /// Question by question.
    pub items: Arc<Items>,
    /// Why nothing can be run with these choices.
    pub problem: Option<String>,
    /// What is going on.
    pub run: Option<Run>,
    /// How the last run ended, until choices change.
    pub ended: Option<Ended>,
    /// What was read last.
    known: Option<Wish>,
    preparing: Option<(JobId, Wish)>,
    grading: Option<JobId>,
    /// Seconds that an answer took in the last run, with what answered.
    pace: Option<(String, f64)>,
}

impl Evaluation {
    /// With choices as they were left.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What the answers come to, in numbers; `None` before there is one.
    pub fn table(&self) -> Option<&Arc<SweepTable>> {
        let table = &self.findings.as_ref()?.table;
        table.arms.iter().any(|arm| arm.right.is_some()).then_some(table)
    }

    /// Whether a run goes on.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Whether questions and answers are being read.
    pub fn is_reading(&self) -> bool {
        self.preparing.is_some()
    }

    /// How many answers are there, of how many.
    pub fn progress(&self) -> Option<SweepProgress> {
        match &self.run {
            Some(run) => Some(run.progress()),
            None => self.prepared.as_ref().map(|prepared| prepared.progress),
        }
    }

    /// Time that the answers which are missing will take, if they come as those of the last run did, or of earlier ones.
    pub fn estimate(&self) -> Option<Duration> {
        let prepared = self.prepared.as_ref()?;
        let Some((_, secs)) = self.pace.as_ref().filter(|(engine, _)| *engine == prepared.identity) else {
            return prepared.left;
        };
        Duration::try_from_secs_f64(secs * prepared.missing() as f64).ok()
    }

    /// Reads questions and answers if what they depend on has changed.
    pub fn follow(&mut self, recipe: &Recipe, answerer: &AnswererSettings, jobs: &mut Jobs) {
        if self.is_running() || self.settings.spec.questions.is_empty() {
            return;
        }
        let at_zero = {
            let mut recipe = recipe.clone();
            recipe.vector.w = 0.0;
            recipe
        };
        let wish = Wish {
            recipe: at_zero,
            asked: self.settings.asked(),
            choice: answerer.choice(recipe),
            reach: answerer.reach(),
            imports: self.settings.imports.clone(),
        };
        let latest = self.preparing.as_ref().map(|(_, wish)| wish).or(self.known.as_ref());
        if latest == Some(&wish) {
            return;
        }
        if let Some((id, _)) = self.preparing.take() {
            jobs.cancel(id);
        }
        let (graders, parent) = (self.settings.spec.graders.clone(), jobs.engine().sweeps());
        let id = jobs.start(Job::Evaluate(Box::new(work::prepare(wish.clone(), graders, parent))));
        self.preparing = Some((id, wish));
    }

    /// Reads everything again, files that have changed meanwhile included.
    pub fn read_again(&mut self) {
        self.known = None;
    }

    /// Lets another grader count. Answers stay.
    pub fn choose_grader(&mut self, grader: &Grader, jobs: &mut Jobs) {
        let known = self.prepared.as_ref().map(|prepared| prepared.sweep.graders().to_vec()).unwrap_or_default();
        self.settings.choose_grader(grader, &known);
        let graders = self.settings.spec.graders.clone();
        if let Some(run) = &self.run {
            run.shared.set_graders(graders);
        } else if let Some(prepared) = &self.prepared {
            let work = work::grade(prepared.clone(), graders);
            self.grading = Some(jobs.start(Job::Evaluate(Box::new(work))));
        }
    }

    /// Asks for what is missing.
    pub fn start(&mut self, jobs: &mut Jobs) {
        let Some(prepared) = self.prepared.clone().filter(|_| !self.is_running() && !self.is_reading()) else { return };
        let shared = Arc::new(Shared::new(prepared.sweep.graders().to_vec(), prepared.progress));
        let id = jobs.ask(prepared.choice.clone(), work::run(prepared, shared.clone()));
        self.ended = None;
        let model = "the engine".to_owned();
        self.run = Some(Run { id, model, is_loading: true, loading: None, stopping: false, shared });
    }

    /// Stops asking; what was answered stays.
    pub fn stop(&mut self, jobs: &Jobs) {
        if let Some(run) = &mut self.run {
            run.stopping = true;
            jobs.cancel(run.id);
        }
    }

    /// Forgets the answers to these questions of these models; the error says why they are still there.
    pub fn forget_answers(&mut self) -> Result<(), String> {
        let Some(log) = self.log().filter(|_| !self.is_running()) else { return Ok(()) };
        self.read_again();
        match std::fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{} cannot be removed: {error}", format::path(&log)))
            }
            _ => Ok(()),
        }
    }

    /// The folder with the answers.
    pub fn folder(&self) -> Option<&PathBuf> {
        self.prepared.as_ref().map(|prepared| &prepared.folder)
    }

    /// The file with the answers.
    fn log(&self) -> Option<PathBuf> {
        self.folder().map(|folder| place::log(folder))
    }

    /// Takes what is about questions and answers, and gives the rest back.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        let running = self.run.as_ref().map(|run| run.id);
        match event {
            Event::Sweep(id, news) => {
                if running == Some(id) {
                    self.on_news(news);
                }
            }
            Event::Progress(id, progress) if running == Some(id) => {
                if let Some(run) = &mut self.run {
                    run.loading = Some(progress);
                }
            }
            Event::Finished(id, result) if running == Some(id) => self.on_run_ended(result),
            Event::Finished(id, result) if self.preparing.as_ref().is_some_and(|(job, _)| *job == id) => {
                self.on_prepared(result);
            }
            Event::Finished(id, result) if self.grading == Some(id) => {
                self.grading = None;
                if let (Ok(Outcome::Graded(sweep, findings)), Some(prepared)) = (result, &mut self.prepared) {
                    prepared.sweep = sweep;
                    self.take(*findings);
                }
            }
            // A preparation that another one took the place of.
            Event::Finished(_, Ok(Outcome::Prepared(_) | Outcome::Graded(..))) => {}
            other => return Some(other),
        }
        None
    }

    fn take(&mut self, findings: Findings) {
        if let Some(items) = &findings.items {
            self.items = items.clone();
        }
        self.findings = Some(findings);
    }

    fn on_prepared(&mut self, result: Result<Outcome, JobError>) {
        let Some((_, wish)) = self.preparing.take() else { return };
        let (questions, result) = match result {
            Ok(Outcome::Prepared(preparation)) => {
                let Preparation { questions, result } = *preparation;
                (questions, result)
            }
            Ok(_) | Err(JobError::Cancelled | JobError::Refused(_)) => return,
            Err(JobError::Failed(message)) => (None, Err(message)),
        };
        self.known = Some(wish);
        self.questions = questions;
        self.ended = None;
        match result {
            Ok((prepared, findings)) => {
                self.prepared = Some(prepared);
                self.take(findings);
                self.problem = None;
            }
            Err(message) => {
                self.prepared = None;
                self.findings = None;
                self.items = Arc::default();
                self.problem = Some(format::sentence(&message));
            }
        }
    }

    fn on_news(&mut self, news: SweepNews) {
        let Some(run) = &mut self.run else { return };
        match news {
            SweepNews::Loading(model) => (run.model, run.is_loading, run.loading) = (model, true, None),
            SweepNews::Asking(model) => (run.model, run.is_loading) = (model, false),
            SweepNews::Findings(findings) => self.take(*findings),
            SweepNews::Ended(findings, contents, progress, failures) => {
                self.on_contents(contents, progress, failures);
                self.take(*findings);
            }
        }
    }

    fn on_contents(&mut self, contents: Arc<Contents>, progress: SweepProgress, failures: Option<String>) {
        if progress.generated > 0 {
            let secs = progress.elapsed.as_secs_f64() / progress.generated as f64;
            self.pace = self.prepared.as_ref().map(|prepared| (prepared.identity.clone(), secs));
        }
        let graders = self.run.as_ref().map(|run| run.shared.graders());
        if let Some(prepared) = &mut self.prepared {
            (prepared.contents, prepared.failures) = (contents, failures);
            prepared.progress =
                SweepProgress { answered: progress.answered, total: progress.total, ..Default::default() };
            if let Some(graders) = graders.filter(|graders| prepared.sweep.graders() != graders.as_slice()) {
                prepared.sweep = Arc::new(prepared.sweep.with_graders(graders));
            }
        }
    }

    fn on_run_ended(&mut self, result: Result<Outcome, JobError>) {
        self.run = None;
        self.ended = Some(match result {
            Ok(_) => Ended::Whole,
            Err(JobError::Cancelled) => Ended::Stopped,
            Err(JobError::Failed(message)) => Ended::Failed(format::sentence(&message)),
            Err(JobError::Refused(findings)) => {
                Ended::Failed(findings.first().map_or_else(String::new, |finding| finding.title.clone()))
            }
        });
    }
}
