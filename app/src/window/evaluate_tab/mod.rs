//! The Evaluate tab: the same questions at several w, and what the answers support.
//!
//! What is known and done is in [`evaluation`](super::evaluation); the files here only draw it. Numbers and words are those of
//! the command line.

mod chart;
mod controls;
mod detail;
mod fields;
mod flips;
mod grid;
mod items;
mod more;
mod questions;
mod sentences;
mod status;

use std::path::{Path, PathBuf};

use eframe::egui::{Button, Label, Rect, RichText, ScrollArea, Ui, Vec2};
use mergescope_core::evaluate::sweep::SweepTable;

use super::app::{App, Tab};
use super::command::Command;
use super::evaluation::Filter;
use super::figures::TextRoom;
use super::picker::PickFor;
use super::{answerer, number_table, theme, widgets};
use crate::demo;
use crate::evaluate::{page, tables};
use crate::format;
use crate::report::svg::Theme;
use crate::served::Reach;

/// Width of the first column of the table.
const ARM_WIDTH: f32 = 190.0;
/// Height of the answers below the charts.
const FLIPS_HEIGHT: f32 = 88.0;
/// Least height of both charts together.
const LEAST_CHARTS: f32 = 300.0;

/// Characters of a prompt that are shown before the first answer.
const MAX_PROMPT_CHARS: usize = 2_000;

/// What of the tab is in view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The charts, or their table.
    #[default]
    Chart,
    /// The answers, question by question.
    Items,
    /// What the question file's fields mean, and the prompt.
    Fields,
}

/// What is in view, and what is being typed.
#[derive(Default)]
pub struct EvaluateView {
    /// Whether the arms are shown as a table.
    pub table: bool,
    /// What is in view.
    pub shown: Shown,
    /// The arm that a figure in the sentences led to, by its position.
    highlighted: Option<usize>,
    /// Values of w as they are being typed.
    grid_text: Option<String>,
    /// A grader's pattern as it is being typed.
    pattern: String,
    items: ItemsView,
    /// The room of the sentences.
    sentences: TextRoom,
    /// Whether the demo's questions were offered, so that others stay.
    offered: bool,
}

/// What of the answers is in view.
#[derive(Default)]
struct ItemsView {
    filter: Filter,
    search: String,
    /// The columns that are held against each other by their names, if the person chose them.
    columns: [Option<String>; 2],
    /// The question whose answers are shown.
    question: Option<usize>,
    /// Questions that are shown, and what they follow from.
    found: Option<(FoundFor, Vec<usize>)>,
}

/// What the questions in view follow from: the answers by their address, filter, search and columns.
type FoundFor = (usize, Filter, String, [usize; 2]);

impl EvaluateView {
    /// Shows the numbers as a table, or as charts again.
    pub(super) fn toggle_table(&mut self) {
        self.table = !(self.table && self.shown == Shown::Chart);
        self.shown = Shown::Chart;
    }
}

impl App {
    /// The state behind the Evaluate tab.
    pub fn evaluation(&self) -> &super::evaluation::Evaluation {
        &self.evaluation
    }

    /// Why no questions can be asked now; `None` when they can.
    pub(super) fn sweep_obstacle(&self) -> Option<String> {
        let evaluation = &self.evaluation;
        let no_questions =
            || evaluation.settings.spec.questions.is_empty().then(|| "Choose questions first".to_owned());
        let method = self.session.recipe.method.name;
        let no_w = || {
            let name = super::method_words::name(method);
            (!method.uses_w()).then(|| format!("{name} has no use for w, so that there is nothing to sweep"))
        };
        let reading = || evaluation.is_reading().then(|| "The questions are being read".to_owned());
        let unread = || {
            evaluation.prepared.is_none().then(|| {
                evaluation.problem.clone().unwrap_or_else(|| "The questions have not been read yet".to_owned())
            })
        };
        let prepared = evaluation.prepared.as_ref();
        let loaded = prepared.and_then(|prepared| match prepared.reach {
            Reach::Loaded(w) => Some(w),
            _ => None,
        });
        let weighs = || {
            let weighs = evaluation.settings.spec.choices.is_some() && self.answerer.server().is_some();
            weighs.then(|| {
                "A server does not tell how likely a choice is: let choices be taken from the answer, under More"
                    .to_owned()
            })
        };
        let not_asked = || {
            let asked = prepared.map(|prepared| prepared.sweep.spec().w.as_slice()).unwrap_or_default();
            let w = format::w(loaded.filter(|w| !asked.contains(w))?);
            Some(format!("The server has w = {w} loaded, which is not among the w that are asked for"))
        };
        let whole = || {
            let whole = prepared.is_some_and(|prepared| prepared.missing() == 0);
            whole.then(|| match loaded.map(format::w) {
                None => "Every question is answered; change what is asked to ask again".to_owned(),
                Some(w) => {
                    format!(
                        "Every question is answered at w = {w}; load another on the server, and say so under Change"
                    )
                }
            })
        };
        let running = || evaluation.is_running().then(|| "A run is under way: stop it first".to_owned());
        running()
            .or_else(no_questions)
            .or_else(|| self.session.merge_obstacle())
            .or_else(no_w)
            .or_else(reading)
            .or_else(unread)
            .or_else(weighs)
            .or_else(not_asked)
            .or_else(whole)
    }

