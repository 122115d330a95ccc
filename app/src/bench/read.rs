//! Other ways to read the bytes of three models than the one that is used.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use mergescope_core::alignment::{Role, Triple};
use mergescope_core::checkpoint::ReadPath;

use super::step::{BLOCK, in_parallel};
use super::triple::BenchTriple;

/// Copies them out of memory maps.
pub(super) fn mapped(bench: &BenchTriple, threads: usize) -> anyhow::Result<()> {
    let recipe = bench.recipe();
    let triple = Triple::open(&recipe.vector.pre, &recipe.vector.post, &recipe.target)?;
    let mut pieces = Vec::new();
    for role in Role::ALL {
        for tensor in triple.get(role).tensors() {
            let offsets = (0..tensor.bytes).step_by(BLOCK as usize);
            pieces.extend(offsets.map(|offset| (role, tensor, offset, BLOCK.min(tensor.bytes - offset))));
        }
    }
    in_parallel(pieces.len(), threads, || {
        let (triple, pieces) = (&triple, &pieces);
        let mut buffer = vec![0; BLOCK as usize];
        move |piece| {
            let (role, tensor, offset, length) = pieces[piece];
            let bytes = &mut buffer[..length as usize];
            Ok(triple.get(role).read_by(ReadPath::Mapped, tensor, offset, bytes)?)
        }
    })
}

/// Bytes that addresses, offsets and lengths must be multiples of.
#[cfg(target_os = "linux")]
const ALIGNMENT: usize = 4096;

/// Reads them without the page cache.
#[cfg(target_os = "linux")]
pub(super) fn direct(bench: &BenchTriple, threads: usize) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt as _;

    let mut files = Vec::new();
    let mut pieces = Vec::new();
    for path in bench.all_weights()? {
        let bytes = path.metadata()?.len();
        pieces.extend((0..bytes).step_by(BLOCK as usize).map(|offset| (files.len(), offset)));
        files.push(open_direct(&path)?);
    }
    in_parallel(pieces.len(), threads, || {
        let (files, pieces) = (&files, &pieces);
        let mut room = vec![0; BLOCK as usize + ALIGNMENT];
        move |piece| {
            let (file, offset) = pieces[piece];
            let start = room.as_ptr().align_offset(ALIGNMENT);
            let buffer = &mut room[start..start + BLOCK as usize];
            let mut done = 0;
            // The end of a file is the only place where less than an aligned length is read.
            loop {
                let count = files[file].read_at(&mut buffer[done..], offset + done as u64)?;
                done += count;
                if done == buffer.len() || count % ALIGNMENT != 0 || count == 0 {
                    return Ok(());
                }
            }
        }
    })
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let opened = File::options().read(true).custom_flags(direct).open(path);
    opened.with_context(|| format!("{} cannot be read past the page cache", path.display()))
}

/// Not here.
#[cfg(not(target_os = "linux"))]
pub(super) fn direct(_bench: &BenchTriple, _threads: usize) -> anyhow::Result<()> {
    anyhow::bail!("files can be read past the page cache on Linux alone; leave read-direct out")
}
