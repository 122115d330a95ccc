//! The page of a cell: its tensors, the sizes of what is added, its numbers, and the spectrum on request.

use eframe::egui::{self, Button, Grid, Layout, Popup, Rect, RichText, ScrollArea, TextStyle, Ui, Vec2, WidgetInfo};
use mergescope_core::analysis::{LogHistogram, Sums, TensorAnalysis};
use mergescope_core::checkpoint::dtype_label;

use super::names;
use super::view::{Asked, Page, Picked, VectorView};
use super::{sizes, spectrum};
use crate::format;
use crate::vector::Metric;
use crate::window::live::Source;
use crate::window::session::{Measured, Session, Stage};
use crate::window::title::{self, Title};
use crate::window::{fonts, theme, widgets};

/// Height of a row of numbers.
const NUMBER_HEIGHT: f32 = 16.0;
/// Rows of numbers, in two columns.
const NUMBER_ROWS: usize = 6;
/// Height of the chart at least.
const LEAST_CHART_HEIGHT: f32 = 96.0;
/// Height of a list of tensors at most.
const CHOOSER_HEIGHT: f32 = 320.0;

/// What the page's charts are drawn from, added up once for each choice.
pub struct PageData {
    picked: Picked,
    /// Positions in the analysis.
    pub tensors: Vec<usize>,
    /// Their sums.
    pub sums: Sums,
    /// Magnitudes of v.
    pub vector: LogHistogram,
    /// Magnitudes of pre.
    pub pre: LogHistogram,
}

impl PageData {
    fn new(picked: Picked, tensors: Vec<usize>, source: &Source<'_>) -> Self {
        let mut data = Self {
            picked,
            sums: Sums::default(),
            vector: LogHistogram::default(),
            pre: LogHistogram::default(),
            tensors: Vec::new(),
        };
        for tensor in tensors.iter().map(|&tensor| &source.measured.analysis.tensors[tensor]) {
            data.sums.add(&tensor.sums);
            data.vector.add(&tensor.vector_histogram);
            data.pre.add(&tensor.pre_histogram);
        }
        data.tensors = tensors;
        data
    }
}

/// The height that the page takes at least.
pub fn least_height() -> f32 {
    56.0 + LEAST_CHART_HEIGHT + 24.0 + NUMBER_HEIGHT * NUMBER_ROWS as f32
}

/// A tensor of which the spectrum should be measured, or no longer be.
pub type SpectrumWish = Option<(String, Asked)>;

/// Draws the page, `height` high.
pub fn ui(view: &mut VectorView, ui: &mut Ui, session: &Session, source: &Source<'_>, height: f32) -> SpectrumWish {
    let picked = view.picked?;
    if view.page_data.as_ref().is_none_or(|data| data.picked != picked) {
        let tensors = view.picked_tensors(source.measured);
        view.page_data = Some(PageData::new(picked, tensors, source));
    }
    // Taken out so that the choices can be changed while it is drawn.
    let data = view.page_data.take()?;
    let top_left = ui.cursor().left_top();
    let width = ui.available_width();
    heading_ui(view, ui, &data, source);
    chooser_ui(view, ui, picked, source);
    let used = ui.cursor().top() - top_left.y;
    let numbers_height = NUMBER_HEIGHT * NUMBER_ROWS as f32 + 16.0;
    let least = match view.page {
        Page::Sizes => LEAST_CHART_HEIGHT,
        // The numbers give way: they scroll.
        Page::Spectrum => LEAST_CHART_HEIGHT + spectrum::FACTS_HEIGHT,
    };
    let chart_height = (height - used - numbers_height).max(least);
    let mut wish = None;
    match view.page {
        Page::Sizes => sizes::ui(ui, &data, source, &session.recipe.output, chart_height),
        Page::Spectrum => wish = spectrum_ui(ui, session, &data.tensors, source, chart_height),
    }
    let chart = view.page.chart();
    let bottom = ui.cursor().top();
    view.drawn(chart, Rect::from_min_max(top_left, egui::pos2(top_left.x + width, bottom)));
    ui.add_space(6.0);
    numbers_ui(ui, &data, source);
    view.page_data = Some(data);
    wish
}

