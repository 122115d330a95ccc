//! What is measured: the floor, and what stands on it.

use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mergescope_core::alignment::{Alignment, Triple};
use mergescope_core::analysis;
use mergescope_core::merge::{self, MergeOptions, Verify};
use mergescope_core::positional::{begin_writing_back, read_exact_at, write_all_at};
use mergescope_core::preflight::preflight;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{Method, Recipe};
use mergescope_core::stream::Resources;

use super::read;
use super::triple::BenchTriple;

/// Bytes that the floor reads and writes at a time.
pub(super) const BLOCK: u64 = 4 << 20;

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads the bytes of three models and writes those of one, and syncs it: no merge can do with less.
    MergeFloor,
    /// Writes target + w·v: opening, preflight, weights, files beside them, reading back, report, sync and rename.
    Merge,
    /// The same without reading back.
    MergeUnread,
    /// TIES, with mergekit's defaults.
    Ties,
    /// DARE without election, half of v kept.
    Dare,
    /// DELLA without election, half of v kept.
    Della,
    /// Reads the bytes of three models.
    ReadFloor,
    /// Reads the same bytes out of memory maps: what the other way to read weights costs.
    ReadMapped,
    /// Reads the same bytes past the page cache (Linux alone).
    ReadDirect,
    /// Measures v: every sum, histogram and sample.
    Analysis,
    /// Compares v between all layers.
    LayerCosine,
    /// Opens the models and says whether they fit.
    Preflight,
}

impl Step {
    /// All, each floor before what stands on it.
    pub const ALL: [Self; 12] = [
        Self::MergeFloor,
        Self::Merge,
        Self::MergeUnread,
        Self::Ties,
        Self::Dare,
        Self::Della,
        Self::ReadFloor,
        Self::ReadMapped,
        Self::ReadDirect,
        Self::Analysis,
        Self::LayerCosine,
        Self::Preflight,
    ];

    /// Those that are measured where nobody asks for more.
    pub const USUAL: [Self; 4] = [Self::MergeFloor, Self::Merge, Self::ReadFloor, Self::Analysis];

    /// Its name on the command line and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::MergeFloor => "merge-floor",
            Self::Merge => "merge",
            Self::MergeUnread => "merge-unread",
            Self::Ties => "ties",
            Self::Dare => "dare",
            Self::Della => "della",
            Self::ReadFloor => "read-floor",
            Self::ReadMapped => "read-mapped",
            Self::ReadDirect => "read-direct",
            Self::Analysis => "analysis",
            Self::LayerCosine => "layer-cosine",
            Self::Preflight => "preflight",
        }
    }

    /// What it is held against; itself where there is no floor.
    pub fn floor(self) -> Self {
        match self {
            Self::MergeFloor | Self::Merge | Self::MergeUnread | Self::Ties | Self::Dare | Self::Della => {
                Self::MergeFloor
            }
            Self::ReadFloor | Self::ReadMapped | Self::ReadDirect | Self::Analysis | Self::LayerCosine => {
                Self::ReadFloor
            }
            Self::Preflight => Self::Preflight,
        }
    }

    /// Does it once, and gives the time that it took; what it writes goes to `scratch`, which must not exist.
    ///
    /// # Errors
    /// When the models cannot be read, or `scratch` cannot be written.
    pub fn run(self, triple: &BenchTriple, scratch: &Path, resources: &Resources) -> anyhow::Result<Duration> {
        let recipe = triple.recipe();
        let began = Instant::now();
        match self {
            Self::MergeFloor => floor(triple, Some(scratch), resources.threads)?,
            Self::ReadFloor => floor(triple, None, resources.threads)?,
            Self::ReadMapped => read::mapped(triple, resources.threads)?,
            Self::ReadDirect => read::direct(triple, resources.threads)?,
            Self::Merge => drop(merge::merge(&recipe, scratch, resources, &Control::new())?),
            Self::MergeUnread => {
                let options = MergeOptions { verify: Verify::None, ..MergeOptions::default() };
                drop(merge::merge_with(&recipe, scratch, options, resources, &Control::new())?);
            }
            Self::Ties | Self::Dare | Self::Della => {
                drop(merge::merge(&self.of_method(recipe), scratch, resources, &Control::new())?);
            }
            Self::Preflight => {
                let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
                drop(preflight(&triple, &Control::new())?);
            }
            Self::Analysis | Self::LayerCosine => {
                let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
                let alignment = Alignment::new(&triple);
                if self == Self::Analysis {
                    drop(analysis::measure(&triple, &alignment, resources, &Control::new())?);
                } else {
                    drop(analysis::layer_products(&triple, &alignment, resources, &Control::new())?);
                }
            }
        }
        Ok(began.elapsed())
    }

    fn of_method(self, mut recipe: Recipe) -> Recipe {
        recipe.method.name = match self {
            Self::Ties => Method::Ties,
            Self::Dare => Method::DareLinear,
            _ => Method::DellaLinear,
        };
        if self != Self::Ties {
            recipe.method.density = Some(0.5);
        }
        recipe
    }
}

