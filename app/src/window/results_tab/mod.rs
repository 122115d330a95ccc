//! The Results tab: what was written last, against what was asked for.

mod adapter;
mod merge;
mod saved;

use eframe::egui::{Align, Button, CursorIcon, Label, Layout, RichText, Sense, Ui, Vec2};
use mergescope_core::preflight::Finding;

use super::app::App;
use super::command::Command;
use super::session::{End, Product};
use super::{export, fonts, theme, widgets};
use crate::format;

/// Room for the buttons at the end.
const BUTTONS_HEIGHT: f32 = 44.0;
/// Share of the height that the chart takes, the rest being the table's.
const CHART_SHARE: f32 = 0.54;

/// The choices of this tab.
#[derive(Default)]
pub struct ResultsView {
    /// Whether the layers' table is shown instead of the chart.
    pub table: bool,
    merge: merge::MergeView,
    adapter: adapter::AdapterView,
}

/// Draws the tab.
pub fn ui(app: &mut App, ui: &mut Ui) {
    match &app.session.end {
        Some(End::Merged(_)) => merge::ui(app, ui),
        Some(End::Exported(_)) => adapter::ui(app, ui),
        Some(End::Saved(_)) => saved::ui(app, ui),
        Some(End::Refused(product, findings)) => refused_ui(ui, *product, findings),
        Some(End::Failed(product, message)) => {
            let advice = format!("{message}. Nothing was left behind. Mend that and choose {} again", product.button());
            widgets::empty_ui(ui, &format!("The {} failed", product.work()), &advice);
        }
        Some(End::Cancelled(product)) => {
            let advice = format!("Nothing was left behind. Choose {} to start again", product.button());
            widgets::empty_ui(ui, &format!("The {} was cancelled", product.work()), &advice);
        }
        None => match &app.session.writing {
            Some(writing) => {
                widgets::empty_ui(ui, writing.product.under_way(), "What was written is shown here when it is done");
            }
            None => widgets::empty_ui(
                ui,
                "Nothing has been merged yet",
                "Choose w at the left and press Merge…; then this tab shows what was written against what was asked for",
            ),
        },
    }
}

/// The numbers of what was written, one row a tensor; `None` where nothing was.
pub fn csv(end: &End) -> Option<String> {
    match end {
        End::Merged(written) => Some(export::results_csv(&written.report)),
        End::Exported(written) => Some(adapter::table(written).to_csv()),
        End::Saved(saved) => Some(saved::table(saved).to_csv()),
        End::Refused(..) | End::Failed(..) | End::Cancelled(_) => None,
    }
}

fn refused_ui(ui: &mut Ui, product: Product, findings: &[Finding]) {
    let first = findings.first().map_or_else(String::new, |finding| format!("{}. {}", finding.title, finding.action));
    widgets::empty_ui(ui, &format!("The {} was refused", product.work()), &first);
}

/// What a layer, or all beside the layers, is called.
fn layer_title(layer: Option<u32>) -> String {
    layer.map_or_else(|| "Embeddings, head and final norm".to_owned(), |layer| format!("Layer {layer}"))
}

/// The sentences on top: what was done, the folder as a link, and more; true when the folder's name was clicked.
fn sentences_ui(ui: &mut Ui, done: &str, path: &str, more: impl FnOnce(&mut Ui)) -> bool {
    let palette = theme::palette(ui);
    let line = Some(theme::TEXT_LINE);
    let mut clicked = false;
    let spacing = ui.spacing().clone();
    ui.spacing_mut().item_spacing = Vec2::ZERO;
    ui.spacing_mut().interact_size.y = theme::TEXT_LINE;
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(format!("{} Written. ", fonts::CHECK)).color(palette.good).line_height(line));
        ui.label(RichText::new(done).line_height(line));
        let link = RichText::new(path).color(palette.link).line_height(line);
        clicked = ui
            .add(Label::new(link).sense(Sense::click()))
            .on_hover_text(Command::OpenOutput.explanation())
            .on_hover_cursor(CursorIcon::PointingHand)
            .clicked();
        more(ui);
    });
    *ui.spacing_mut() = spacing;
    clicked
}

/// More words among the sentences.
fn words_ui(ui: &mut Ui, text: impl Into<String>) {
    ui.label(RichText::new(text.into()).line_height(Some(theme::TEXT_LINE)));
}

/// The button that opens the folder, and others beside it; true when it was pressed.
fn buttons_ui(ui: &mut Ui, more: impl FnOnce(&mut Ui)) -> bool {
    ui.add_space(10.0);
    let button = Button::new(Command::OpenOutput.label()).min_size(Vec2::new(96.0, 28.0));
    let row = ui.with_layout(Layout::left_to_right(Align::Min), |ui| {
        let pressed = ui.add(button).on_hover_text(Command::OpenOutput.explanation()).clicked();
        more(ui);
        pressed
    });
    row.inner
}

/// `988 MB in 2.1 s, 290 tensors`.
fn facts(bytes: u64, elapsed: std::time::Duration, tensors: usize) -> String {
    format!("{} in {}, {}", format::bytes(bytes), format::duration(elapsed), format::plural(tensors, "tensor"))
}
