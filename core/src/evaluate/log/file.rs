//! The log's file: whole lines only, whatever happens to the process.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::key::SampleKey;
use super::lines::{MAX_LINE_BYTES, next_line};
use super::sample::Sample;

/// Largest log that is read, in bytes. Its samples are held in memory.
pub const MAX_LOG_BYTES: u64 = 1 << 30;

/// What every line of a log begins with.
pub(super) const LINE_START: &[u8] = b"{\"key\":\"";

/// Of so many damaged lines it is said what is wrong; the others are only counted.
const MAX_DAMAGE_TOLD: usize = 20;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read or written.
    #[error("cannot use the sample log {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another sweep of this one, writes to it.
    #[error("the sample log {} is in use by another sweep; wait for it to end, or choose another file", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else, and is left as it is.
    #[error("{} is no sample log: none of its lines is a sample; choose another file", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// It is too large.
    #[error("the sample log {} has {bytes} bytes, and at most {MAX_LOG_BYTES} can be used; begin another file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A sample is too long for a line.
    #[error(
        "a sample of question {question_id} takes {bytes} bytes in the log, and at most {MAX_LINE_BYTES} can be kept; lower the token limit"
    )]
    SampleTooLong {
        /// The question.
        question_id: String,
        /// What it would take.
        bytes: usize,
    },
}

/// A line that is no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    samples: Vec<Sample>,
    places: HashMap<SampleKey, usize>,
    damaged: Vec<DamagedLine>,
    damaged_count: u64,
}

impl Contents {
    /// The samples, each key once, in the order in which keys first came.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The sample with that key, which may be an error.
    pub fn get(&self, key: &SampleKey) -> Option<&Sample> {
        self.places.get(key).and_then(|place| self.samples.get(*place))
    }

    /// Whether that generation is done. One that ended in an error is not.
    pub fn contains(&self, key: &SampleKey) -> bool {
        self.get(key).is_some_and(|sample| sample.error.is_none())
    }

    /// Lines that were passed over because they are no samples, the first of them. A last line that a killed process did
    /// not finish is not among them.
    pub fn damaged(&self) -> &[DamagedLine] {
        &self.damaged
    }

    /// How many lines were passed over.
    pub fn damaged_count(&self) -> u64 {
        self.damaged_count
    }

    /// A later line has the say over an earlier one, but for an error after an answer.
    fn insert(&mut self, sample: Sample) {
        match self.places.get(&sample.key) {
            None => {
                self.places.insert(sample.key, self.samples.len());
                self.samples.push(sample);
            }
            Some(place) => {
                if let Some(known) = self.samples.get_mut(*place)
                    && (sample.error.is_none() || known.error.is_some())
                {
                    *known = sample;
                }
            }
        }
    }

    fn note_damage(&mut self, line: u64, reason: String) {
        self.damaged_count += 1;
        if self.damaged.len() < MAX_DAMAGE_TOLD {
            self.damaged.push(DamagedLine { line, reason });
        }
    }
}

/// How the file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail {
    /// Where the next line goes; what comes after it is the rest of a line that was not finished.
    end: u64,
    /// Whether only the end of the last line is missing.
    needs_newline: bool,
    /// Whether something has to be cut off at `end`.
    is_torn: bool,
}

/// A log that is open for more: nobody else can append to it meanwhile.
#[derive(Debug)]
pub struct SampleLog {
    path: PathBuf,
    file: File,
    contents: Contents,
    tail: Tail,
}

