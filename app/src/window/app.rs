//! The window as a whole: its state, its panels, and what happens in a frame.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui::{self, CentralPanel, ColorImage, Context, Frame, Margin, Panel, Rect, RichText, TextStyle, Ui};
use mergescope_core::merge::{MergeReport, Partial};
use mergescope_core::recipe::Recipe;

use super::answerer::AnswererSettings;
use super::command::Command;
use super::dialogs::Dialog;
use super::engine::Engine;
use super::evaluate_tab::EvaluateView;
use super::evaluation::Evaluation;
use super::jobs::{Event, Job, JobError, JobId, Jobs, Outcome, Waker};
use super::live::Live;
use super::palette::PaletteState;
use super::persist::{self, Saved};
use super::picker::{NEVER_SHOWN, Picker};
use super::results_tab::ResultsView;
use super::scaling_tab::ScalingView;
use super::session::{End, Session, Stage, Written};
use super::slot::SlotState;
use super::try_tab::TryView;
use super::vector_tab::VectorView;
use super::{
    drop, evaluate_tab, export, heat, left, menu_bar, output, palette, results_tab, scaling_tab, theme, try_tab,
    vector_tab,
};
use crate::vector::Metric;
use crate::{demo, format};

/// What the content shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// The vector, layer by layer.
    Vector,
    /// How w is spread.
    Scaling,
    /// What the last merge wrote.
    Results,
    /// The same questions at several w.
    Evaluate,
    /// The same prompt at w = 0 and at w.
    Try,
}

/// What the window starts with.
pub struct Setup {
    /// Does the work.
    pub engine: Arc<dyn Engine>,
    /// Asks for paths.
    pub picker: Arc<dyn Picker>,
    /// The recipe to start with; otherwise the last one, otherwise the demo.
    pub recipe: Option<Recipe>,
    /// A merge that was just made, to be shown at once.
    pub report: Option<MergeReport>,
    /// The folder that holds the demo's pre, post and target.
    pub demo: Option<PathBuf>,
}

/// The window.
pub struct App {
    pub(super) session: Session,
    pub(super) tab: Tab,
    /// Commands given while drawing, carried out after it.
    pub(super) commands: Vec<Command>,
    /// What depends on w.
    pub(super) live: Live,
    pub(super) vector_view: VectorView,
    pub(super) scaling_view: ScalingView,
    pub(super) results_view: ResultsView,
    pub(super) evaluation: Evaluation,
    pub(super) evaluate_view: EvaluateView,
    pub(super) try_view: TryView,
    /// What answers prompts and questions.
    pub(super) answerer: AnswererSettings,
    pub(super) dialog: Option<Dialog>,
    pub(super) palette: Option<PaletteState>,
    /// Whether the three sentences on what to do are shown.
    pub(super) first_steps: bool,
    /// Whether the person folded or unfolded the findings; until then errors unfold by themselves.
    pub(super) findings_open: Option<bool>,
    /// The finding whose tensors are listed.
    pub(super) open_tensors: Option<usize>,
    /// What is looked for among the models in the cache.
    pub(super) cache_search: String,
    /// Where the model fields are, for dropped folders.
    pub(super) slot_rects: [Rect; 3],
    /// Where the chart in view is, for pictures.
    pub(super) chart_rect: Option<Rect>,
    /// Where the content is, without the bars and columns around it.
    content_rect: Rect,
    pub(super) free: output::FreeSpace,
    /// Where the last folder was written to.
    pub(super) last_parent: Option<PathBuf>,
    pub(super) demo: Option<PathBuf>,
    pub(super) theme_chosen: Option<bool>,
    /// A picture of the window, once it has been taken, and where its chart goes.
    screenshot: Arc<Mutex<Option<Arc<ColorImage>>>>,
    pub(super) screenshot_for: Option<PathBuf>,
    /// Frames until the picture is taken.
    pub(super) screenshot_in: Option<u32>,
    /// The job that looks for merges that were interrupted, or removes one, until it has ended.
    unfinished: Option<JobId>,
    /// Whether the window closes although something is being written.
    pub(super) quit_confirmed: bool,
}

