//! The dialogs in front of the window: what is to be written, merge files, a path to type, leaving during a merge, about.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Context, Frame, Id, Key, Modal, Modifiers, Order, RichText, TextEdit, TextStyle, Ui};
use mergescope_core::hub::Download;
use mergescope_core::merge::{MergeReport, Partial};
use mergescope_core::recipe::Recipe;

use super::adapter_dialog::{self, AdapterDialog};
use super::answerer::{self, AnswererDialog, AnswererEnd, AnswererSettings};
use super::app::App;
use super::destination::Destination;
use super::dialog_parts::{DialogStep, buttons_ui, focus_end, is_entered, title_ui};
use super::download_dialog::{self, DownloadDialog, DownloadEnd};
use super::jobs::JobId;
use super::merge_dialog::{self, MergeDialog};
use super::merge_file_dialog::{self, MergeFileDialog, MergeFileEnd};
use super::past_dialog::{self, PastDialog, PastEnd};
use super::picker::{NO_DIALOG, PickFor, PickRequest};
use super::session::{Product, Session, Work};
use super::vector_dialog::{self, VectorDialog};
use super::{theme, widgets};
use crate::format;

/// Width of a dialog.
const WIDTH: f32 = 480.0;

/// A dialog in front of the window.
pub enum Dialog {
    /// Where and how to write something.
    Write(Box<WriteDialog>),
    /// A merge file, before it is taken as a recipe or written.
    MergeFile(Box<MergeFileDialog>),
    /// A path, typed where there is no file dialog.
    Path(PathDialog),
    /// Leave although something is being written?
    Quit,
    /// Forget answers that took long to get?
    ForgetAnswers,
    /// What answers prompts and questions.
    Answerer(Box<AnswererDialog>),
    /// A merge that was interrupted: go on with it?
    Unfinished(Box<Partial>),
    /// A model on the Hub, before it is downloaded.
    Download(Box<DownloadDialog>),
    /// Merges of the past.
    Past(Box<PastDialog>),
    /// Why a file could not be read, in all its words.
    Problem(String),
    /// Version and licences.
    About,
}

/// What to write.
pub enum WriteDialog {
    /// The merged model.
    Merge(MergeDialog),
    /// w·v as an adapter.
    Adapter(AdapterDialog),
    /// v.
    Vector(VectorDialog),
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
    /// Write that.
    Work(Work),
    /// A folder is to be chosen for the dialog.
    Browse(Dialog, Option<PathBuf>),
    /// Take the recipe of a past merge.
    Recipe(Box<Recipe>),
    /// Show what a past merge wrote.
    Report(Box<MergeReport>),
    /// Take the recipe that a merge file was read as.
    Imported(PathBuf, Box<Recipe>),
    /// Ask where to write that merge file.
    SaveMergeFile(String),
    /// Let that answer from now on.
    Answerer(Box<AnswererSettings>),
    /// Go on with that merge.
    GoOn(Box<Partial>),
    /// Remove what is there of that merge.
    RemoveUnfinished(Box<Partial>),
    /// Download that model.
    Download(Box<Download>),
    /// Show that folder; the dialog stays.
    Folder(Dialog, PathBuf),
    /// Leave.
    Quit,
    /// Forget the answers.
    ForgetAnswers,
}

impl Dialog {
    /// The choices for writing `product` of the session's recipe, by default into `parent`.
    pub fn write(product: Product, session: &Session, parent: &Path) -> Self {
        Self::Write(Box::new(match product {
            Product::Merge => WriteDialog::Merge(MergeDialog::new(session, parent)),
            Product::Adapter => WriteDialog::Adapter(AdapterDialog::new(session, parent)),
            Product::Vector => WriteDialog::Vector(VectorDialog::new(session, parent)),
        }))
    }

    /// The folder that it asks for, where it asks for one.
    pub fn destination_mut(&mut self) -> Option<&mut Destination> {
        match self {
            Self::Write(dialog) => Some(dialog.destination_mut()),
            _ => None,
        }
    }

    /// The job that it waits for.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Download(dialog) => dialog.job(),
            _ => None,
        }
    }

    /// Asks for the path that the file dialog could not ask for.
    pub fn path(request: PickRequest) -> Self {
        let start = request.start.clone().or_else(std::env::home_dir).unwrap_or_default();
        let text = start.join(&request.file_name).to_string_lossy().into_owned();
        Self::Path(PathDialog { request, text, takes_focus: true })
    }
}

impl WriteDialog {
    fn destination_mut(&mut self) -> &mut Destination {
        match self {
            Self::Merge(dialog) => &mut dialog.destination,
            Self::Adapter(dialog) => &mut dialog.destination,
            Self::Vector(dialog) => &mut dialog.destination,
        }
    }

