//! Where v = post − pre is saved, and in which numbers.

use std::path::Path;

use eframe::egui::Ui;
use mergescope_core::error::chain;
use mergescope_core::merge;
use mergescope_core::recipe::OutputDtype;

use super::app::App;
use super::destination::{self, Destination};
use super::dialog_parts::{self, DialogStep, indented_ui, row_ui};
use super::session::{Session, Work};
use super::{output, widgets};

/// Types that a vector is saved in, and what they keep.
const DTYPES: [(OutputDtype, &str, &str); 3] = [
    (OutputDtype::F32, "f32", "4 bytes each; holds the difference of bf16 or f16 models to 24 bits"),
    (OutputDtype::Bf16, "bf16", "2 bytes each; rounds every element of v by up to 0.4 %"),
    (OutputDtype::F16, "f16", "2 bytes each; finer than bf16, but elements of v below 0.00006 lose digits"),
];

/// The choices for saving a vector.
pub struct VectorDialog {
    /// Where it goes.
    pub destination: Destination,
    title: String,
    dtype: OutputDtype,
    /// Bytes of weights, or why there are none, by type.
    planned: [Option<Result<u64, String>>; DTYPES.len()],
}

impl VectorDialog {
    /// Choices for the vector that is shown, with a folder that is free.
    pub fn new(session: &Session, parent: &Path) -> Self {
        let pair = session.shown_pair();
        let stems = pair.as_ref().map(|pair| [&pair.post, &pair.pre].map(|model| output::stem(model)));
        let [post, pre] = stems.unwrap_or_else(|| ["post", "pre"].map(str::to_owned));
        let name = output::free_name(format!("{post}-minus-{pre}"), parent);
        let planned = DTYPES.map(|(dtype, ..)| {
            let bytes = merge::vector_bytes(pair.as_ref()?, dtype);
            Some(bytes.map_err(|error| chain(&error)))
        });
        Self {
            destination: Destination::new(session, parent, name),
            title: format!("Save v = {post} − {pre} as a folder of its own"),
            dtype: OutputDtype::F32,
            planned,
        }
    }
}

/// Draws the dialog.
pub fn ui(app: &mut App, ui: &mut Ui, dialog: &mut VectorDialog) -> DialogStep {
    dialog_parts::title_ui(ui, &dialog.title);
    widgets::note_ui(
        ui,
        "It can stand in for pre and post on any target of this shape, here and at whoever gets the folder. \
         What it was made of is written beside it.",
    );
    ui.add_space(8.0);
    let touched = destination::ui(ui, &mut dialog.destination, "vector");
    ui.add_space(8.0);
    row_ui(ui, "Dtype", |ui| {
        let tooltip = "Element type of v. No w is in it: it is chosen where the vector is used";
        widgets::named_choice_ui(ui, "Dtype", tooltip, &mut dialog.dtype, &DTYPES).accessible_name("Dtype");
    });
    let chosen = DTYPES.iter().position(|(dtype, ..)| *dtype == dialog.dtype).unwrap_or_default();
    indented_ui(ui, |ui| drop(widgets::note_ui(ui, DTYPES[chosen].2)));
    let planned = dialog.planned[chosen].clone();
    let no_room = destination::size_ui(app, ui, &dialog.destination, planned, |size| format!("{size} of weights"));

    let obstacle = app.session.vector_obstacle().or(touched.obstacle.clone()).or(no_room);
    let (go, cancel) = dialog_parts::buttons_ui(
        ui,
        ("Save", "Write the vector; pre and post are only read"),
        obstacle.as_deref(),
        Some(("Cancel", "Close without saving")),
    );
    DialogStep::of(&touched, go, cancel, obstacle.is_none(), || Work::Vector {
        output: dialog.destination.output(),
        dtype: dialog.dtype,
    })
}
