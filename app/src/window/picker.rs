//! The system's file dialogs, behind a trait: some desktops have none, and tests want none.

use std::path::PathBuf;
use std::time::Duration;

use mergescope_core::alignment::Role;

/// A dialog that closes faster than anyone can click was never shown.
pub const NEVER_SHOWN: Duration = Duration::from_millis(200);

/// What is shown then.
pub const NO_DIALOG: &str = "No file dialog is available here: type or paste a path";

/// What a path is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PickFor {
    /// One of the three models: a folder.
    Model(Role),
    /// The folder that something new goes into.
    OutputFolder,
    /// A recipe to open.
    OpenRecipe,
    /// A recipe to write.
    SaveRecipe,
    /// A merge file of mergekit to write, with this text.
    SaveMergeFile(String),
    /// Answers of the Try tab to write, as these lines of JSON.
    SaveTranscript(String),
    /// A picture to write.
    SavePicture,
    /// A file with one value for each layer.
    OpenValues,
    /// A question file.
    Questions,
    /// A question file that examples are taken from.
    Examples,
    /// Results that others measured.
    Results,
    /// A page about a sweep to write, with this text.
    SaveReport(String),
}

/// A question to the file dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickRequest {
    /// What the answer is for.
    pub purpose: PickFor,
    /// Folder to start in.
    pub start: Option<PathBuf>,
    /// Name offered for a file that will be written.
    pub file_name: String,
}

impl PickFor {
    /// The ending of a file that will be written; `None` for what is chosen to be read.
    pub fn extension(&self) -> Option<&'static str> {
        match self {
            Self::SaveRecipe => Some("toml"),
            Self::SaveMergeFile(_) => Some("yaml"),
            Self::SaveTranscript(_) => Some("jsonl"),
            Self::SavePicture => Some("png"),
            Self::SaveReport(_) => Some("html"),
            Self::Model(_)
            | Self::OutputFolder
            | Self::OpenRecipe
            | Self::OpenValues
            | Self::Questions
            | Self::Examples
            | Self::Results => None,
        }
    }

    /// The path with the ending that it lacks.
    pub fn complete(&self, path: PathBuf) -> PathBuf {
        match self.extension() {
            Some(extension) if path.extension().is_none() => path.with_extension(extension),
            _ => path,
        }
    }
}

impl PickRequest {
    /// The dialog's title.
    pub fn title(&self) -> String {
        match &self.purpose {
            PickFor::Model(role) => format!("Choose the {} model's folder", role.label()),
            PickFor::OutputFolder => "Choose the folder to write into".to_owned(),
            PickFor::OpenRecipe => "Open a recipe or a merge file of mergekit".to_owned(),
            PickFor::SaveRecipe => "Save the recipe".to_owned(),
            PickFor::SaveMergeFile(_) => "Save the merge file".to_owned(),
            PickFor::SaveTranscript(_) => "Save the transcript".to_owned(),
            PickFor::SavePicture => "Save the chart".to_owned(),
            PickFor::OpenValues => "Open a file with one value for each layer".to_owned(),
            PickFor::Questions => "Open questions".to_owned(),
            PickFor::Examples => "Take examples from a question file".to_owned(),
            PickFor::Results => "Import results that were measured elsewhere".to_owned(),
            PickFor::SaveReport(_) => "Save the report".to_owned(),
        }
    }
}

/// Asks the person for a path; blocks until the dialog is closed.
pub trait Picker: Send + Sync {
    /// The chosen path; `None` when the dialog was cancelled or never came up.
    fn pick(&self, request: &PickRequest) -> Option<PathBuf>;
}

/// The desktop's own dialogs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemPicker;

impl Picker for SystemPicker {
    fn pick(&self, request: &PickRequest) -> Option<PathBuf> {
        let mut dialog = rfd::AsyncFileDialog::new().set_title(request.title());
        if let Some(start) = &request.start {
            dialog = dialog.set_directory(start);
        }
        // The asynchronous dialogs may be waited for on any thread, on every system; the others may not.
        let chosen = match &request.purpose {
            PickFor::Model(_) | PickFor::OutputFolder => pollster::block_on(dialog.pick_folder()),
            PickFor::OpenValues => pollster::block_on(dialog.pick_file()),
            PickFor::Questions | PickFor::Examples | PickFor::Results => {
                let endings = ["jsonl", "json", "csv", "tsv"];
                pollster::block_on(dialog.add_filter("JSON lines, JSON, CSV or TSV", &endings).pick_file())
            }
            PickFor::SaveReport(_) => {
                let dialog = dialog.set_file_name(&request.file_name).add_filter("Web page", &["html"]);
                pollster::block_on(dialog.save_file())
            }
            PickFor::OpenRecipe => {
                pollster::block_on(dialog.add_filter("Recipe or merge file", &["toml", "yaml", "yml"]).pick_file())
            }
            PickFor::SaveRecipe => {
                let dialog = dialog.set_file_name(&request.file_name).add_filter("Recipe", &["toml"]);
                pollster::block_on(dialog.save_file())
            }
            PickFor::SaveMergeFile(_) => {
                let dialog = dialog.set_file_name(&request.file_name).add_filter("Merge file", &["yaml", "yml"]);
                pollster::block_on(dialog.save_file())
            }
            PickFor::SaveTranscript(_) => {
                let dialog = dialog.set_file_name(&request.file_name).add_filter("JSON lines", &["jsonl"]);
                pollster::block_on(dialog.save_file())
            }
            PickFor::SavePicture => {
                let dialog = dialog.set_file_name(&request.file_name).add_filter("PNG", &["png"]);
                pollster::block_on(dialog.save_file())
            }
        };
        chosen.map(|file| file.path().to_owned())
    }
}
