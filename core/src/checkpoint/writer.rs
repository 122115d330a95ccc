//! The weight files of a model that is to be written: names, headers and offsets, all known before the first byte.
//!
//! Conventions are the Hub's: tensors in one order over all shards, each shard filled until the next tensor would pass the
//! limit, `model.safetensors` when one is enough and `model-0000i-of-0000n.safetensors` with an index when it is not.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::byte_count;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputTensor {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<u64>,
}

impl OutputTensor {
    /// Its length. Shapes come from checkpoints whose byte counts were checked; wider types may still overflow.
    fn bytes(&self) -> u64 {
        byte_count(self.dtype, &self.shape).unwrap_or(u64::MAX)
    }
}

/// One weight file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFile {
    /// Its name in the output folder.
    pub name: String,
    /// Length of the header and its JSON, padded to 8 bytes: the file's first bytes.
    pub header: Vec<u8>,
    /// Its size, header included.
    pub bytes: u64,
}

/// Where a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Position in [`WeightFiles::files`].
    pub file: usize,
    /// Offset of its first byte in that file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The weight files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFiles {
    /// The files in name order.
    pub files: Vec<WeightFile>,
    /// For each tensor, in the order given, where it goes.
    pub slots: Vec<Slot>,
    /// `STEM.safetensors.index.json`, when there are several files.
    pub index: Option<String>,
}

impl WeightFiles {
    /// Lays out `tensors` in files of at most `shard_bytes` of tensors; a larger tensor gets a file of its own. Names of
    /// files begin with `stem`: `model` for what loaders of models look for.
    pub fn plan(stem: &str, tensors: &[OutputTensor], shard_bytes: u64) -> Self {
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        let mut filled: u64 = 0;
        for (position, tensor) in tensors.iter().enumerate() {
            let bytes = tensor.bytes();
            match groups.last_mut() {
                Some(group) if filled.saturating_add(bytes) <= shard_bytes => {
                    group.end = position + 1;
                    filled += bytes;
                }
                _ => {
                    groups.push(position..position + 1);
                    filled = bytes;
                }
            }
        }

        let mut files = Vec::with_capacity(groups.len());
        let mut slots = Vec::with_capacity(tensors.len());
        let mut weight_map = BTreeMap::new();
        for (number, group) in groups.iter().enumerate() {
            let name = match groups.len() {
                1 => format!("{stem}.safetensors"),
                count => format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1),
            };
            let (header, data_bytes) = header(&tensors[group.clone()]);
            let mut offset = header.len() as u64;
            for tensor in &tensors[group.clone()] {
                slots.push(Slot { file: number, offset, bytes: tensor.bytes() });
                offset = offset.saturating_add(tensor.bytes());
                weight_map.insert(tensor.name.clone(), name.clone());
            }
            let bytes = header.len() as u64 + data_bytes;
            files.push(WeightFile { name, header, bytes });
        }
        let total_size = slots.iter().map(|slot| slot.bytes).fold(0, u64::saturating_add);
        let index = (files.len() > 1).then(|| {
            let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
            format!("{index:#}\n")
        });
        Self { files, slots, index }
    }

    /// Lays out `tensors` in one file of that name.
    pub fn one(name: &str, tensors: &[OutputTensor]) -> Self {
        let mut plan = Self::plan(super::MODEL_STEM, tensors, u64::MAX);
        for file in &mut plan.files {
            name.clone_into(&mut file.name);
        }
        plan
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

/// The header's bytes, and how many bytes of data follow it.
fn header(tensors: &[OutputTensor]) -> (Vec<u8>, u64) {
    let mut entries = Map::new();
    // What transformers looks for before it loads a file.
    entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end: u64 = 0;
    for tensor in tensors {
        let start = end;
        end = end.saturating_add(tensor.bytes());
        let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] });
        entries.insert(tensor.name.clone(), entry);
    }
    let mut json = Value::Object(entries).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    (header, end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;

    fn tensors(sizes: &[u64]) -> Vec<OutputTensor> {
        let tensor = |(i, &size)| OutputTensor { name: format!("t{i}"), dtype: Dtype::BF16, shape: vec![size] };
        sizes.iter().enumerate().map(tensor).collect()
    }

    #[test]
    fn one_file_needs_no_index() {
        let plan = WeightFiles::plan("model", &tensors(&[3, 0, 5]), 1000);
        assert_eq!(plan.files[0].name, "model.safetensors");
        assert_eq!((plan.files.len(), plan.index), (1, None));
    }

    #[test]
    fn shards_are_filled_in_order_and_a_large_tensor_stands_alone() {
        let plan = WeightFiles::plan("model", &tensors(&[4, 4, 100, 4]), 16);
        let files: Vec<usize> = plan.slots.iter().map(|slot| slot.file).collect();
        assert_eq!(files, [0, 0, 1, 2]);
        assert_eq!(plan.files[1].name, "model-00002-of-00003.safetensors");
        let index: Value = serde_json::from_str(&plan.index.unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_size"], 224);
        assert_eq!(index["weight_map"]["t3"], "model-00003-of-00003.safetensors");
    }

    proptest! {
        #[test]
        fn every_planned_file_is_valid_safetensors(sizes in proptest::collection::vec(0_u64..50, 1..20), limit in 1_u64..200) {
            let tensors = tensors(&sizes);
            let plan = WeightFiles::plan("model", &tensors, limit);
            for (number, file) in plan.files.iter().enumerate() {
                let mut bytes = file.header.clone();
                bytes.resize(file.bytes as usize, 0);
                let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
                for (tensor, slot) in tensors.iter().zip(&plan.slots).filter(|(_, slot)| slot.file == number) {
                    let info = metadata.info(&tensor.name).unwrap();
                    prop_assert_eq!(8 + header as u64 + info.data_offsets.0 as u64, slot.offset);
                }
            }
        }
    }
}
