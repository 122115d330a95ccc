//! The window as a whole: its panels, its dialogs, and the commands they give.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui::{self, CentralPanel, ColorImage, Context, Frame, Margin, Panel, Rect, RichText, TextStyle, Ui};
use mergescope_core::error::chain;
use mergescope_core::merge::MergeReport;
use mergescope_core::recipe::{Recipe, file};

use super::command::Command;
use super::dialogs::{Dialog, DialogEnd};
use super::engine::Engine;
use super::evaluate_tab::EvaluateView;
use super::evaluation::Evaluation;
use super::jobs::{Event, Jobs, Waker};
use super::live::Live;
use super::merge_file_dialog::MergeFileDialog;
use super::palette::PaletteState;
use super::past_dialog::PastDialog;
use super::persist::{self, Saved};
use super::picker::{NEVER_SHOWN, NO_DIALOG, PickFor, PickRequest, Picker};
use super::results_tab::ResultsView;
use super::scaling_tab::ScalingView;
use super::session::{End, Product, Session, Stage, Written};
use super::slot::SlotState;
use super::try_tab::TryView;
use super::vector_tab::VectorView;
use super::{
    dialogs, drop, evaluate_tab, export, heat, left, menu_bar, output, palette, results_tab, scaling_tab, theme,
    try_tab, vector_tab,
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
    pub(super) dialog: Option<Dialog>,
    pub(super) palette: Option<PaletteState>,
    /// Whether the three sentences on what to do are shown.
    pub(super) first_steps: bool,
    /// Whether the person folded or unfolded the findings; until then errors unfold by themselves.
    pub(super) findings_open: Option<bool>,
    /// The finding whose tensors are listed.
    pub(super) open_tensors: Option<usize>,
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
    theme_chosen: Option<bool>,
    /// A picture of the window, once it has been taken, and where its chart goes.
    screenshot: Arc<Mutex<Option<Arc<ColorImage>>>>,
    screenshot_for: Option<PathBuf>,
    /// Frames until the picture is taken.
    screenshot_in: Option<u32>,
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
            dialog: None,
            palette: None,
            first_steps: first_start,
            findings_open: None,
            open_tensors: None,
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
        let Some(Event::Picked { request, path, open_for }) = self.session.handle(event) else {
            return;
        };
        match path {
            Some(path) => self.on_path(&request.purpose, path),
            None if open_for < NEVER_SHOWN => self.on_no_dialog(request),
            None => {}
        }
    }

    /// A path was chosen or typed.
    fn on_path(&mut self, purpose: &PickFor, path: PathBuf) {
        let path = purpose.complete(path);
        match purpose {
            PickFor::Model(role) => self.session.set_model(*role, &path.to_string_lossy()),
            PickFor::OutputFolder => {
                if let Some(destination) = self.dialog.as_mut().and_then(Dialog::destination_mut) {
                    destination.set_parent(&path);
                }
            }
            PickFor::OpenRecipe => self.open_recipe(&path),
            PickFor::OpenValues => scaling_tab::read_values(&mut self.session, &path),
            PickFor::SaveRecipe => self.session.save_recipe(&path),
            PickFor::Questions | PickFor::Examples | PickFor::Results => self.on_evaluation_path(purpose, &path),
            PickFor::SaveMergeFile(text) | PickFor::SaveTranscript(text) | PickFor::SaveReport(text) => {
                let text = text.clone();
                self.session.jobs.save(path, move |path| {
                    file::replace(path, text.as_bytes())
                        .map_err(|error| format!("Cannot write {}: {error}", format::path(path)))
                });
            }
            PickFor::SavePicture => {
                self.screenshot_for = Some(path);
                // Part of it may be scrolled out of sight: the first frame asks to scroll, the second is where it was asked.
                self.vector_view.show_chosen();
                self.screenshot_in = Some(2);
            }
        }
    }

    /// No dialog came up: say so where the path can be typed.
    fn on_no_dialog(&mut self, request: PickRequest) {
        match request.purpose {
            PickFor::Model(role) => self.session.slot_mut(role).hint = Some(NO_DIALOG.to_owned()),
            PickFor::OutputFolder => {
                if let Some(destination) = self.dialog.as_mut().and_then(Dialog::destination_mut) {
                    destination.hint = Some(NO_DIALOG.to_owned());
                }
            }
            _ => self.dialog = Some(Dialog::path(request)),
        }
    }

    fn pick(&mut self, purpose: PickFor, start: Option<PathBuf>, file_name: String) {
        self.session.jobs.pick(PickRequest { purpose, start, file_name });
    }

    /// Reads a recipe or a merge file.
    pub(super) fn open_recipe(&mut self, path: &Path) {
        match self.session.open_recipe(path) {
            Ok(None) => {}
            Ok(Some(talk)) => self.dialog = Some(Dialog::MergeFile(talk)),
            Err(error) => self.dialog = Some(Dialog::Problem(format::sentence(&chain(&error)))),
        }
    }

    /// Whether the models are those of the demo.
    pub(super) fn shows_demo(&self) -> bool {
        let names = |recipe: &Recipe| [&recipe.vector.pre, &recipe.vector.post, &recipe.target].map(Clone::clone);
        self.demo.as_deref().is_some_and(|demo| names(&demo::recipe(demo)) == names(&self.session.recipe))
    }

    /// Why a command that writes or asks something cannot be given now; `None` when it can.
    pub(super) fn obstacle(&self, command: Command) -> Option<String> {
        match command {
            Command::Merge => self.session.merge_obstacle(),
            Command::ExportAdapter => self.session.adapter_obstacle(),
            Command::SaveVector => self.session.vector_obstacle(),
            Command::RunSweep => self.sweep_obstacle(),
            Command::RunBoth => self.asking_obstacle(),
            Command::RunStrip => self.strip_obstacle(),
            _ => None,
        }
    }

    /// Whether a command can be given now.
    pub(super) fn is_enabled(&self, command: Command) -> bool {
        match command {
            Command::Undo => self.session.history.can_undo(),
            Command::Redo => self.session.history.can_redo(),
            Command::Merge
            | Command::ExportAdapter
            | Command::SaveVector
            | Command::RunSweep
            | Command::RunBoth
            | Command::RunStrip => self.obstacle(command).is_none(),
            Command::StopSweep => self.evaluation.run.as_ref().is_some_and(|run| !run.stopping),
            Command::OpenQuestions | Command::OpenExamples | Command::ImportResults => !self.evaluation.is_running(),
            Command::SaveReport => self.evaluation.table().is_some() && self.evaluation.prepared.is_some(),
            Command::OpenAnswers => self.evaluation.folder().is_some_and(|folder| folder.is_dir()),
            Command::ForgetAnswers => {
                !self.evaluation.is_running()
                    && self.evaluation.progress().is_some_and(|progress| progress.answered > 0)
            }
            Command::CancelWriting => self.session.writing.is_some(),
            Command::StopAnswers => self.try_view.is_under_way(),
            Command::SaveTranscript => !self.try_view.transcript.entries().is_empty(),
            Command::RemoveVector => self.session.count() > 1,
            Command::NextVector | Command::MoveVectorDown => self.session.shown() + 1 < self.session.count(),
            Command::PreviousVector | Command::MoveVectorUp => self.session.shown() > 0,
            Command::UseDemo => self.demo.is_some(),
            // A saved vector has its table, and no chart in its place.
            Command::ToggleTable => self.has_numbers() && !self.shows_saved_vector(),
            Command::CopyCsv => self.has_numbers(),
            Command::SavePng => self.has_numbers() && self.chart_rect.is_some(),
            Command::OpenOutput => self.session.end.as_ref().is_some_and(|end| end.output().is_some()),
            _ => true,
        }
    }

    fn shows_saved_vector(&self) -> bool {
        self.tab == Tab::Results && matches!(self.session.end, Some(End::Saved(_)))
    }

    /// Whether the tab in view has numbers.
    fn has_numbers(&self) -> bool {
        match self.tab {
            Tab::Vector => {
                let is_whole = self.session.is_whole_model(self.session.shown());
                self.session.vector().done().is_some() && !is_whole
            }
            Tab::Scaling => scaling_tab::has_values(&self.session),
            Tab::Results => self.session.end.as_ref().is_some_and(|end| end.output().is_some()),
            Tab::Evaluate => self.evaluation.table().is_some(),
            Tab::Try => self.try_view.run.is_some(),
        }
    }

    fn carry_out(&mut self, command: Command, ctx: &Context) {
        if !self.is_enabled(command) {
            return;
        }
        // What the last one led to is no news any more.
        self.session.notice = None;
        match command {
            Command::OpenRecipe => self.pick(PickFor::OpenRecipe, self.recipe_folder(), String::new()),
            Command::SaveRecipe => match self.session.file.clone() {
                Some(file) => self.session.save_recipe(&file),
                None => self.carry_out(Command::SaveRecipeAs, ctx),
            },
            Command::SaveRecipeAs => {
                let name = self.session.file.as_deref().and_then(Path::file_name);
                let name = name.map_or("recipe.toml".into(), |name| name.to_string_lossy().into_owned());
                self.pick(PickFor::SaveRecipe, self.recipe_folder(), name);
            }
            Command::Browse(role) => {
                let start = self.session.slot(role).checkpoint().and_then(|model| model.root().parent());
                self.pick(PickFor::Model(role), start.map(Path::to_owned), String::new());
            }
            Command::UseDemo => {
                if let Some(recipe) = self.demo.as_deref().map(demo::recipe) {
                    self.session.set_recipe(recipe);
                }
            }
            Command::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            Command::Undo => self.session.undo(),
            Command::Redo => self.session.redo(),
            Command::Merge => self.ask_about(Product::Merge),
            Command::ExportAdapter => self.ask_about(Product::Adapter),
            Command::SaveVector => self.ask_about(Product::Vector),
            Command::ExportMergeFile => {
                self.dialog = Some(Dialog::MergeFile(Box::new(MergeFileDialog::export(&self.session))));
            }
            Command::CancelWriting => self.session.cancel_writing(),
            Command::AddVector => self.session.add_vector(),
            Command::RemoveVector => self.session.remove_vector(self.session.shown()),
            Command::NextVector => self.session.show(self.session.shown() + 1),
            Command::PreviousVector => self.session.show(self.session.shown().saturating_sub(1)),
            Command::MoveVectorUp => self.session.move_vector(true),
            Command::MoveVectorDown => self.session.move_vector(false),
            Command::Method(method) => self.session.set_method(method),
            Command::Control(kind) => self.session.set_control(kind),
            Command::ShowVector => self.tab = Tab::Vector,
            Command::ShowScaling => self.tab = Tab::Scaling,
            Command::ShowResults => self.tab = Tab::Results,
            Command::ShowEvaluate => self.tab = Tab::Evaluate,
            Command::RunSweep => self.run_sweep(),
            Command::StopSweep => self.evaluation.stop(&self.session.jobs),
            Command::OpenQuestions => self.pick(PickFor::Questions, self.recipe_folder(), String::new()),
            Command::OpenExamples => self.pick(PickFor::Examples, self.recipe_folder(), String::new()),
            Command::ImportResults => self.pick(PickFor::Results, self.recipe_folder(), String::new()),
            Command::SaveReport => {
                if let Some((text, name)) = self.sweep_report() {
                    self.pick(PickFor::SaveReport(text), self.last_parent.clone(), name);
                }
            }
            Command::OpenAnswers => {
                if let Some(folder) = self.evaluation.folder().cloned() {
                    self.open_folder(&folder);
                }
            }
            Command::ForgetAnswers => self.dialog = Some(Dialog::ForgetAnswers),
            Command::ShowTry => self.tab = Tab::Try,
            Command::RunBoth => self.run_both(),
            Command::RunStrip => self.run_strip(),
            Command::StopAnswers => self.stop_answers(),
            Command::SaveTranscript => {
                let lines = self.try_view.transcript.json_lines();
                self.pick(PickFor::SaveTranscript(lines), self.recipe_folder(), "transcript.jsonl".to_owned());
            }
            Command::OpenValues => self.pick(PickFor::OpenValues, self.recipe_folder(), String::new()),
            Command::ToggleTable => match self.tab {
                Tab::Vector => self.vector_view.table = !self.vector_view.table,
                Tab::Scaling => self.scaling_view.table = !self.scaling_view.table,
                Tab::Results => self.results_view.table = !self.results_view.table,
                Tab::Evaluate => self.evaluate_view.toggle_table(),
                Tab::Try => self.try_view.table = !self.try_view.table,
            },
            Command::CopyCsv => self.copy_csv(ctx),
            Command::SavePng => {
                let stem = match self.tab {
                    Tab::Vector => self.vector_view.chart.file_stem(),
                    Tab::Scaling => "scaling",
                    Tab::Results => "results",
                    Tab::Evaluate => "sweep",
                    Tab::Try => "answers",
                };
                self.pick(PickFor::SavePicture, self.last_parent.clone(), format!("{stem}.png"));
            }
            Command::OpenOutput => {
                if let Some(folder) = self.session.end.as_ref().and_then(End::output).map(Path::to_owned) {
                    self.open_folder(&folder);
                }
            }
            Command::PastMerges => {
                let past = self.session.jobs.engine().past();
                self.dialog = Some(Dialog::Past(Box::new(PastDialog::new(past.as_ref()))));
            }
            Command::ToggleTheme => {
                let dark = ctx.theme() == egui::Theme::Light;
                self.theme_chosen = Some(dark);
                ctx.set_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light });
            }
            Command::Palette => self.palette = Some(PaletteState::default()),
            Command::FirstSteps => {
                self.tab = Tab::Vector;
                self.first_steps = true;
            }
            Command::About => self.dialog = Some(Dialog::About),
        }
    }

    /// Asks how to write something, and where.
    fn ask_about(&mut self, product: Product) {
        let parent = self.output_parent();
        self.dialog = Some(Dialog::write(product, &self.session, &parent));
    }

    fn recipe_folder(&self) -> Option<PathBuf> {
        self.session.file.as_deref().and_then(Path::parent).map(Path::to_owned)
    }

    fn copy_csv(&mut self, ctx: &Context) {
        let csv = match (self.tab, &self.session.end) {
            (Tab::Vector, _) => match vector_tab::chosen_table(self) {
                Some(table) => table.to_csv(),
                None => {
                    let chart = self.vector_view.chart.title();
                    return self.session.fail(format!("“{chart}” has no numbers yet"));
                }
            },
            (Tab::Scaling, _) => match scaling_tab::values_table(self) {
                Some(table) => table.to_csv(),
                None => return,
            },
            (Tab::Results, Some(end)) => match results_tab::csv(end) {
                Some(csv) => csv,
                None => return,
            },
            (Tab::Results, None) => return,
            (Tab::Evaluate, _) => match self.sweep_csv() {
                Some(csv) => csv,
                None => return,
            },
            (Tab::Try, _) => match &self.try_view.run {
                Some(run) => try_tab::table(run).to_csv(),
                None => return,
            },
        };
        // The header is no row of numbers.
        let rows = csv.lines().count().saturating_sub(1);
        ctx.copy_text(csv);
        self.session.say(format!("Copied {}", format::plural(rows, "row")));
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

    /// Shows a folder in the file manager.
    fn open_folder(&mut self, folder: &Path) {
        if let Err(error) = open::that_detached(folder) {
            self.session.fail(format!("The folder could not be opened: {error}"));
        }
    }

    fn dialogs_ui(&mut self, ctx: &Context) {
        let Some(dialog) = self.dialog.take() else { return };
        match dialogs::ui(self, ctx, dialog) {
            DialogEnd::Open(dialog) => {
                // What was asked for while it was open, such as a path, may have replaced it.
                self.dialog.get_or_insert(dialog);
            }
            DialogEnd::Closed => {}
            DialogEnd::Path(purpose, path) => self.on_path(&purpose, path),
            DialogEnd::Work(work) => {
                self.last_parent = work.output().parent().map(Path::to_owned);
                self.session.start(work);
            }
            DialogEnd::Imported(path, recipe) => self.session.take_merge_file(&path, *recipe),
            DialogEnd::SaveMergeFile(text) => {
                let stem = self.session.file.as_deref().and_then(Path::file_stem);
                let name = stem.map_or("merge".into(), |stem| stem.to_string_lossy().into_owned());
                self.pick(PickFor::SaveMergeFile(text), self.recipe_folder(), format!("{name}.yaml"));
            }
            DialogEnd::Report(report) => {
                self.session.show_report(*report);
                self.tab = Tab::Results;
            }
            DialogEnd::Browse(dialog, start) => {
                self.dialog = Some(dialog);
                self.pick(PickFor::OutputFolder, start, String::new());
            }
            DialogEnd::Recipe(recipe) => {
                self.session.set_recipe(*recipe);
                self.session.say("Opened the recipe of a past merge; Undo brings the other back".to_owned());
            }
            DialogEnd::Folder(dialog, folder) => {
                self.dialog = Some(dialog);
                self.open_folder(&folder);
            }
            DialogEnd::ForgetAnswers => self.forget_answers(),
            DialogEnd::Quit => {
                self.quit_confirmed = true;
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
        }
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
