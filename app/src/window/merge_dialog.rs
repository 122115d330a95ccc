//! Where the merged model goes and how its numbers are written.

use std::path::{Path, PathBuf};

use eframe::egui::{self, DragValue, Label, RichText, TextEdit, TextStyle, Ui, Vec2};
use mergescope_core::hub;
use mergescope_core::recipe::{OutputDtype, OutputSpec, Rounding};

use super::app::App;
use super::dialogs;
use super::session::Session;
use super::{method_words, output, theme, widgets};
use crate::format;

/// Width of the labels.
const LABEL_WIDTH: f32 = 96.0;

/// The choices of a merge that are not made in the left column.
pub struct MergeDialog {
    parent: String,
    name: String,
    /// dtype, rounding and seed; part of the recipe once the merge starts.
    pub spec: OutputSpec,
    /// A remark about the folder, such as that no file dialog is available.
    pub hint: Option<String>,
    inputs: Vec<PathBuf>,
    /// Whether the name is still to get the focus.
    takes_focus: bool,
}

/// What the dialog asks for.
pub enum MergeEnd {
    /// Nothing yet.
    Open,
    /// To be closed.
    Cancelled,
    /// A folder, from the file dialog.
    Browse,
    /// The merge.
    Go,
}

impl MergeDialog {
    /// Choices for the session's recipe, with a folder that is free.
    pub fn new(session: &Session, parent: &Path) -> Self {
        let models = session.models();
        let target = models.as_ref().map(|models| models.target.as_ref());
        let name = output::default_name(target, &session.recipe, parent);
        let models = models.iter().flat_map(|models| models.ids().map(|id| models.get(id)));
        // A lone weight file does not make its folder a model.
        let inputs = models.filter(|model| !model.is_single_file()).map(|model| model.root().to_owned()).collect();
        Self {
            parent: format::path(parent),
            name,
            spec: session.recipe.output.clone(),
            hint: None,
            inputs,
            takes_focus: true,
        }
    }

    /// Takes a folder from the file dialog.
    pub fn set_parent(&mut self, parent: &Path) {
        self.parent = format::path(parent);
        self.hint = None;
    }

    /// The folder that the new one goes into.
    pub fn parent(&self) -> PathBuf {
        hub::resolve(self.parent.trim())
    }

    /// The new folder.
    pub fn output(&self) -> PathBuf {
        self.parent().join(self.name.trim())
    }

    fn obstacle(&self) -> Option<String> {
        let inputs: Vec<&Path> = self.inputs.iter().map(PathBuf::as_path).collect();
        output::obstacle(&self.parent(), self.name.trim(), &inputs)
    }
}

