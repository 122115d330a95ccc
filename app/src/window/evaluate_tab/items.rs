//! The answers question by question: which are shown, a grid of what became of each, and two of them side by side.

use eframe::egui::{
    self, Align, Align2, Button, CursorIcon, Key, Label, Layout, Rangef, Rect, RichText, ScrollArea, Sense, Stroke,
    TextEdit, TextStyle, Ui, Vec2, WidgetInfo, pos2,
};
use mergescope_core::evaluate::grade::Outcome;

use super::{Shown, detail};
use crate::format;
use crate::window::app::App;
use crate::window::evaluation::{Filter, Items};
use crate::window::heat::{self, Cells};
use crate::window::{chart, theme, widgets};

/// Height of a row of the grid.
const ROW_HEIGHT: f32 = 22.0;
/// Width of a cell, as long as there is room for it.
const CELL_WIDTH: f32 = 40.0;
const LEAST_CELL: f32 = 22.0;
/// Width of the labels.
const LABEL_WIDTH: f32 = 64.0;
/// Least room for a question.
const QUESTION_WIDTH: f32 = 240.0;
/// Height of the answers side by side, as a share of what there is.
const DETAIL_SHARE: f32 = 0.36;
/// Characters of an answer that are shown.
const MOST_CHARS: usize = 20_000;

/// Draws them.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let items = app.evaluation.items.clone();
    let columns = columns(app, &items);
    top_ui(app, ui, &items, columns);
    ui.add_space(6.0);
    let found = found(app, &items, columns);
    let detail = (ui.available_height() * DETAIL_SHARE).max(120.0);
    let height = (ui.available_height() - detail - 14.0).max(80.0);
    let top = ui.cursor().top();
    let place = Rect::from_min_size(ui.cursor().min, Vec2::new(ui.available_width(), height));
    ui.scope_builder(egui::UiBuilder::new().max_rect(place), |ui| {
        ui.set_height(height);
        grid_ui(app, ui, &items, &found, columns);
    });
    widgets::hairline_ui(ui);
    ui.add_space(8.0);
    detail_ui(app, ui, &items, columns);
    let rect = Rect::from_x_y_ranges(ui.max_rect().x_range(), top..=ui.max_rect().bottom());
    app.chart_rect = Some(rect);
}

/// The columns that are held against each other: those that were chosen, else w = 0 and the chosen w.
fn columns(app: &App, items: &Items) -> [usize; 2] {
    let chosen = app.evaluation.table().and_then(|table| table.chosen).map(|chosen| chosen.w).filter(|w| *w != 0.0);
    let usual = [items.at(0.0), chosen.and_then(|w| items.at(w))];
    let last = items.columns.len().saturating_sub(1);
    let of = |side: usize| {
        let label = app.evaluate_view.items.columns[side].as_deref();
        let named = label.and_then(|label| items.columns.iter().position(|column| column.label == label));
        named.or(usual[side]).unwrap_or(if side == 0 { 0 } else { last })
    };
    [of(0), of(1)]
}

/// The questions in view, looked for again only when something changes.
fn found(app: &mut App, items: &std::sync::Arc<Items>, columns: [usize; 2]) -> Vec<usize> {
    let view = &mut app.evaluate_view.items;
    let key = (std::sync::Arc::as_ptr(items) as usize, view.filter, view.search.clone(), columns);
    if let Some((known, found)) = &view.found
        && *known == key
    {
        return found.clone();
    }
    let found = items.shown(view.filter, &view.search, columns);
    view.found = Some((key, found.clone()));
    found
}

fn top_ui(app: &mut App, ui: &mut Ui, items: &Items, columns: [usize; 2]) {
    let palette = theme::palette(ui);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        if widgets::link_ui(ui, "Back to the chart").clicked() {
            app.evaluate_view.shown = Shown::Chart;
        }
        ui.add_space(8.0);
        for filter in Filter::ALL {
            let count = items.shown(filter, "", columns).len();
            let text = RichText::new(format!("{} {}", filter.label(), format::count(count as u64))).color(palette.text);
            let button = Button::selectable(app.evaluate_view.items.filter == filter, text);
            if ui.add(button).accessible_name(format!("Show {}", filter.label())).clicked() {
                app.evaluate_view.items.filter = filter;
            }
        }
        ui.add_space(8.0);
        let field = TextEdit::singleline(&mut app.evaluate_view.items.search).desired_width(160.0);
        let field = field.hint_text("Search").char_limit(200);
        ui.add(field).on_hover_text("Words of the question, its label or its id").accessible_name("Search questions");
    });
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        let names: Vec<String> = items.columns.iter().map(|column| minus(&column.label)).collect();
        let options: Vec<(usize, &str, &str)> =
            names.iter().enumerate().map(|(at, name)| (at, name.as_str(), "")).collect();
        for (side, label) in ["Hold", "against"].into_iter().enumerate() {
            // “Hold w = 0.25 against w = 0”: the second is the one to compare with.
            let side = 1 - side;
            let mut at = columns[side];
            let tooltip = "The two models whose answers are shown side by side and which the filters are about";
            widgets::choice_ui(ui, label, tooltip, &mut at, &options);
            if at != columns[side] {
                app.evaluate_view.items.columns[side] = items.columns.get(at).map(|column| column.label.clone());
            }
        }
        ui.add_space(8.0);
        for outcome in Outcome::ALL {
            let text = format!("{} {}", detail::sign(outcome), outcome.label());
            let text = RichText::new(text).text_style(TextStyle::Small).color(detail::colour(palette, outcome));
            ui.label(text);
        }
    });
}