    /// Asks for what is missing.
    pub(super) fn run_sweep(&mut self) {
        self.tab = Tab::Evaluate;
        if self.evaluate_view.shown == Shown::Fields {
            self.evaluate_view.shown = Shown::Chart;
        }
        self.evaluation.start(&mut self.session.jobs);
    }

    /// Reads what choices and recipe come to, and offers the demo its questions.
    pub(super) fn follow_evaluation(&mut self) {
        if self.tab != Tab::Evaluate {
            return;
        }
        if !self.evaluate_view.offered && self.shows_demo() {
            self.evaluate_view.offered = true;
            if let Some(questions) =
                self.demo_questions().first().filter(|_| self.evaluation.settings.spec.questions.is_empty())
            {
                self.evaluation.settings.choose_questions(questions);
            }
        }
        if self.session.merge_obstacle().is_none() {
            self.evaluation.follow(&self.session.recipe, &self.answerer, &mut self.session.jobs);
        }
    }

    /// The demo's question files that are there: Japanese, then English.
    fn demo_questions(&self) -> Vec<PathBuf> {
        let folder = self.demo.clone().or_else(demo::folder);
        let japanese = folder.map(|folder| demo::questions(&folder));
        let both = japanese.map(|path| [path.clone(), path.with_file_name("demo-en.jsonl")]);
        both.into_iter().flatten().filter(|path| path.is_file()).collect()
    }

    /// Everything as one page, and the name that is offered for it.
    pub(super) fn sweep_report(&self) -> Option<(String, String)> {
        let prepared = self.evaluation.prepared.as_ref()?;
        let table = self.evaluation.table()?;
        let text = page::page(&prepared.sweep, table, &prepared.contents, &prepared.identity, Theme::Auto);
        let stem = Path::new(&self.evaluation.settings.spec.questions).file_stem().unwrap_or_default();
        Some((text, format!("sweep-{}.html", stem.to_string_lossy())))
    }

    /// The numbers in view as CSV.
    pub(super) fn sweep_csv(&self) -> Option<String> {
        let table = self.evaluation.table()?;
        let prepared = self.evaluation.prepared.as_ref()?;
        Some(match self.evaluate_view.shown {
            Shown::Items => tables::matrix(&prepared.sweep, table, &prepared.contents, &prepared.identity).to_csv(),
            Shown::Chart | Shown::Fields => tables::arms(table).to_csv(),
        })
    }

    /// Forgets the answers to these questions.
    pub(super) fn forget_answers(&mut self) {
        match self.evaluation.forget_answers() {
            Ok(()) => self.session.say("The answers are forgotten".to_owned()),
            Err(message) => self.session.fail(message),
        }
    }
}

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    if app.evaluation.settings.spec.questions.is_empty() {
        return no_questions_ui(app, ui);
    }
    controls::ui(app, ui);
    ui.add_space(8.0);
    answerer::line_ui(app, ui);
    status::ui(app, ui);
    match app.evaluate_view.shown {
        Shown::Fields => return fields::ui(app, ui),
        Shown::Items if app.evaluation.table().is_some() => return items::ui(app, ui),
        _ => {}
    }
    let Some(table) = app.evaluation.table().cloned() else { return first_prompt_ui(app, ui) };
    if app.evaluate_view.table {
        sentences::ui(app, ui);
        ui.add_space(8.0);
        let top = ui.cursor().top();
        number_table::ui(ui, &tables::arms(&table), ARM_WIDTH);
        app.chart_rect = Some(Rect::from_x_y_ranges(ui.max_rect().x_range(), top..=ui.max_rect().bottom()));
        return;
    }
    charts_ui(app, ui, &table);
}