    fn ui(&mut self, app: &mut App, ui: &mut Ui) -> DialogStep {
        match self {
            Self::Merge(dialog) => merge_dialog::ui(app, ui, dialog),
            Self::Adapter(dialog) => adapter_dialog::ui(app, ui, dialog),
            Self::Vector(dialog) => vector_dialog::ui(app, ui, dialog),
        }
    }
}

/// Shows `dialog`.
pub fn ui(app: &mut App, ctx: &Context, dialog: Dialog) -> DialogEnd {
    let backdrop = if ctx.theme() == egui::Theme::Dark { theme::DARK.backdrop } else { theme::LIGHT.backdrop };
    let id = Id::unique("dialog");
    // Below the layer of menus: one that is opened from the dialog must not come up behind it.
    let area = Modal::default_area(id).order(Order::Middle);
    let shown = Modal::new(id).area(area).backdrop_color(backdrop).frame(frame(ctx)).show(ctx, |ui| {
        ui.set_width(match dialog {
            Dialog::Past(_) => past_dialog::WIDTH.min(ctx.content_rect().width() - 64.0),
            Dialog::MergeFile(_) => merge_file_dialog::WIDTH.min(ctx.content_rect().width() - 64.0),
            _ => WIDTH,
        });
        match dialog {
            Dialog::Past(mut dialog) => match past_dialog::ui(ui, &mut dialog) {
                PastEnd::Open => DialogEnd::Open(Dialog::Past(dialog)),
                PastEnd::Closed => DialogEnd::Closed,
                PastEnd::Recipe(recipe) => DialogEnd::Recipe(recipe),
                PastEnd::Report(report) => DialogEnd::Report(report),
                PastEnd::Folder(folder) => DialogEnd::Folder(Dialog::Past(dialog), folder),
            },
            Dialog::Write(mut dialog) => match dialog.ui(app, ui) {
                DialogStep::Stay => DialogEnd::Open(Dialog::Write(dialog)),
                DialogStep::Close => DialogEnd::Closed,
                DialogStep::Browse => {
                    let start = dialog.destination_mut().parent();
                    DialogEnd::Browse(Dialog::Write(dialog), Some(start))
                }
                DialogStep::Go(work) => DialogEnd::Work(work),
            },
            Dialog::MergeFile(mut dialog) => match merge_file_dialog::ui(ui, &mut dialog) {
                MergeFileEnd::Open => DialogEnd::Open(Dialog::MergeFile(dialog)),
                MergeFileEnd::Closed => DialogEnd::Closed,
                MergeFileEnd::Take(path, recipe) => DialogEnd::Imported(path, recipe),
                MergeFileEnd::Save(yaml) => DialogEnd::SaveMergeFile(yaml),
            },
            Dialog::Answerer(mut dialog) => match answerer::dialog_ui(app, ui, &mut dialog) {
                AnswererEnd::Open => DialogEnd::Open(Dialog::Answerer(dialog)),
                AnswererEnd::Closed => {
                    dialog.asking().into_iter().for_each(|job| app.session.jobs.cancel(job));
                    DialogEnd::Closed
                }
                AnswererEnd::Take(settings) => DialogEnd::Answerer(settings),
                AnswererEnd::Browse => DialogEnd::Browse(Dialog::Answerer(dialog), None),
            },
            Dialog::Download(dialog) => match download_dialog::ui(ui, &dialog) {
                DownloadEnd::Open => DialogEnd::Open(Dialog::Download(dialog)),
                DownloadEnd::Closed => DialogEnd::Closed,
                DownloadEnd::Download(download) => DialogEnd::Download(download),
            },
            Dialog::Path(dialog) => path_ui(ui, dialog),
            Dialog::Quit => quit_ui(app, ui),
            Dialog::ForgetAnswers => forget_ui(app, ui),
            Dialog::Unfinished(partial) => unfinished_ui(ui, partial),
            Dialog::Problem(text) => problem_ui(ui, text),
            Dialog::About => about_ui(ui),
        }
    });
    let close = shown.should_close();
    match shown.inner {
        DialogEnd::Open(dialog) if close => {
            if let Dialog::Answerer(dialog) = dialog {
                dialog.asking().into_iter().for_each(|job| app.session.jobs.cancel(job));
            }
            DialogEnd::Closed
        }
        end => end,
    }
}

