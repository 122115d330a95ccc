//! What follows when a dialog ends: a path was chosen, something is to be written, or no dialog came up at all.

use std::path::{Path, PathBuf};

use eframe::egui::{self, Context};
use mergescope_core::error::chain;
use mergescope_core::hub::HubName;
use mergescope_core::recipe::file;

use super::app::{App, Tab};
use super::dialogs::{self, Dialog, DialogEnd};
use super::download_dialog::DownloadDialog;
use super::picker::{NO_DIALOG, PickFor, PickRequest};
use super::scaling_tab;
use crate::format;

impl App {
    /// A path was chosen or typed.
    pub(super) fn on_path(&mut self, purpose: &PickFor, path: PathBuf) {
        let path = purpose.complete(path);
        match purpose {
            PickFor::Model(role) => self.session.set_model(*role, &path.to_string_lossy()),
            PickFor::OutputFolder => {
                if let Some(Dialog::Answerer(dialog)) = &mut self.dialog {
                    dialog.set_folder(&path);
                } else if let Some(destination) = self.dialog.as_mut().and_then(Dialog::destination_mut) {
                    destination.set_parent(&path);
                }
            }
            PickFor::OpenRecipe => self.open_recipe(&path),
            PickFor::OpenValues => scaling_tab::read_values(&mut self.session, &path),
            PickFor::SaveRecipe => self.session.save_recipe(&path),
            PickFor::Questions | PickFor::Examples | PickFor::Results => self.on_evaluation_path(purpose, &path),
            PickFor::SaveMergeFile(text) | PickFor::SaveTranscript(text) | PickFor::SaveReport(text) => {
                let text = text.clone();
                self.session.jobs.save(path, move |path| {
                    file::replace(path, text.as_bytes())
                        .map_err(|error| format!("Cannot write {}: {error}", format::path(path)))
                });
            }
            PickFor::SavePicture => {
                self.screenshot_for = Some(path);
                // Part of it may be scrolled out of sight: the first frame asks to scroll, the second is where it was asked.
                self.vector_view.show_chosen();
                self.screenshot_in = Some(2);
            }
        }
    }

    /// No dialog came up: say so where the path can be typed.
    pub(super) fn on_no_dialog(&mut self, request: PickRequest) {
        match request.purpose {
            PickFor::Model(role) => self.session.slot_mut(role).hint = Some(NO_DIALOG.to_owned()),
            PickFor::OutputFolder => {
                if let Some(destination) = self.dialog.as_mut().and_then(Dialog::destination_mut) {
                    destination.hint = Some(NO_DIALOG.to_owned());
                }
            }
            _ => self.dialog = Some(Dialog::path(request)),
        }
    }

    /// Asks for a path.
    pub(super) fn pick(&mut self, purpose: PickFor, start: Option<PathBuf>, file_name: String) {
        self.session.jobs.pick(PickRequest { purpose, start, file_name });
    }

    /// Reads a recipe or a merge file.
    pub(super) fn open_recipe(&mut self, path: &Path) {
        match self.session.open_recipe(path) {
            Ok(None) => {}
            Ok(Some(talk)) => self.dialog = Some(Dialog::MergeFile(talk)),
            Err(error) => self.dialog = Some(Dialog::Problem(format::sentence(&chain(&error)))),
        }
    }

    /// Asks the Hub for a model's files, and the person whether to download them.
    pub(super) fn ask_to_download(&mut self, name: HubName) {
        self.dialog = Some(Dialog::Download(Box::new(DownloadDialog::new(self, name))));
    }

    /// Shows a folder in the file manager.
    pub(super) fn open_folder(&mut self, folder: &Path) {
        if let Err(error) = open::that_detached(folder) {
            self.session.fail(format!("The folder could not be opened: {error}"));
        }
    }

    /// Draws the dialog that is open, and does what its end asks for.
    pub(super) fn dialogs_ui(&mut self, ctx: &Context) {
        let Some(dialog) = self.dialog.take() else { return };
        let waited_for = dialog.job();
        match dialogs::ui(self, ctx, dialog) {
            DialogEnd::Open(dialog) => {
                // What was asked for while it was open, such as a path, may have replaced it.
                self.dialog.get_or_insert(dialog);
            }
            DialogEnd::Closed => waited_for.into_iter().for_each(|job| self.session.jobs.cancel(job)),
            DialogEnd::Path(purpose, path) => self.on_path(&purpose, path),
            DialogEnd::Work(work) => {
                self.last_parent = work.output().parent().map(Path::to_owned);
                self.session.start(work);
            }
            DialogEnd::Imported(path, recipe) => self.session.take_merge_file(&path, *recipe),
            DialogEnd::SaveMergeFile(text) => {
                let stem = self.session.file.as_deref().and_then(Path::file_stem);
                let name = stem.map_or("merge".into(), |stem| stem.to_string_lossy().into_owned());
                self.pick(PickFor::SaveMergeFile(text), self.recipe_folder(), format!("{name}.yaml"));
            }
            DialogEnd::Report(report) => {
                self.session.show_report(*report);
                self.tab = Tab::Results;
            }
            DialogEnd::Browse(dialog, start) => {
                self.dialog = Some(dialog);
                self.pick(PickFor::OutputFolder, start, String::new());
            }
            DialogEnd::Recipe(recipe) => {
                self.session.set_recipe(*recipe);
                self.session.say("Opened the recipe of a past merge; Undo brings the other back".to_owned());
            }
            DialogEnd::Folder(dialog, folder) => {
                self.dialog = Some(dialog);
                self.open_folder(&folder);
            }
            DialogEnd::Download(download) => self.session.download(download),
            DialogEnd::Answerer(settings) => self.answerer = *settings,
            DialogEnd::GoOn(partial) => {
                if let (Some(recipe), Some(output)) = (partial.recipe, partial.output) {
                    self.session.go_on(recipe, output);
                }
            }
            DialogEnd::RemoveUnfinished(partial) => self.remove_unfinished(partial),
            DialogEnd::ForgetAnswers => self.forget_answers(),
            DialogEnd::Quit => {
                self.quit_confirmed = true;
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
        }
    }
}
