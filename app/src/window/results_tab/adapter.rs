//! What an adapter holds of w·v, and what it leaves out.

use eframe::egui::{self, Grid, Layout, Rect, RichText, Stroke, Ui, Vec2};
use mergescope_core::adapter::{AdapterTensor, Content, Form, Kept};
use mergescope_core::checkpoint::natural_cmp;

use super::{BUTTONS_HEIGHT, CHART_SHARE, buttons_ui, facts, layer_title, sentences_ui, words_ui};
use crate::format;
use crate::report::Figure;
use crate::report::{Cell, Column, Table};
use crate::window::app::App;
use crate::window::chart::{self, BarPlot, Segment};
use crate::window::command::Command;
use crate::window::session::{End, WrittenAdapter};
use crate::window::title::{self, LegendEntry, Title};
use crate::window::{number_table, theme, widgets};

/// Width of a tensor's name.
const NAME_WIDTH: f32 = 340.0;
/// Width of the bar of what was kept, within the outline of what there is.
const KEPT_WIDTH: f32 = 0.8;

/// What the bars show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Metric {
    /// Share of ‖w·v‖² that the adapter holds.
    #[default]
    Kept,
    /// ‖w·v‖² of the layer, and what of it the adapter holds.
    Energy,
}

/// The choices about an adapter.
#[derive(Default)]
pub struct AdapterView {
    metric: Metric,
}

/// What was decomposed, in letters.
fn symbol(written: &WrittenAdapter) -> &'static str {
    match written.report.recipe.adapter.as_ref().map(|spec| spec.content) {
        Some(Content::Vector) => "v",
        _ => "w·v",
    }
}

/// Draws what was written.
pub fn ui(app: &mut App, ui: &mut Ui) {
    let Some(End::Exported(written)) = &app.session.end else { return };
    let symbol = symbol(written);
    let mut open_folder = summary_ui(ui, written, symbol);
    ui.add_space(10.0);
    let share = format!("Share of ‖{symbol}‖²");
    let energy = format!("‖{symbol}‖²");
    let metrics = [
        (Metric::Kept, share.as_str(), "How much of each layer's squared norm the adapter holds"),
        (Metric::Energy, energy.as_str(), "The squared norm of each layer, and what of it the adapter holds"),
    ];
    ui.horizontal(|ui| {
        widgets::choice_ui(ui, "Show", "What the bars show", &mut app.results_view.adapter.metric, &metrics);
    });
    ui.add_space(6.0);
    let height = ((ui.available_height() - BUTTONS_HEIGHT) * CHART_SHARE).max(150.0).floor();
    if app.results_view.table {
        let size = Vec2::new(ui.available_width(), height);
        ui.allocate_ui(size, |ui| {
            ui.set_min_height(height);
            number_table::ui(ui, &layers_table(written, symbol), NAME_WIDTH);
        });
    } else {
        app.chart_rect = Some(chart_ui(app.results_view.adapter.metric, ui, written, symbol, height));
    }
    ui.add_space(8.0);
    let table_height = (ui.available_height() - BUTTONS_HEIGHT).max(80.0);
    ui.allocate_ui(Vec2::new(ui.available_width(), table_height), |ui| {
        ui.set_min_height(table_height);
        number_table::ui(ui, &table(written), NAME_WIDTH);
    });
    open_folder |= buttons_ui(ui, |_| {});
    if open_folder {
        app.commands.push(Command::OpenOutput);
    }
}

