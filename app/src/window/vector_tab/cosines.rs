//! Layer × layer: whether layers move alike.

use eframe::egui::{
    self, Align2, Color32, ColorImage, Id, Layout, Rangef, Rect, Response, RichText, Sense, Stroke, TextureHandle,
    TextureOptions, Ui, Vec2, WidgetInfo,
};
use mergescope_core::analysis::LayerProducts;

use super::view::{Asked, ChartId, VectorView};
use crate::format;
use crate::vector::{LayerCosine, PartSet};
use crate::window::chart;
use crate::window::heat::{self, Keys};
use crate::window::session::{Session, Stage};
use crate::window::theme;
use crate::window::title::{self, Title};
use crate::window::widgets;

/// Room for the labels of the y axis.
const LABELS_WIDTH: f32 = 28.0;
/// Cells smaller than this have no lines between them.
const LEAST_WITH_LINES: f32 = 7.0;
/// Least distance between two labels.
const LABEL_SPACING: f32 = 26.0;
/// Smallest side of the chart.
const LEAST_SIDE: f32 = 120.0;

/// The cosines of one choice of parts, and their picture.
#[derive(Default)]
pub struct CosineTexture {
    key: Option<(u64, PartSet, bool)>,
    cosines: Vec<f64>,
    texture: Option<TextureHandle>,
}

impl CosineTexture {
    /// Draws the cosines into a picture, unless that is done.
    fn follow(&mut self, ui: &Ui, number: u64, products: &LayerProducts, parts: PartSet) {
        let palette = theme::palette(ui);
        let key = (number, parts, ui.visuals().dark_mode);
        if self.key == Some(key) {
            return;
        }
        self.key = Some(key);
        self.cosines = LayerCosine::new(products, parts).values;
        let layers = products.layers.len();
        let pixels: Vec<Color32> = self.cosines.iter().map(|&cosine| palette.cosine(cosine)).collect();
        let image = ColorImage::new([layers, layers], pixels);
        self.texture = Some(ui.ctx().load_texture("layer cosines", image, TextureOptions::NEAREST));
    }
}

/// Draws the choice of part above the chart.
pub fn controls_ui(view: &mut VectorView, ui: &mut Ui, products: Option<&LayerProducts>) {
    let sets = products.map_or_else(|| vec![PartSet::All], PartSet::of);
    let entries: Vec<(PartSet, &str, &str)> = sets
        .iter()
        .map(|&set| (set, set.label(), if let PartSet::One(_) = set { "" } else { set.meaning() }))
        .collect();
    let before = view.cosine_parts;
    if !sets.contains(&view.cosine_parts) {
        view.cosine_parts = PartSet::All;
    }
    ui.horizontal(|ui| {
        let tooltip = "The part, or parts together, whose v is compared between layers";
        widgets::choice_ui(ui, "Part", tooltip, &mut view.cosine_parts, &entries);
    });
    if before != view.cosine_parts {
        view.chart = ChartId::LayerCosine;
    }
}

/// Draws the chart as a square of at most `height`.
pub fn ui(view: &mut VectorView, ui: &mut Ui, session: &Session, height: f32) -> Asked {
    let palette = theme::palette(ui);
    let top_left = ui.cursor().left_top();
    ui.horizontal(|ui| {
        ui.set_min_height(20.0);
        let heading = Title {
            text: ChartId::LayerCosine.title(),
            meaning: "",
            explanation: ChartId::LayerCosine.explanation(),
            is_chosen: view.chart == ChartId::LayerCosine,
        };
        if title::words_ui(ui, &heading).clicked() {
            view.chart = ChartId::LayerCosine;
        }
        ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
            title::colour_bar_ui(ui, "−1", "1", |share| palette.cosine(2.0 * share - 1.0));
        });
    });
    let used = ui.cursor().top() - top_left.y;
    let side = (ui.available_width() - LABELS_WIDTH).min(height - used - chart::X_LABELS_HEIGHT).max(LEAST_SIDE);
    let size = Vec2::new(LABELS_WIDTH + side, side + chart::X_LABELS_HEIGHT);
    let asked = match &session.details().layer_products {
        Stage::Done(products) if products.layers.len() < 2 => {
            let words = match products.layers.len() {
                0 => "No layer moves: there is nothing to compare",
                _ => "One layer: there is nothing to compare",
            };
            let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
            chart::empty_ui(ui, rect, words);
            Asked::Nothing
        }
        Stage::Done(products) => {
            view.texture.follow(ui, session.details().comparison_number(), products, view.cosine_parts);
            let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
            let square = Rect::from_min_size(rect.min + Vec2::new(LABELS_WIDTH, 0.0), Vec2::splat(side));
            if view.texture.cosines.iter().all(|cosine| cosine.is_nan()) {
                chart::empty_ui(ui, square, "v is zero here: there is nothing to compare");
            } else {
                square_ui(view, ui, products, square);
            }
            Asked::Nothing
        }
        Stage::Running(_, progress) => state_ui(ui, size, |ui| {
            ui.label("Comparing the layers");
            widgets::bar_ui(ui, "Comparing progress", progress.as_ref().map_or(0.0, |progress| progress.fraction()));
            let mut asked = Asked::Nothing;
            ui.horizontal(|ui| {
                let amount = progress.as_ref().filter(|progress| progress.total_bytes > 0);
                let amount = amount.map(|progress| format::bytes_of(progress.done_bytes, progress.total_bytes));
                ui.label(RichText::new(amount.unwrap_or_default()).color(palette.weak));
                ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
                    let stop = widgets::link_ui(ui, "Stop comparing");
                    if stop.on_hover_text("Leave the layers uncompared; nothing else needs it").clicked() {
                        asked = Asked::Stop;
                    }
                });
            });
            asked
        }),
        Stage::Failed(message) => state_ui(ui, size, |ui| {
            ui.label("The layers could not be compared");
            widgets::note_ui(ui, message.clone());
            compare_ui(ui, "Try again")
        }),
        Stage::Waiting => state_ui(ui, size, |ui| {
            ui.label(if session.details().comparison_stopped { "Comparing was stopped" } else { "Not compared yet" });
            compare_ui(ui, "Compare the layers")
        }),
    };
    view.drawn(ChartId::LayerCosine, Rect::from_min_size(top_left, Vec2::new(size.x, used + size.y)));
    asked
}

