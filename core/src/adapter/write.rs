//! The weight file of an adapter: factors kept aside as they are found, then laid out once all ranks are known.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use faer::MatRef;
use xxhash_rust::xxh3::Xxh3;

use super::factors::Factors;
use crate::checkpoint::{Dtype, OutputTensor, WeightFile, WeightFiles};
use crate::merge::MergeError;
use crate::merge::output::WrittenFile;
use crate::numeric::{BLOCK, round_nearest};

/// The weight file, as PEFT calls it.
pub(super) const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// The file in the staging folder in which factors wait. Their place in the weight file depends on ranks yet to be found.
const ASIDE_FILE: &str = "factors";

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Tensors that wait for their place.
pub(super) struct Aside {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    waiting: Vec<Waiting>,
    /// Of the bytes so far of the tensor begun last.
    sum: Xxh3,
}

/// A tensor that waits.
struct Waiting {
    name: String,
    dtype: Dtype,
    shape: Shape,
    /// Where its bytes begin.
    first: u64,
    /// Where they end, once all are written.
    end: u64,
    /// The checksum of its bytes, then.
    sum: u128,
}

/// How it is to be stored.
enum Shape {
    /// As it waits.
    Whole(Vec<u64>),
    /// rank × columns; rows of zeros may be added.
    A { rank: u64, cols: u64 },
    /// rows × rank; columns of zeros may be added.
    B { rows: u64, rank: u64 },
}

impl Aside {
    /// Begins in the folder `staging`.
    pub(super) fn create(staging: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let path = staging.join(ASIDE_FILE);
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file), bytes: 0, waiting: Vec::new(), sum: Xxh3::new() }),
            Err(error) => Err((path, error)),
        }
    }

    /// Where the factors wait.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the factors of a module aside. `inputs` and `outputs` may be more than the factors have: the rest is 0.
    pub(super) fn add_factors(
        &mut self,
        [a, b]: [String; 2],
        factors: &Factors,
        inputs: u64,
        outputs: u64,
        dtype: Dtype,
    ) -> io::Result<()> {
        let rank = factors.a.ncols();
        // A module of rank 0 is stored as one of rank 1 that does nothing.
        let stored = rank.max(1);
        self.begin(a, dtype, Shape::A { rank: stored as u64, cols: inputs });
        for row in 0..stored {
            let column = factors.a.as_ref().subcols(row.min(rank), usize::from(row < rank));
            self.write_padded(column, inputs, dtype)?;
        }
        self.begin(b, dtype, Shape::B { rows: outputs, rank: stored as u64 });
        for row in 0..outputs as usize {
            let count = usize::from(row < factors.b.nrows());
            let row = factors.b.as_ref().subrows(row * count, count).transpose();
            self.write_padded(row, stored as u64, dtype)?;
        }
        Ok(())
    }

    /// Begins a tensor that is stored as it is; its bytes follow by [`Aside::write`].
    pub(super) fn begin_whole(&mut self, name: String, dtype: Dtype, shape: Vec<u64>) {
        self.begin(name, dtype, Shape::Whole(shape));
    }

    /// Writes bytes of the tensor begun last.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }

    fn begin(&mut self, name: String, dtype: Dtype, shape: Shape) {
        self.end();
        self.waiting.push(Waiting { name, dtype, shape, first: self.bytes, end: self.bytes, sum: 0 });
    }

    /// Keeps the checksum of the tensor begun last.
    fn end(&mut self) {
        if let Some(last) = self.waiting.last_mut() {
            (last.end, last.sum) = (self.bytes, self.sum.digest128());
        }
        self.sum.reset();
    }

    /// Writes a column, or none, and zeros up to `count` elements.
    fn write_padded(&mut self, column: MatRef<'_, f64>, count: u64, dtype: Dtype) -> io::Result<()> {
        let width = dtype.bitsize() / 8;
        let (mut exact, mut rounded, mut bytes) = ([0.0; BLOCK], [0.0; BLOCK], [0; 8 * BLOCK]);
        let known = if column.ncols() == 0 { 0 } else { column.nrows() };
        for first in (0..count as usize).step_by(BLOCK) {
            let stretch = BLOCK.min(count as usize - first);
            for (at, exact) in exact[..stretch].iter_mut().enumerate() {
                *exact = if first + at < known { column[(first + at, 0)] } else { 0.0 };
            }
            round_nearest(dtype, &exact[..stretch], &mut bytes, &mut rounded);
            self.write(&bytes[..stretch * width])?;
        }
        Ok(())
    }

    /// Lays everything out in `staging`, filled up to `uniform` where that is given, and removes what waited; the weight file as it
    /// is meant to be.
    pub(super) fn finish(mut self, staging: &Path, uniform: Option<u32>) -> Result<WrittenFile, MergeError> {
        self.end();
        let Self { path, file, mut waiting, .. } = self;
        let to = staging.join(WEIGHTS_FILE);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MergeError::Write { path, source }
        };
        let mut from = file.into_inner().map_err(|error| failed(&path)(error.into_error()))?;
        waiting.sort_by(|a, b| crate::checkpoint::natural_cmp(&a.name, &b.name));
        let tensors: Vec<OutputTensor> = waiting.iter().map(|waiting| waiting.output(uniform)).collect();
        let planned = WeightFiles::one(WEIGHTS_FILE, &tensors);
        let WeightFile { header, bytes, .. } = &planned.files[0];
        let file = BufWriter::with_capacity(COPY_BYTES, File::create_new(&to).map_err(failed(&to))?);
        let mut out = Hashed { to: file, hasher: blake3::Hasher::new() };
        out.write_all(header).map_err(failed(&to))?;
        for tensor in &waiting {
            if !tensor.copy(&mut from, &mut out, uniform).map_err(failed(&to))? {
                let what = format!("factors of tensor `{}`", tensor.name);
                return Err(MergeError::Damaged { path, what, range: tensor.first..tensor.end, part: None });
            }
        }
        out.flush().map_err(failed(&to))?;
        drop(from);
        fs::remove_file(&path).map_err(failed(&path))?;
        Ok(WrittenFile { name: WEIGHTS_FILE.to_owned(), bytes: *bytes, hash: out.hasher.finalize() })
    }
}