fn frame(ctx: &Context) -> Frame {
    let style = ctx.global_style();
    Frame::popup(&style).corner_radius(8.0).inner_margin(20.0)
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
    let purpose = &dialog.request.purpose;
    let path = purpose.complete(mergescope_core::hub::resolve(dialog.text.trim()));
    let replaces = purpose.extension().is_some() && path.exists();
    let obstacle = if dialog.text.trim().is_empty() {
        Some("Type a path first")
    } else if replaces && path.is_dir() {
        Some("This is a folder: add the name of a file")
    } else {
        None
    };
    if replaces {
        let text = format!("{} is there already", format::path(&path));
        ui.add(egui::Label::new(RichText::new(text).text_style(TextStyle::Small).color(palette.warning)).wrap());
    }
    if std::mem::take(&mut dialog.takes_focus) || (entered && obstacle.is_some()) {
        focus_end(ui, &field, &dialog.text);
    }
    let main = match purpose {
        PickFor::OpenRecipe | PickFor::OpenValues | PickFor::Questions | PickFor::Examples | PickFor::Results => {
            ("Open", "Read that file")
        }
        _ if replaces => ("Replace", "Write that file in the place of the one that is there, which is lost"),
        _ => ("Save", "Write that file"),
    };
    let (go, cancel) = buttons_ui(ui, main, obstacle, Some(("Cancel", "Close without a file")));
    if cancel {
        DialogEnd::Closed
    } else if (go || (entered && !replaces)) && obstacle.is_none() {
        // What is lost takes a click.
        DialogEnd::Path(dialog.request.purpose, path)
    } else {
        DialogEnd::Open(Dialog::Path(dialog))
    }
}

fn quit_ui(app: &App, ui: &mut Ui) -> DialogEnd {
    let product = app.session.writing.as_ref().map_or(Product::Merge, |writing| writing.product);
    title_ui(ui, product.under_way());
    widgets::paragraph_ui(ui, "Quitting cancels it. Nothing of it is left behind.");
    let (quit, stay) = buttons_ui(
        ui,
        ("Quit", "Cancel it and close the window"),
        None,
        Some((product.keep_on(), "Close this question and leave the work alone")),
    );
    if quit {
        DialogEnd::Quit
    } else if stay {
        DialogEnd::Closed
    } else {
        DialogEnd::Open(Dialog::Quit)
    }
}

fn forget_ui(app: &App, ui: &mut Ui) -> DialogEnd {
    title_ui(ui, "Forget these answers?");
    let answers = app.evaluation.progress().map_or(0, |progress| progress.answered);
    let words = format!(
        "{} to these questions, and all others to them from the same models, are removed. To have them again the models must \
         be asked again.",
        format::plural(answers, "answer")
    );
    widgets::paragraph_ui(ui, &words);
    let keep = Some(("Keep them", "Close this question and leave the answers alone"));
    let (forget, stay) = buttons_ui(ui, ("Forget", "Remove the answers"), None, keep);
    if forget {
        DialogEnd::ForgetAnswers
    } else if stay {
        DialogEnd::Closed
    } else {
        DialogEnd::Open(Dialog::ForgetAnswers)
    }
}

fn unfinished_ui(ui: &mut Ui, partial: Box<Partial>) -> DialogEnd {
    title_ui(ui, "A merge was interrupted");
    let output = partial.output.as_deref().map(format::path).unwrap_or_default();
    let there = format::bytes_of(partial.done_bytes, partial.total_bytes);
    let words = format!(
        "{there} of {output} are written. Going on checks each piece that is there and writes the rest; the result is the same as \
         without the interruption."
    );
    widgets::paragraph_ui(ui, &words);
    let mut remove = false;
    ui.add_space(4.0);
    let tooltip = "Delete what is there of it; the models are only read and stay as they are";
    remove |= widgets::link_ui(ui, "Remove what is there").on_hover_text(tooltip).clicked();
    let go_on = ("Go on", "Take the recipe of that merge and write the rest");
    let (go, later) =
        buttons_ui(ui, go_on, None, Some(("Later", "Leave it as it is; a merge to the same folder goes on with it")));
    if go {
        DialogEnd::GoOn(partial)
    } else if remove {
        DialogEnd::RemoveUnfinished(partial)
    } else if later {
        DialogEnd::Closed
    } else {
        DialogEnd::Open(Dialog::Unfinished(partial))
    }
}

fn problem_ui(ui: &mut Ui, text: String) -> DialogEnd {
    title_ui(ui, "This cannot be read");
    widgets::paragraph_ui(ui, &text);
    let (close, _) = buttons_ui(ui, ("Close", "Back to the window; nothing was changed"), None, None);
    let entered = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    if close || entered { DialogEnd::Closed } else { DialogEnd::Open(Dialog::Problem(text)) }
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