/// `Layer 19, gate   4,864 × 896, bf16`, and the choice between sizes and spectrum.
fn heading_ui(view: &mut VectorView, ui: &mut Ui, data: &PageData, source: &Source<'_>) {
    let tensors = &source.measured.analysis.tensors;
    let shape = match data.tensors.as_slice() {
        [only] => format!("{}, {}", names::shape(&tensors[*only].shape), dtype_label(tensors[*only].dtype)),
        // The choice below says how many tensors these are.
        _ => format!("{} elements", format::parameters(data.sums.elements)),
    };
    let shape = match data.sums.left_out {
        0 => shape,
        left_out => format!("{shape}; {} NaN or infinite", format::count(left_out)),
    };
    let chart = view.page.chart();
    let (other, name, tooltip) = match view.page {
        Page::Sizes => (Page::Spectrum, "Spectrum", "Singular values of v of this tensor"),
        Page::Spectrum => (Page::Sizes, "Sizes", "How large the elements of w·v and pre are"),
    };
    ui.horizontal(|ui| {
        ui.set_min_height(22.0);
        ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
            // One link to the other page: two buttons would leave no room for the shape.
            if widgets::link_ui(ui, name).on_hover_text(tooltip).clicked() {
                (view.page, view.chart) = (other, other.chart());
            }
            ui.with_layout(Layout::left_to_right(egui::Align::Center), |ui| {
                let text = names::cell(data.picked.group, data.picked.row);
                let explanation = chart.explanation();
                let heading = Title { text: &text, meaning: &shape, explanation, is_chosen: view.chart == chart };
                if title::words_ui(ui, &heading).clicked() {
                    view.chart = chart;
                }
            });
        });
    });
}

/// The choice between the tensors of a cell.
fn chooser_ui(view: &mut VectorView, ui: &mut Ui, picked: Picked, source: &Source<'_>) {
    let Some(cell) = source.measured.cell(picked.group, picked.row).filter(|cell| cell.tensors.len() > 1) else {
        return;
    };
    let palette = theme::palette(ui);
    let tensors = &source.measured.analysis.tensors;
    let together = format!("All {} together", format::plural(cell.tensors.len(), "tensor"));
    let name_of = |tensor: Option<usize>| tensor.map_or(together.as_str(), |tensor| tensors[tensor].name.as_str());
    let shown = name_of(picked.tensor);
    ui.horizontal(|ui| {
        let text = RichText::new(format!("{shown} {}", fonts::DOWN)).text_style(TextStyle::Small);
        let response = ui.add(Button::new(text).truncate().min_size(Vec2::new(0.0, 20.0)));
        let response = response.on_hover_text("The tensors of this cell");
        response.widget_info(|| WidgetInfo::labeled(egui::Role::ComboBox, true, format!("Tensor: {shown}")));
        Popup::menu(&response).show(|ui| {
            ui.set_min_width(280.0);
            let rows = cell.tensors.len() + 1;
            let area = ScrollArea::vertical().max_height(CHOOSER_HEIGHT);
            area.show_rows(ui, theme::CONTROL_HEIGHT, rows, |ui, shown| {
                for row in shown {
                    let tensor = row.checked_sub(1).map(|position| cell.tensors[position]);
                    let text = RichText::new(name_of(tensor)).color(palette.text);
                    let button = Button::selectable(picked.tensor == tensor, text);
                    if ui.add(button.min_size(Vec2::new(0.0, theme::CONTROL_HEIGHT))).clicked() {
                        view.picked = Some(Picked { tensor, ..picked });
                        ui.close();
                    }
                }
            });
        });
    });
}