impl App {
    /// Prepares the context and starts a session.
    pub fn new(ctx: &Context, storage: Option<&dyn eframe::Storage>, setup: Setup) -> Self {
        theme::install(ctx);
        let saved = storage.map(Saved::load).unwrap_or_default();
        if let Some(dark) = saved.dark {
            ctx.set_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light });
        }
        let demo_recipe = setup.demo.as_deref().map(demo::recipe);
        let reported = setup.report.as_ref().map(|report| report.recipe.clone());
        let started_with = setup.recipe.or(reported);
        let first_start = saved.recipe.is_none() && started_with.is_none();
        let was_saved = started_with.is_none();
        let recipe = started_with.or(saved.recipe).or(demo_recipe).unwrap_or_else(|| Recipe::new("", "", ""));
        let waker: Waker = Arc::new({
            let ctx = ctx.clone();
            move || ctx.request_repaint()
        });
        let mut session = Session::new(recipe, Jobs::new(setup.engine, setup.picker, waker));
        session.recent = saved.recent;
        session.recent_files = saved.recent_files;
        // The file belongs to the recipe of that session, and not to one that the program was started with.
        if was_saved {
            session.reopen_file(saved.file);
            session.show(saved.shown);
        }
        // Where the last merge went, one that was interrupted has left something.
        let unfinished = saved.output_parent.clone().map(|folder| session.jobs.start(Job::FindUnfinished { folder }));
        let tab = if setup.report.is_some() { Tab::Results } else { Tab::Vector };
        // No job of this session has the number 0.
        session.end = setup.report.map(|report| End::Merged(Box::new(Written::new(0, report))));
        Self {
            session,
            tab,
            commands: Vec::new(),
            live: Live::default(),
            vector_view: VectorView::default(),
            scaling_view: ScalingView::default(),
            results_view: ResultsView::default(),
            evaluation: Evaluation::new(storage.and_then(persist::load_evaluation).unwrap_or_default()),
            evaluate_view: EvaluateView::default(),
            try_view: TryView::new(storage.map(persist::load_try).unwrap_or_default()),
            answerer: storage.and_then(persist::load_answerer).unwrap_or_default(),
            dialog: None,
            palette: None,
            first_steps: first_start,
            findings_open: None,
            open_tensors: None,
            cache_search: String::new(),
            slot_rects: [Rect::NOTHING; 3],
            chart_rect: None,
            content_rect: Rect::NOTHING,
            free: output::FreeSpace::default(),
            last_parent: saved.output_parent,
            demo: setup.demo,
            theme_chosen: saved.dark,
            screenshot: Arc::default(),
            screenshot_for: None,
            screenshot_in: None,
            unfinished,
            quit_confirmed: false,
        }
    }

    /// The state behind the window.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The tab in view.
    pub fn tab(&self) -> Tab {
        self.tab
    }

    /// Whether a dialog or the palette is open, which takes what is typed and pasted.
    pub(super) fn is_busy_with_dialog(&self) -> bool {
        self.dialog.is_some() || self.palette.is_some()
    }

    /// The folder that something new is offered to go into.
    pub(super) fn output_parent(&self) -> PathBuf {
        let last = self.last_parent.clone().filter(|parent| parent.is_dir());
        last.unwrap_or_else(|| output::default_parent(self.session.target()))
    }

    fn on_event(&mut self, event: Event) {
        let Some(event) = self.evaluation.handle(event) else { return };
        let Some(event) = self.try_view.handle(event) else { return };
        let event = match &mut self.dialog {
            Some(Dialog::Answerer(dialog)) => dialog.handle(event),
            Some(Dialog::Download(dialog)) => dialog.handle(event),
            _ => Some(event),
        };
        let Some(event) = event else { return };
        let event = match event {
            Event::Finished(id, result) if self.unfinished == Some(id) => return self.on_unfinished(result),
            other => other,
        };
        let Some(Event::Picked { request, path, open_for }) = self.session.handle(event) else {
            return;
        };
        match path {
            Some(path) => self.on_path(&request.purpose, path),
            None if open_for < NEVER_SHOWN => self.on_no_dialog(request),
            None => {}
        }
    }

    /// Offers to go on with a merge that was interrupted, or says that it is removed.
    fn on_unfinished(&mut self, result: Result<Outcome, JobError>) {
        self.unfinished = None;
        match result {
            Ok(Outcome::Unfinished(found)) => {
                // One in parts is gone on with where its parts run.
                let is_whole = |partial: &Partial| partial.recipe.is_some() && partial.output.is_some();
                let is_own = |partial: &Partial| partial.parts.is_none() && is_whole(partial);
                let dead = found.into_iter().find(|partial| !partial.is_alive && is_own(partial));
                if let (Some(partial), None) = (dead, &self.dialog) {
                    self.dialog = Some(Dialog::Unfinished(Box::new(partial)));
                }
            }
            Ok(Outcome::RemovedUnfinished(name)) => {
                self.session.say(format!("What was there of {name} is removed"));
            }
            Err(JobError::Failed(message)) => self.session.fail(format::sentence(&message)),
            _ => {}
        }
    }

    /// Removes what is there of a merge that was interrupted: gigabytes, which take their time.
    pub(super) fn remove_unfinished(&mut self, partial: Box<Partial>) {
        self.unfinished = Some(self.session.jobs.start(Job::RemoveUnfinished(partial)));
    }

    /// Whether the models are those of the demo.
    pub(super) fn shows_demo(&self) -> bool {
        let names = |recipe: &Recipe| [&recipe.vector.pre, &recipe.vector.post, &recipe.target].map(Clone::clone);
        self.demo.as_deref().is_some_and(|demo| names(&demo::recipe(demo)) == names(&self.session.recipe))
    }

    /// Asks for the picture that is wanted, and saves the one that was taken.
    fn follow_screenshot(&mut self, ctx: &Context) {
        self.screenshot_in = match self.screenshot_in {
            Some(frames) if frames > 0 => {
                ctx.request_repaint();
                Some(frames - 1)
            }
            now => now,
        };
        if self.screenshot_in.take_if(|frames| *frames == 0).is_some() {
            let (slot, waker) = (self.screenshot.clone(), ctx.clone());
            ctx.request_screenshot(move |image| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
                waker.request_repaint();
            });
        }
        let taken = self.screenshot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(image) = taken
            && let Some(path) = self.screenshot_for.take()
        {
            let Some(rect) = self.chart_rect else {
                return self.session.fail("The chart is no longer in view; choose Save PNG again".to_owned());
            };
            // The hairlines around the content are no part of the chart.
            let rect = rect.expand2(theme::PICTURE_MARGIN).intersect(self.content_rect.shrink(1.0));
            let scale = ctx.pixels_per_point();
            self.session.jobs.save(path, move |path| export::write_png(path, &image, rect, scale));
        }
    }

    fn shortcuts(&mut self, ctx: &Context) {
        // In a text field undo is about the text.
        let in_text = ctx.text_edit_focused();
        // A dialog in front has the keyboard.
        let busy = self.dialog.is_some();
        for (command, shortcut) in Command::by_shortcut() {
            let is_texts = in_text && matches!(command, Command::Undo | Command::Redo);
            let blocked = busy && command != Command::Quit;
            if !is_texts && !blocked && ctx.input_mut(|input| input.consume_shortcut(&shortcut)) {
                self.commands.push(command);
            }
        }
    }

    fn content_ui(&mut self, ui: &mut Ui) {
        let margin = theme::CONTENT_MARGIN as i8;
        let frame = Frame::new().inner_margin(Margin { left: margin, right: margin, top: 0, bottom: 12 });
        let panel = CentralPanel::default().frame(frame.fill(theme::palette(ui).background));
        self.content_rect = ui.available_rect_before_wrap();
        panel.show(ui, |ui| {
            menu_bar::tabs_ui(self, ui);
            ui.add_space(12.0);
            self.chart_rect = None;
            match self.tab {
                Tab::Vector => vector_tab::ui(self, ui),
                Tab::Scaling => scaling_tab::ui(self, ui),
                Tab::Results => results_tab::ui(self, ui),
                Tab::Evaluate => evaluate_tab::ui(self, ui),
                Tab::Try => try_tab::ui(self, ui),
            }
        });
    }

    fn status_ui(&self, ui: &mut Ui) {
        let palette = theme::palette(ui);
        let small = |text: String, colour| RichText::new(text).text_style(TextStyle::Small).color(colour);
        ui.horizontal_centered(|ui| {
            let (text, colour) = match &self.session.notice {
                Some(notice) => (notice.text.clone(), if notice.is_error { palette.bad } else { palette.weak }),
                None => (self.work_in_words(), palette.weak),
            };
            let resources = self.session.jobs.engine().resources();
            let right = format!(
                "CPU, {} · at most {}",
                format::plural(resources.threads, "thread"),
                format::memory(resources.memory_bytes)
            );
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.label(small(right, palette.weak))
                    .on_hover_text("What a merge may use: threads, and bytes of buffers");
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    ui.add(egui::Label::new(small(text.clone(), colour)).truncate()).on_hover_text(text);
                });
            });
        });
    }

    fn work_in_words(&self) -> String {
        let opening = self.session.slots.iter().any(|slot| matches!(slot.state, SlotState::Opening(_)));
        if self.evaluation.is_running() {
            return "Asking questions".to_owned();
        }
        if self.try_view.is_under_way() {
            return "Answering".to_owned();
        }
        match (self.session.preflight(), self.session.vector()) {
            _ if self.session.awaits_download() => "Downloading".to_owned(),
            (Stage::Running(..), _) => "Comparing the models".to_owned(),
            (_, Stage::Running(..)) => "Measuring the vector".to_owned(),
            (_, Stage::Done(measured)) if measured.analysis.cached => {
                "Vector measured before · its numbers come from the cache".to_owned()
            }
            (_, Stage::Done(measured)) => format!(
                "Vector measured · {} read in {}",
                format::bytes(measured.analysis.bytes_read),
                format::duration(measured.analysis.elapsed)
            ),
            _ if opening => "Opening models".to_owned(),
            _ => "Ready".to_owned(),
        }
    }

    fn panels_ui(&mut self, ui: &mut Ui) {
        let palette = theme::palette(ui);
        let bar = |margin: i8| Frame::new().fill(palette.background).inner_margin(Margin::symmetric(margin, 0));
        Panel::top("menu bar")
            .exact_size(theme::MENU_BAR_HEIGHT)
            .resizable(false)
            .frame(bar(16))
            .show(ui, |ui| menu_bar::ui(self, ui));
        Panel::bottom("status")
            .exact_size(theme::STATUS_HEIGHT)
            .resizable(false)
            .frame(bar(16))
            .show(ui, |ui| self.status_ui(ui));
        left::ui(self, ui);
        self.content_ui(ui);
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.take_events();
        if self.session.take_just_ended() {
            self.tab = Tab::Results;
            self.free.forget();
        }
        self.follow_screenshot(ctx);
        let closing = ctx.input(|input| input.viewport().close_requested());
        if closing && self.session.writing.is_some() && !self.quit_confirmed {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            self.dialog = Some(Dialog::Quit);
        }
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.frame_ui(ui);
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        Saved {
            recipe: Some(self.session.recipe.clone()),
            file: self.session.file.clone(),
            recent: self.session.recent.clone(),
            recent_files: self.session.recent_files.clone(),
            dark: self.theme_chosen,
            output_parent: self.last_parent.clone(),
            shown: self.session.shown(),
        }
        .store(storage);
        persist::store_try(&self.try_view.saved(), storage);
        persist::store_evaluation(&self.evaluation.settings, storage);
        persist::store_answerer(&self.answerer, storage);
    }

    fn persist_egui_memory(&self) -> bool {
        false
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}

