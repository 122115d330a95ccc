//! Where outputs may be: in none of the models, which are only ever read.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};

/// A path without links, `.` and `..`, so that two spellings of one place are equal. A path that leads into one of the models,
/// given by name and place, is refused.
pub fn real(path: &Path, models: &[(String, PathBuf)]) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("{} cannot be written", path.display()))?;
    // Only what exists has a real path; what does not exist yet lies below it.
    let real = absolute.ancestors().find_map(|known| Some((known, known.canonicalize().ok()?)));
    let (known, existing) = real.unwrap_or((Path::new(""), PathBuf::new()));
    let mut real = existing.clone();
    for component in absolute.strip_prefix(known).unwrap_or(&absolute).components() {
        match component {
            Component::ParentDir => _ = real.pop(),
            other => real.push(other),
        }
    }
    for (model, root) in models {
        let root = root.canonicalize().unwrap_or_else(|_| root.clone());
        ensure!(
            !root.is_dir() || !existing.starts_with(&root),
            "{} lies inside {model}, and models are only ever read; choose another place",
            path.display(),
        );
    }
    Ok(real)
}