impl SampleLog {
    /// Opens a log, which need not exist. Nothing is written to it before the first [`SampleLog::append`]. Until it is dropped
    /// no other may be opened on the same file; on Windows the file cannot be read meanwhile either.
    ///
    /// # Errors
    /// When the file cannot be read or written, is in use, is too large, or holds something else.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let io = |source| LogError::Io { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        // A file system without locks lets two write; there is nothing to be done about it.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(LogError::Busy { path: path.to_owned() });
        }
        let (contents, tail) = read(&file, path)?;
        Ok(Self { path: path.to_owned(), file, contents, tail })
    }

    /// Reads a log without holding it, to look at what is there; a sweep may be writing to it.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, or holds something else.
    pub fn read(path: &Path) -> Result<Contents, LogError> {
        let file = File::open(path).map_err(|source| LogError::Io { path: path.to_owned(), source })?;
        Ok(read(&file, path)?.0)
    }

    /// What it holds.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Adds a sample: one line, written whole. If the process is killed on the way, what there is of the line is cut off when
    /// the log is used next.
    ///
    /// # Errors
    /// When it cannot be written, or is too long; the log is then as before.
    pub fn append(&mut self, sample: Sample) -> Result<(), LogError> {
        let mut line = Vec::new();
        if self.tail.needs_newline {
            line.push(b'\n');
        }
        let io = |source| LogError::Io { path: self.path.clone(), source };
        serde_json::to_writer(&mut line, &sample).map_err(|error| io(error.into()))?;
        if line.len() > MAX_LINE_BYTES {
            return Err(LogError::SampleTooLong { question_id: sample.question_id, bytes: line.len() });
        }
        line.push(b'\n');
        let end = self.tail.end + line.len() as u64;
        if end > MAX_LOG_BYTES {
            return Err(LogError::TooLarge { path: self.path.clone(), bytes: end });
        }
        if self.tail.is_torn {
            self.file.set_len(self.tail.end).map_err(io)?;
        }
        // Until the line is whole, it has to be cut off again.
        self.tail.is_torn = true;
        self.file.seek(SeekFrom::Start(self.tail.end)).map_err(io)?;
        self.file.write_all(&line).and_then(|()| self.file.flush()).map_err(io)?;
        self.tail = Tail { end, needs_newline: false, is_torn: false };
        self.contents.insert(sample);
        Ok(())
    }
}

fn read(file: &File, path: &Path) -> Result<(Contents, Tail), LogError> {
    let io = |source| LogError::Io { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    let bytes = metadata.len();
    if bytes > MAX_LOG_BYTES {
        return Err(LogError::TooLarge { path: path.to_owned(), bytes });
    }
    let mut reader = BufReader::new(file.take(MAX_LOG_BYTES));
    let mut contents = Contents::default();
    let mut tail = Tail { end: 0, needs_newline: false, is_torn: false };
    let (mut text, mut number, mut looks_like_a_log) = (Vec::new(), 0, true);
    while let Some(line) = next_line(&mut reader, &mut text).map_err(io)? {
        number += 1;
        let parsed = match line.is_too_long {
            true => Err(format!("it is longer than {MAX_LINE_BYTES} bytes")),
            false => serde_json::from_slice::<Sample>(&text).map_err(|error| error.to_string()).and_then(answered),
        };
        match parsed {
            Ok(sample) => contents.insert(sample),
            Err(_) if !line.is_whole => {
                let begins_alike = text.iter().zip(LINE_START).all(|(found, expected)| found == expected);
                looks_like_a_log &= begins_alike;
                tail.is_torn = true;
                break;
            }
            Err(_) if text.trim_ascii().is_empty() => {}
            Err(reason) => contents.note_damage(number, reason),
        }
        tail.end += line.bytes;
        tail.needs_newline = !line.is_whole;
    }
    // A file of something else must not be cut or added to.
    if contents.samples.is_empty() && (contents.damaged_count > 0 || !looks_like_a_log) {
        return Err(LogError::NotALog { path: path.to_owned() });
    }
    Ok((contents, tail))
}

/// A sample without an answer and without an error would be asked for by nobody and counted by nobody.
fn answered(sample: Sample) -> Result<Sample, String> {
    match sample.error.is_some() || sample.text().is_some() {
        true => Ok(sample),
        false => Err("it has neither an answer in `resps` nor an `error`".to_owned()),
    }
}