impl App {
    /// Takes in what jobs have said; to be called before [`App::frame_ui`].
    pub fn take_events(&mut self) {
        for event in self.session.jobs.drain() {
            self.on_event(event);
        }
        self.session.follow_output();
        self.follow_target();
        self.follow_evaluation();
    }

    /// Chooses what the cells of the Vector tab show, and whether experts are unfolded.
    pub fn show_in_grid(&mut self, metric: Metric, experts: bool) {
        self.vector_view.metric = metric;
        self.vector_view.experts_open = experts;
    }

    /// Draws one frame, whatever the window is; benchmarks have none.
    pub fn frame_ui(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        self.live.follow(&self.session);
        if let Some(left) = self.session.follow_notice(ctx.input(|input| input.time)) {
            ctx.request_repaint_after(left);
        }
        heat::show_rings(&ctx, self.screenshot_for.is_none());
        self.shortcuts(&ctx);
        drop::take(self, &ctx);
        self.panels_ui(ui);
        drop::overlay_ui(self, ui);
        self.dialogs_ui(&ctx);
        palette::ui(self, &ctx);
        for command in std::mem::take(&mut self.commands) {
            self.carry_out(command, &ctx);
            ctx.request_repaint();
        }
        // While something is dragged the recipe is on its way, not there yet.
        let (dragging, now) = ctx.input(|input| (input.pointer.any_down(), input.time));
        if !dragging {
            let recipe = self.session.recipe.clone();
            self.session.history.record(&recipe, now);
        }
    }
}
