//! Recipes as files: read with messages that say where and what to do, and saved so that a failure leaves the old file.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::explain::{explain, passed_over};
use super::mergekit::{self, Imported, MergekitError, ModelFacts, NotCarried};
use super::{Recipe, VERSION};
use crate::hub;

/// Largest recipe that is read, in bytes.
const MAX_RECIPE_BYTES: u64 = mergekit::MAX_BYTES;

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {path}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the recipe {path}")]
    Save {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no recipe.
    #[error("the recipe {path} is not valid: line {line}, column {column}: {message}")]
    Toml {
        /// The file.
        path: String,
        /// Where, counted from one.
        line: usize,
        /// The character of the line, counted from one.
        column: usize,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The file is no merge file of mergekit.
    #[error("the merge file {path} cannot be read")]
    Mergekit {
        /// The file.
        path: String,
        /// Where and why.
        source: MergekitError,
    },
    /// A recipe cannot say all that a merge file of mergekit says.
    #[error("the merge file {path} says what a recipe cannot: {}; see it all, and leave it out, with `mergescope recipe import --lossy`", listed(.not_carried))]
    NotCarried {
        /// The file.
        path: String,
        /// All of it.
        not_carried: Vec<NotCarried>,
    },
    /// It was written by a newer version.
    #[error(
        "the recipe {path} has version {found}; this version of Mergescope reads version {VERSION}: update Mergescope"
    )]
    Version {
        /// The file.
        path: String,
        /// The version in the file.
        found: u64,
    },
}

fn listed(not_carried: &[NotCarried]) -> String {
    not_carried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a recipe's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A recipe.
    Toml,
    /// A merge file of mergekit, in YAML.
    Mergekit,
}

/// A recipe that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The recipe; paths of models that were relative to the file are absolute.
    pub recipe: Recipe,
    /// What the file is.
    pub format: FileFormat,
    /// How a merge file of mergekit was understood.
    pub notes: Vec<String>,
}

impl Recipe {
    /// Parses TOML; `path` is for the message only. Relative paths in it stay as they are written.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, RecipeError> {
        /// What every version of the format has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let shown = || path.display().to_string();
        let problem = |error: &toml::de::Error| {
            let (line, column, message) = match is_merge_file(text) {
                true => (
                    1,
                    1,
                    "this is a merge file of mergekit and no recipe; give it a name that ends in .yaml".to_owned(),
                ),
                false => explain(text, error),
            };
            RecipeError::Toml { path: shown(), line, column, message }
        };
        // A newer version's keys are not known: its number comes before them.
        let Versioned { version } = toml::from_str(text).map_err(|error| problem(&error))?;
        if version > u64::from(VERSION) {
            return Err(RecipeError::Version { path: shown(), found: version });
        }
        if version == 0 {
            let message = format!("there is no version 0; write version = {VERSION}");
            return Err(RecipeError::Toml { path: shown(), line: 1, column: 1, message });
        }
        let recipe = toml::from_str(text).map_err(|error| problem(&error))?;
        match passed_over(text) {
            Some(error) => Err(problem(&error)),
            None => Ok(recipe),
        }
    }

    /// Reads a recipe, or a merge file of mergekit of which nothing is lost.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Self::open(path).map(|opened| opened.recipe)
    }

    /// Reads a recipe, or a merge file of mergekit of which nothing is lost, and says which of them it is.
    ///
    /// A model's path that is not absolute is relative to the file's folder. What is not there is looked for in the Hub
    /// cache, and never in the folder that the program is run in.
    pub fn open(path: &Path) -> Result<Opened, RecipeError> {
        let text = read_text(path)?;
        let folder = folder_of(path);
        match format_of(path, &text) {
            FileFormat::Toml => {
                let mut recipe = Self::from_toml(&text, path)?;
                recipe.for_each_model(|model| *model = hub::beside(model, &folder));
                Ok(Opened { recipe, format: FileFormat::Toml, notes: Vec::new() })
            }
            FileFormat::Mergekit => {
                let imported = import(&text, path, &mergekit::at_hand)?;
                if !imported.not_carried.is_empty() {
                    let path = path.display().to_string();
                    return Err(RecipeError::NotCarried { path, not_carried: imported.not_carried });
                }
                Ok(Opened { recipe: imported.recipe, format: FileFormat::Mergekit, notes: imported.notes })
            }
        }
    }

    /// The recipe as TOML, with the models as they are named in it.
    pub fn to_toml(&self) -> String {
        // Strings, numbers and unit variants in nested structs: all of it has a TOML form.
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// The recipe as TOML for a file in `folder`: models in that folder, or below it, by a relative path, so that it can be
    /// moved or passed on with its models; others by an absolute path or Hub id.
    pub fn to_toml_in(&self, folder: &Path) -> String {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut recipe = self.clone();
        recipe.for_each_model(|model| *model = hub::named_from(model, &folder));
        recipe.to_toml()
    }

    /// Saves the recipe; see [`Recipe::to_toml_in`]. The old file is replaced only by a whole new one.
    pub fn save(&self, path: &Path) -> Result<(), RecipeError> {
        replace(path, self.to_toml_in(&folder_of(path)).as_bytes())
            .map_err(|source| RecipeError::Save { path: path.display().to_string(), source })
    }

    /// Every model that is named, to rename it; what is empty names none.
    fn for_each_model(&mut self, mut each: impl FnMut(&mut String)) {
        each_named(&mut self.target, &mut each);
        for vector in self.vectors_mut() {
            each_named(&mut vector.pre, &mut each);
            each_named(&mut vector.post, &mut each);
        }
    }
}

fn each_named(model: &mut String, each: &mut impl FnMut(&mut String)) {
    if !model.is_empty() {
        each(model);
    }
}

/// Reads `text`, which is that of the merge file at `path`; `facts` says what is known of a model. Unlike [`Recipe::open`] it
/// gives a recipe of what is lost on the way too, with a list of all that is.
pub fn import(text: &str, path: &Path, facts: &dyn Fn(&str) -> Option<ModelFacts>) -> Result<Imported, RecipeError> {
    mergekit::import(text, &folder_of(path), facts)
        .map_err(|source| RecipeError::Mergekit { path: path.display().to_string(), source })
}

/// The text of a recipe or merge file.
pub fn read_text(path: &Path) -> Result<String, RecipeError> {
    let io = |source| RecipeError::Io { path: path.display().to_string(), source };
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    let bytes = metadata.len();
    if bytes > MAX_RECIPE_BYTES {
        return Err(io(io::Error::other(format!("{bytes} bytes are too many for a recipe"))));
    }
    fs::read_to_string(path).map_err(io)
}

/// What a file is: by its ending, and where that says nothing by the key that every merge file of mergekit has.
pub fn format_of(path: &Path, text: &str) -> FileFormat {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let is_merge_file = match ending.as_deref() {
        Some("yaml" | "yml") => true,
        Some("toml") => false,
        _ => is_merge_file(text),
    };
    if is_merge_file { FileFormat::Mergekit } else { FileFormat::Toml }
}

/// Whether a text has the key that every merge file of mergekit has.
fn is_merge_file(text: &str) -> bool {
    text.lines().any(|line| line.strip_prefix("merge_method").is_some_and(|rest| rest.trim_start().starts_with(':')))
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Writes a file so that there is at any moment the old one or the whole new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(draft);
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&draft, &path));
    if replaced.is_err() {
        // The error that counts is the one at hand.
        let _ = fs::remove_file(&draft);
    }
    replaced
}