/// A piece of the floor's work: the same stretch of a weight file of each model.
struct Piece {
    file: usize,
    offset: u64,
    length: u64,
}

/// Reads all weight files in large pieces by several threads; with `scratch`, each piece of the target is written there too,
/// and all of it synced.
fn floor(triple: &BenchTriple, scratch: Option<&Path>, threads: usize) -> anyhow::Result<()> {
    let models = ["pre", "post", "target"].map(|role| triple.weights(role));
    let [pre, post, target] = models;
    let (pre, post, target) = (pre?, post?, target?);
    let open = |paths: &[std::path::PathBuf]| paths.iter().map(File::open).collect::<io::Result<Vec<_>>>();
    let inputs = [open(&pre)?, open(&post)?, open(&target)?];
    if let Some(scratch) = scratch {
        fs::create_dir(scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    }
    let mut outputs = Vec::new();
    let mut pieces = Vec::new();
    for (file, path) in target.iter().enumerate() {
        let size = inputs[2][file].metadata()?.len();
        if let (Some(scratch), Some(name)) = (scratch, path.file_name()) {
            let path = scratch.join(name);
            let output = File::create_new(&path).and_then(|output| output.set_len(size).map(|()| output));
            outputs.push(output.with_context(|| format!("cannot write {}", path.display()))?);
        }
        pieces.extend((0..size).step_by(BLOCK as usize).map(|offset| Piece {
            file,
            offset,
            length: BLOCK.min(size - offset),
        }));
    }

    in_parallel(pieces.len(), threads, || {
        let (inputs, outputs, pieces) = (&inputs, &outputs, &pieces);
        let whither = scratch.unwrap_or(Path::new(""));
        let mut buffer = vec![0; BLOCK as usize];
        move |piece: usize| {
            let piece = &pieces[piece];
            let bytes = &mut buffer[..piece.length as usize];
            for model in inputs {
                read_exact_at(&model[piece.file], piece.offset, bytes)?;
            }
            if let Some(output) = outputs.get(piece.file) {
                let room = || format!("cannot write {} bytes in {}; is there room?", bytes.len(), whither.display());
                write_all_at(output, piece.offset, bytes).with_context(room)?;
                begin_writing_back(output, piece.offset, piece.length);
            }
            Ok(())
        }
    })?;
    for output in outputs {
        output.sync_all()?;
    }
    Ok(())
}

/// Does `pieces` of work by several threads; `worker` makes what each does a piece with.
pub(super) fn in_parallel<W: FnMut(usize) -> anyhow::Result<()>>(
    pieces: usize,
    threads: usize,
    worker: impl Fn() -> W + Sync,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut does = worker();
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                piece if piece < pieces => does(piece)?,
                _ => return Ok(()),
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            // A panic of the floor is a fault of this program, which ends with it.
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Threads that a step uses where nobody says: one a core.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::super::shape::Shape;
    use super::super::workplace::Workplace;
    use super::*;

    #[test]
    fn every_step_runs_and_the_floor_writes_as_many_bytes_as_a_model_has() {
        let root = tempfile::tempdir().unwrap();
        let place = Workplace::of(root.path()).unwrap();
        let triple = BenchTriple::prepare(&place, Shape::Tiny, false, &Control::new()).unwrap();
        for step in Step::ALL {
            if step == Step::ReadDirect && !cfg!(target_os = "linux") {
                continue;
            }
            let scratch = root.path().join(step.label());
            step.run(&triple, &scratch, &Resources::default()).unwrap();
            let writes = step.floor() == Step::MergeFloor;
            assert_eq!(scratch.exists(), writes, "{}", step.label());
            if writes {
                let size = |path: &Path| fs::metadata(path).unwrap().len();
                let written = size(&scratch.join("model.safetensors"));
                assert_eq!(written, size(&triple.weights("target").unwrap()[0]), "{}", step.label());
            }
        }
    }
}
