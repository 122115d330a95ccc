//! What each tensor gets: its coefficient, by layer and part.

use eframe::egui::{self, Align2, Color32, Id, Rangef, RichText, Sense, Ui, WidgetInfo};
use mergescope_core::analysis::Cell;
use mergescope_core::layout::Part;

use crate::format;
use crate::vector::labels;
use crate::window::chart::{self, XScale};
use crate::window::heat::{self, Cells};
use crate::window::live::Source;
use crate::window::theme::{self, Palette};
use crate::window::title::{self, Title};

/// Height of a row, when there is room.
const ROW_HEIGHT: f32 = 27.0;
/// Least height of a row.
const LEAST_ROW_HEIGHT: f32 = 10.0;

/// The smallest and the largest coefficient in a cell.
pub type Range = (f32, f32);

/// Draws the chart, at most `height` high.
pub fn ui(ui: &mut Ui, source: &Source<'_>, height: f32) {
    let palette = theme::palette(ui);
    let overview = &source.measured.overview;
    let mut parts = parts(source);
    parts.retain(|part| overview.layers().iter().any(|layer| layer.cell(*part).is_some()));
    let all = overview.groups.iter().flat_map(|group| &group.cells).filter_map(|cell| range(source, cell));
    let (least, most) = all.fold((0.0_f32, 0.0_f32), |(low, high), (a, b)| (low.min(a), high.max(b)));
    let colours = Colours { least, most };
    let top = ui.cursor().top();
    ui.horizontal(|ui| {
        let heading = Title {
            text: "What each tensor gets",
            meaning: "w × curve × factor",
            explanation: "The coefficient of v in each tensor, as it is merged.",
            is_chosen: false,
        };
        title::words_ui(ui, &heading);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let (low, high) = colours.ends();
            title::colour_bar_ui(ui, &number(low), &number(high), |share| colours.along(palette, share));
        });
    });
    let used = ui.cursor().top() - top;
    let room = height - used - chart::X_LABELS_HEIGHT;
    let row_height = (room / parts.len().max(1) as f32).clamp(LEAST_ROW_HEIGHT, ROW_HEIGHT).floor();
    let size = egui::vec2(ui.available_width(), row_height * parts.len() as f32 + chart::X_LABELS_HEIGHT);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let body = rect.with_min_x(rect.left() + theme::Y_AXIS_WIDTH).with_max_y(rect.bottom() - chart::X_LABELS_HEIGHT);
    let labels = overview.groups.iter().map(|sums| {
        let is_layer = matches!(sums.group, mergescope_core::analysis::Group::Layer(_));
        (labels::group_short(sums.group), is_layer)
    });
    let ticks = chart::ticks(labels, body.width());
    let x = XScale::new(&ticks, body.x_range());
    let response = ui.interact(body, Id::unique("coefficients"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, "Chart: what each tensor gets"));
    let y_of = |row: usize| {
        let top = body.top() + row as f32 * row_height;
        Rangef::new(top, top + row_height)
    };
    let layers = overview.layers().len();
    let cell_at = |column: usize, row: usize| -> Option<&Cell> {
        let group = overview.groups.get(column)?;
        if column < layers { group.cell(*parts.get(row)?) } else { group.cells.first() }
    };
    let mut cells = Cells::new(ui);
    let mut numbers = Vec::new();
    for (column, tick) in ticks.iter().enumerate() {
        let rows = if column < layers { parts.len() } else { 1 };
        for row in 0..rows {
            let y = if column < layers { y_of(row) } else { body.y_range() };
            let value = cell_at(column, row).and_then(|cell| range(source, cell));
            let colour = value.map_or(palette.no_value, |(low, high)| colours.of(palette, (low + high) / 2.0));
            let rect = cells.add(x.column(tick), y, colour);
            if let Some((low, high)) = value.filter(|_| heat::has_room_for_text(rect.size())) {
                // Tensors that differ have no one number.
                if low == high {
                    numbers.push((rect, colour, number(low)));
                }
            }
        }
    }
    cells.paint(ui.painter());
    for (rect, colour, text) in numbers {
        heat::number_ui(ui, rect, colour, text);
    }
    for (row, part) in parts.iter().enumerate() {
        let at = egui::pos2(body.left() - 6.0, y_of(row).center());
        ui.painter().text(at, Align2::RIGHT_CENTER, part.label(), chart::axis_font(), palette.weak);
    }
    x.labels_ui(ui, &ticks, body.bottom());
    let hovered = heat::pointer(&response).and_then(|pointer| {
        let column = heat::hit(ticks.iter().map(|tick| x.column(tick)), pointer.x)?;
        let row = heat::hit((0..parts.len().max(1)).map(y_of), pointer.y)?;
        cell_at(column, row)
    });
    if let Some(cell) = hovered {
        response.on_hover_ui_at_pointer(|ui| {
            let name = format!("{}, {}", labels::group_title(cell.group), labels::row_label(cell.row));
            ui.label(RichText::new(name).text_style(theme::strong()));
            let text = match range(source, cell) {
                Some((low, high)) if low == high => exact(low),
                Some((low, high)) => format!("{} to {} in {}", exact(low), exact(high), members(cell)),
                None => "nothing".to_owned(),
            };
            ui.label(format!("Coefficient {text}"));
        });
    }
}

/// The parts of the models, in the order in which they are shown.
pub fn parts(source: &Source<'_>) -> Vec<Part> {
    source.measured.overview.parts.iter().map(|(part, _)| *part).collect()
}

fn members(cell: &Cell) -> String {
    format::plural(cell.tensors.len(), "tensor")
}

/// The coefficients in a cell; `None` when it has no tensor.
pub fn range(source: &Source<'_>, cell: &Cell) -> Option<Range> {
    let coefficients = cell.tensors.iter().map(|&tensor| source.view.coefficient(tensor));
    coefficients.map(|c| (c, c)).reduce(|(low, high), (c, _)| (low.min(c), high.max(c)))
}

fn number(value: f32) -> String {
    format::fixed(f64::from(value), 2)
}

fn exact(value: f32) -> String {
    format::significant(f64::from(value))
}

/// From zero up, or around zero when a coefficient is below it.
struct Colours {
    least: f32,
    most: f32,
}

impl Colours {
    fn ends(&self) -> (f32, f32) {
        let size = self.most.max(-self.least);
        if self.least < 0.0 { (-size, size) } else { (0.0, self.most) }
    }

    fn of(&self, palette: &Palette, value: f32) -> Color32 {
        let (low, high) = self.ends();
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        self.along(palette, f64::from(share))
    }

    fn along(&self, palette: &Palette, share: f64) -> Color32 {
        if self.least < 0.0 { palette.cosine(2.0 * share - 1.0) } else { palette.amount(share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_with_values_below_zero_has_zero_in_its_middle() {
        assert_eq!(Colours { least: -0.5, most: 0.2 }.ends(), (-0.5, 0.5));
        assert_eq!(Colours { least: 0.0, most: 0.2 }.ends(), (0.0, 0.2));
    }
}
