//! Files and folders that are written whole or not at all, and never over anything.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, bail, ensure};

use crate::cli::{outside, print};

/// Somewhere that may be written to.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// The same without links, `.` and `..`: two spellings of one place are equal here.
    real: PathBuf,
    is_folder: bool,
}

impl Place {
    /// A folder that is new or empty, and in none of the models, given by name and place.
    pub fn folder(path: &Path, models: &[(String, PathBuf)]) -> anyhow::Result<Self> {
        let place = Self::outside(path, true, models)?;
        place.check_folder()?;
        place.check_writable()?;
        Ok(place)
    }

    /// A file that does not exist, in none of the models.
    pub fn file(path: &Path, models: &[(String, PathBuf)]) -> anyhow::Result<Self> {
        let place = Self::outside(path, false, models)?;
        place.check_file()?;
        let folder = folder_of(path);
        ensure!(folder.is_dir(), "{} cannot be written: there is no folder {}", path.display(), folder.display());
        place.check_writable()?;
        Ok(place)
    }

    fn outside(path: &Path, is_folder: bool, models: &[(String, PathBuf)]) -> anyhow::Result<Self> {
        ensure!(path.file_name().is_some(), "{} is not the name of a new file or folder", path.display());
        let real = outside::real(path, models)?;
        Ok(Self { path: path.to_owned(), real, is_folder })
    }

    fn check_folder(&self) -> anyhow::Result<()> {
        let shown = self.path.display();
        if self.path.symlink_metadata().is_err() {
            return Ok(());
        }
        let is_dangling = self.path.is_symlink() && !self.path.exists();
        ensure!(!is_dangling, "{shown} is a link to something that does not exist; choose another place");
        ensure!(self.path.is_dir(), "{shown} exists and is not a folder; choose another place");
        let mut entries = fs::read_dir(&self.path).with_context(|| format!("{shown} cannot be looked into"))?;
        ensure!(entries.next().is_none(), "{shown} exists and is not empty; choose a new or empty folder");
        Ok(())
    }

    fn check_file(&self) -> anyhow::Result<()> {
        let exists = self.path.symlink_metadata().is_ok();
        ensure!(!exists, "{} exists and is never overwritten; choose another name", self.path.display());
        Ok(())
    }

    /// Writes something where it is to be and removes it again: permissions alone do not tell whether that can be done.
    fn check_writable(&self) -> anyhow::Result<()> {
        let failed = || format!("{} cannot be written", self.path.display());
        let staging = self.staging();
        let name = staging.file_name().with_context(failed)?;
        let folder = staging.ancestors().skip(1).find(|folder| folder.exists()).with_context(failed)?;
        ensure!(folder.is_dir(), "{}: {} is not a folder", failed(), folder.display());
        let probe = folder.join(name);
        File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).with_context(failed)
    }

    /// Where it grows: beside where it is to be, under a hidden name.
    fn staging(&self) -> PathBuf {
        let name = self.real.file_name().unwrap_or_default().to_string_lossy();
        folder_of(&self.real).join(format!(".{name}.mergescope-{}", process::id()))
    }
}

/// Makes sure that each of the outputs, given with their flags, can be written when the others are.
///
/// Tables and charts may share a folder; else no output may be another or lie inside it.
pub fn check_apart(outputs: &[(&str, &Place)]) -> anyhow::Result<()> {
    for (position, (flag, place)) in outputs.iter().enumerate() {
        for (other_flag, other) in &outputs[position + 1..] {
            let (shown, other_shown) = (place.path.display(), other.path.display());
            if place.real == other.real {
                let shared = place.is_folder && other.is_folder;
                ensure!(shared, "{flag} and {other_flag} are both {shown}; choose another place for one of them");
                continue;
            }
            let inside = "choose a place outside it";
            ensure!(
                !place.real.starts_with(&other.real),
                "{shown}, given with {flag}, lies inside {other_shown}, given with {other_flag}; {inside}"
            );
            ensure!(
                !other.real.starts_with(&place.real),
                "{other_shown}, given with {other_flag}, lies inside {shown}, given with {flag}; {inside}"
            );
        }
    }
    Ok(())
}

/// Where the file or folder is to be.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

enum Content {
    Folder(Vec<(String, String)>),
    File(String),
}

/// What is to be written.
#[derive(Default)]
pub struct Files {
    outputs: Vec<(Place, Content)>,
}

impl Files {
    /// A folder of files, no two of one name.
    pub fn folder(&mut self, place: Place, files: impl IntoIterator<Item = (String, String)>) {
        // Tables and charts may share a folder.
        for (known, content) in &mut self.outputs {
            if let Content::Folder(known_files) = content
                && known.real == place.real
            {
                known_files.extend(files);
                return;
            }
        }
        self.outputs.push((place, Content::Folder(files.into_iter().collect())));
    }

    /// A file.
    pub fn file(&mut self, place: Place, content: String) {
        self.outputs.push((place, Content::File(content)));
    }

    /// Writes all of it; gives a line about each that was written, and why another was not.
    pub fn write(self) -> impl Iterator<Item = anyhow::Result<String>> {
        self.outputs.into_iter().map(|(place, content)| write(&place, &content))
    }
}

fn write(place: &Place, content: &Content) -> anyhow::Result<String> {
    // What a link leads to, not the link.
    let (path, staging) = (&place.real, place.staging());
    let folder = folder_of(path);
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let failed = || format!("{} cannot be written", place.path.display());
    let staged = match content {
        Content::Folder(files) => stage_folder(&staging, files),
        Content::File(text) => write_new(&staging, text),
    };
    let moved = staged.with_context(failed).and_then(|()| {
        // It may have been made meanwhile.
        match content {
            Content::Folder(_) => place.check_folder()?,
            Content::File(_) => place.check_file()?,
        }
        if matches!(content, Content::Folder(_)) && path.symlink_metadata().is_ok() {
            // Only an empty folder can be removed this way, so nothing is lost.
            fs::remove_dir(path).with_context(failed)?;
        }
        fs::rename(&staging, path).with_context(failed)
    });
    if let Err(error) = moved {
        let _ = fs::remove_dir_all(&staging).or_else(|_| fs::remove_file(&staging));
        bail!(error);
    }
    let shown = print::line(&place.path.to_string_lossy());
    Ok(match content {
        Content::Folder(files) => format!("Written: {shown} ({})", crate::format::plural(files.len(), "file")),
        Content::File(_) => format!("Written: {shown}"),
    })
}

fn stage_folder(staging: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    fs::create_dir(staging)?;
    files.iter().try_for_each(|(name, content)| write_new(&staging.join(name), content))
}

fn write_new(path: &Path, content: &str) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}
