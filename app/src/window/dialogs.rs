//! The dialogs in front of the window: merge, a path to type, leaving during a merge, about.

use std::path::{Path, PathBuf};

use eframe::egui::{
    self, Align, Button, Context, Frame, Id, Key, Layout, Modal, Modifiers, Response, RichText, TextEdit, Ui, Vec2,
    text::{CCursor, CCursorRange},
};
use mergescope_core::recipe::{OutputSpec, Recipe};

use super::app::App;
use super::merge_dialog::{self, MergeDialog, MergeEnd};
use super::past_dialog::{self, PastDialog, PastEnd};
use super::picker::{NO_DIALOG, PickFor, PickRequest};
use super::session::Session;
use super::{theme, widgets};

/// Width of a dialog.
const WIDTH: f32 = 480.0;

/// A dialog in front of the window.
pub enum Dialog {
    /// Where and how to write the merged model.
    Merge(Box<MergeDialog>),
    /// A path, typed where there is no file dialog.
    Path(PathDialog),
    /// Leave although a merge is under way?
    Quit,
    /// Merges of the past.
    Past(Box<PastDialog>),
    /// Version and licences.
    About,
}

/// Asks for a path.
pub struct PathDialog {
    request: PickRequest,
    text: String,
    /// Whether its field is still to get the focus.
    takes_focus: bool,
}

/// How a dialog ended in this frame.
pub enum DialogEnd {
    /// It is still open.
    Open(Dialog),
    /// It was closed.
    Closed,
    /// A path was typed.
    Path(PickFor, PathBuf),
    /// Write the merged model.
    Merge {
        /// The folder to write.
        output: PathBuf,
        /// How to write it.
        spec: OutputSpec,
    },
    /// A folder is to be chosen for the merge dialog.
    Browse(Dialog, Option<PathBuf>),
    /// Take that recipe.
    Recipe(Box<Recipe>),
    /// Show that folder; the dialog stays.
    Folder(Dialog, PathBuf),
    /// Leave.
    Quit,
}

impl Dialog {
    /// The merge dialog for the session's recipe.
    pub fn merge(session: &Session, parent: &Path) -> Self {
        Self::Merge(Box::new(MergeDialog::new(session, parent)))
    }

    /// Asks for the path that the file dialog could not ask for.
    pub fn path(request: PickRequest) -> Self {
        let start = request.start.clone().or_else(std::env::home_dir).unwrap_or_default();
        let text = start.join(&request.file_name).to_string_lossy().into_owned();
        Self::Path(PathDialog { request, text, takes_focus: true })
    }
}

/// Shows `dialog`.
pub fn ui(app: &mut App, ctx: &Context, dialog: Dialog) -> DialogEnd {
    let backdrop = if ctx.theme() == egui::Theme::Dark { theme::DARK.backdrop } else { theme::LIGHT.backdrop };
    let shown = Modal::new(Id::unique("dialog")).backdrop_color(backdrop).frame(frame(ctx)).show(ctx, |ui| {
        ui.set_width(match dialog {
            Dialog::Past(_) => past_dialog::WIDTH.min(ctx.content_rect().width() - 64.0),
            _ => WIDTH,
        });
        match dialog {
            Dialog::Past(mut dialog) => match past_dialog::ui(ui, &mut dialog) {
                PastEnd::Open => DialogEnd::Open(Dialog::Past(dialog)),
                PastEnd::Closed => DialogEnd::Closed,
                PastEnd::Recipe(recipe) => DialogEnd::Recipe(recipe),
                PastEnd::Folder(folder) => DialogEnd::Folder(Dialog::Past(dialog), folder),
            },
            Dialog::Merge(mut dialog) => match merge_dialog::ui(app, ui, &mut dialog) {
                MergeEnd::Open => DialogEnd::Open(Dialog::Merge(dialog)),
                MergeEnd::Cancelled => DialogEnd::Closed,
                MergeEnd::Browse => {
                    let start = dialog.parent();
                    DialogEnd::Browse(Dialog::Merge(dialog), Some(start))
                }
                MergeEnd::Go => DialogEnd::Merge { output: dialog.output(), spec: dialog.spec },
            },
            Dialog::Path(dialog) => path_ui(ui, dialog),
            Dialog::Quit => quit_ui(ui),
            Dialog::About => about_ui(ui),
        }
    });
    let close = shown.should_close();
    match shown.inner {
        DialogEnd::Open(_) if close => DialogEnd::Closed,
        end => end,
    }
}

fn frame(ctx: &Context) -> Frame {
    let style = ctx.global_style();
    Frame::popup(&style).corner_radius(8.0).inner_margin(20.0)
}

