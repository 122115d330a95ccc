//! The Try tab: one prompt, answered by the target and by what the recipe would write, beside each other.
//!
//! `settings` is what is asked, `run` how far the answers are, `transcript` those of before; none of them draws. The work is
//! done by `asking` on the engine's thread.

mod answers;
mod controls;
mod difference;
mod earlier;
mod marked;
mod run;
mod settings;
mod table;
mod transcript;

use std::sync::Arc;

use eframe::egui::{ScrollArea, Ui};
use mergescope_core::alignment::Role;
use mergescope_core::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};

use super::answerer::AnswererSettings;
use super::app::{App, Tab};
use super::asking;
use super::jobs::{Event, Job, Outcome};
use super::method_words;
use super::stage::Stage;

pub use run::{Answer, Of, Run, State};
pub use settings::Settings;
pub use table::of as table;
pub use transcript::{Entry, Said, Transcript};

/// Windows narrower than this have one column.
const NARROW: f32 = 1000.0;
/// What is said below answers of this program.
const NOTE: &str = "Nothing was written: the merge is made while the model loads.";
/// What the demo's models are asked at first: one of the problems that their training never saw.
const DEMO_PROMPT: &str = "問題:15と38と7と24の合計は?\n答え:";

/// What of the tab survives closing the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedTry {
    /// What is asked, and how.
    pub settings: Settings,
    /// What was asked before.
    pub transcript: Transcript,
}

/// The choices and the content of this tab.
#[derive(Default)]
pub struct TryView {
    /// What is asked, and how.
    pub settings: Settings,
    /// The last run.
    pub run: Option<Run>,
    /// What was asked before.
    pub transcript: Transcript,
    /// Whether the answers are shown as a table.
    pub table: bool,
    /// Whether the prompt was offered, so that one that is emptied stays empty.
    offered: bool,
    /// Whether the target has a chat template.
    template: Option<(Arc<Checkpoint>, Stage<bool>)>,
}

impl TryView {
    /// The tab as it was left.
    pub fn new(saved: SavedTry) -> Self {
        let SavedTry { settings, mut transcript } = saved;
        transcript.bound();
        Self { offered: !settings.prompt.is_empty(), settings, transcript, ..Self::default() }
    }

    /// What of it is kept.
    pub fn saved(&self) -> SavedTry {
        SavedTry { settings: self.settings.clone(), transcript: self.transcript.clone() }
    }

    /// Whether answers are on their way.
    pub fn is_under_way(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_under_way)
    }

    /// Whether the target is known to have no chat template. A server has its own.
    fn lacks_template(&self, answerer: &AnswererSettings) -> bool {
        answerer.server().is_none() && matches!(&self.template, Some((_, Stage::Done(false))))
    }

    /// Whether the prompt is given as it stands.
    fn is_raw(&self, answerer: &AnswererSettings) -> bool {
        self.settings.raw || self.lacks_template(answerer)
    }

    /// Takes what is about answers, and gives the rest back.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        let run = self.run.as_mut().filter(|run| run.is_under_way());
        match event {
            Event::News(id, news) => {
                if let Some(run) = run.filter(|run| run.id == Some(id)) {
                    run.on_news(news);
                }
            }
            Event::Progress(id, progress) if run.as_ref().is_some_and(|run| run.id == Some(id)) => {
                if let Some(run) = run {
                    run.progress = Some(progress);
                }
            }
            Event::Finished(id, result) if run.as_ref().is_some_and(|run| run.id == Some(id)) => {
                if let Some(run) = run {
                    run.on_finished(&result.map(|_| ()));
                    if let Some(entry) = Entry::of(run) {
                        self.transcript.add(entry);
                    }
                }
            }
            Event::Finished(id, result)
                if self.template.as_ref().is_some_and(|(_, template)| template.job() == Some(id)) =>
            {
                if let Some((_, template)) = &mut self.template {
                    template.finish(result, |outcome| match outcome {
                        Outcome::Template(has_one) => Some(has_one),
                        _ => None,
                    });
                }
            }
            other => return Some(other),
        }
        None
    }
}

impl App {
    /// The Try tab.
    pub fn try_view(&self) -> &TryView {
        &self.try_view
    }

