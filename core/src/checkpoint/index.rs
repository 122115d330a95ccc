//! The index of a model in several weight files: which file holds which tensor (`model.safetensors.index.json`).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::OpenError;

/// Largest index that is read, in bytes; 100,000 tensors need about 10 MB.
const MAX_INDEX_BYTES: u64 = 100_000_000;

/// Which weight file holds which tensor.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    weight_map: WeightMap,
}

/// Names of files, each kept once however many tensors it holds.
#[derive(Debug, Default)]
struct WeightMap {
    files: Vec<String>,
    /// Tensor name → position in `files`.
    file_of: HashMap<String, usize>,
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = WeightMap;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object that maps tensor names to file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut weight_map = WeightMap::default();
                let mut positions: HashMap<String, usize> = HashMap::new();
                while let Some((tensor, name)) = map.next_entry::<String, String>()? {
                    // `./` is written by some, and leads nowhere.
                    let name = name.strip_prefix("./").unwrap_or(&name);
                    let file = positions.get(name).copied().unwrap_or_else(|| {
                        let file = weight_map.files.len();
                        weight_map.files.push(name.to_owned());
                        positions.insert(name.to_owned(), file);
                        file
                    });
                    weight_map.file_of.insert(tensor, file);
                }
                Ok(weight_map)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Index {
    /// Parses an index. Whatever it holds beside the map is passed over.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Reads and parses the index at `path`.
    pub(super) fn read(path: PathBuf) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).map_err(io)?.take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(OpenError::IndexTooLarge { path });
        }
        let index = Self::parse(&bytes).map_err(|source| OpenError::Index { path: path.clone(), source })?;
        if index.weight_map.file_of.is_empty() { Err(OpenError::EmptyIndex { path }) } else { Ok(index) }
    }

    /// The files that hold tensors, in name order.
    pub(super) fn files(&self) -> Vec<String> {
        let WeightMap { files, file_of } = &self.weight_map;
        // A name that a later entry for the same tensor took the place of holds nothing.
        let used: BTreeSet<&String> = file_of.values().map(|&file| &files[file]).collect();
        used.into_iter().cloned().collect()
    }

    /// Whether a tensor that `file` holds is to be taken from it: one that lies in several files is the one that the index
    /// points to, and one that the index does not know may be anywhere.
    pub(super) fn takes(&mut self, tensor: &str, file: &str) -> bool {
        let WeightMap { files, file_of } = &mut self.weight_map;
        let Some((name, wanted)) = file_of.remove_entry(tensor) else { return true };
        let takes = files[wanted] == file;
        if !takes {
            file_of.insert(name, wanted);
        }
        takes
    }

    /// The first tensor, by name, that was not [taken](Self::takes), and the file that should have it.
    pub(super) fn missing(&self) -> Option<(&String, &String)> {
        let WeightMap { files, file_of } = &self.weight_map;
        file_of.iter().map(|(tensor, &file)| (tensor, &files[file])).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_in_several_files_is_taken_from_the_one_that_is_named() {
        let json = br#"{"metadata":{},"weight_map":{"b":"./two","a":"one","c":"one","gone":"two"}}"#;
        let mut index = Index::parse(json).unwrap();
        assert_eq!(index.files(), ["one", "two"]);
        assert!(index.takes("a", "one") && !index.takes("b", "one") && index.takes("b", "two"));
        assert!(index.takes("unnamed", "one"), "what the index does not know may be anywhere");
        assert_eq!(index.missing(), Some((&"c".to_owned(), &"one".to_owned())), "the first by name");
    }

    #[test]
    fn a_file_that_a_repeated_name_points_away_from_is_not_looked_for() {
        let index = Index::parse(br#"{"weight_map":{"a":"one","a":"two"}}"#).unwrap();
        assert_eq!(index.files(), ["two"]);
    }
}