fn summary_ui(ui: &mut Ui, written: &WrittenAdapter, symbol: &str) -> bool {
    let palette = theme::palette(ui);
    let (report, total) = (&written.report, &written.total);
    let done = format!("An adapter of {symbol} is in ");
    let line = Some(theme::TEXT_LINE);
    sentences_ui(ui, &done, &format::path(&report.output), |ui| {
        let ranks = match report.ranks() {
            Some((low, high)) if low < high => format!("ranks {low} to {high}"),
            Some((rank, _)) => format!("rank {rank}"),
            None => "no rank".to_owned(),
        };
        words_ui(ui, format!(": {ranks}, {}. ", facts(report.bytes_written, report.elapsed, report.tensors.len())));
        words_ui(
            ui,
            format!(
                "It holds {} of ‖{symbol}‖², and {} of that of the tensors in it. ",
                share(total.share()),
                share(total.of_those_in_it().share())
            ),
        );
        let left_out = report.omissions().into_iter().map(|(reason, part, count, energy)| {
            let of_all = format::percent(energy / total.energy);
            format!("{} {part} with {of_all} ({})", format::count(count), reason.label())
        });
        let left_out: Vec<String> = left_out.collect();
        if !left_out.is_empty() {
            let text = format!("Left out: {}. ", left_out.join(", "));
            ui.label(RichText::new(text).color(palette.weak).line_height(line));
        }
        if let Some(text) = short_of_goal(written) {
            ui.label(RichText::new(text).color(palette.warning).line_height(line));
        }
        let nonfinite: u64 = report.tensors.iter().map(|tensor| tensor.nonfinite).sum();
        if nonfinite > 0 {
            let text = format!("{} elements are NaN or infinite and were taken as 0. ", format::count(nonfinite));
            ui.label(RichText::new(text).color(palette.warning).line_height(line));
        }
        if let Some(warning) = report.warning() {
            ui.label(RichText::new(warning).color(palette.warning).line_height(line));
        }
    })
}

/// How many matrices hold less than was asked for, since that takes more than the highest rank.
fn short_of_goal(written: &WrittenAdapter) -> Option<String> {
    let spec = written.report.recipe.adapter.as_ref()?;
    let energy = spec.energy?;
    let factored = || written.report.tensors.iter().filter(|tensor| tensor.rank() == Some(spec.rank));
    // What rounding the factors takes is not a matter of the rank.
    let short = factored().filter(|tensor| tensor.at_most().is_some_and(|most| most < energy)).count();
    (short > 0).then(|| {
        format!(
            "{} would take more than rank {} to hold the {} asked for. ",
            format::plural(short, "tensor"),
            spec.rank,
            format::percent(energy)
        )
    })
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| format::NONE.to_owned(), format::percent)
}

fn held(kept: &Kept) -> f64 {
    (kept.energy - kept.rest - kept.left_out).max(0.0)
}

fn chart_ui(metric: Metric, ui: &mut Ui, written: &WrittenAdapter, symbol: &str, height: f32) -> Rect {
    let palette = theme::palette(ui);
    let label = |layer: Option<u32>| layer.map_or_else(|| "rest".to_owned(), |layer| layer.to_string());
    let ticks = chart::ticks(
        written.layers.iter().map(|(layer, _)| (label(*layer), layer.is_some())),
        ui.available_width() - theme::Y_AXIS_WIDTH,
    );
    let outline = Stroke::new(1.0, palette.weak);
    let mut segments = Vec::new();
    for (tick, (_, kept)) in written.layers.iter().enumerate() {
        let (all, held) = match metric {
            Metric::Kept => (1.0, kept.share().unwrap_or(f64::NAN)),
            Metric::Energy => (kept.energy, held(kept)),
        };
        let bar = |height, fill, stroke, width| Segment { tick, base: 0.0, height, fill, stroke, width };
        if kept.energy > 0.0 {
            segments.push(bar(all, palette.background, outline, 1.0));
        }
        segments.push(bar(held, palette.accent, Stroke::NONE, KEPT_WIDTH));
    }
    let meaning = match metric {
        Metric::Kept => format!("share of ‖{symbol}‖² per layer, in %"),
        Metric::Energy => format!("‖{symbol}‖² per layer"),
    };
    ui.scope(|ui| {
        let top = ui.cursor().top();
        let entry = |label, fill, stroke| LegendEntry { label, fill, stroke };
        let legend =
            [entry("moved by v", palette.background, outline), entry("in the adapter", palette.accent, Stroke::NONE)];
        let text = "What the adapter holds";
        let explanation = "Measured element by element with the factors as they are written";
        title::with_legend_ui(ui, &Title { text, meaning: &meaning, explanation, is_chosen: false }, &legend);
        let used = ui.cursor().top() - top;
        let plot = BarPlot {
            id: "adapter by layer",
            description: format!("Chart: {text}, {}", format::plural(written.layers.len(), "bar")),
            ticks: &ticks,
            segments,
            reference: None,
            is_percent: metric == Metric::Kept,
            size: Vec2::new(ui.available_width(), (height - used).max(100.0)),
        };
        plot.show(ui, |ui, position| {
            let (layer, kept) = &written.layers[position];
            tooltip_ui(ui, &layer_title(*layer), kept, symbol);
        });
    })
    .response
    .rect
}