    /// Why nothing can be asked now; `None` when it can.
    pub(super) fn asking_obstacle(&self) -> Option<String> {
        let under_way = || self.try_view.is_under_way().then(|| "Answers are under way: stop them first".to_owned());
        let pending = || {
            let is_known = matches!(&self.try_view.template, Some((_, Stage::Done(_) | Stage::Failed(_))));
            (!is_known).then(|| "The target is being looked at".to_owned())
        };
        let blank = || {
            self.try_view.settings.prompt.trim().is_empty().then(|| "Write a prompt for the models first".to_owned())
        };
        under_way().or_else(|| self.session.merge_obstacle()).or_else(pending).or_else(blank)
    }

    /// Why no strip can be asked for now; `None` when it can.
    pub(super) fn strip_obstacle(&self) -> Option<String> {
        let method = self.session.recipe.method.name;
        let no_w = || (!method.uses_w()).then(|| format!("{} needs no w", method_words::name(method)));
        let loaded = || {
            let loaded = self.answerer.loaded_w();
            loaded.map(|_| "The server answers with what it has loaded: no other w reaches it".to_owned())
        };
        self.asking_obstacle().or_else(no_w).or_else(loaded).or_else(|| self.try_view.settings.strip_values().err())
    }

    /// Asks the target and what the recipe would write.
    pub(super) fn run_both(&mut self) {
        let (settings, recipe) = (self.try_view.settings.clone(), self.session.recipe.clone());
        let raw = self.try_view.is_raw(&self.answerer);
        self.start_run(match self.answerer.loaded_w() {
            Some(w) => Run::loaded(settings, raw, recipe, w),
            None => Run::both(settings, raw, recipe),
        });
    }

    /// Asks what the recipe would write at several w.
    pub(super) fn run_strip(&mut self) {
        let (settings, recipe) = (self.try_view.settings.clone(), self.session.recipe.clone());
        let Ok(values) = settings.strip_values() else { return };
        let raw = self.try_view.is_raw(&self.answerer);
        self.start_run(Run::strip(settings, raw, recipe, self.session.shown(), &values));
    }

    /// Asks again what was asked last, of the models as they are now.
    fn run_again(&mut self) {
        let is_strip = self.try_view.run.as_ref().is_some_and(|run| run.is_strip);
        if is_strip { self.run_strip() } else { self.run_both() }
    }

    fn start_run(&mut self, mut run: Run) {
        self.tab = Tab::Try;
        let choice = self.answerer.choice(&run.recipe);
        run.engine = choice.identity();
        run.note = match (self.answerer.server(), self.answerer.remark()) {
            (Some(server), _) => server.delivery_words(),
            (None, Some(remark)) => format!("{NOTE} {remark}"),
            (None, None) => NOTE.to_owned(),
        };
        run.id = Some(self.session.jobs.ask(choice, asking::ask(run.questions())));
        self.try_view.run = Some(run);
    }

    /// Stops the answers under way.
    pub(super) fn stop_answers(&mut self) {
        if let Some(run) = &mut self.try_view.run
            && let Some(id) = run.id
        {
            run.stopping = true;
            self.session.jobs.cancel(id);
        }
    }

    /// Looks at a target that is new, and offers the demo something to answer.
    pub(super) fn follow_target(&mut self) {
        let target = self.session.slot(Role::Target).checkpoint();
        let view = &mut self.try_view;
        match (target, &view.template) {
            (Some(target), Some((known, _))) if Arc::ptr_eq(target, known) => {}
            (Some(target), _) => {
                let target = target.clone();
                let id = self.session.jobs.start(Job::FindTemplate { model: target.clone() });
                view.template = Some((target, Stage::Running(id, None)));
            }
            (None, _) => view.template = None,
        }
        if !self.try_view.offered && self.shows_demo() {
            self.try_view.offered = true;
            self.try_view.settings.prompt = DEMO_PROMPT.to_owned();
        }
    }
}

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let is_narrow = ui.ctx().content_rect().width() < NARROW;
    ScrollArea::vertical().id_salt("try").auto_shrink([false, false]).show(ui, |ui| {
        controls::ui(app, ui, is_narrow);
        ui.add_space(20.0);
        answers::ui(app, ui, is_narrow);
        earlier::ui(app, ui);
    });
}
