//! One file on its way into the cache: gone on with where it was cut, verified, and only then there under its name.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::client::Client;
use super::digest::Hasher;
use super::download::RemoteFile;
use super::error::HubError;
use crate::http::{Again, Failure, GaveUp, Retry};
use crate::progress::{Cancelled, Control};

/// Bytes that are read at once: cancelling waits for no more.
const BUFFER_BYTES: usize = 256 << 10;

/// A connection that brought this much before it was cut was worth having: tries are counted anew.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What all files of a download have in common.
pub(super) struct Source<'a> {
    pub client: &'a Client,
    pub commit: &'a str,
    pub retry: Retry,
    pub control: &'a Control,
    /// Whether the work is to stop: it was cancelled, or another file failed.
    pub stopped: &'a (dyn Fn() -> bool + Sync),
}

/// A file of which some bytes are there.
struct Partial<'a> {
    source: &'a Source<'a>,
    wanted: &'a RemoteFile,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    done: u64,
}

/// Downloads `wanted` to `blob`. Whoever calls this holds the blob's lock.
pub(super) fn fetch(source: &Source, wanted: &RemoteFile, blob: &Path) -> Result<(), HubError> {
    let mut partial = Partial::open(source, wanted, incomplete(blob))?;
    while partial.done < wanted.bytes {
        let draw = |tries| (RandomState::new().hash_one((tries, wanted.etag())) >> 11) as f64 / (1_u64 << 53) as f64;
        let tried = source.retry.run(draw, source.stopped, || partial.attempt());
        tried.map_err(|gave_up| gave_up_on(&wanted.path, gave_up))?;
    }
    partial.finish(blob)
}

/// The name of a blob that is not whole yet.
pub(super) fn incomplete(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(".incomplete");
    name.into()
}

fn gave_up_on(path: &str, gave_up: GaveUp<HubError>) -> HubError {
    match gave_up.error {
        HubError::Exchange { message, .. } => {
            HubError::Exchange { message: format!("{path}: {message}"), tries: gave_up.tries }
        }
        error => error,
    }
}

impl<'a> Partial<'a> {
    /// Takes up what an earlier download left.
    fn open(source: &'a Source, wanted: &'a RemoteFile, path: PathBuf) -> Result<Self, HubError> {
        let io = |source| HubError::Io { path: path.clone(), source };
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        if file.metadata().map_err(io)?.len() > wanted.bytes {
            file.set_len(0).map_err(io)?;
        }
        let hasher = wanted.hash.hasher(wanted.bytes);
        let mut partial = Self { source, wanted, path, file, hasher, done: 0 };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if (source.stopped)() {
                return Err(Cancelled.into());
            }
            let read = partial.file.read(&mut buffer);
            let count = read.map_err(|source| HubError::Io { path: partial.path.clone(), source })?;
            if count == 0 {
                return Ok(partial);
            }
            partial.took(&buffer[..count]);
        }
    }

    fn took(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        self.source.control.advance(bytes.len() as u64, None);
    }

    /// Asks for what is missing, and takes as much of it as comes.
    fn attempt(&mut self) -> Result<(), Failure<HubError>> {
        let client = self.source.client;
        let mut response = client.file(self.source.commit, &self.wanted.path, self.done)?;
        if !self.continues(&response)? {
            self.restart()?;
        }
        let began = self.done;
        let announced = response.body().content_length().map(|length| began + length);
        if let Some(bytes) = announced.filter(|bytes| *bytes != self.wanted.bytes) {
            return Err(self.wrong_size(bytes));
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        while !(self.source.stopped)() {
            let cut = match body.read(&mut buffer) {
                Ok(0) if self.done == self.wanted.bytes => return Ok(()),
                Ok(0) => std::io::ErrorKind::UnexpectedEof.into(),
                Ok(count) => {
                    if self.done + count as u64 > self.wanted.bytes {
                        return Err(self.wrong_size(self.done + count as u64));
                    }
                    self.file.write_all(&buffer[..count]).map_err(|source| self.io(source))?;
                    self.took(&buffer[..count]);
                    continue;
                }
                Err(error) => error,
            };
            return if self.done - began >= PROGRESS_BYTES { Ok(()) } else { Err(client.broke_off(&cut)) };
        }
        Err(Failure { error: Cancelled.into(), again: Again::Never })
    }

    /// Whether the answer begins where the file ends. A server that does not know ranges sends the whole.
    fn continues(&self, response: &Response<Body>) -> Result<bool, Failure<HubError>> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
                let fits = range.is_some_and(|range| range.starts_with(&format!("bytes {}-", self.done)));
                let message = || format!("{} answered with other bytes than it was asked for", self.wanted.path);
                let other = || Failure { error: HubError::exchange(message()), again: Again::Soon };
                if fits { Ok(true) } else { Err(other()) }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(self.wrong_size(self.done)),
            _ => Ok(self.done == 0),
        }
    }

    /// Begins anew.
    fn restart(&mut self) -> Result<(), Failure<HubError>> {
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(|source| self.io(source))?;
        self.source.control.take_back(self.done);
        self.hasher = self.wanted.hash.hasher(self.wanted.bytes);
        self.done = 0;
        Ok(())
    }

    /// Verifies the bytes and gives them their name.
    fn finish(self, blob: &Path) -> Result<(), HubError> {
        let found = self.hasher.finish();
        if found != self.wanted.etag() {
            // What cannot be deleted is overwritten the next time.
            let _ = fs::remove_file(&self.path);
            return Err(HubError::WrongHash {
                file: self.wanted.path.clone(),
                algorithm: self.wanted.hash.algorithm(),
                expected: self.wanted.etag().to_owned(),
                found,
            });
        }
        let synced = self.file.sync_all();
        drop(self.file);
        synced
            .and_then(|()| fs::rename(&self.path, blob))
            .map_err(|source| HubError::Io { path: blob.to_owned(), source })
    }

    fn wrong_size(&self, found_bytes: u64) -> Failure<HubError> {
        // What cannot be deleted is verified the next time.
        let _ = fs::remove_file(&self.path);
        let (file, expected_bytes) = (self.wanted.path.clone(), self.wanted.bytes);
        Failure { error: HubError::WrongSize { file, expected_bytes, found_bytes }, again: Again::Never }
    }

    fn io(&self, source: std::io::Error) -> Failure<HubError> {
        Failure { error: HubError::Io { path: self.path.clone(), source }, again: Again::Never }
    }
}
