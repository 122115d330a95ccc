//! The one way weights are read: independent units of a plan, claimed by workers, with bounded buffers.

mod in_order;
mod tally;

use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::checkpoint::{ReadError, ReadPath};
use crate::method::LEAF;
use crate::progress::{Cancelled, Control};

pub(crate) use in_order::InOrder;
pub(crate) use tally::Tally;

/// What a pass over the weights may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Worker threads; 0 counts as 1.
    pub threads: usize,
    /// Bytes of all buffers of all workers together. Each worker has at least room for 8,192 elements.
    pub memory_bytes: u64,
    /// Most bytes that one unit of work writes, or reads of each model where nothing is written.
    pub unit_bytes: u64,
    /// How weights are read.
    pub read_path: ReadPath,
}

impl Default for Resources {
    /// One thread a core, 256 MiB, units of 4 MiB, positional reads.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self { threads, memory_bytes: 256 << 20, unit_bytes: 4 << 20, read_path: ReadPath::Positional }
    }
}

impl Resources {
    /// Elements a unit may have, where a worker holds `buffered_bytes` and writes `unit_bytes` for each: whole leaves.
    pub(crate) fn unit_elements(&self, buffered_bytes: u64, unit_bytes: u64) -> u64 {
        let by_memory = self.memory_bytes / (self.threads.max(1) as u64 * buffered_bytes.max(1));
        let by_size = self.unit_bytes / unit_bytes.max(1);
        let leaves = by_memory.min(by_size) / LEAF as u64;
        leaves.max(1) * LEAF as u64
    }
}

/// Why a pass over the weights ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// An input could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// No thread could be started.
    #[error("no worker thread could be started")]
    Spawn(#[source] std::io::Error),
    /// A worker panicked: a defect of this program.
    #[error("a worker stopped unexpectedly ({message}); please report this")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

/// Runs `work(scratch, unit)` once for each unit `0..units` on `threads` named threads.
///
/// Units are claimed in order. `scratch()` makes each worker's buffers. The first error stops all workers and is given
/// back; cancelling stops them after the units they are working on; a panic becomes [`StreamError::Panicked`].
pub(crate) fn run<S, E>(
    units: usize,
    threads: usize,
    control: &Control,
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
) -> Result<(), E>
where
    E: From<StreamError> + Send,
{
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let worker = || {
        let mut buffers = scratch();
        loop {
            control.check().map_err(StreamError::from)?;
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            work(&mut buffers, unit)?;
        }
    };
    let guarded = || {
        let result = catch_unwind(AssertUnwindSafe(worker)).unwrap_or_else(|panic| {
            let message = panic_message(panic.as_ref());
            Err(StreamError::Panicked { message }.into())
        });
        if result.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        result
    };
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for index in 0..threads.clamp(1, units.max(1)) {
            let name = format!("mergescope-stream-{index}");
            match thread::Builder::new().name(name).spawn_scoped(scope, guarded) {
                Ok(handle) => handles.push(handle),
                // Fewer workers than asked for still do all the work.
                Err(_) if !handles.is_empty() => break,
                Err(error) => return Err(StreamError::Spawn(error).into()),
            }
        }
        let results: Vec<Result<(), E>> =
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
        results.into_iter().collect()
    })
}

/// The first `length` bytes of a buffer that grows to the largest unit once and is not zeroed again.
pub(crate) fn sized(buffer: &mut Vec<u8>, length: u64) -> &mut [u8] {
    // A unit is bounded by the memory given, which fits in an address space.
    let length = length as usize;
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

/// Cuts `count` elements from `first` on into ranges of at most `step`, as (first, count).
pub(crate) fn cut(first: u64, count: u64, step: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = first + count;
    (0..count.div_ceil(step)).map(move |index| {
        let start = first + index * step;
        (start, step.min(end - start))
    })
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_unit_is_done_once_whatever_the_number_of_threads() {
        for threads in [0, 1, 4, 100] {
            let done = Mutex::new(Vec::new());
            run::<_, StreamError>(
                37,
                threads,
                &Control::new(),
                || (),
                |(), unit| {
                    done.lock().unwrap().push(unit);
                    Ok(())
                },
            )
            .unwrap();
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..37).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_becomes_the_error_of_the_pass() {
        let error = run::<_, StreamError>(
            8,
            2,
            &Control::new(),
            || (),
            |(), unit| {
                assert!(unit != 3, "unit three is cursed");
                Ok(())
            },
        );
        let message = error.expect_err("a unit panicked").to_string();
        assert!(message.contains("unit three is cursed"), "{message}");
    }

    #[test]
    fn cancelling_stops_after_the_unit_at_hand() {
        let control = Control::new();
        let done = AtomicUsize::new(0);
        let result = run::<_, StreamError>(
            1000,
            1,
            &control,
            || (),
            |(), unit| {
                done.fetch_add(1, Ordering::Relaxed);
                if unit == 4 {
                    control.cancel();
                }
                Ok(())
            },
        );
        assert!(matches!(result, Err(StreamError::Cancelled(_))));
        assert_eq!(done.into_inner(), 5);
    }

    #[test]
    fn units_are_whole_leaves_and_fit_the_memory() {
        let resources = Resources { threads: 2, memory_bytes: 1 << 20, unit_bytes: 8 << 20, ..Resources::default() };
        let elements = resources.unit_elements(8, 2);
        assert_eq!(elements, 65_536, "1 MiB over two workers of 8 bytes an element");
        let tiny = Resources { memory_bytes: 0, ..resources };
        assert_eq!(tiny.unit_elements(8, 2), LEAF as u64);
    }
}