fn compare_ui(ui: &mut Ui, label: &str) -> Asked {
    let response = widgets::link_ui(ui, label).on_hover_text("Reads pre and post once more");
    if response.clicked() { Asked::Start } else { Asked::Nothing }
}

/// A state without a chart, in the chart's room.
fn state_ui(ui: &mut Ui, size: Vec2, contents: impl FnOnce(&mut Ui) -> Asked) -> Asked {
    widgets::in_the_middle_ui(ui, size, Vec2::new(240.0, 90.0), contents)
}

fn square_ui(view: &mut VectorView, ui: &Ui, products: &LayerProducts, square: Rect) {
    let palette = theme::palette(ui);
    let count = products.layers.len();
    let step = square.width() / count as f32;
    let response = ui.interact(square, Id::unique("layer cosines"), Sense::click());
    if let Some(texture) = &view.texture.texture {
        let whole = Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
        ui.painter().image(texture.id(), square, whole, Color32::WHITE);
    }
    if step >= LEAST_WITH_LINES {
        let stroke = Stroke::new(1.0 / ui.pixels_per_point(), palette.background);
        for line in 1..count {
            let offset = line as f32 * step;
            ui.painter().hline(square.x_range(), square.top() + offset, stroke);
            ui.painter().vline(square.left() + offset, square.y_range(), stroke);
        }
    }
    numbers_ui(view, ui, count, square);
    let every = [1, 2, 4, 5, 10, 20, 50, 100, 200].into_iter().find(|&every| step * every as f32 >= LABEL_SPACING);
    let every = every.unwrap_or(500);
    for (position, layer) in products.layers.iter().enumerate().step_by(every) {
        let middle = (position as f32 + 0.5) * step;
        let (font, text) = (chart::axis_font(), layer.to_string());
        let left = egui::pos2(square.left() - 6.0, square.top() + middle);
        ui.painter().text(left, Align2::RIGHT_CENTER, &text, font.clone(), palette.weak);
        let below = egui::pos2(square.left() + middle, square.bottom() + 3.0);
        ui.painter().text(below, Align2::CENTER_TOP, text, font, palette.weak);
    }
    interact(view, ui, products, square, response);
}

fn numbers_ui(view: &VectorView, ui: &Ui, count: usize, square: Rect) {
    let palette = theme::palette(ui);
    if !heat::has_room_for_text(square.size() / count as f32) {
        return;
    }
    for (index, &cosine) in view.texture.cosines.iter().enumerate().filter(|(_, cosine)| cosine.is_finite()) {
        let rect = cell_rect(square, count, index / count, index % count);
        heat::number_ui(ui, rect, palette.cosine(cosine), format::fixed(cosine, 2));
    }
}

fn cell_rect(square: Rect, count: usize, row: usize, column: usize) -> Rect {
    let step = square.width() / count as f32;
    let at = square.min + Vec2::new(column as f32 * step, row as f32 * step);
    Rect::from_min_size(at, Vec2::splat(step))
}

fn interact(view: &mut VectorView, ui: &Ui, products: &LayerProducts, square: Rect, response: Response) {
    let palette = theme::palette(ui);
    let count = products.layers.len();
    let step = square.width() / count as f32;
    let ranges = |start: f32| {
        (0..count).map(move |index| Rangef::new(start + index as f32 * step, start + (index + 1) as f32 * step))
    };
    let at = heat::pointer(&response).and_then(|pointer| {
        Some((heat::hit(ranges(square.top()), pointer.y)?, heat::hit(ranges(square.left()), pointer.x)?))
    });
    if response.clicked() {
        response.request_focus();
        view.chart = ChartId::LayerCosine;
        view.cosine_cursor = at.unwrap_or(view.cosine_cursor);
    }
    let keys = Keys::read(ui, &response);
    if keys != Keys::default() {
        view.chart = ChartId::LayerCosine;
    }
    let (row, column) = view.cosine_cursor;
    view.cosine_cursor = (heat::moved(row, keys.down, count), heat::moved(column, keys.right, count));
    let words = |(row, column): (usize, usize)| {
        let cosine = view.texture.cosines.get(row * count + column).copied().unwrap_or(f64::NAN);
        let (row, column) = (products.layers[row], products.layers[column]);
        format!("Layers {row} and {column}: cosine {}", format::fixed(cosine, 3))
    };
    let parts = view.cosine_parts.meaning();
    let label = format!("Chart: layer × layer cosine, {parts}; {}", words(view.cosine_cursor));
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, &label));
    if response.has_focus() {
        let (row, column) = view.cosine_cursor;
        heat::ring_ui(ui, cell_rect(square, count, row, column), palette.accent);
    }
    if let Some(at) = at {
        response.on_hover_ui_at_pointer(|ui| {
            ui.label(RichText::new(words(at)).text_style(theme::strong()));
            ui.label(RichText::new(format!("Over {}", view.cosine_parts.meaning())).color(palette.weak));
        });
    }
}
