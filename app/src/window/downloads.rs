//! Models on their way from the Hub into the cache. Nothing gets here before a person has seen its size and agreed.

use mergescope_core::hub::Download;
use mergescope_core::progress::Progress;

use super::jobs::{Job, JobError, JobId, Jobs, Outcome};
use super::session::Session;
use crate::format;

/// A model that is being downloaded.
pub struct Downloading {
    /// Its name, as it stands in the fields.
    pub name: String,
    id: JobId,
    /// How far it is, once that is known.
    pub progress: Option<Progress>,
    /// Whether it was asked to stop.
    pub cancelling: bool,
}

/// All that are being downloaded.
#[derive(Default)]
pub struct Downloads {
    under_way: Vec<Downloading>,
}

impl Downloads {
    /// The one of that name.
    pub fn of(&self, name: &str) -> Option<&Downloading> {
        self.under_way.iter().find(|downloading| downloading.name == name)
    }

    /// Takes a report of progress if it is about one of them.
    pub(super) fn on_progress(&mut self, id: JobId, progress: Progress) -> bool {
        let found = self.under_way.iter_mut().find(|downloading| downloading.id == id);
        found.map(|downloading| downloading.progress = Some(progress)).is_some()
    }

    /// Takes the one away whose job has ended.
    fn take(&mut self, id: JobId) -> Option<Downloading> {
        let position = self.under_way.iter().position(|downloading| downloading.id == id)?;
        Some(self.under_way.remove(position))
    }

    fn begin(&mut self, name: String, jobs: &mut Jobs, download: Box<Download>) {
        let id = jobs.start(Job::Download { download });
        self.under_way.push(Downloading { name, id, progress: None, cancelling: false });
    }
}

impl Downloading {
    /// How far it is: `12.0 of 40.0 MB · 3.10 MB/s`.
    pub fn words(&self) -> String {
        match &self.progress {
            _ if self.cancelling => "Cancelling…".to_owned(),
            Some(progress) if progress.total_bytes > 0 => {
                let speed = progress.bytes_per_sec().map(|speed| format!(" · {}", format::speed(speed)));
                let amount = format::bytes_of(progress.done_bytes, progress.total_bytes);
                amount + &speed.unwrap_or_default()
            }
            _ => "Downloading…".to_owned(),
        }
    }

    /// What it is, and how long it takes: `Downloading org/name · 3 min 5 s left`.
    pub fn explanation(&self) -> String {
        let left = self.progress.as_ref().and_then(Progress::remaining);
        let left = left.map(|left| format!(" · {} left", format::duration(left)));
        format!("Downloading {}{}", self.name, left.unwrap_or_default())
    }
}

impl Session {
    /// Downloads a model, unless that is under way.
    pub fn download(&mut self, download: Box<Download>) {
        let name = download.name.to_string();
        if self.downloads.of(&name).is_none() {
            self.notice = None;
            self.downloads.begin(name, &mut self.jobs, download);
        }
    }

    /// Whether a model in the fields is being downloaded.
    pub fn awaits_download(&self) -> bool {
        self.slots.iter().any(|slot| self.downloads.of(&slot.spec).is_some())
    }

    /// Asks a download to stop.
    pub fn cancel_download(&mut self, name: &str) {
        let found = self.downloads.under_way.iter_mut().find(|downloading| downloading.name == name);
        if let Some(downloading) = found {
            downloading.cancelling = true;
            self.jobs.cancel(downloading.id);
        }
    }

    /// Takes the end of a download; gives it back where it was none.
    pub(super) fn on_download_ended(
        &mut self,
        id: JobId,
        result: Result<Outcome, JobError>,
    ) -> Option<Result<Outcome, JobError>> {
        let Some(Downloading { name, .. }) = self.downloads.take(id) else { return Some(result) };
        match result {
            Ok(_) => {
                // Every field that names it opens it now.
                self.pool.forget(&name);
                self.follow_recipe();
                self.say(format!("Downloaded {name}"));
                self.jobs.list_cache();
            }
            Err(JobError::Failed(message)) => {
                self.pool.not_downloaded(&name, format::sentence(&message));
                self.follow_models();
                self.fail(format!("{name} was not downloaded: see its field"));
            }
            Err(JobError::Cancelled | JobError::Refused(_)) => {
                self.say(format!("Download of {name} cancelled: the next one goes on where it stopped"));
            }
        }
        None
    }
}