/// Before the first answer: what will be asked.
fn first_prompt_ui(app: &mut App, ui: &mut Ui) {
    let Some(prepared) = &app.evaluation.prepared else { return };
    let Some(question) = prepared.sweep.questions().first() else { return };
    let palette = theme::palette(ui);
    ui.add_space(16.0);
    ui.horizontal(|ui| {
        ui.label(RichText::new("The first prompt").text_style(theme::strong()));
        widgets::note_ui(ui, format!("{} is right", question.answer));
    });
    ui.add_space(4.0);
    let prompt: String = prepared.first_prompt.chars().take(MAX_PROMPT_CHARS).collect();
    ui.add(Label::new(RichText::new(prompt).color(palette.weak).line_height(Some(22.0))).wrap().selectable(true));
    ui.add_space(8.0);
    if widgets::link_ui(ui, "Fields and prompt").on_hover_text("Change what the fields mean, and the prompt").clicked()
    {
        app.evaluate_view.shown = Shown::Fields;
    }
}

fn charts_ui(app: &mut App, ui: &mut Ui, table: &SweepTable) {
    ScrollArea::vertical().id_salt("evaluate").auto_shrink([false, false]).show(ui, |ui| {
        let whole = ui.available_height();
        let before = ui.cursor().top();
        sentences::ui(app, ui);
        ui.add_space(8.0);
        let room = (whole - (ui.cursor().top() - before) - FLIPS_HEIGHT).max(LEAST_CHARTS);
        let top = ui.cursor().top();
        chart::ui(app, ui, table, room);
        let rect = Rect::from_x_y_ranges(ui.max_rect().x_range(), top..=ui.cursor().top());
        app.chart_rect = Some(rect.intersect(ui.clip_rect()));
        flips::ui(app, ui, table);
    });
}

/// Before there are any questions.
fn no_questions_ui(app: &mut App, ui: &mut Ui) {
    widgets::empty_ui(
        ui,
        "No questions yet",
        "Choose questions with known answers. They are asked at several w, and this tab shows whether the merged model answers \
         more of them right than its target, and whether that is more than luck",
    );
    ui.add_space(12.0);
    let mut chosen = None;
    ui.vertical_centered(|ui| {
        for path in app.demo_questions() {
            let name = questions::name(&path.to_string_lossy());
            let button = Button::new(format!("Use {name}")).min_size(Vec2::new(200.0, 28.0));
            if ui.add(button).on_hover_text(questions::about(&name)).clicked() {
                chosen = Some(path);
            }
        }
        let button = Button::new("Open questions…").min_size(Vec2::new(200.0, 28.0));
        if ui.add(button).on_hover_text("Read questions from JSON lines, JSON, or a table in CSV or TSV").clicked() {
            app.commands.push(Command::OpenQuestions);
        }
    });
    if let Some(path) = chosen {
        app.evaluation.settings.choose_questions(&path);
    }
}

impl App {
    /// A file about questions was chosen.
    pub(super) fn on_evaluation_path(&mut self, purpose: &PickFor, path: &Path) {
        let settings = &mut self.evaluation.settings;
        match purpose {
            PickFor::Questions => settings.choose_questions(path),
            PickFor::Results if !settings.imports.iter().any(|known| known == path) => {
                settings.imports.push(path.to_owned());
            }
            PickFor::Examples => {
                let examples = settings
                    .spec
                    .examples
                    .get_or_insert(mergescope_core::evaluate::sweep::ExamplesSpec { count: 4, file: None });
                examples.file = Some(path.to_string_lossy().into_owned());
            }
            _ => {}
        }
        self.evaluate_view.offered = true;
        self.session.say(format!("Took {}", format::path(path)));
    }
}
