//! Singular values of one tensor of v: how many directions it has.

use eframe::egui::{self, Align2, Pos2, Rect, RichText, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo};
use mergescope_core::analysis::Spectrum;

use super::view::Asked;
use crate::format;
use crate::window::session::Stage;
use crate::window::{chart, theme, widgets};

/// Matrices of at most this many elements are decomposed without being asked to.
pub const SMALL: u64 = 1 << 20;
/// Room for the lines below the chart.
pub const FACTS_HEIGHT: f32 = 3.0 * theme::NOTE_LINE + 4.0;
/// Room for the labels of the y axis.
const LABELS_WIDTH: f32 = 42.0;
/// Room for the names of the lines, above them.
const NAMES_HEIGHT: f32 = 18.0;
/// The share of ‖v‖² whose rank is named.
const MOST: f64 = 0.9;

/// Draws the chart or its state, `height` high.
pub fn ui(ui: &mut Ui, stage: &Stage<Spectrum>, height: f32) -> Asked {
    match stage {
        Stage::Done(spectrum) if spectrum.energy == 0.0 => {
            message_ui(ui, height, "v is zero here: all of its singular values are zero");
            Asked::Nothing
        }
        Stage::Done(spectrum) => {
            chart_ui(ui, spectrum, height - FACTS_HEIGHT);
            ui.scope(|ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                facts_ui(ui, spectrum);
            });
            Asked::Nothing
        }
        Stage::Running(_, progress) => in_the_middle_ui(ui, height, |ui| {
            ui.label("Measuring the spectrum");
            widgets::bar_ui(ui, "Spectrum progress", progress.as_ref().map_or(0.0, |progress| progress.fraction()));
            asked(widgets::link_ui(ui, "Stop measuring").clicked(), Asked::Stop)
        }),
        Stage::Failed(message) => in_the_middle_ui(ui, height, |ui| {
            ui.label("The spectrum could not be measured");
            widgets::note_ui(ui, message.clone());
            asked(widgets::link_ui(ui, "Try again").clicked(), Asked::Start)
        }),
        Stage::Waiting => in_the_middle_ui(ui, height, |ui| {
            widgets::note_ui(ui, "Singular values take longer than the other numbers, so they are measured on request");
            ui.add_space(4.0);
            let button = ui.button("Measure spectrum");
            let button =
                button.on_hover_text("Reads this tensor of pre and post, and finds its largest singular values");
            asked(button.clicked(), Asked::Start)
        }),
    }
}

fn asked(clicked: bool, what: Asked) -> Asked {
    if clicked { what } else { Asked::Nothing }
}

/// Says why there is no chart.
pub fn message_ui(ui: &mut Ui, height: f32, message: &str) {
    in_the_middle_ui(ui, height, |ui| drop(widgets::note_ui(ui, message)));
}

fn in_the_middle_ui<R>(ui: &mut Ui, height: f32, contents: impl FnOnce(&mut Ui) -> R) -> R {
    let size = Vec2::new(ui.available_width(), height);
    widgets::in_the_middle_ui(ui, size, Vec2::new(250.0, 80.0), contents)
}

