//! Layer × part: one cell for each part of each layer, over the same x axis as the bars.

use eframe::egui::{
    self, Align2, CursorIcon, Id, Layout, Rangef, Rect, Response, RichText, ScrollArea, Sense, Ui, UiBuilder,
    WidgetInfo,
};
use mergescope_core::analysis::{Cell, Group, Row};

use super::cell_numbers::CellNumbers;
use super::names;
use super::view::{ChartId, VectorView};
use crate::format;
use crate::vector::{Amounts, ColourScale, Metric, Scale, extremes, labels};
use crate::window::chart::{self, Tick, XScale};
use crate::window::heat::{self, Cells, Keys};
use crate::window::live::{Key, Source};
use crate::window::session::Measured;
use crate::window::theme::{self, Palette};
use crate::window::title::{self, Title};
use crate::window::{fonts, widgets};

/// Height of a row, when there is room.
const ROW_HEIGHT: f32 = 27.0;
/// Least height of a row; more rows scroll.
const LEAST_ROW_HEIGHT: f32 = 15.0;
/// Height of the row with the title.
const TITLE_HEIGHT: f32 = 30.0;
/// Room for the scroll bar, beside the chart.
const SCROLL_BAR_WIDTH: f32 = 12.0;
/// Height of the legend where it has a line of its own.
const LEGEND_HEIGHT: f32 = 18.0;

/// Values of cells by row, worked out when a row is first drawn.
#[derive(Default)]
pub struct GridValues {
    key: Option<(Metric, Option<Key>, u64, usize)>,
    /// One entry for each row; a value for each group, NaN where there is none.
    rows: Vec<Option<Vec<f64>>>,
    /// The smallest above zero and the largest value of all rows, for amounts.
    extremes: [f64; 2],
}

impl GridValues {
    /// Forgets the values when they belong to another metric, w or set of rows.
    fn follow(&mut self, metric: Metric, rows: &[Row], source: &Source<'_>) {
        let at_w = if metric == Metric::RoundingSurvival { Some(source.key) } else { None };
        let key = (metric, at_w, source.measured.number, rows.len());
        if self.key == Some(key) {
            return;
        }
        *self = Self { key: Some(key), rows: vec![None; rows.len()], extremes: [0.0; 2] };
        if metric.scale() == Scale::Amount {
            let mut values: Vec<f64> = Vec::new();
            for (index, row) in rows.iter().enumerate() {
                values.extend(self.row(metric, index, *row, source));
            }
            let beside = source.measured.overview.beside().iter();
            values.extend(beside.map(|group| source.value(metric, &group.cells[0]).value));
            self.extremes = extremes(values.into_iter());
        }
    }

    /// The values of one row.
    fn row(&mut self, metric: Metric, index: usize, row: Row, source: &Source<'_>) -> &[f64] {
        self.rows[index].get_or_insert_with(|| {
            let columns = 0..source.measured.overview.layers().len();
            let value = |column| {
                let cell = source.measured.cell_at(column, row);
                cell.map_or(f64::NAN, |cell| source.value(metric, cell).value)
            };
            columns.map(value).collect()
        })
    }
}

/// The colours of one metric.
struct Colours(ColourScale);

impl Colours {
    fn of(&self, palette: &Palette, value: f64) -> egui::Color32 {
        self.along(palette, self.0.place(value).unwrap_or(f64::NAN))
    }

    /// The colour a share of the way along the scale; NaN is grey.
    fn along(&self, palette: &Palette, share: f64) -> egui::Color32 {
        if self.0.kind == Scale::Cosine { palette.cosine(2.0 * share - 1.0) } else { palette.amount(share) }
    }
}

/// The rows: each part within layers, and single experts below theirs when they are unfolded.
pub fn rows(view: &VectorView, measured: &Measured) -> Vec<Row> {
    let mut rows = Vec::new();
    for &(part, _) in &measured.overview.parts {
        if !measured.overview.layers().iter().any(|group| group.cell(part).is_some()) {
            continue;
        }
        rows.push(Row { part, expert: None });
        if view.experts_open {
            rows.extend(measured.expert_rows.iter().filter(|row| row.part == part));
        }
    }
    rows
}

/// The height that `rows` would fill, of `most`.
pub fn wanted_height(rows: usize, most: f32) -> f32 {
    (TITLE_HEIGHT + chart::X_LABELS_HEIGHT + ROW_HEIGHT * rows.max(1) as f32).min(most)
}

