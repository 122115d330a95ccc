//! The folder that something new goes into: chosen or typed, and checked before any work begins.

use std::path::{Path, PathBuf};

use eframe::egui::{Button, Label, RichText, TextEdit, TextStyle, Ui, Vec2};
use mergescope_core::hub;

use super::app::App;
use super::session::Session;
use super::{dialog_parts, output, theme};
use crate::format;

/// A folder that is there, and the name of a new one in it.
pub struct Destination {
    parent: String,
    name: String,
    /// A remark about the folder, such as that no file dialog is available.
    pub hint: Option<String>,
    inputs: Vec<PathBuf>,
    /// Whether the name is still to get the focus.
    takes_focus: bool,
}

/// What was done to it in this frame.
pub struct Touched {
    /// A folder is wanted from the file dialog.
    pub browse: bool,
    /// Enter was pressed: it stands for the main button.
    pub entered: bool,
    /// Why nothing can be written there.
    pub obstacle: Option<String>,
}

impl Destination {
    /// `name` in `parent`, beside and not within the session's models.
    pub fn new(session: &Session, parent: &Path, name: String) -> Self {
        let models = session.open_models();
        // A lone weight file does not make its folder a model.
        let inputs = models.filter(|model| !model.is_single_file()).map(|model| model.root().to_owned()).collect();
        Self { parent: format::path(parent), name, hint: None, inputs, takes_focus: true }
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

/// Draws folder, name, and what they come to; `what` is what will be written, such as "new model".
pub fn ui(ui: &mut Ui, destination: &mut Destination, what: &str) -> Touched {
    let palette = theme::palette(ui);
    let (mut browse, mut entered) = (false, false);
    dialog_parts::row_ui(ui, "Folder", |ui| {
        let width = ui.available_width() - 92.0;
        let field = TextEdit::singleline(&mut destination.parent).desired_width(width);
        let field = ui.add(field).on_hover_text(format!("The folder that the {what}'s folder goes into"));
        let field = field.accessible_name("Folder");
        if field.changed() {
            destination.hint = None;
        }
        entered |= dialog_parts::is_entered(ui, &field);
        browse =
            ui.add(Button::new("Browse…").min_size(Vec2::new(84.0, 0.0))).on_hover_text("Choose the folder").clicked();
    });
    dialog_parts::row_ui(ui, "Name", |ui| {
        let field = TextEdit::singleline(&mut destination.name).desired_width(f32::INFINITY);
        let field = ui.add(field).on_hover_text(format!("Name of the {what}'s folder")).accessible_name("Name");
        entered |= dialog_parts::is_entered(ui, &field);
        // After Enter too: where something stands in the way, it is the name most of the time.
        if std::mem::take(&mut destination.takes_focus) || entered {
            dialog_parts::focus_end(ui, &field, &destination.name);
        }
    });
    let obstacle = destination.obstacle();
    let (note, colour) = match (&destination.hint, &obstacle) {
        (Some(hint), _) => (hint.clone(), palette.warning),
        (None, Some(obstacle)) => (obstacle.clone(), palette.bad),
        (None, None) => (format!("Writes {}", format::path(&destination.output())), palette.weak),
    };
    dialog_parts::indented_ui(ui, |ui| {
        ui.add(Label::new(RichText::new(note).text_style(TextStyle::Small).color(colour)).wrap());
    });
    Touched { browse, entered, obstacle }
}

/// Draws how much will be written and how much room there is; gives what stands in the way. `None` is not known yet.
pub fn size_ui(
    app: &mut App,
    ui: &mut Ui,
    destination: &Destination,
    planned: Option<Result<u64, String>>,
    words: impl FnOnce(String) -> String,
) -> Option<String> {
    let palette = theme::palette(ui);
    let free = app.free.of(&destination.parent(), app.session.jobs.engine());
    let (text, obstacle) = match planned {
        Some(Ok(bytes)) => {
            let free_text = free.map(|free| format!(" · {} free there", format::bytes(free))).unwrap_or_default();
            let lacks_room = free.is_some_and(|free| free <= bytes);
            let obstacle = lacks_room.then(|| "There is not enough room on that disk".to_owned());
            (words(format::bytes(bytes)) + &free_text, obstacle)
        }
        Some(Err(message)) => (message.clone(), Some(message)),
        None => (String::new(), None),
    };
    ui.add_space(4.0);
    dialog_parts::row_ui(ui, "Size", |ui| {
        let colour = if obstacle.is_some() { palette.bad } else { palette.text };
        ui.add(Label::new(RichText::new(text).color(colour)).wrap());
    });
    obstacle
}
