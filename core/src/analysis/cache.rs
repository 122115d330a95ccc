//! Analyses of models seen before, kept on disk so that opening them again is instant.
//!
//! One file for each analysis: a line that says what it is, the blake3 of what follows, then the analysis in postcard's
//! encoding. A file that is not exactly that counts as absent. The cache only ever saves time: when it cannot be read or
//! written, the models are measured as if there were none.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{LayerProducts, LayerProductsError, VectorAnalysis, layer_products, measure};
use crate::alignment::{Alignment, Participation, Role, Triple};
use crate::progress::{Control, Stage};
use crate::stream::{Resources, StreamError};

/// First line of every file. The number changes with anything that the files hold, or how it is measured: a test tells
/// when it was forgotten. Another release measures anew in any case.
const FORMAT: &str = concat!("mergescope ", env!("CARGO_PKG_VERSION"), " analysis 5\n");

/// Bytes of all files together, at most; those not used for longest go first.
const MAX_BYTES: u64 = 1 << 30;

/// Bytes of one file, at most: several times the largest analysis, whose samples take 288 MB.
const MAX_FILE_BYTES: u64 = 512 << 20;

const EXTENSION: &str = "analysis";

/// A folder of analyses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnalysisCache {
    folder: PathBuf,
}

impl AnalysisCache {
    /// The person's own: `mergescope` in `XDG_CACHE_HOME`, `~/.cache`, `~/Library/Caches` on macOS or `%LOCALAPPDATA%` on
    /// Windows. `None` where there is no such place.
    pub fn user() -> Option<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let home = || std::env::home_dir().filter(|home| home.is_absolute());
        let caches = if cfg!(windows) {
            variable("LOCALAPPDATA")?
        } else if cfg!(target_os = "macos") {
            home()?.join("Library/Caches")
        } else {
            variable("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))?
        };
        Some(Self::at(caches.join("mergescope")))
    }

    /// In a folder, which is made when there is something to keep.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// As [`measure`], unless the same models were measured before.
    pub fn measure(
        &self,
        triple: &Triple,
        alignment: &Alignment,
        resources: &Resources,
        control: &Control,
    ) -> Result<VectorAnalysis, StreamError> {
        let path = self.path("vector", &Role::ALL, triple, alignment, control)?;
        if let Some(known) = load::<VectorAnalysis>(&path) {
            return Ok(VectorAnalysis { cached: true, ..known });
        }
        let analysis = measure(triple, alignment, resources, control)?;
        self.keep(&path, triple, &analysis);
        Ok(analysis)
    }

    /// As [`layer_products`], unless the layers of the same models were compared before.
    pub fn layer_products(
        &self,
        triple: &Triple,
        alignment: &Alignment,
        resources: &Resources,
        control: &Control,
    ) -> Result<LayerProducts, LayerProductsError> {
        let path = self.path("layers", &[Role::Pre, Role::Post], triple, alignment, control)?;
        if let Some(known) = load::<LayerProducts>(&path) {
            return Ok(LayerProducts { cached: true, ..known });
        }
        let products = layer_products(triple, alignment, resources, control)?;
        self.keep(&path, triple, &products);
        Ok(products)
    }

    /// Where the analysis of these models is, if it is: by their fingerprints, by the state of each weight file (a
    /// fingerprint does not see every byte), and by which tensors take part, and what their names are read as.
    fn path(
        &self,
        kind: &str,
        roles: &[Role],
        triple: &Triple,
        alignment: &Alignment,
        control: &Control,
    ) -> Result<PathBuf, StreamError> {
        control.begin(Stage::Checking, 0);
        let mut hasher = blake3::Hasher::new();
        for &role in roles {
            let checkpoint = triple.get(role);
            let fingerprint = checkpoint.fingerprint(|| control.check().map_err(StreamError::from))?;
            hasher.update(fingerprint.as_bytes());
            for state in checkpoint.file_states() {
                hasher.update(&state.to_bytes());
            }
        }
        for aligned in &alignment.tensors {
            if let Participation::Moves { pre, post, shared_elements } = aligned.participation {
                let target = &triple.target.tensors()[aligned.target];
                for name in [&target.name, &triple.pre.tensors()[pre].name, &triple.post.tensors()[post].name] {
                    hasher.update(&(name.len() as u64).to_le_bytes());
                    hasher.update(name.as_bytes());
                }
                hasher.update(&shared_elements.to_le_bytes());
                hasher.update(format!("{:?}", aligned.place).as_bytes());
            }
        }
        Ok(self.folder.join(format!("{}.{kind}.{EXTENSION}", hasher.finalize().to_hex())))
    }

    /// Keeps what was found, unless an input changed meanwhile.
    fn keep(&self, path: &Path, triple: &Triple, found: &impl Serialize) {
        if Role::ALL.iter().all(|&role| triple.get(role).changed_shard().is_none()) {
            // Without it the next opening takes as long as this one did, and that is all.
            let _ = self.store(path, found);
        }
    }

