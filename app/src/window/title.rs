//! What stands above a chart: its title, what it shows, and its legend.

use eframe::egui::{self, Color32, Label, Mesh, Rect, Response, RichText, Sense, Stroke, TextStyle, Ui, Vec2};

use super::theme;

/// The words above a chart.
#[derive(Clone, Copy, Debug)]
pub struct Title<'a> {
    /// What the chart asks or shows.
    pub text: &'a str,
    /// What its axis or colours mean, in a few signs.
    pub meaning: &'a str,
    /// What it means and how to read it, in a sentence.
    pub explanation: &'a str,
    /// Whether Table, Copy CSV and Save PNG are about this chart.
    pub is_chosen: bool,
}

/// One entry of a legend.
pub struct LegendEntry {
    /// What it stands for.
    pub label: &'static str,
    /// Its colour.
    pub fill: Color32,
    /// Its outline.
    pub stroke: Stroke,
}

/// Room for a legend's square and the space around it.
const LEGEND_SQUARE: f32 = 30.0;
/// Height of a colour bar.
const BAR_HEIGHT: f32 = 9.0;
/// Width of a colour bar, and the least where there is little room.
const BAR_WIDTH: f32 = 96.0;
const LEAST_BAR_WIDTH: f32 = 48.0;
/// Space between a colour bar and the numbers at its ends.
const BAR_SPACING: f32 = 6.0;
/// Steps in which a colour bar is drawn.
const BAR_STEPS: usize = 24;

/// Draws the title's words; a click on them chooses the chart.
pub fn words_ui(ui: &mut Ui, title: &Title<'_>) -> Response {
    let palette = theme::palette(ui);
    ui.spacing_mut().item_spacing.x = 10.0;
    let text = RichText::new(title.text).text_style(theme::strong());
    let response = ui.add(Label::new(text).sense(Sense::click()));
    if title.is_chosen || response.has_focus() {
        let y = response.rect.bottom() + 1.0;
        ui.painter().hline(response.rect.x_range(), y, Stroke::new(1.5, palette.accent));
    }
    let response = response.on_hover_text(title.explanation);
    if !title.meaning.is_empty() {
        let meaning = RichText::new(title.meaning).text_style(TextStyle::Small).color(palette.weak);
        ui.add(Label::new(meaning).truncate()).on_hover_text(title.explanation);
    }
    response
}

/// A title with a legend at the right, or below where there is no room.
pub fn with_legend_ui(ui: &mut Ui, title: &Title<'_>, legend: &[LegendEntry]) -> Response {
    let palette = theme::palette(ui);
    let font = TextStyle::Small.resolve(ui.style());
    let width = |ui: &Ui, entry: &LegendEntry| {
        let text = ui.painter().layout_no_wrap(entry.label.to_owned(), font.clone(), palette.weak);
        text.size().x + LEGEND_SQUARE
    };
    let legend_width: f32 = legend.iter().map(|entry| width(ui, entry)).sum();
    let mut fits = false;
    let response = ui.horizontal(|ui| {
        let response = words_ui(ui, title);
        fits = ui.available_width() >= legend_width;
        if fits {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                for entry in legend.iter().rev() {
                    legend_entry_ui(ui, entry);
                }
            });
        }
        response
    });
    if !fits {
        ui.horizontal_wrapped(|ui| {
            for entry in legend {
                // A square and its word stay on one line.
                if ui.available_size_before_wrap().x < width(ui, entry) {
                    ui.end_row();
                }
                legend_entry_ui(ui, entry);
            }
        });
    }
    response.inner
}

fn legend_entry_ui(ui: &mut Ui, entry: &LegendEntry) {
    let palette = theme::palette(ui);
    let from_right = ui.layout().prefer_right_to_left();
    ui.spacing_mut().item_spacing.x = 5.0;
    let text = RichText::new(entry.label).text_style(TextStyle::Small).color(palette.weak);
    let square_ui = |ui: &mut Ui| {
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(8.0), Sense::hover());
        ui.painter().rect(rect, 1.0, entry.fill, entry.stroke, egui::StrokeKind::Inside);
    };
    if from_right {
        ui.label(text);
        square_ui(ui);
    } else {
        square_ui(ui);
        ui.label(text);
    }
    ui.add_space(10.0);
}

/// The room that a colour bar and the numbers at its ends take at least.
pub fn colour_bar_room(ui: &Ui, low: &str, high: &str) -> f32 {
    LEAST_BAR_WIDTH + numbers_width(ui, low, high)
}

/// The width of the numbers at the ends of a colour bar, with the space beside them.
fn numbers_width(ui: &Ui, low: &str, high: &str) -> f32 {
    let font = TextStyle::Small.resolve(ui.style());
    let width = |text: &str| ui.painter().layout_no_wrap(text.to_owned(), font.clone(), Color32::PLACEHOLDER).size().x;
    width(low) + width(high) + 2.0 * BAR_SPACING
}

/// A colour bar between the two numbers at its ends; to be drawn from right to left.
pub fn colour_bar_ui(ui: &mut Ui, low: &str, high: &str, colour: impl Fn(f64) -> Color32) {
    let palette = theme::palette(ui);
    let small = |text: &str| RichText::new(text).text_style(TextStyle::Small).color(palette.weak);
    ui.spacing_mut().item_spacing.x = BAR_SPACING;
    let room = ui.available_width() - numbers_width(ui, low, high);
    ui.label(small(high));
    let size = Vec2::new(room.clamp(LEAST_BAR_WIDTH, BAR_WIDTH), BAR_HEIGHT);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let mut mesh = Mesh::default();
    for step in 0..BAR_STEPS {
        let (from, to) = (step as f32 / BAR_STEPS as f32, (step + 1) as f32 / BAR_STEPS as f32);
        let (left, right) = (egui::lerp(rect.x_range(), from), egui::lerp(rect.x_range(), to));
        let part = Rect::from_x_y_ranges(left..=right, rect.y_range());
        mesh.add_colored_rect(part, colour(f64::from(from + to) / 2.0));
    }
    ui.painter().add(mesh);
    ui.label(small(low));
}