/// Draws the dialog.
pub fn ui(app: &mut App, ui: &mut Ui, dialog: &mut MergeDialog) -> MergeEnd {
    let palette = theme::palette(ui);
    let recipe = &app.session.recipe;
    let formula = method_words::formula(recipe, "target", &format::w(recipe.vector.w));
    dialogs::title_ui(ui, &format!("Write {formula} as a new model"));
    if let Some((_, control)) = app.session.control_in_use() {
        widgets::badge_ui(
            ui,
            &format!("A control, {}, stands in the vector's place", method_words::control_label(control.kind)),
        )
        .on_hover_text(method_words::CONTROL);
        ui.add_space(6.0);
    }

    let (mut browse, mut entered) = (false, false);
    row_ui(ui, "Folder", |ui| {
        let width = ui.available_width() - 92.0;
        let field = TextEdit::singleline(&mut dialog.parent).desired_width(width);
        let field = ui.add(field).on_hover_text("The folder that the new model's folder goes into");
        let field = field.accessible_name("Folder");
        if field.changed() {
            dialog.hint = None;
        }
        entered |= dialogs::is_entered(ui, &field);
        browse = ui
            .add(egui::Button::new("Browse…").min_size(Vec2::new(84.0, 0.0)))
            .on_hover_text("Choose the folder")
            .clicked();
    });
    row_ui(ui, "Name", |ui| {
        let field = TextEdit::singleline(&mut dialog.name).desired_width(f32::INFINITY);
        let field = ui.add(field).on_hover_text("Name of the new model's folder").accessible_name("Name");
        entered |= dialogs::is_entered(ui, &field);
        // After Enter too: where something stands in the way, it is the name most of the time.
        if std::mem::take(&mut dialog.takes_focus) || entered {
            dialogs::focus_end(ui, &field, &dialog.name);
        }
    });
    let obstacle = dialog.obstacle();
    let (note, colour) = match (&dialog.hint, &obstacle) {
        (Some(hint), _) => (hint.clone(), palette.warning),
        (None, Some(obstacle)) => (obstacle.clone(), palette.bad),
        (None, None) => (format!("Writes {}", format::path(&dialog.output())), palette.weak),
    };
    indented_ui(ui, |ui| {
        ui.add(Label::new(RichText::new(note).text_style(TextStyle::Small).color(colour)).wrap());
    });
    ui.add_space(8.0);
    numbers_ui(ui, &mut dialog.spec);

    let planned = app.session.planned_bytes(&dialog.spec);
    let unplanned = planned.as_ref().and_then(|planned| planned.as_ref().err().cloned());
    let free = app.free.of(&dialog.parent(), app.session.jobs.engine());
    let (size, lacks_room) = match planned {
        Some(Ok(bytes)) => {
            let free_text = free.map(|free| format!(" · {} free there", format::bytes(free))).unwrap_or_default();
            (format!("{} of weights{free_text}", format::bytes(bytes)), free.is_some_and(|free| free <= bytes))
        }
        Some(Err(message)) => (message, true),
        None => (String::new(), false),
    };
    ui.add_space(4.0);
    row_ui(ui, "Size", |ui| {
        let text = RichText::new(size).color(if lacks_room { palette.bad } else { palette.text });
        ui.add(Label::new(text).wrap());
    });

    let no_room = lacks_room.then(|| "There is not enough room on that disk".to_owned());
    let obstacle = app.session.merge_obstacle().or(unplanned).or(obstacle).or(no_room);
    let (go, cancel) = dialogs::buttons_ui(
        ui,
        ("Merge", "Write the new model; the others are only read"),
        obstacle.as_deref(),
        Some(("Cancel", "Close without merging")),
    );
    if browse {
        MergeEnd::Browse
    } else if cancel {
        MergeEnd::Cancelled
    } else if go || (entered && obstacle.is_none()) {
        MergeEnd::Go
    } else {
        MergeEnd::Open
    }
}

fn numbers_ui(ui: &mut Ui, spec: &mut OutputSpec) {
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
    indented_ui(ui, |ui| drop(widgets::note_ui(ui, rounding_sentence(spec.rounding))));
}

fn row_ui(ui: &mut Ui, label: &str, add_contents: impl FnOnce(&mut Ui)) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        let (_, rect) = ui.allocate_space(Vec2::new(LABEL_WIDTH - 8.0, 28.0));
        let font = TextStyle::Body.resolve(ui.style());
        ui.painter().text(rect.left_center(), egui::Align2::LEFT_CENTER, label, font, palette.weak);
        add_contents(ui);
    });
}

fn indented_ui(ui: &mut Ui, add_contents: impl FnOnce(&mut Ui)) {
    ui.horizontal_top(|ui| {
        ui.add_space(LABEL_WIDTH);
        ui.vertical(add_contents);
    });
    ui.add_space(4.0);
}

fn dtype_name(dtype: OutputDtype) -> &'static str {
    match dtype {
        OutputDtype::Target => "As in the target",
        OutputDtype::Bf16 => "bf16",
        OutputDtype::F16 => "f16",
        OutputDtype::F32 => "f32",
    }
}

fn dtype_sentence(dtype: OutputDtype) -> &'static str {
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