/// Draws the chart, `height` high, over the axis of the bars.
pub fn ui(view: &mut VectorView, ui: &mut Ui, source: &Source<'_>, ticks: &[Tick], x: &XScale, height: f32) {
    let rows = rows(view, source.measured);
    view.values.follow(view.metric, &rows, source);
    let colours = Colours(ColourScale::new(view.metric, view.scale, view.values.extremes));
    let numbers = CellNumbers::new(view.metric, colours.0.ends[1]);
    let top_left = ui.cursor().left_top();
    // A frame shows one metric throughout: another one that is chosen in it is that of the next.
    let chosen = title_ui(view, ui, &colours, &numbers);
    let used = ui.cursor().top() - top_left.y;
    let body_height = (height - used - chart::X_LABELS_HEIGHT).max(40.0).floor();
    let row_height = (body_height / rows.len().max(1) as f32).clamp(LEAST_ROW_HEIGHT, ROW_HEIGHT).floor();
    let content_height = (row_height * rows.len().max(1) as f32).max(2.0 * LEAST_ROW_HEIGHT);
    let shown_height = content_height.min(body_height);
    let area = ScrollArea::vertical().id_salt("grid").max_height(shown_height).min_scrolled_height(shown_height);
    // Wider than the chart, so that the bar does not lie on its last column; nothing else may grow with it.
    let room = Rect::from_min_size(ui.cursor().min, egui::vec2(ui.available_width(), shown_height));
    let with_bar = room.with_max_x(room.right() + SCROLL_BAR_WIDTH);
    let mut child = ui.new_child(UiBuilder::new().max_rect(with_bar));
    let area = area.auto_shrink([false, true]).show_viewport(&mut child, |ui, viewport| {
        let size = egui::vec2(ui.available_width(), content_height);
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        let body = Body { rows: &rows, ticks, x, rect, row_height, colours: &colours, numbers: &numbers };
        body.ui(view, ui, source, viewport);
    });
    let bottom = area.inner_rect.bottom();
    ui.advance_cursor_after_rect(room.with_max_y(bottom));
    x.labels_ui(ui, ticks, bottom);
    ui.add_space(chart::X_LABELS_HEIGHT);
    let end = egui::pos2(x.ends.max, bottom + chart::X_LABELS_HEIGHT);
    view.drawn(ChartId::Grid, Rect::from_min_max(top_left, end));
    if chosen != (view.metric, view.scale) {
        (view.metric, view.scale) = chosen;
        view.chart = ChartId::Grid;
        ui.ctx().request_repaint();
    }
}

/// Draws the choice of what cells show.
pub fn metric_choice_ui(view: &mut VectorView, ui: &mut Ui) {
    metric_menu_ui(ui, &mut view.metric);
}

fn metric_menu_ui(ui: &mut Ui, metric: &mut Metric) {
    let metrics: Vec<(Metric, &str, &str)> =
        Metric::ALL.iter().map(|&metric| (metric, metric.label(), metric.meaning())).collect();
    widgets::named_choice_ui(ui, "Cells show", metric.meaning(), metric, &metrics);
}

/// Draws the title with its choices and the legend, which has a line of its own where there is little room; gives what
/// was chosen.
fn title_ui(view: &mut VectorView, ui: &mut Ui, colours: &Colours, numbers: &CellNumbers) -> (Metric, Amounts) {
    let (mut metric, mut scale) = (view.metric, view.scale);
    // Colours of nothing would run from zero to zero.
    let legend = (colours.0.ends[0] < colours.0.ends[1]).then(|| colours.0.ends.map(|end| numbers.at_end(end)));
    let mut left_over = None;
    ui.horizontal(|ui| {
        ui.set_min_height(TITLE_HEIGHT - 4.0);
        let heading = Title {
            text: ChartId::Grid.title(),
            meaning: "",
            explanation: ChartId::Grid.explanation(),
            is_chosen: view.chart == ChartId::Grid,
        };
        if title::words_ui(ui, &heading).clicked() {
            view.chart = ChartId::Grid;
        }
        metric_menu_ui(ui, &mut metric);
        if colours.0.kind == Scale::Amount {
            let scales = [
                (Amounts::Linear, "Linear", "Colours in proportion to the number, from zero"),
                (Amounts::Log, "Log", "Colours by the logarithm of the number, over at most four decades"),
            ];
            let tooltip = "How numbers become colours";
            widgets::named_choice_ui(ui, "Colour scale", tooltip, &mut scale, &scales);
        }
        let Some([low, high]) = legend else { return };
        if ui.available_width() >= title::colour_bar_room(ui, &low, &high) {
            ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
                legend_ui(ui, [&low, &high], colours, numbers);
            });
        } else {
            left_over = Some([low, high]);
        }
    });
    if let Some([low, high]) = left_over {
        let line = egui::vec2(ui.available_width(), LEGEND_HEIGHT);
        ui.allocate_ui_with_layout(line, Layout::right_to_left(egui::Align::Center), |ui| {
            legend_ui(ui, [&low, &high], colours, numbers);
        });
    }
    (metric, scale)
}

