//! What goes into an adapter, how much of it, and where it is written.

use std::path::Path;

use eframe::egui::{DragValue, RichText, Ui};
use mergescope_core::adapter::{AdapterPart, AdapterPlan, AdapterSpec, Content, MAX_RANK, Ranks};
use mergescope_core::error::chain;
use mergescope_core::recipe::{OutputDtype, Recipe};

use super::app::App;
use super::destination::{self, Destination};
use super::dialog_parts::{self, DialogStep, indented_ui, row_ui};
use super::merge_dialog::{dtype_name, dtype_sentence};
use super::session::{Session, Work};
use super::{output, theme, widgets};
use crate::format;

/// Share of the energy that is offered at first.
const ENERGY: f64 = 0.9;

/// The choices for an adapter.
pub struct AdapterDialog {
    /// Where it goes.
    pub destination: Destination,
    spec: AdapterSpec,
    dtype: OutputDtype,
    /// The share of the energy that was chosen last, while none is.
    energy: f64,
    /// What would be in it: for which choices, and the plan.
    planned: Option<(AdapterSpec, Result<AdapterPlan, String>)>,
}

impl AdapterDialog {
    /// Choices for the session's recipe, with a folder that is free.
    pub fn new(session: &Session, parent: &Path) -> Self {
        let recipe = &session.recipe;
        let target = session.models().map_or_else(|| "target".to_owned(), |models| output::stem(&models.target));
        let name = format!("{target}-adapter-w{}", format::w_in_name(recipe.vector.w));
        let spec = recipe.adapter.clone().unwrap_or_default();
        Self {
            destination: Destination::new(session, parent, output::free_name(name, parent)),
            energy: spec.energy.unwrap_or(ENERGY),
            spec,
            dtype: recipe.output.dtype,
            planned: None,
        }
    }

    /// The recipe with these choices.
    fn recipe(&self, session: &Session) -> Recipe {
        let mut recipe = Recipe { adapter: Some(self.spec.clone()), ..session.recipe.clone() };
        recipe.output.dtype = self.dtype;
        recipe
    }

    /// Plans what would be in it, unless that was done.
    fn plan(&mut self, session: &Session) {
        // Neither decides on what goes in, and one that is being dragged would plan thousands of tensors in every frame.
        let key = AdapterSpec { rank: 1, energy: None, ..self.spec.clone() };
        if self.planned.as_ref().is_some_and(|(known, _)| *known == key) {
            return;
        }
        let Some(triple) = session.triple() else { return };
        let mut recipe = self.recipe(session);
        recipe.adapter = Some(key.clone());
        let plan = session.jobs.engine().plan_adapter(&triple, &recipe).map_err(|error| chain(&error));
        self.planned = Some((key, plan));
    }

    /// Bytes at most, or why there can be no such adapter.
    fn bytes(&self, session: &Session) -> Option<Result<u64, String>> {
        if let Err(error) = self.spec.check() {
            return Some(Err(format::sentence(&error.to_string())));
        }
        let triple = session.triple()?;
        match self.planned.as_ref()? {
            (_, Ok(plan)) => Some(Ok(plan.most_bytes(&triple, &self.recipe(session)))),
            (_, Err(message)) => Some(Err(format::sentence(message))),
        }
    }
}

/// Draws the dialog.
pub fn ui(app: &mut App, ui: &mut Ui, dialog: &mut AdapterDialog) -> DialogStep {
    dialog_parts::title_ui(ui, "Export w·v as a low-rank adapter");
    widgets::note_ui(
        ui,
        "A small file beside the target, in PEFT's format (LoRA, arXiv 2106.09685). Of every matrix the first singular \
         directions are kept; what they leave out is measured and shown when it is done.",
    );
    ui.add_space(8.0);
    let touched = destination::ui(ui, &mut dialog.destination, "adapter");
    ui.add_space(8.0);
    rank_ui(ui, dialog);
    parts_ui(ui, &mut dialog.spec);
    numbers_ui(ui, dialog, app.session.recipe.vector.w);
    dialog.plan(&app.session);
    let planned = dialog.bytes(&app.session);
    let no_room = destination::size_ui(app, ui, &dialog.destination, planned, |size| format!("At most {size}"));
    if let Some((_, Ok(plan))) = &dialog.planned {
        indented_ui(ui, |ui| drop(widgets::note_ui(ui, plan_words(plan))));
    }

    let obstacle = app.session.adapter_obstacle().or(touched.obstacle.clone()).or(no_room);
    let (go, cancel) = dialog_parts::buttons_ui(
        ui,
        ("Export", "Write the adapter; the models are only read"),
        obstacle.as_deref(),
        Some(("Cancel", "Close without exporting")),
    );
    DialogStep::of(&touched, go, cancel, obstacle.is_none(), || Work::Adapter {
        output: dialog.destination.output(),
        spec: dialog.spec.clone(),
        dtype: dialog.dtype,
    })
}

