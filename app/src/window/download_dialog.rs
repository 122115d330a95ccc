//! What is to be downloaded, from whom and how much, before anything is.

use eframe::egui::{Align, Grid, Label, Layout, RichText, ScrollArea, TextStyle, Ui};
use mergescope_core::hub::{Download, HubName};

use super::app::App;
use super::dialog_parts::{buttons_ui, row_ui, title_ui};
use super::jobs::{Event, Job, JobId, Outcome};
use super::stage::Stage;
use super::{theme, widgets};
use crate::format;

/// Height of the list of files.
const LIST_HEIGHT: f32 = 150.0;
/// Characters of a commit that tell it from others.
const COMMIT_CHARS: usize = 12;

/// A model on the Hub, looked at before it is downloaded.
pub struct DownloadDialog {
    name: HubName,
    found: Stage<Box<Download>>,
}

/// How the dialog ended in this frame.
pub enum DownloadEnd {
    /// It is still open.
    Open,
    /// Nothing is downloaded.
    Closed,
    /// Download that.
    Download(Box<Download>),
}

impl DownloadDialog {
    /// Asks the Hub what the model is made of; nothing else.
    pub fn new(app: &mut App, name: HubName) -> Self {
        let id = app.session.jobs.start(Job::LookAtHub { name: name.clone() });
        Self { name, found: Stage::Running(id, None) }
    }

    /// The question to the Hub that is under way.
    pub fn job(&self) -> Option<JobId> {
        self.found.job()
    }

    /// Takes what the Hub says, and gives everything else back.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Finished(id, result) if self.job() == Some(id) => {
                self.found.finish(result, |outcome| match outcome {
                    Outcome::Looked(download) => Some(download),
                    _ => None,
                });
                None
            }
            Event::Progress(id, _) if self.job() == Some(id) => None,
            other => Some(other),
        }
    }
}

/// Draws it.
pub fn ui(ui: &mut Ui, dialog: &DownloadDialog) -> DownloadEnd {
    let palette = theme::palette(ui);
    title_ui(ui, &format!("Download {}?", dialog.name));
    let cancel = Some(("Cancel", "Download nothing"));
    let (mut main, mut obstacle) = (("Download", "Download these files into the cache"), None);
    match &dialog.found {
        Stage::Waiting | Stage::Running(..) => {
            widgets::paragraph_ui(ui, "Asking the Hub which files it has…");
            obstacle = Some("The Hub is being asked".to_owned());
        }
        Stage::Failed(message) => {
            let text = RichText::new(format::sentence(message)).color(palette.bad);
            ui.add(Label::new(text.line_height(Some(theme::TEXT_LINE))).wrap());
            obstacle = Some("There is nothing to download".to_owned());
        }
        Stage::Done(download) => {
            found_ui(ui, download);
            if download.missing_bytes() == 0 {
                main = ("Use it", "Take the files that are in the cache");
            }
            if download.check_room().is_err() {
                obstacle = Some("There is not enough room on that disk".to_owned());
            }
        }
    }
    let (go, closed) = buttons_ui(ui, main, obstacle.as_deref(), cancel);
    match &dialog.found {
        _ if closed => DownloadEnd::Closed,
        Stage::Done(download) if go => DownloadEnd::Download(download.clone()),
        _ => DownloadEnd::Open,
    }
}

fn found_ui(ui: &mut Ui, download: &Download) {
    let palette = theme::palette(ui);
    let (total, missing) = (download.total_bytes(), download.missing_bytes());
    row_ui(ui, "From", |ui| {
        ui.label(&download.host);
        let commit: String = download.commit.chars().take(COMMIT_CHARS).collect();
        let text = RichText::new(format!("commit {commit}")).color(palette.weak);
        ui.label(text).on_hover_text(&download.commit);
    });
    row_ui(ui, "Size", |ui| {
        let here = match missing {
            0 => ", all of it in the cache already".to_owned(),
            _ if missing < total => format!(", of which {} are in the cache already", format::bytes(total - missing)),
            _ => String::new(),
        };
        let files = format::plural(download.files.len(), "file");
        ui.add(Label::new(format!("{} in {files}{here}", format::bytes(total))).wrap());
    });
    row_ui(ui, "Into", |ui| {
        let lacks_room = download.check_room().is_err();
        let free = download.free_bytes.map(|free| format!(" · {} free there", format::bytes(free)));
        let text = format!("{}{}", format::path(&download.cache), free.unwrap_or_default());
        ui.add(Label::new(RichText::new(text).color(if lacks_room { palette.bad } else { palette.text })).wrap());
    });
    ui.add_space(6.0);
    widgets::hairline_ui(ui);
    ui.add_space(6.0);
    ScrollArea::vertical().id_salt("files").max_height(LIST_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
        // Lines of text, not of buttons.
        ui.spacing_mut().interact_size.y = 0.0;
        Grid::new("files").num_columns(3).spacing([24.0, 3.0]).show(ui, |ui| {
            let small = |text: String, colour| RichText::new(text).text_style(TextStyle::Small).color(colour);
            for file in &download.files {
                ui.label(small(file.path.clone(), palette.text));
                ui.label(small(
                    if file.present_bytes == file.bytes { "in the cache" } else { "" }.to_owned(),
                    palette.weak,
                ));
                // Sizes end below one another.
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.label(small(format::bytes(file.bytes), palette.text));
                });
                ui.end_row();
            }
        });
    });
}
