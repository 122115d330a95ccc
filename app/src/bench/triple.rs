//! Three synthetic models with small differences, as fine-tuning by reinforcement learning makes them.

use std::f32::consts::TAU;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use half::bf16;
use mergescope_core::checkpoint::WeightFiles;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;

use super::shape::Shape;
use super::workplace::Workplace;

/// Bytes of a weight file at most, as the Hub's models have them.
const SHARD_BYTES: u64 = 5_000_000_000;
/// Numbers that look random, drawn once and reused from places that differ: making them must not take longer than writing.
const POOL: usize = 1 << 22;
/// Elements made at a time.
const STEP: u64 = 1 << 20;
/// Standard deviations of weights, of v, and of what the target differs from pre by.
const DEVIATIONS: [f32; 3] = [0.02, 3e-4, 2e-4];
/// The models, in the order of [`DEVIATIONS`]: each is pre and a difference of its own.
const ROLES: [&str; 3] = ["pre", "post", "target"];
/// The models, in a folder of their own.
#[derive(Clone, Debug)]
pub struct BenchTriple {
    folder: PathBuf,
}

impl BenchTriple {
    /// Takes those of this shape that are in the workplace, or makes them: they appear there when they are whole. Models that are
    /// `sparse` have headers and holes that read as zeros: they take no room, and tell what a size costs in memory and what a number
    /// of tensors costs in time.
    ///
    /// # Errors
    /// When some of them are missing, or the disk has no room for the models and one more.
    pub fn prepare(place: &Workplace, shape: Shape, sparse: bool, control: &Control) -> anyhow::Result<Self> {
        let folder = place.models(&format!("{}{}", shape.label(), if sparse { "-sparse" } else { "" }));
        if fs::symlink_metadata(&folder).is_ok() {
            return Self::open(&folder);
        }
        let files = WeightFiles::plan("model", &shape.tensors(), SHARD_BYTES);
        let needed = if sparse { 0 } else { files.bytes() * (ROLES.len() as u64 + 1) };
        let free = fs4::available_space(place.folder());
        let free = free.with_context(|| format!("cannot look at {}", place.folder().display()))?;
        ensure!(
            free > needed,
            "{} has {free} bytes free and the benchmark needs {needed}: three models and one that is written; choose another --dir or a smaller --shape",
            place.folder().display()
        );
        let making = place.making();
        fs::create_dir(&making).with_context(|| format!("cannot make {}", making.display()))?;
        let growing = Self { folder: making.clone() };
        let made = growing
            .write(shape, &files, sparse, control)
            .and_then(|()| fs::rename(&making, &folder).with_context(|| format!("cannot make {}", folder.display())));
        match made {
            Ok(()) => Ok(Self { folder }),
            Err(error) => {
                // What cannot be removed is removed the next time.
                drop(fs::remove_dir_all(making));
                Err(error)
            }
        }
    }

    /// The models of a folder that [`Self::prepare`] made.
    ///
    /// # Errors
    /// When some of them are missing.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        for role in ROLES {
            ensure!(
                folder.join(role).is_dir(),
                "{} has no {role}; remove it, so that its models are made anew",
                folder.display()
            );
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a model.
    pub fn model(&self, role: &str) -> PathBuf {
        self.folder.join(role)
    }

