//! A model downloaded into the cache: first what it is made of and how large that is, then, when somebody wants it, the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::access::Access;
use super::blob::{self, Source};
use super::client::Client;
use super::digest::BlobHash;
use super::environment::Environment;
use super::error::HubError;
use super::name::HubName;
use super::{listing, lock, snapshot};
use crate::http::{GaveUp, Retry, Unattended, attended};
use crate::progress::{Cancelled, Control, Stage};

/// Files that are under way at once: enough to fill most lines, and polite.
const MAX_PARALLEL: usize = 4;

/// A model on the Hub, as it would be downloaded.
#[derive(Clone, Debug)]
pub struct Download {
    /// Its name, with the revision that was asked for.
    pub name: HubName,
    /// The commit that the revision stands for now.
    pub commit: String,
    /// The host that was asked.
    pub host: String,
    /// The cache that it goes into.
    pub cache: PathBuf,
    /// The files that a model needs.
    pub files: Vec<RemoteFile>,
    /// Free bytes on the cache's disk, where the system tells.
    pub free_bytes: Option<u64>,
}

/// A file on the Hub.
#[derive(Clone, Debug)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// How much of it the cache has already.
    pub present_bytes: u64,
    pub(super) hash: BlobHash,
}

impl RemoteFile {
    /// The name of its blob: a hash of its bytes.
    pub fn etag(&self) -> &str {
        self.hash.etag()
    }
}