/// The title of a dialog.
pub fn title_ui(ui: &mut Ui, title: &str) {
    ui.label(RichText::new(title).text_style(theme::strong()));
    ui.add_space(8.0);
}

/// The row of buttons at the end of a dialog, each with its tooltip; the main one is at the right.
pub fn buttons_ui(
    ui: &mut Ui,
    main: (&str, &str),
    obstacle: Option<&str>,
    cancel: Option<(&str, &str)>,
) -> (bool, bool) {
    ui.add_space(12.0);
    let size = Vec2::new(88.0, 30.0);
    let mut pressed = (false, false);
    ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
        let button = widgets::main_button(ui, main.0, obstacle.is_none()).min_size(size);
        let response = ui.add_enabled(obstacle.is_none(), button).on_hover_text(main.1);
        pressed.0 = response.on_disabled_hover_text(obstacle.unwrap_or_default()).clicked();
        if let Some((label, tooltip)) = cancel {
            pressed.1 = ui.add(Button::new(label).min_size(size)).on_hover_text(tooltip).clicked();
        }
    });
    pressed
}

/// Whether Enter was pressed in a field: it stands for the main button.
pub fn is_entered(ui: &Ui, field: &Response) -> bool {
    field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter))
}

/// Gives a field the focus, with the caret at the end of its `text`.
pub fn focus_end(ui: &Ui, field: &Response, text: &str) {
    field.request_focus();
    let mut state = TextEdit::load_state(ui.ctx(), field.id).unwrap_or_default();
    let end = CCursor::new(text.chars().count());
    state.cursor.set_char_range(Some(CCursorRange::one(end)));
    TextEdit::store_state(ui.ctx(), field.id, state);
}

fn path_ui(ui: &mut Ui, mut dialog: PathDialog) -> DialogEnd {
    let palette = theme::palette(ui);
    title_ui(ui, &dialog.request.title());
    ui.label(RichText::new(NO_DIALOG).color(palette.weak));
    ui.add_space(6.0);
    let field = ui
        .add(TextEdit::singleline(&mut dialog.text).desired_width(f32::INFINITY))
        .on_hover_text("The file, with its folder")
        .accessible_name("Path");
    let entered = is_entered(ui, &field);
    let obstacle = dialog.text.trim().is_empty().then_some("Type a path first");
    if std::mem::take(&mut dialog.takes_focus) || (entered && obstacle.is_some()) {
        focus_end(ui, &field, &dialog.text);
    }
    let main = match dialog.request.purpose {
        PickFor::OpenRecipe | PickFor::OpenValues => ("Open", "Read that file"),
        _ => ("Save", "Write that file; one that is there is replaced"),
    };
    let (go, cancel) = buttons_ui(ui, main, obstacle, Some(("Cancel", "Close without a file")));
    if cancel {
        DialogEnd::Closed
    } else if (go || entered) && obstacle.is_none() {
        DialogEnd::Path(dialog.request.purpose, mergescope_core::hub::resolve(dialog.text.trim()))
    } else {
        DialogEnd::Open(Dialog::Path(dialog))
    }
}

fn quit_ui(ui: &mut Ui) -> DialogEnd {
    title_ui(ui, "A merge is under way");
    widgets::paragraph_ui(ui, "Quitting cancels it. Nothing of it is left behind.");
    let (quit, stay) = buttons_ui(
        ui,
        ("Quit", "Cancel the merge and close the window"),
        None,
        Some(("Keep merging", "Close this question and leave the merge alone")),
    );
    if quit {
        DialogEnd::Quit
    } else if stay {
        DialogEnd::Closed
    } else {
        DialogEnd::Open(Dialog::Quit)
    }
}

fn about_ui(ui: &mut Ui) -> DialogEnd {
    title_ui(ui, concat!("Mergescope ", env!("CARGO_PKG_VERSION")));
    widgets::paragraph_ui(
        ui,
        "A workbench for reasoning vectors: v = post − pre, added to another model as target + w·v.",
    );
    ui.add_space(6.0);
    widgets::note_ui(
        ui,
        "Licensed under MIT or Apache-2.0. Fonts: Inter and Noto Sans JP (SIL Open Font License 1.1). Icons: Phosphor (MIT). \
         The method: task arithmetic, arXiv 2212.04089; for reasoning, arXiv 2509.01363 and arXiv 2508.02913.",
    );
    let (close, _) = buttons_ui(ui, ("Close", "Back to the window"), None, None);
    let entered = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    if close || entered { DialogEnd::Closed } else { DialogEnd::Open(Dialog::About) }
}
