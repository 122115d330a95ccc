//! Where a server finds a folder of this machine.

use std::path::{self, Path};

use super::spec::PathMapping;
use crate::engine::EngineError;

/// The server's path for `folder`: by the mapping with the longest local side that it lies in; as it is here without any.
pub(super) fn on_server(folder: &Path, mappings: &[PathMapping]) -> Result<String, EngineError> {
    let absolute = path::absolute(folder)
        .map_err(|error| EngineError::caused(format!("{} is no path", folder.display()), error))?;
    let no_text = || EngineError::failed(format!("{} is not text in UTF-8, which servers need", absolute.display()));
    if mappings.is_empty() {
        return absolute.to_str().map(str::to_owned).ok_or_else(no_text);
    }
    let within = mappings.iter().filter_map(|mapping| Some((mapping, absolute.strip_prefix(&mapping.local).ok()?)));
    let Some((mapping, rest)) = within.max_by_key(|(mapping, _)| mapping.local.components().count()) else {
        return Err(EngineError::failed(format!(
            "{} lies in none of the folders under `paths`, so that the server cannot be told where it is; add a mapping for it",
            absolute.display()
        )));
    };
    // Slashes whatever the system here: servers of models run where paths have them.
    let mut there = mapping.server.trim_end_matches('/').to_owned();
    for part in rest.components() {
        there.push('/');
        there.push_str(part.as_os_str().to_str().ok_or_else(no_text)?);
    }
    Ok(if there.is_empty() { "/".to_owned() } else { there })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(folder: &str, mappings: &[(&str, &str)]) -> Result<String, String> {
        let mappings: Vec<PathMapping> = mappings
            .iter()
            .map(|(local, server)| PathMapping { local: local.into(), server: (*server).to_owned() })
            .collect();
        on_server(Path::new(folder), &mappings).map_err(|error| error.to_string())
    }

    #[test]
    fn without_mappings_a_path_is_what_it_is_here() {
        assert_eq!(mapped("/models/w0.5", &[]).as_deref(), Ok("/models/w0.5"));
    }

    #[test]
    fn the_longest_mapping_wins_and_only_whole_names_count() {
        let mappings = [("/data", "/mnt/data/"), ("/data/merged", "/models"), ("/data/merge", "/wrong")];
        assert_eq!(mapped("/data/merged/w1/", &mappings).as_deref(), Ok("/models/w1"));
        assert_eq!(mapped("/data/other", &mappings).as_deref(), Ok("/mnt/data/other"));
        assert_eq!(mapped("/data", &mappings).as_deref(), Ok("/mnt/data"));
        assert_eq!(mapped("/srv/x", &[("/srv", "/")]).as_deref(), Ok("/x"));
    }

    #[test]
    fn a_folder_outside_all_mappings_is_refused() {
        let refused = mapped("/database/w1", &[("/data", "/models")]).unwrap_err();
        assert!(refused.starts_with("/database/w1 lies in none of the folders under `paths`"), "{refused}");
    }
}