fn rank_ui(ui: &mut Ui, dialog: &mut AdapterDialog) {
    let palette = theme::palette(ui);
    let spec = &mut dialog.spec;
    row_ui(ui, "Rank", |ui| {
        let field = DragValue::new(&mut spec.rank).range(1..=MAX_RANK).speed(0.1);
        ui.add(field)
            .on_hover_text("Directions kept of every matrix; where energy decides, the most. vLLM takes 16 by default")
            .accessible_name("Rank");
        ui.add_space(8.0);
        let mut by_energy = spec.energy.is_some();
        ui.checkbox(&mut by_energy, "as few as keep").on_hover_text(
            "The lowest rank of each matrix that keeps this share of its ‖w·v‖², at most the rank at the left",
        );
        let mut percent = dialog.energy * 100.0;
        ui.add_enabled_ui(by_energy, |ui| {
            let field = DragValue::new(&mut percent).range(1.0..=100.0).speed(0.2).max_decimals(2).suffix(" %");
            ui.add(field).on_hover_text("Share of a matrix's ‖w·v‖² to keep").accessible_name("Energy to keep");
            ui.label(RichText::new("of ‖w·v‖²").color(palette.weak));
        });
        dialog.energy = percent / 100.0;
        spec.energy = by_energy.then_some(dialog.energy);
    });
    if spec.energy.is_none() {
        // Then every matrix has the same rank already.
        spec.ranks = Ranks::Uniform;
        return;
    }
    let options = [
        (Ranks::Uniform, "one rank for all", "Zeros fill up the lower ones; PEFT, vLLM and llama.cpp compute the same"),
        (Ranks::PerTensor, "each its own", "Smaller, for PEFT and vLLM; llama.cpp would scale the lower ones up"),
    ];
    row_ui(ui, "Written with", |ui| {
        let tooltip = "How ranks that differ are written";
        widgets::named_choice_ui(ui, "Ranks", tooltip, &mut spec.ranks, &options).accessible_name("Ranks");
    });
}

fn parts_ui(ui: &mut Ui, spec: &mut AdapterSpec) {
    row_ui(ui, "Parts", |ui| {
        ui.horizontal_wrapped(|ui| {
            for part in AdapterPart::ALL {
                let mut chosen = spec.has(part);
                if ui.checkbox(&mut chosen, part.label()).on_hover_text(part_sentence(part)).changed() {
                    let wanted = |other: &AdapterPart| if *other == part { chosen } else { spec.has(*other) };
                    spec.parts = AdapterPart::ALL.into_iter().filter(wanted).collect();
                }
            }
        });
    });
}

fn part_sentence(part: AdapterPart) -> &'static str {
    match part {
        AdapterPart::Attention => "Weights of q, k, v and o",
        AdapterPart::Mlp => "Weights of gate, up and down, and of experts that are stored one by one",
        AdapterPart::Head => "The output head, where it is not the embeddings; vLLM refuses it for Qwen2 and Mistral",
        AdapterPart::Embed => {
            "Embeddings, where they are not the output head too; vLLM refuses them for Qwen2 and Mistral"
        }
        AdapterPart::Norm => "Norms, as whole copies; for PEFT alone",
        AdapterPart::Bias => "Biases, as whole copies; for PEFT alone",
        AdapterPart::Other => "Routers and matrices of unknown name; PEFT refuses what is no linear layer",
    }
}

fn numbers_ui(ui: &mut Ui, dialog: &mut AdapterDialog, w: f64) {
    let scaled = format!("w·v, w = {}", format::w(w));
    let contents = [
        (Content::Scaled, scaled.as_str(), "The adapter at weight 1 is the merge"),
        (Content::Vector, "v alone", "To be weighted where it is loaded; curves, factors and masks are left out"),
    ];
    row_ui(ui, "Content", |ui| {
        let tooltip = "What is decomposed";
        widgets::named_choice_ui(ui, "Content", tooltip, &mut dialog.spec.content, &contents)
            .accessible_name("Content");
    });
    let dtypes = OutputDtype::ALL.map(|dtype| (dtype, dtype_name(dtype), dtype_sentence(dtype)));
    row_ui(ui, "Dtype", |ui| {
        let tooltip = "Element type of the factors";
        widgets::named_choice_ui(ui, "Dtype", tooltip, &mut dialog.dtype, &dtypes).accessible_name("Dtype");
    });
}

/// `Factors of 168 tensors. Left out: 49 norm and 1 embed`.
fn plan_words(plan: &AdapterPlan) -> String {
    let mut words = format!("Factors of {}", format::plural(plan.factored().count(), "tensor"));
    if plan.copied() > 0 {
        words += &format!(", {} whole", format::count(plan.copied() as u64));
    }
    for (reason, part, count) in plan.omissions() {
        words += &format!(". Left out: {} {part}, {}", format::count(count), reason.label());
    }
    words
}