fn legend_ui(ui: &mut Ui, [low, high]: [&str; 2], colours: &Colours, numbers: &CellNumbers) {
    let palette = theme::palette(ui);
    let response = ui.scope(|ui| title::colour_bar_ui(ui, low, high, |share| colours.along(palette, share))).response;
    if let Some(explanation) = numbers.explanation() {
        response.on_hover_text(explanation);
    }
}

/// The cells.
struct Body<'a> {
    rows: &'a [Row],
    ticks: &'a [Tick],
    x: &'a XScale,
    rect: Rect,
    row_height: f32,
    colours: &'a Colours,
    numbers: &'a CellNumbers,
}

impl Body<'_> {
    fn y(&self, row: usize) -> Rangef {
        let top = self.rect.top() + row as f32 * self.row_height;
        Rangef::new(top, top + self.row_height)
    }

    /// The row of a cell: what is beside the layers is not divided into rows.
    fn row_of(&self, measured: &Measured, column: usize, row: usize) -> Option<Row> {
        let group = measured.overview.groups.get(column)?;
        match group.group {
            Group::Layer(_) => self.rows.get(row).copied(),
            Group::Beside(part) => Some(Row { part, expert: None }),
        }
    }

    fn ui(&self, view: &mut VectorView, ui: &mut Ui, source: &Source<'_>, viewport: Rect) {
        let palette = theme::palette(ui);
        let cells_rect = self.rect.with_min_x(self.x.ends.min).with_max_x(self.x.ends.max);
        let response = ui.interact(cells_rect, Id::unique("layer part grid"), Sense::click());
        let columns = self.ticks.len();
        view.cursor = (heat::moved(view.cursor.0, 0, columns), heat::moved(view.cursor.1, 0, self.rows.len()));

        let layers = source.measured.overview.layers().len();
        let first = (viewport.top() / self.row_height).floor().max(0.0) as usize;
        let last = ((viewport.bottom() / self.row_height).ceil() as usize).min(self.rows.len());
        let mut cells = Cells::new(ui);
        let mut numbers = Vec::new();
        let decimals = self.numbers.decimals(ui, egui::vec2(self.x.step, self.row_height));
        for index in first..last {
            let row = self.rows[index];
            self.label_ui(view, ui, source.measured, index);
            let values = view.values.row(view.metric, index, row, source);
            for (value, tick) in values.iter().zip(self.ticks) {
                let rect = cells.add(self.x.column(tick), self.y(index), self.colours.of(palette, *value));
                if value.is_finite() {
                    numbers.push((rect, *value));
                }
            }
        }
        let full_height = Rangef::new(self.rect.top(), self.rect.bottom());
        for (group, tick) in source.measured.overview.beside().iter().zip(&self.ticks[layers..]) {
            let value = source.value(view.metric, &group.cells[0]).value;
            let rect = cells.add(self.x.column(tick), full_height, self.colours.of(palette, value));
            if value.is_finite() {
                numbers.push((rect, value));
            }
        }
        cells.paint(ui.painter());
        if let Some(decimals) = decimals {
            for (rect, value) in numbers {
                let number = self.numbers.in_cell(value, decimals);
                heat::number_ui(ui, rect, self.colours.of(palette, value), number);
            }
        }
        self.rings_ui(view, ui, source.measured, &response);
        self.interact(view, ui, source, response);
    }

    fn cell_rect(&self, measured: &Measured, column: usize, row: usize) -> Rect {
        let is_layer = column < measured.overview.layers().len();
        let y = if is_layer { self.y(row) } else { Rangef::new(self.rect.top(), self.rect.bottom()) };
        Rect::from_x_y_ranges(self.x.column(&self.ticks[column]), y)
    }

    /// Marks the cell whose page is shown, and that of the keyboard.
    fn rings_ui(&self, view: &VectorView, ui: &Ui, measured: &Measured, response: &Response) {
        let palette = theme::palette(ui);
        if let Some(picked) = view.picked {
            let column = measured.overview.groups.iter().position(|group| group.group == picked.group);
            let is_beside = matches!(picked.group, Group::Beside(_));
            let row = if is_beside { Some(0) } else { self.rows.iter().position(|row| *row == picked.row) };
            if let (Some(column), Some(row)) = (column, row) {
                heat::ring_ui(ui, self.cell_rect(measured, column, row), palette.text);
            }
        }
        if response.has_focus() && view.cursor.0 < self.ticks.len() {
            heat::ring_ui(ui, self.cell_rect(measured, view.cursor.0, view.cursor.1), palette.accent);
        }
    }

    fn interact(&self, view: &mut VectorView, ui: &Ui, source: &Source<'_>, response: Response) {
        let measured = source.measured;
        let at = heat::pointer(&response).and_then(|pointer| {
            let column = heat::hit(self.ticks.iter().map(|tick| self.x.column(tick)), pointer.x)?;
            let row = heat::hit((0..self.rows.len().max(1)).map(|row| self.y(row)), pointer.y)?;
            let shown = self.row_of(measured, column, row)?;
            measured.cell_at(column, shown).is_some().then_some((column, row, shown))
        });
        if response.clicked()
            && let Some((column, row, shown)) = at
        {
            response.request_focus();
            view.cursor = (column, row);
            view.chart = ChartId::Grid;
            view.pick(measured, column, shown);
        }
        let keys = Keys::read(ui, &response);
        if keys.right != 0 || keys.down != 0 {
            view.cursor.0 = heat::moved(view.cursor.0, keys.right, self.ticks.len());
            view.cursor.1 = heat::moved(view.cursor.1, keys.down, self.rows.len());
            view.chart = ChartId::Grid;
            ui.scroll_to_rect(Rect::from_x_y_ranges(self.rect.x_range(), self.y(view.cursor.1)), None);
        }
        if keys.open
            && let Some(row) = self.row_of(measured, view.cursor.0, view.cursor.1)
        {
            view.pick(measured, view.cursor.0, row);
        }
        let words = |column: usize, row: Row| {
            let group = measured.overview.groups.get(column)?;
            let value = cell_text(view, source, measured.cell_at(column, row));
            Some(format!("{}: {value}", names::cell(group.group, row)))
        };
        let cursor = self.row_of(measured, view.cursor.0, view.cursor.1);
        let cursor = cursor.and_then(|row| words(view.cursor.0, row)).unwrap_or_default();
        let label = format!("Chart: layer × part, {}; {cursor}", view.metric.label());
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, &label));
        if let Some((column, _, row)) = at {
            let response = response.on_hover_cursor(CursorIcon::PointingHand);
            response.on_hover_ui_at_pointer(|ui| tooltip_ui(ui, view, source, measured.cell_at(column, row)));
        }
    }

    /// The name of a row; of the experts, a button that unfolds them.
    fn label_ui(&self, view: &mut VectorView, ui: &Ui, measured: &Measured, index: usize) {
        let row = self.rows[index];
        let palette = theme::palette(ui);
        let (y, right) = (self.y(index).center(), self.x.ends.min - 6.0);
        let font = chart::axis_font();
        let unfolds = row.expert.is_none() && measured.expert_rows.iter().any(|expert| expert.part == row.part);
        let (text, colour) = match row.expert {
            Some(expert) => (expert.to_string(), palette.weak),
            None if unfolds => {
                let arrow = if view.experts_open { fonts::DOWN } else { fonts::RIGHT };
                (format!("{arrow}{}", row.part), palette.text)
            }
            None => (row.part.label().to_owned(), palette.weak),
        };
        let text_rect = ui.painter().text(egui::pos2(right, y), Align2::RIGHT_CENTER, text, font, colour);
        if !unfolds {
            return;
        }
        let name = if view.experts_open { "Fold the experts" } else { "Show the experts one by one" };
        let response = ui.interact(text_rect.expand(4.0), Id::unique(("experts", row.part)), Sense::click());
        response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, name));
        if response.has_focus() {
            heat::ring_ui(ui, text_rect, palette.accent);
        }
        let response = response.on_hover_cursor(CursorIcon::PointingHand).on_hover_text(name);
        if response.clicked() {
            view.experts_open = !view.experts_open;
            view.chart = ChartId::Grid;
        }
    }
}

/// The number of a cell, with its margin when it is an estimate.
fn cell_text(view: &VectorView, source: &Source<'_>, cell: Option<&Cell>) -> String {
    let Some(cell) = cell else { return "none".to_owned() };
    let estimate = source.value(view.metric, cell);
    let value = view.metric.text(estimate.value);
    if estimate.is_estimated() { format!("{value} ± {} (estimated)", format::percent(estimate.margin)) } else { value }
}

fn tooltip_ui(ui: &mut Ui, view: &VectorView, source: &Source<'_>, cell: Option<&Cell>) {
    let Some(cell) = cell else { return };
    let palette = theme::palette(ui);
    ui.label(RichText::new(names::cell(cell.group, cell.row)).text_style(theme::strong()));
    ui.label(format!("{}: {}", view.metric.label(), cell_text(view, source, Some(cell))));
    let members = labels::members(cell.tensors.iter().map(|&tensor| source.measured.analysis.tensors[tensor].place));
    let elements = format::parameters(cell.sums.elements);
    ui.label(RichText::new(format!("{members}, {elements} elements; click for more")).color(palette.weak));
}