impl Download {
    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes that the cache does not have yet.
    pub fn missing_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes - file.present_bytes.min(file.bytes)).sum()
    }

    /// The folder that the model is opened from afterwards.
    pub fn snapshot(&self) -> PathBuf {
        self.repo().join("snapshots").join(&self.commit)
    }

    /// The model's folder in the cache.
    pub(super) fn repo(&self) -> PathBuf {
        self.cache.join(self.name.folder())
    }

    /// Refuses what the disk has no room for.
    ///
    /// # Errors
    /// [`HubError::DiskFull`] with what is needed and what is free.
    pub fn check_room(&self) -> Result<(), HubError> {
        match self.free_bytes {
            Some(available_bytes) if available_bytes < self.missing_bytes() => Err(HubError::DiskFull {
                path: self.cache.clone(),
                needed_bytes: self.missing_bytes(),
                available_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn look_at_disk(&mut self) {
        let (blobs, snapshot) = (self.repo().join("blobs"), self.snapshot());
        for file in &mut self.files {
            let blob = blobs.join(file.hash.etag());
            let size = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len());
            let whole = size(&blob) == Some(file.bytes) || snapshot::is_there(&snapshot.join(&file.path), file);
            let partial = || size(&blob::incomplete(&blob)).filter(|bytes| *bytes <= file.bytes).unwrap_or(0);
            file.present_bytes = if whole { file.bytes } else { partial() };
        }
        self.free_bytes =
            self.cache.ancestors().find(|path| path.is_dir()).and_then(|path| fs4::available_space(path).ok());
    }
}

/// The Hub, and the cache that is filled from it. Nobody is contacted before [`Hub::look`], and nothing is downloaded before
/// [`Hub::fetch`].
#[derive(Clone, Debug)]
pub struct Hub {
    access: Access,
    cache: PathBuf,
    retry: Retry,
}

impl Hub {
    /// As the environment of this process says.
    ///
    /// # Errors
    /// When nobody says where the cache is.
    pub fn of_process() -> Result<Self, HubError> {
        let environment = Environment::of_process();
        let cache = environment.cache_dir().ok_or(HubError::NoCache)?;
        Ok(Self::new(Access::of_process(&environment), cache))
    }

    /// A Hub that is reached in this way, and a cache, which need not exist.
    pub fn new(access: Access, cache: PathBuf) -> Self {
        Self { access, cache, retry: Retry { retries: 5, backoff: Duration::from_secs(1) } }
    }

    /// The same with another number of tries after the first, and another wait before the second, which doubles each time.
    pub fn with_retries(self, retries: u32, backoff: Duration) -> Self {
        Self { retry: Retry { retries, backoff }, ..self }
    }

    /// Asks what a model is made of, and looks how much of that the cache has.
    ///
    /// # Errors
    /// When the environment says that nobody may be asked, the Hub cannot be reached, does not give the model, or lists what
    /// cannot be taken; the error says what to do.
    pub fn look(&self, name: &HubName, control: &Control) -> Result<Download, HubError> {
        control.begin(Stage::Listing, 0);
        let client = Client::new(&self.access, name)?;
        let (asking, retry, listening) = (client.clone(), self.retry, control.clone());
        let answer = attended(client.agent(), control, move || {
            retry.run(|_| 0.5, || listening.is_cancelled(), || asking.listing())
        });
        let json = answer.map_err(unattended)?.map_err(gave_up)?;
        let listing::Listing { commit, files } = listing::read(&json, name, &client)?;
        let (host, cache) = (client.host().to_owned(), std::path::absolute(&self.cache).unwrap_or(self.cache.clone()));
        let mut download = Download { name: name.clone(), commit, host, cache, files, free_bytes: None };
        download.look_at_disk();
        Ok(download)
    }

    /// Downloads what is missing of it, and gives the folder to open.
    ///
    /// Each file appears in the cache when it is whole and has the right hash, the model when all files are there. What was
    /// downloaded before an error, or before it was cancelled, is gone on from the next time.
    ///
    /// # Errors
    /// When the disk has no room, the Hub fails more often than it is asked again, or a file is not what it should be; the
    /// error names the file.
    pub fn fetch(&self, download: &Download, control: &Control) -> Result<PathBuf, HubError> {
        let mut download = download.clone();
        download.look_at_disk();
        download.check_room()?;
        control.begin(Stage::Downloading, download.total_bytes());
        // Without a word to anybody, even if it may not be asked now.
        if download.missing_bytes() == 0 {
            control.advance(download.total_bytes(), None);
            return snapshot::publish(&download, || control.is_cancelled());
        }
        let client = Client::new(&self.access, &download.name)?;
        let agent = client.agent().clone();
        let (retry, working) = (self.retry, control.clone());
        attended(&agent, control, move || run(&download, &client, retry, &working)).map_err(unattended)?
    }
}

/// Downloads the files on several threads, then makes the snapshot.
fn run(download: &Download, client: &Client, retry: Retry, control: &Control) -> Result<PathBuf, HubError> {
    let blobs = download.repo().join("blobs");
    fs::create_dir_all(&blobs).map_err(|source| HubError::Io { path: blobs.clone(), source })?;
    // The largest first, so that none is left to be waited for alone.
    let mut files: Vec<&RemoteFile> = download.files.iter().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let first_error: Mutex<Option<HubError>> = Mutex::new(None);
    let stopped = || control.is_cancelled() || failed.load(Ordering::Relaxed);
    let source = Source { client, commit: &download.commit, retry, control, stopped: &stopped };
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !stopped()) {
            if let Err(error) = fetch_one(&source, download, file, &blobs) {
                // Those that stop because of it are cancelled, and come later.
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                failed.store(true, Ordering::Relaxed);
                // Files that wait for bytes need not wait any longer.
                client.agent().clone().shutdown();
            }
        }
    };
    thread::scope(|scope| {
        for number in 1..MAX_PARALLEL.min(files.len()) {
            // With fewer threads it takes longer.
            let _ = thread::Builder::new().name(format!("hub download {number}")).spawn_scoped(scope, work);
        }
        work();
    });
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None if control.is_cancelled() => Err(Cancelled.into()),
        None => snapshot::publish(download, || control.is_cancelled()),
    }
}

/// Downloads a file, unless it is there by the time that nobody else is at it.
fn fetch_one(source: &Source, download: &Download, file: &RemoteFile, blobs: &Path) -> Result<(), HubError> {
    let blob = blobs.join(file.etag());
    let in_snapshot = download.snapshot().join(&file.path);
    let is_there = || {
        let whole = fs::metadata(&blob).is_ok_and(|blob| blob.is_file() && blob.len() == file.bytes);
        whole || snapshot::is_there(&in_snapshot, file)
    };
    if !is_there() {
        let _lock = lock::acquire(&download.cache, &download.name.folder(), file.etag(), source.stopped)?;
        if !is_there() {
            return blob::fetch(source, file, &blob);
        }
    }
    source.control.advance(file.bytes, None);
    Ok(())
}

fn gave_up(gave_up: GaveUp<HubError>) -> HubError {
    match gave_up.error {
        HubError::Exchange { message, .. } => HubError::Exchange { message, tries: gave_up.tries },
        error => error,
    }
}

fn unattended(error: Unattended) -> HubError {
    match error {
        Unattended::Cancelled(cancelled) => cancelled.into(),
        other => HubError::Thread(crate::error::chain(&other)),
    }
}