/// A label with a real minus.
fn minus(label: &str) -> String {
    label.replace("= -", "= −")
}

/// Where the parts of a row are.
struct Places {
    question: Rangef,
    label: Rangef,
    cells: Vec<Rangef>,
}

impl Places {
    fn new(left: f32, width: f32, columns: usize) -> Self {
        let room = width - QUESTION_WIDTH - LABEL_WIDTH - 16.0;
        let cell = (room / columns.max(1) as f32).clamp(LEAST_CELL, CELL_WIDTH);
        let start = (left + width - cell * columns as f32).max(left + QUESTION_WIDTH + LABEL_WIDTH);
        let cells = (0..columns).map(|at| Rangef::new(start + at as f32 * cell, start + (at + 1) as f32 * cell));
        let label = Rangef::new(start - LABEL_WIDTH - 8.0, start - 8.0);
        Self { question: Rangef::new(left, label.min - 8.0), label, cells: cells.collect() }
    }

    /// Room that everything needs.
    fn least(columns: usize) -> f32 {
        QUESTION_WIDTH + LABEL_WIDTH + 16.0 + LEAST_CELL * columns as f32
    }
}

fn grid_ui(app: &mut App, ui: &mut Ui, items: &Items, found: &[usize], columns: [usize; 2]) {
    widgets::wide_ui(ui, "answers", Places::least(items.columns.len()), |ui| {
        let places = Places::new(ui.max_rect().left(), ui.available_width() - 12.0, items.columns.len());
        heading_ui(ui, items, &places, columns);
        if found.is_empty() {
            ui.add_space(8.0);
            widgets::note_ui(ui, "No question is like this");
            return;
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        let scroll = ScrollArea::vertical().id_salt("questions").auto_shrink([false, false]);
        scroll.show_rows(ui, ROW_HEIGHT, found.len(), |ui, rows| {
            let mut cells = Cells::new(ui);
            let mut drawn = Vec::new();
            for row in rows {
                let rect = row_rect(ui);
                for (column, x) in places.cells.iter().enumerate() {
                    if let Some(outcome) = items.outcome(column, found[row]) {
                        let palette = theme::palette(ui);
                        let ground = detail::colour(palette, outcome).gamma_multiply(0.16);
                        cells.add(*x, rect.y_range(), ground);
                    }
                }
                drawn.push((row, rect));
            }
            let painter = ui.painter().clone();
            cells.paint(&painter);
            for (row, rect) in drawn {
                row_ui(app, ui, items, &places, found, row, rect);
            }
        });
    });
}

fn row_rect(ui: &mut Ui) -> Rect {
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), ROW_HEIGHT), Sense::hover());
    rect
}

/// The names of the columns; those that are held against each other stand out.
fn heading_ui(ui: &mut Ui, items: &Items, places: &Places, columns: [usize; 2]) {
    let palette = theme::palette(ui);
    let rect = row_rect(ui);
    let at = |x: f32, align: Align2, text: &str, colour| {
        ui.painter().text(pos2(x, rect.center().y), align, text, chart::axis_font(), colour);
    };
    at(places.question.min, Align2::LEFT_CENTER, "Question", palette.weak);
    at(places.label.max, Align2::RIGHT_CENTER, "Label", palette.weak);
    for (column, x) in places.cells.iter().enumerate() {
        let Some(named) = items.columns.get(column) else { continue };
        let short = match named.grid_w {
            Some(w) => super::grid::short(w),
            None if named.label.contains("control") => "ctrl".to_owned(),
            None => named.label.chars().take(4).collect(),
        };
        let colour = if columns.contains(&column) { palette.text } else { palette.weak };
        at(x.center(), Align2::CENTER_CENTER, &short, colour);
        let place = Rect::from_x_y_ranges(*x, rect.y_range());
        ui.interact(place, ui.scope_id().with(("column", column)), Sense::hover()).on_hover_text(minus(&named.label));
        if columns.contains(&column) {
            ui.painter().hline(x.shrink(4.0), rect.bottom() - 2.0, Stroke::new(1.0, palette.text));
        }
    }
}