    /// The weight files of a model, in order.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn weights(&self, role: &str) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.model(role);
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        files.sort();
        Ok(files)
    }

    /// The weight files of all models.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn all_weights(&self) -> anyhow::Result<Vec<PathBuf>> {
        let all = ROLES.map(|role| self.weights(role));
        Ok(all.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat())
    }

    /// target + 0.5·(post − pre).
    pub fn recipe(&self) -> Recipe {
        let [pre, post, target] = ROLES.map(|role| self.model(role).to_string_lossy().into_owned());
        let mut recipe = Recipe::new(pre, post, target);
        recipe.vector.w = 0.5;
        recipe
    }

    fn write(&self, shape: Shape, files: &WeightFiles, sparse: bool, control: &Control) -> anyhow::Result<()> {
        let mut random = Random::new();
        let tensors = shape.tensors();
        for role in ROLES {
            let folder = self.model(role);
            fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::write(folder.join("config.json"), format!("{:#}\n", shape.config()))?;
            if let Some(index) = &files.index {
                fs::write(folder.join("model.safetensors.index.json"), index)?;
            }
        }
        for (number, file) in files.files.iter().enumerate() {
            if sparse {
                for role in ROLES {
                    let mut holes = File::create(self.model(role).join(&file.name))?;
                    holes.write_all(&file.header)?;
                    holes.set_len(file.bytes)?;
                }
                continue;
            }
            let mut writers = Vec::new();
            for role in ROLES {
                let path = self.model(role).join(&file.name);
                let mut writer = BufWriter::with_capacity(1 << 20, File::create(&path)?);
                writer.write_all(&file.header)?;
                writers.push(writer);
            }
            for (tensor, _) in tensors.iter().zip(&files.slots).filter(|(_, slot)| slot.file == number) {
                let centre = if tensor.name.ends_with("norm.weight") { 1.0 } else { 0.0 };
                let elements: u64 = tensor.shape.iter().product();
                for first in (0..elements).step_by(STEP as usize) {
                    control.check()?;
                    let count = STEP.min(elements - first) as usize;
                    let [weights, v, other] = DEVIATIONS.map(|deviation| (random.stretch(count), deviation));
                    let mut write = |writer: usize, difference: Option<(usize, f32)>| -> std::io::Result<()> {
                        let at =
                            |(start, deviation): (usize, f32), index: usize| random.pool[start + index] * deviation;
                        let bytes: Vec<u8> = (0..count)
                            .flat_map(|index| {
                                let value = centre + at(weights, index);
                                let value = value + difference.map_or(0.0, |difference| at(difference, index));
                                bf16::from_f32(value).to_le_bytes()
                            })
                            .collect();
                        writers[writer].write_all(&bytes)
                    };
                    write(0, None)?;
                    write(1, Some(v))?;
                    write(2, Some(other))?;
                }
            }
            for writer in writers {
                writer.into_inner().map_err(|error| error.into_error())?.sync_all()?;
            }
        }
        Ok(())
    }
}

/// Numbers of a normal distribution, the same in every run.
struct Random {
    pool: Vec<f32>,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let mut random = Self { pool: Vec::new(), state: 1 };
        // Box and Muller (1958), from two even numbers in (0, 1] and [0, 1).
        random.pool = (0..POOL)
            .map(|_| {
                let radius = (-2.0 * (1.0 - random.even()).ln()).sqrt();
                radius * (TAU * random.even()).cos()
            })
            .collect();
        random
    }

    /// Sebastiano Vigna's splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn even(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Where `count` numbers of the pool begin.
    fn stretch(&mut self, count: usize) -> usize {
        (self.next() % (POOL - count) as u64) as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use mergescope_core::merge::open;

    use super::*;

    /// A workplace and the folder that it is in.
    fn place() -> (tempfile::TempDir, Workplace) {
        let root = tempfile::tempdir().unwrap();
        let place = Workplace::of(root.path()).unwrap();
        (root, place)
    }

    #[test]
    fn the_models_are_sound_and_taken_again_beside_those_of_other_shapes() {
        let (_root, place) = place();
        let prepare = |sparse| BenchTriple::prepare(&place, Shape::Tiny, sparse, &Control::new()).unwrap();
        let triple = prepare(false);
        let models = open(&triple.recipe()).unwrap();
        assert_eq!(models.target.tensors().len(), Shape::Tiny.tensors().len());
        let written = || fs::metadata(&triple.weights("pre").unwrap()[0]).unwrap().modified().unwrap();
        let first = written();
        assert_ne!(prepare(true).folder(), triple.folder());
        assert_eq!(prepare(false).folder(), triple.folder());
        assert_eq!(written(), first);
    }

    #[test]
    fn only_whole_models_appear() {
        let (_root, place) = place();
        let cancelled = Control::new();
        cancelled.cancel();
        BenchTriple::prepare(&place, Shape::Tiny, false, &cancelled).unwrap_err();
        assert!(!place.making().exists() && !place.models("tiny").exists());
        let triple = BenchTriple::prepare(&place, Shape::Tiny, false, &Control::new()).unwrap();
        fs::remove_dir_all(triple.model("post")).unwrap();
        let refused = BenchTriple::prepare(&place, Shape::Tiny, false, &Control::new()).unwrap_err().to_string();
        assert!(refused.contains("has no post; remove it"), "{refused}");
        assert!(triple.model("pre").exists(), "nothing is removed that was whole");
    }

    #[test]
    fn sparse_models_are_as_large_and_full_of_zeros() {
        let (_root, place) = place();
        let [whole, sparse] =
            [false, true].map(|sparse| BenchTriple::prepare(&place, Shape::Tiny, sparse, &Control::new()).unwrap());
        let size = |triple: &BenchTriple| fs::metadata(&triple.weights("post").unwrap()[0]).unwrap().len();
        assert_eq!(size(&whole), size(&sparse));
        assert_eq!(fs::read(&sparse.weights("post").unwrap()[0]).unwrap().last(), Some(&0));
        open(&sparse.recipe()).unwrap();
    }
}