/// The tensor of a page that has singular values, or why none has.
///
/// Weight and bias of a projection are two tensors, of which one is a matrix.
pub fn decomposed<'a>(tensors: &[usize], measured: &'a Measured) -> Result<&'a TensorAnalysis, &'static str> {
    let tensors = tensors.iter().map(|&tensor| &measured.analysis.tensors[tensor]);
    let mut matrices = tensors.filter(|tensor| tensor.shape.len() >= 2);
    match (matrices.next(), matrices.next()) {
        (None, _) => Err("This tensor is no matrix, so it has no singular values"),
        (Some(_), Some(_)) => Err("A spectrum belongs to one tensor: choose one above"),
        (Some(tensor), None) if tensor.sums.finite() == 0 => Err("No element of this tensor is finite"),
        (Some(tensor), None) => Ok(tensor),
    }
}

/// Draws the spectrum of the one matrix among the tensors of a page, or its state.
pub fn spectrum_ui(
    ui: &mut Ui,
    session: &Session,
    tensors: &[usize],
    source: &Source<'_>,
    height: f32,
) -> SpectrumWish {
    let tensor = match decomposed(tensors, source.measured) {
        Ok(tensor) => tensor,
        Err(words) => {
            spectrum::message_ui(ui, height, words);
            return None;
        }
    };
    let stage = session.details().spectrum(&tensor.name);
    let asked = spectrum::ui(ui, stage, height);
    // Small matrices need no question.
    let at_once = matches!(stage, Stage::Waiting) && tensor.shape.iter().product::<u64>() <= spectrum::SMALL;
    let asked = if at_once { Asked::Start } else { asked };
    (asked != Asked::Nothing).then(|| (tensor.name.clone(), asked))
}

/// The numbers of the page in two columns.
fn numbers_ui(ui: &mut Ui, data: &PageData, source: &Source<'_>) {
    let palette = theme::palette(ui);
    let sums = &data.sums;
    let change = source.view.change(&data.tensors);
    let survival = source.view.survival(data.tensors.iter().copied());
    let survival_text =
        if source.has_preview { Metric::RoundingSurvival.text(survival.value) } else { "…".to_owned() };
    let of = |metric: Metric| (metric.label(), metric.text(metric.of(sums)), metric.meaning().to_owned());
    let survival_meaning = if survival.is_estimated() {
        let margin = format::percent(survival.margin);
        format!("{}. Estimated, within {margin} at 95 %", Metric::RoundingSurvival.meaning())
    } else {
        Metric::RoundingSurvival.meaning().to_owned()
    };
    let numbers = [
        of(Metric::Norm),
        of(Metric::RelativeNorm),
        of(Metric::Rms),
        of(Metric::MaxAbs),
        ("Mean of v", format::norm(sums.mean()), "Σ v ∕ elements: 0 when v pushes up as much as down".to_owned()),
        of(Metric::ZeroShare),
        of(Metric::CosPrePost),
        of(Metric::CosVectorTarget),
        of(Metric::SignAgreement),
        (Metric::RoundingSurvival.label(), survival_text, survival_meaning),
        (
            "‖w·v‖ ∕ ‖target‖",
            format::percent(change.relative()),
            "How far the merged model is from the target at this w, of the target's size".to_owned(),
        ),
        (
            "cos to target",
            format::fixed(change.cos_target(), 5),
            "Cosine of the merged weights and the target's at this w: 1 is no change of direction".to_owned(),
        ),
    ];
    let column = (ui.available_width() - 16.0) / 2.0;
    ui.spacing_mut().interact_size.y = NUMBER_HEIGHT;
    Grid::new("tensor numbers").num_columns(2).spacing([16.0, 0.0]).min_row_height(NUMBER_HEIGHT).show(ui, |ui| {
        for pair in numbers.chunks(2) {
            for (label, value, meaning) in pair {
                ui.allocate_ui(Vec2::new(column, NUMBER_HEIGHT), |ui| {
                    ui.set_min_width(column);
                    let small = |text: &str| RichText::new(text).text_style(TextStyle::Small);
                    ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| {
                        ui.label(small(value)).on_hover_text(meaning);
                        ui.with_layout(Layout::left_to_right(egui::Align::Center), |ui| {
                            let label = small(label).color(palette.weak);
                            ui.add(egui::Label::new(label).truncate()).on_hover_text(meaning);
                        });
                    });
                });
            }
            ui.end_row();
        }
    });
}