fn row_ui(app: &mut App, ui: &mut Ui, items: &Items, places: &Places, found: &[usize], row: usize, rect: Rect) {
    let palette = theme::palette(ui);
    let question = found[row];
    let Some(item) = items.questions.get(question) else { return };
    let is_chosen = app.evaluate_view.items.question == Some(question);
    let response = ui.interact(rect, ui.scope_id().with(("question", question)), Sense::click());
    let response = response.on_hover_cursor(CursorIcon::PointingHand);
    let text = item.question.replace('\n', " ");
    response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, is_chosen, format!("{}: {text}", item.id)));
    if is_chosen || response.hovered() || response.has_focus() {
        let ground = if is_chosen { palette.selection } else { palette.raised };
        let left = rect.with_max_x(places.cells.first().map_or(rect.right(), |cell| cell.min));
        ui.painter().rect_filled(left, 2.0, ground);
    }
    let line = |x: Rangef, text: &str, align: Align2, colour| {
        let place = Rect::from_x_y_ranges(x, rect.y_range());
        let at = match align {
            Align2::RIGHT_CENTER => place.right_center(),
            _ => place.left_center(),
        };
        ui.painter().with_clip_rect(place.intersect(ui.clip_rect())).text(
            at,
            align,
            text,
            TextStyle::Body.resolve(ui.style()),
            colour,
        );
    };
    // Longer ones would be laid out in vain in every frame.
    let text: String = text.chars().take(160).collect();
    line(places.question, &text, Align2::LEFT_CENTER, if item.is_dev { palette.weak } else { palette.text });
    let label: String = item.label.chars().take(16).collect();
    line(places.label, &label, Align2::RIGHT_CENTER, palette.weak);
    for (column, x) in places.cells.iter().enumerate() {
        if let Some(outcome) = items.outcome(column, question) {
            let at = pos2(x.center(), rect.center().y);
            let colour = detail::colour(palette, outcome);
            ui.painter().text(at, Align2::CENTER_CENTER, detail::sign(outcome), chart::axis_font(), colour);
        }
    }
    let over = heat::pointer(&response).and_then(|at| heat::hit(places.cells.iter().copied(), at.x));
    let tooltip = match over.and_then(|column| Some((column, items.columns.get(column)?))) {
        Some((column, named)) => {
            let outcome = items.outcome(column, question).map_or("not asked yet", Outcome::label);
            format!("{} at {}", outcome, minus(&named.label))
        }
        None => {
            let part = if item.is_dev { "\nw is chosen on this question" } else { "" };
            format!("{}\n{}\nThe label is {}{part}", item.id, item.question, item.label)
        }
    };
    let keys = response
        .has_focus()
        .then(|| ui.input(|input| (input.num_presses(Key::ArrowDown), input.num_presses(Key::ArrowUp))));
    if response.on_hover_text_at_pointer(tooltip).clicked() {
        let view = &mut app.evaluate_view.items;
        view.question = Some(question);
        if let Some(named) = over.and_then(|column| items.columns.get(column)) {
            view.columns[1] = Some(named.label.clone());
        }
    }
    if let Some((down, up)) = keys.filter(|keys| keys.0 + keys.1 > 0) {
        let next = heat::moved(row, down as isize - up as isize, found.len());
        app.evaluate_view.items.question = found.get(next).copied();
    }
}

/// Two answers to the question that is chosen.
fn detail_ui(app: &mut App, ui: &mut Ui, items: &Items, columns: [usize; 2]) {
    let palette = theme::palette(ui);
    let Some((at, item)) = app.evaluate_view.items.question.and_then(|at| Some((at, items.questions.get(at)?))) else {
        widgets::note_ui(
            ui,
            "Choose a question to see its answers side by side; a cell of the grid chooses the model too",
        );
        return;
    };
    ScrollArea::vertical().id_salt("answers").auto_shrink([false, false]).show(ui, |ui| {
        let heading =
            RichText::new(format!("{}   label {}", item.question, item.label)).line_height(Some(theme::TEXT_LINE));
        ui.add(Label::new(heading).wrap().selectable(true));
        ui.add_space(6.0);
        let width = ((ui.available_width() - 32.0) / 2.0).floor();
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 32.0;
            for column in columns {
                let Some(named) = items.columns.get(column) else { continue };
                ui.allocate_ui_with_layout(Vec2::new(width, 0.0), Layout::top_down(Align::Min), |ui| {
                    ui.set_width(width);
                    let outcome = items.outcome(column, at);
                    let words = outcome.map_or("not asked yet", Outcome::label);
                    ui.label(RichText::new(format!("{} · {words}", minus(&named.label))).color(palette.weak));
                    for answer in named.answers.get(at).into_iter().flatten() {
                        detail::answer_ui(ui, answer, MOST_CHARS, false);
                    }
                });
            }
        });
    });
}