    fn store(&self, path: &Path, found: &impl Serialize) -> io::Result<()> {
        let payload = postcard::to_stdvec(found).map_err(io::Error::other)?;
        if payload.len() as u64 > MAX_FILE_BYTES {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        self.make_room(payload.len() as u64)?;
        // A name of its own, so that two programs that measure the same models do not write into one another's file.
        let staging = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = File::create(&staging).and_then(|mut file| {
            file.write_all(FORMAT.as_bytes())?;
            file.write_all(blake3::hash(&payload).as_bytes())?;
            file.write_all(&payload)
        });
        let renamed = written.and_then(|()| fs::rename(&staging, path));
        if renamed.is_err() {
            let _ = fs::remove_file(&staging);
        }
        renamed
    }

    /// Removes the files not used for longest until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let ours = entry.path().extension().is_some_and(|extension| extension == EXTENSION || extension == "tmp");
            if let (true, Ok(metadata)) = (ours, entry.metadata()) {
                files.push((metadata.modified().unwrap_or(UNIX_EPOCH), metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, file_bytes, path) in files {
            if total + bytes <= MAX_BYTES {
                break;
            }
            fs::remove_file(path)?;
            total -= file_bytes;
        }
        Ok(())
    }
}

/// What a file holds; `None` unless it is whole.
fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    // A pipe would be waited on for ever.
    let bytes = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let file = File::open(path).ok()?;
    let head = FORMAT.len() + blake3::OUT_LEN;
    if bytes < head as u64 || bytes > MAX_FILE_BYTES + head as u64 {
        return None;
    }
    let mut content = Vec::with_capacity(bytes as usize);
    (&file).take(bytes).read_to_end(&mut content).ok()?;
    let payload = content.get(head..)?;
    let sum = content.strip_prefix(FORMAT.as_bytes())?.get(..blake3::OUT_LEN)?;
    if blake3::hash(payload).as_bytes() != sum {
        return None;
    }
    let known = postcard::from_bytes(payload).ok()?;
    // What was used last is removed last.
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::super::sample::Updates;
    use super::super::{LogHistogram, Sample, Sums, TensorAnalysis};
    use super::*;
    use crate::checkpoint::Dtype;
    use crate::layout::{Part, Place};

    #[test]
    fn the_format_has_the_number_of_what_the_files_hold() {
        let tensor = |part| TensorAnalysis {
            name: "a".to_owned(),
            place: Place { layer: Some(1), part, expert: Some(2) },
            dtype: Dtype::BF16,
            shape: vec![3, 4],
            sums: Sums { elements: 12, zeros: 5, ..Sums::default() },
            vector_histogram: LogHistogram::from_counts(&[0, 6, 7]),
            pre_histogram: LogHistogram::default(),
            sample: Sample { updates: Updates::Narrow(vec![[14.0, 15.0, 16.0]]), complete: true },
        };
        let tensors = Part::ALL.into_iter().map(tensor).collect();
        let analysis = VectorAnalysis { tensors, bytes_read: 8, ..VectorAnalysis::default() };
        let parts = Part::ALL.into_iter().map(|part| (part, vec![9.0])).collect();
        let products = LayerProducts { layers: vec![10], parts, left_out: 11, ..LayerProducts::default() };
        let held = blake3::hash(&postcard::to_stdvec(&(analysis, products)).unwrap()).to_hex();
        let number = FORMAT.trim_end().rsplit(' ').next().unwrap();
        assert_eq!(
            (number, &held[..16]),
            ("5", "700a6213078a503b"),
            "raise the number in FORMAT, then write down here what it stands for"
        );
    }

    #[test]
    fn a_file_that_is_not_whole_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let cache = AnalysisCache::at(dir.path().join("new"));
        let path = cache.folder.join("a.vector.analysis");
        let analysis = VectorAnalysis { bytes_read: 7, ..VectorAnalysis::default() };
        cache.store(&path, &analysis).unwrap();
        assert_eq!(load::<VectorAnalysis>(&path), Some(analysis));
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(load::<VectorAnalysis>(&path), None, "{length} of {} bytes", whole.len());
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert_eq!(load::<VectorAnalysis>(&path), None, "byte {at} changed");
        }
        let names: Vec<_> = fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.vector.analysis"], "nothing is left beside it");
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let cache = AnalysisCache::at(dir.path().to_owned());
        for (name, age_secs) in [("old.analysis", 300), ("new.analysis", 100), ("older.txt", 900)] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_len(MAX_BYTES / 2).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age_secs)).unwrap();
        }
        cache.make_room(1).unwrap();
        let exists = |name| dir.path().join(name).exists();
        assert!(!exists("old.analysis") && exists("new.analysis"));
        assert!(exists("older.txt"), "what is not ours stays");
    }
}
