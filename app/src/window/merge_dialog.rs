//! Where the merged model goes and how its numbers are written.

use std::path::Path;

use eframe::egui::{DragValue, RichText, Ui};
use mergescope_core::recipe::{Method, OutputDtype, OutputSpec, Rounding};

use super::app::App;
use super::destination::{self, Destination};
use super::dialog_parts::{self, DialogStep, indented_ui, row_ui};
use super::session::{Session, Work};
use super::{method_words, output, theme, widgets};
use crate::format;

/// The choices of a merge that are not made in the left column.
pub struct MergeDialog {
    /// Where the new model goes.
    pub destination: Destination,
    /// dtype, rounding and seed; part of the recipe once the merge starts.
    spec: OutputSpec,
}

impl MergeDialog {
    /// Choices for the session's recipe, with a folder that is free.
    pub fn new(session: &Session, parent: &Path) -> Self {
        let models = session.models();
        let target = models.as_ref().map(|models| models.target.as_ref());
        let name = output::default_name(target, &session.recipe, parent);
        Self { destination: Destination::new(session, parent, name), spec: session.recipe.output.clone() }
    }
}

/// Draws the dialog.
pub fn ui(app: &mut App, ui: &mut Ui, dialog: &mut MergeDialog) -> DialogStep {
    let recipe = &app.session.recipe;
    let formula = method_words::formula(recipe, "target", &format::w(recipe.vector.w));
    dialog_parts::title_ui(ui, &format!("Write {formula} as a new model"));
    if let Some((_, control)) = app.session.control_in_use() {
        widgets::badge_ui(
            ui,
            &format!("A control, {}, stands in the vector's place", method_words::control_label(control.kind)),
        )
        .on_hover_text(method_words::CONTROL);
        ui.add_space(6.0);
    }

    let touched = destination::ui(ui, &mut dialog.destination, "new model");
    ui.add_space(8.0);
    let recipe = &app.session.recipe;
    let differs = match (recipe.draws(), recipe.method.name) {
        (true, _) => Some("what is kept at random is drawn otherwise than mergekit draws it"),
        (_, Method::Slerp | Method::Nuslerp | Method::ModelStock | Method::Sce) => {
            Some("sums over a tensor may differ in their last place")
        }
        _ => None,
    };
    numbers_ui(ui, &mut dialog.spec, differs);
    let planned = app.session.planned_bytes(&dialog.spec);
    let no_room = destination::size_ui(app, ui, &dialog.destination, planned, |size| format!("{size} of weights"));

    let obstacle = app.session.merge_obstacle().or(touched.obstacle.clone()).or(no_room);
    let (go, cancel) = dialog_parts::buttons_ui(
        ui,
        ("Merge", "Write the new model; the others are only read"),
        obstacle.as_deref(),
        Some(("Cancel", "Close without merging")),
    );
    DialogStep::of(&touched, go, cancel, obstacle.is_none(), || Work::Merge {
        output: dialog.destination.output(),
        spec: dialog.spec.clone(),
    })
}

/// `differs` is in what mergekit's modes are not mergekit's bytes.
fn numbers_ui(ui: &mut Ui, spec: &mut OutputSpec, differs: Option<&str>) {
    let dtypes = OutputDtype::ALL.map(|dtype| (dtype, dtype_name(dtype), dtype_sentence(dtype)));
    let tooltip = "Element type of the numbers that are written";
    row_ui(ui, "Dtype", |ui| {
        widgets::named_choice_ui(ui, "Dtype", tooltip, &mut spec.dtype, &dtypes).accessible_name("Dtype");
    });
    indented_ui(ui, |ui| drop(widgets::note_ui(ui, dtype_sentence(spec.dtype))));
    let roundings = Rounding::ALL.map(|rounding| (rounding, rounding_name(rounding), rounding_sentence(rounding)));
    let tooltip = "How a sum becomes a number of that type";
    row_ui(ui, "Rounding", |ui| {
        widgets::named_choice_ui(ui, "Rounding", tooltip, &mut spec.rounding, &roundings).accessible_name("Rounding");
        if spec.rounding == Rounding::Stochastic {
            let palette = theme::palette(ui);
            ui.add_space(8.0);
            let label = ui.label(RichText::new("Seed").color(palette.weak));
            ui.add(DragValue::new(&mut spec.seed).speed(0.2))
                .on_hover_text("The same seed gives the same bytes")
                .labelled_by(label.id);
        }
    });
    let sentence = match differs.filter(|_| !spec.rounding.is_single()) {
        Some(differs) => format!("The steps and roundings of mergekit 0.1.5; {differs}"),
        None => rounding_sentence(spec.rounding).to_owned(),
    };
    indented_ui(ui, |ui| drop(widgets::note_ui(ui, sentence)));
}

pub fn dtype_name(dtype: OutputDtype) -> &'static str {
    match dtype {
        OutputDtype::Target => "As in the target",
        OutputDtype::Bf16 => "bf16",
        OutputDtype::F16 => "f16",
        OutputDtype::F32 => "f32",
    }
}

pub fn dtype_sentence(dtype: OutputDtype) -> &'static str {
    match dtype {
        OutputDtype::Target => "Every tensor keeps the target's type; best for use in place of the target",
        OutputDtype::Bf16 => "2 bytes each, wide range, 3 digits; what most models are published in",
        OutputDtype::F16 => "2 bytes each, 4 digits; values beyond 65,504 overflow",
        OutputDtype::F32 => "4 bytes each, 7 digits; loses none of a small vector",
    }
}

fn rounding_name(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::Nearest => "Nearest",
        Rounding::Stochastic => "Stochastic",
        Rounding::MergekitF32 => "As mergekit, in f32",
        Rounding::MergekitBf16 => "As mergekit, in bf16",
    }
}

fn rounding_sentence(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::Nearest => "Rounded once from the exact sum",
        Rounding::Stochastic => "Rounded up or down at random so that small updates survive on average; seeded",
        Rounding::MergekitF32 => "The same bytes as mergekit 0.1.5 with dtype: float32",
        Rounding::MergekitBf16 => "The same bytes as mergekit 0.1.5 with dtype: bfloat16, which loses more",
    }
}