fn tooltip_ui(ui: &mut Ui, title: &str, kept: &Kept, symbol: &str) {
    let palette = theme::palette(ui);
    ui.spacing_mut().interact_size.y = theme::NOTE_LINE;
    ui.label(RichText::new(title).text_style(theme::strong()));
    Grid::new("adapter tooltip").spacing([16.0, 3.0]).show(ui, |ui| {
        let part = |energy: f64| format::percent(if kept.energy > 0.0 { energy / kept.energy } else { f64::NAN });
        for (label, value) in [
            (format!("‖{symbol}‖"), format::norm(kept.energy.sqrt())),
            ("In the adapter".to_owned(), share(kept.share())),
            ("Beyond its rank".to_owned(), part(kept.rest)),
            ("In tensors left out".to_owned(), part(kept.left_out)),
            ("Tensors in it".to_owned(), format::count(kept.tensors)),
        ] {
            ui.label(RichText::new(label).color(palette.weak));
            ui.with_layout(Layout::right_to_left(egui::Align::Center), |ui| ui.label(value));
            ui.end_row();
        }
    });
}

fn number(value: Option<f64>, figure: impl FnOnce(f64) -> Figure) -> Cell {
    value.map_or(Cell::Empty, |value| Cell::Figure(figure(value)))
}

fn layers_table(written: &WrittenAdapter, symbol: &str) -> Table {
    let columns = vec![
        Column::new("layer", "Layer"),
        Column::new("tensors", "Tensors in it"),
        Column::new("norm", format!("‖{symbol}‖")),
        Column::new("kept", "In the adapter"),
        Column::new("left_out", "Left out"),
    ];
    let rows = written.layers.iter().map(|(layer, kept)| {
        vec![
            Cell::Text(layer_title(*layer)),
            Cell::Figure(Figure::Count(kept.tensors)),
            Cell::Figure(Figure::Number(kept.energy.sqrt())),
            number(kept.share(), Figure::Share),
            number((kept.energy > 0.0).then(|| kept.left_out / kept.energy), Figure::Share),
        ]
    });
    Table { name: "adapter-layers".to_owned(), columns, rows: rows.collect() }
}

/// A row for each tensor that v moves, in the adapter or not.
pub fn table(written: &WrittenAdapter) -> Table {
    let symbol = symbol(written);
    let columns = vec![
        Column::new("tensor", "Tensor"),
        Column::new("held", "Held as"),
        Column::new("norm", format!("‖{symbol}‖")),
        Column::new("share", format!("Of all ‖{symbol}‖²")),
        Column::new("kept", "Kept of it"),
        Column::new("at_most", "At most"),
    ];
    let total = written.total.energy;
    let row = |name: &str, held: String, energy: f64, kept: Option<f64>, at_most: Option<f64>| {
        vec![
            Cell::Text(name.to_owned()),
            Cell::Text(held),
            Cell::Figure(Figure::Number(energy.sqrt())),
            number((total > 0.0).then(|| energy / total), Figure::Share),
            number(kept, Figure::Share),
            number(at_most, Figure::Share),
        ]
    };
    let held = |tensor: &AdapterTensor| match &tensor.form {
        Form::Factored { rank, .. } => format!("rank {rank}"),
        Form::Copied => "whole".to_owned(),
    };
    let report = &written.report;
    let in_it = report
        .tensors
        .iter()
        .map(|tensor| (&tensor.name, row(&tensor.name, held(tensor), tensor.energy, tensor.kept(), tensor.at_most())));
    let left_out = report
        .left_out
        .iter()
        .map(|omitted| (&omitted.name, row(&omitted.name, "left out".to_owned(), omitted.energy, None, None)));
    let mut rows: Vec<_> = in_it.chain(left_out).collect();
    rows.sort_by(|(a, _), (b, _)| natural_cmp(a, b));
    Table { name: "adapter".to_owned(), columns, rows: rows.into_iter().map(|(_, row)| row).collect() }
}
