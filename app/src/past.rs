//! Merges of the past: what was merged, how, into what, and with what result. Kept as one JSON document a line in the data
//! folder of the person, by the window and the command line alike.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mergescope_core::alignment::{ModelId, Role};
use mergescope_core::merge::{ChangeSums, MergeReport, REPORT_FILE};
use mergescope_core::recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::format;

/// Entries that are kept; older ones go.
const MAX_ENTRIES: usize = 1_000;
/// Most bytes that are read of the file.
const MAX_BYTES: u64 = 64 << 20;

/// A merge that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastMerge {
    /// When it ended, in seconds since 1970 (UTC).
    pub ended_unix_secs: u64,
    /// The folder that was written. It may be gone by now.
    pub output: PathBuf,
    /// The recipe as run, with the fingerprints of its inputs.
    pub recipe: Recipe,
    /// Intended against written, over all tensors.
    pub total: ChangeSums,
    /// Bytes of the weight files.
    pub bytes_written: u64,
    /// How long it took, in seconds.
    pub elapsed_secs: f64,
}

impl PastMerge {
    /// The entry for a merge that has just ended.
    pub fn new(report: &MergeReport) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            ended_unix_secs: now.as_secs(),
            output: std::path::absolute(&report.output).unwrap_or_else(|_| report.output.clone()),
            recipe: report.recipe.clone(),
            total: report.total(),
            bytes_written: report.bytes_written,
            elapsed_secs: report.elapsed.as_secs_f64(),
        }
    }

    /// When it ended, in the person's time zone: `2026-11-22 14:05`.
    pub fn ended(&self) -> String {
        let seconds = i64::try_from(self.ended_unix_secs).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_second(seconds) {
            Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
            Err(_) => "at an unknown time".to_owned(),
        }
    }

    /// The fingerprint of each model that was read, with what it was.
    pub fn fingerprints(&self) -> Vec<(String, &str)> {
        let vectors = 0..=self.recipe.others.len();
        let several = !self.recipe.others.is_empty();
        let sources = vectors.flat_map(|vector| [Role::Pre, Role::Post].map(|role| ModelId { vector, role }));
        let models = sources.chain([ModelId { vector: 0, role: Role::Target }]);
        let named = models.filter_map(|model| {
            let fingerprint = self.recipe.inputs.as_ref()?.get(model)?;
            let number =
                if several && model.role != Role::Target { format!(" {}", model.vector + 1) } else { String::new() };
            (!fingerprint.is_empty()).then(|| (format!("{}{number}", model.role.label()), fingerprint))
        });
        named.collect()
    }

    /// What it wrote, tensor by tensor, from the file beside the merged model; or why that cannot be shown.
    pub fn report(&self) -> Result<MergeReport, String> {
        let path = self.output.join(REPORT_FILE);
        let shown = format::path(&path);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| format!("The report {shown} cannot be read: {error}"))?;
        let report: MergeReport = serde_json::from_slice(&bytes)
            .map_err(|error| format!("The report {shown} is not one that this version reads: {error}"))?;
        // The folder may have been written again since, or hold what somebody else put there.
        if report.recipe != self.recipe {
            return Err(format!("The report {shown} is of another merge"));
        }
        Ok(MergeReport { output: self.output.clone(), ..report })
    }

    /// Whether what it wrote is still there.
    pub fn is_there(&self) -> bool {
        self.output.is_dir()
    }
}

/// The file that holds them.
#[derive(Clone, Debug)]
pub struct PastMerges {
    file: PathBuf,
}

impl PastMerges {
    /// Those of the person who runs the program; `None` where the system names no data folder.
    pub fn of_user() -> Option<Self> {
        eframe::storage_dir("mergescope").map(|folder| Self::at(folder.join("merges.jsonl")))
    }

    /// Those in that file, which need not exist.
    pub fn at(file: PathBuf) -> Self {
        Self { file }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All of them, the latest first. Lines that are no entries, such as those of a newer version, are passed over.
    pub fn load(&self) -> io::Result<Vec<PastMerge>> {
        let mut text = Vec::new();
        match File::open(&self.file) {
            Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let lines = text.split(|byte| *byte == b'\n');
        let mut merges: Vec<PastMerge> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        merges.reverse();
        merges.truncate(MAX_ENTRIES);
        Ok(merges)
    }

    /// Adds one. Two programs that end a merge at the same moment wait for each other.
    pub fn add(&self, merge: &PastMerge) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options().create(true).append(true).open(&self.file)?;
        // A file system without locks still appends a line in one write.
        let _ = file.lock();
        let mut line = serde_json::to_vec(merge)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Forgets all of them. What they wrote stays.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(secs: u64) -> PastMerge {
        PastMerge {
            ended_unix_secs: secs,
            output: PathBuf::from("/models/merged"),
            recipe: Recipe::new("a", "b", "c"),
            total: ChangeSums { intended_sq: 2.0, ..ChangeSums::default() },
            bytes_written: 7,
            elapsed_secs: 0.5,
        }
    }

    #[test]
    fn the_latest_comes_first_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let past = PastMerges::at(dir.path().join("deep/merges.jsonl"));
        assert_eq!(past.load().unwrap(), []);
        for secs in [1, 2, 3] {
            past.add(&merge(secs)).unwrap();
        }
        assert_eq!(past.load().unwrap(), [merge(3), merge(2), merge(1)]);
        past.clear().unwrap();
        past.clear().unwrap();
        assert_eq!(past.load().unwrap(), []);
    }

    #[test]
    fn lines_that_are_no_entries_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let past = PastMerges::at(dir.path().join("merges.jsonl"));
        fs::write(past.file(), "nonsense\n{\"version\": 9}\n\u{0}\n").unwrap();
        past.add(&merge(4)).unwrap();
        assert_eq!(past.load().unwrap(), [merge(4)]);
    }

    #[test]
    fn a_time_is_told_to_the_minute() {
        assert_eq!(merge(1_700_000_000).ended().len(), "2023-11-14 22:13".len());
        assert_eq!(merge(u64::MAX).ended(), "at an unknown time");
    }
}
