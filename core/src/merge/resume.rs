//! Where a merge begins: in a folder of its own, or in that of one that was interrupted.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::MergeError;
use super::identity::Identity;
use super::journal::{self, Head, JOURNAL_FILE, Journal};
use super::make;
use super::output::{LOCK_SUFFIX, OutputPlace, PARTS_SUFFIX, STAGING_SUFFIX, Staging};
use super::parts::{self, PartsThere};
use super::weights::Weights;
use crate::recipe::Recipe;
use crate::stream::Resources;

/// What becomes of a merge to the same output that was interrupted: by a kill, a crash or a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// It is gone on with where it wrote the same from the same files; else it is removed.
    #[default]
    IfPossible,
    /// It is gone on with, or nothing is done. Where it has ended meanwhile, that is no error.
    Only,
    /// It is removed.
    Never,
}

/// Where the work goes on.
pub(super) struct Started {
    pub staging: Staging,
    pub journal: Journal,
}

/// Takes over what an interrupted merge left, or begins anew.
pub(super) fn start(
    place: OutputPlace,
    weights: Weights<'_>,
    recipe: &Recipe,
    resume: Resume,
    resources: &Resources,
) -> Result<Started, MergeError> {
    let identity = identity(weights, recipe);
    let place = match resume {
        Resume::Never => place,
        // What cannot be read is not gone on with.
        Resume::IfPossible | Resume::Only => {
            match place.adopt(|folder| Journal::go_on(&folder.join(JOURNAL_FILE), &identity).ok().flatten())? {
                Ok((staging, journal)) => {
                    let files = weights.plan.files.files.iter().map(|file| file.name.as_str());
                    staging.keep_only(&files.chain([JOURNAL_FILE]).collect::<Vec<_>>())?;
                    return Ok(Started { staging, journal });
                }
                Err(place) if resume == Resume::Only => {
                    return Err(MergeError::NothingToResume { path: place.output().to_owned() });
                }
                Err(place) => place,
            }
        }
    };
    let staging = place.stage()?;
    let elements = weights.unit_elements(resources);
    let units = make::units(weights.plan, elements).len() as u64;
    let mut head = Head::new(identity, staging.place().output(), recipe.to_toml());
    (head.unit_elements, head.units, head.bytes) = (elements, units, weights.plan.bytes());
    let path = staging.path().join(JOURNAL_FILE);
    let journal = Journal::begin(&path, head).map_err(|source| MergeError::Write { path, source })?;
    Ok(Started { staging, journal })
}

/// A hash of everything that decides which bytes go where: the recipe, this version, the state of every weight file that is read,
/// and the files that are written.
pub(super) fn identity(weights: Weights<'_>, recipe: &Recipe) -> [u8; 32] {
    let mut identity = Identity::of(recipe);
    for model in weights.models.ids() {
        for state in weights.models.get(model).file_states() {
            identity.field(&state.to_bytes());
        }
    }
    identity.finish(weights.plan)
}

/// What a merge left behind that was interrupted, or is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// The staging folder.
    pub folder: PathBuf,
    /// Whether a process is at work on it.
    pub is_alive: bool,
    /// Bytes of weights that are written.
    pub done_bytes: u64,
    /// Bytes of weights in all.
    pub total_bytes: u64,
    /// The folder that was to be, as far as it can be read and is still beside this one.
    pub output: Option<PathBuf>,
    /// What was being merged, as far as it can be read.
    pub recipe: Option<Recipe>,
    /// Of a merge in parts, which of them are there.
    pub parts: Option<PartsThere>,
    files: Files,
}

/// What tells whether a process is at work.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Files {
    /// A lock beside the folder.
    Lock(PathBuf),
    /// The locks of its parts, in the folder.
    Shared(Vec<PathBuf>),
}

impl Partial {
    /// What lies in `folder`, by the head of its journal.
    pub(super) fn new(
        folder: &Path,
        head: Option<Head>,
        done_bytes: u64,
        is_alive: bool,
        files: Files,
        parts: Option<PartsThere>,
    ) -> Self {
        let output = head.as_ref().map(|head| PathBuf::from(&head.output));
        // A folder that was moved has its output elsewhere now.
        let beside = folder.parent().and_then(|parent| parent.canonicalize().ok());
        Self {
            folder: folder.to_owned(),
            is_alive,
            done_bytes,
            total_bytes: head.as_ref().map_or(0, |head| head.bytes),
            output: output.filter(|output| output.parent() == beside.as_deref()),
            recipe: head.and_then(|head| Recipe::from_toml(&head.recipe, Path::new(JOURNAL_FILE)).ok()),
            parts,
            files,
        }
    }

    /// The name of the output, as far as the folder's name tells it; long names are cut.
    pub fn output_name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(STAGING_SUFFIX).or_else(|| name.strip_suffix(PARTS_SUFFIX)).unwrap_or(&name);
        let name = stem.trim_start_matches('.').to_owned();
        // `.NAME.HASH-ID`
        name.rsplit_once('.').map_or(name.clone(), |(name, _)| name.to_owned())
    }

    /// Removes it with all that was written.
    ///
    /// # Errors
    /// When a process works on it, or it cannot be removed.
    pub fn remove(self) -> Result<(), MergeError> {
        let busy = || MergeError::Busy { path: self.folder.clone() };
        let paths = match &self.files {
            Files::Lock(path) => std::slice::from_ref(path),
            Files::Shared(paths) => paths,
        };
        let locks: Vec<File> = paths.iter().filter_map(|path| File::options().write(true).open(path).ok()).collect();
        if locks.iter().any(|lock| lock.try_lock().is_err()) {
            return Err(busy());
        }
        fs::remove_dir_all(&self.folder).map_err(|source| MergeError::Remove { path: self.folder.clone(), source })?;
        drop(locks);
        if let Files::Lock(path) = &self.files {
            // Without its folder a lock only stands in nobody's way.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

/// What merges left in a folder, or have under way there, in the order of their names.
///
/// # Errors
/// When the folder cannot be listed.
pub fn partials(folder: &Path) -> std::io::Result<Vec<Partial>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with('.')) else { continue };
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if name.ends_with(PARTS_SUFFIX) {
            found.push(parts::look(&entry.path()));
            continue;
        }
        let Some(stem) = name.strip_suffix(STAGING_SUFFIX) else { continue };
        let lock_path = folder.join(format!("{stem}{LOCK_SUFFIX}"));
        let lock = File::options().write(true).open(&lock_path);
        let is_alive = lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        let (head, done_bytes) = journal::look(&entry.path().join(JOURNAL_FILE)).unzip();
        let done_bytes = done_bytes.unwrap_or(0);
        found.push(Partial::new(&entry.path(), head, done_bytes, is_alive, Files::Lock(lock_path), None));
    }
    found.sort_by(|one, other| one.folder.cmp(&other.folder));
    Ok(found)
}