/// Hashes what is written, before it leaves this process.
struct Hashed<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Sums what is read.
struct Summed<R> {
    from: R,
    sum: Xxh3,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.sum.update(&buffer[..count]);
        Ok(count)
    }
}

impl Waiting {
    fn output(&self, uniform: Option<u32>) -> OutputTensor {
        let full = |rank: u64| uniform.map_or(rank, u64::from);
        let shape = match self.shape {
            Shape::Whole(ref shape) => shape.clone(),
            Shape::A { rank, cols } => vec![full(rank), cols],
            Shape::B { rows, rank } => vec![rows, full(rank)],
        };
        OutputTensor { name: self.name.clone(), dtype: self.dtype, shape }
    }

    /// Copies it; whether its bytes are still those that were put aside.
    fn copy(&self, from: &mut File, to: &mut impl Write, uniform: Option<u32>) -> io::Result<bool> {
        from.seek(SeekFrom::Start(self.first))?;
        let width = self.dtype.bitsize() as u64 / 8;
        let zeros = |rank: u64| uniform.map_or(0, |uniform| u64::from(uniform).saturating_sub(rank));
        let mut from = Summed { from: BufReader::with_capacity(COPY_BYTES, from), sum: Xxh3::new() };
        match self.shape {
            Shape::Whole(ref shape) => copy(&mut from, to, shape.iter().product::<u64>() * width)?,
            Shape::A { rank, cols } => {
                copy(&mut from, to, rank * cols * width)?;
                copy(&mut io::repeat(0), to, zeros(rank) * cols * width)?;
            }
            Shape::B { rows, rank } if zeros(rank) == 0 => copy(&mut from, to, rows * rank * width)?,
            Shape::B { rows, rank } => {
                for _ in 0..rows {
                    copy(&mut from, to, rank * width)?;
                    copy(&mut io::repeat(0), to, zeros(rank) * width)?;
                }
            }
        }
        Ok(from.sum.digest128() == self.sum)
    }
}

/// Copies exactly so many bytes.
fn copy(from: &mut impl Read, to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(bytes), to)?;
    if copied == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be prepared has failed")]
mod tests {
    use super::*;

    /// Two tensors put aside.
    fn aside(folder: &Path) -> Aside {
        let mut aside = Aside::create(folder).unwrap();
        for (name, bytes) in [("a", [1_u8; 40]), ("b", [2; 40])] {
            aside.begin_whole(name.to_owned(), Dtype::F32, vec![10]);
            bytes.chunks(16).for_each(|bytes| aside.write(bytes).unwrap());
        }
        aside.file.flush().unwrap();
        aside
    }

    #[test]
    fn the_hash_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let written = aside(folder.path()).finish(folder.path(), None).unwrap();
        let file = fs::read(folder.path().join(WEIGHTS_FILE)).unwrap();
        assert_eq!((written.bytes, written.hash), (file.len() as u64, blake3::hash(&file)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "what waited is removed");
    }

    #[test]
    fn factors_that_changed_while_they_waited_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let aside = aside(folder.path());
        let path = aside.path().to_owned();
        let mut bytes = fs::read(&path).unwrap();
        bytes[45] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = aside.finish(folder.path(), None).unwrap_err();
        assert!(
            matches!(&error, MergeError::Damaged { what, range, .. } if what.contains("`b`") && *range == (40..80))
        );
    }
}