fn chart_ui(ui: &mut Ui, spectrum: &Spectrum, height: f32) {
    let palette = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), height), Sense::hover());
    let plot = Rect::from_min_max(rect.min + Vec2::new(LABELS_WIDTH, NAMES_HEIGHT), rect.max - Vec2::new(6.0, 18.0));
    let painter = ui.painter();
    let count = spectrum.singular_values.len();
    let x_of = |rank: f32| plot.left() + rank / count.max(1) as f32 * plot.width();
    let y_of = |share: f64| plot.bottom() - share as f32 * plot.height();
    for (share, label) in [(0.0, "0"), (0.5, "50 %"), (1.0, "100 %")] {
        painter.hline(plot.x_range(), y_of(share), Stroke::new(1.0, palette.hairline));
        let at = Pos2::new(plot.left() - 6.0, y_of(share));
        painter.text(at, Align2::RIGHT_CENTER, label, chart::axis_font(), palette.weak);
    }
    for rank in [1, count.div_ceil(2), count] {
        let at = Pos2::new(x_of(rank as f32), plot.bottom() + 3.0);
        painter.text(at, Align2::CENTER_TOP, rank.to_string(), chart::axis_font(), palette.weak);
    }
    let largest = spectrum.singular_values.first().copied().filter(|&largest| largest > 0.0);
    if let Some(largest) = largest {
        let values = spectrum.singular_values.iter().enumerate();
        let values = values.map(|(index, value)| Pos2::new(x_of(index as f32 + 1.0), y_of(value / largest)));
        painter.add(Shape::line(values.collect(), Stroke::new(1.5, palette.weak)));
        let kept = (0..=count).filter_map(|rank| Some((rank, spectrum.energy_kept(rank)?)));
        let kept = kept.map(|(rank, kept)| Pos2::new(x_of(rank as f32), y_of(kept)));
        painter.add(Shape::line(kept.collect(), Stroke::new(1.5, palette.accent)));
        let font = chart::axis_font();
        let names = painter.text(rect.right_top(), Align2::RIGHT_TOP, "share of ‖v‖² kept", font.clone(), palette.link);
        let left_of = names.left_top() - Vec2::new(14.0, 0.0);
        painter.text(left_of, Align2::RIGHT_TOP, "singular value ∕ largest", font, palette.weak);
    }
    let label = format!("Chart: spectrum, {}", format::plural(count, "singular value"));
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, &label));
    let pointer = response.hover_pos();
    response.on_hover_ui_at_pointer(|ui| {
        let Some(pointer) = pointer else { return };
        let share = f64::from((pointer.x - plot.left()) / plot.width());
        let rank = ((share * count as f64).round() as usize).clamp(1, count.max(1));
        ui.label(RichText::new(format!("Rank {rank}")).text_style(theme::strong()));
        if let Some(value) = spectrum.singular_values.get(rank - 1) {
            let bound =
                if spectrum.error > 0.0 { format!(" ± {}", format::norm(spectrum.error)) } else { String::new() };
            ui.label(format!("Singular value {rank}: {}{bound}", format::norm(*value)));
        }
        if let Some(kept) = spectrum.energy_kept(rank) {
            ui.label(format!("The first {rank} hold {} of ‖v‖²", format::percent(kept)));
        }
    });
}

/// The lines below the chart.
fn facts_ui(ui: &mut Ui, spectrum: &Spectrum) {
    let full = spectrum.rows.min(spectrum.cols);
    let (low, high) = (spectrum.effective_rank.low, spectrum.effective_rank.high);
    let effective = if high - low < 0.05 { format::fixed(low, 1) } else { format!("{low:.0} to {high:.0}") };
    let text = format!(
        "Effective rank {effective} of {} · stable rank {}",
        format::count(full),
        format::fixed(spectrum.stable_rank, 1)
    );
    let explanation = "Effective rank: e to the entropy of the singular values' shares of their sum. Stable rank: ‖v‖² ∕ the \
                       square of the largest. Both count directions; a range is given where not all are known";
    widgets::note_ui(ui, text).on_hover_text(explanation);
    if let Some(rank) = spectrum.rank_for(MOST) {
        let directions = if rank == 1 { "one direction".to_owned() } else { format!("the first {rank} directions") };
        let text = format!("{} of ‖v‖² in {directions}", format::percent(MOST));
        widgets::note_ui(ui, text)
            .on_hover_text("How many directions hold most of v: where the blue line reaches 90 %");
    }
    if let Some(overlap) = &spectrum.overlap {
        let text = format!(
            "Overlap with pre {} left, {} right; chance {}, {}",
            format::percent(overlap.left),
            format::percent(overlap.right),
            format::percent(overlap.left_chance),
            format::percent(overlap.right_chance),
        );
        let explanation = format!(
            "Mean squared cosine of the principal angles between the {} leading singular directions of v and those of \
             pre: 100 % when v moves along pre's main directions, about chance when it ignores them",
            overlap.k
        );
        widgets::note_ui(ui, text).on_hover_text(explanation);
    }
}
