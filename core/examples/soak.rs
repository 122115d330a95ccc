//! Runs a fuzz target on any number of inputs made from its seeds, where libFuzzer is not at hand:
//!
//!     cargo run --release -p mergescope-core --features fuzzing --example soak -- header 10000000
//!
//! Says how many inputs a second there were, how long the slowest took and how much memory an input asked for at most. Ends
//! with an error when one panics, takes longer than [`LONGEST`] or asks for more than [`MOST_BYTES`] at once; the number of
//! the input is said, and with `soak TARGET COUNT FIRST` the run begins there.

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use mergescope_core::fuzzing::{TARGETS, Target, mutated, seeds};
use peak_alloc::PeakAlloc;

/// Longest time that an input may take.
const LONGEST: Duration = Duration::from_secs(5);

/// Most memory that an input, of at most 64 KiB, may hold at any moment.
const MOST_BYTES: usize = 64 << 20;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn main() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let names = || TARGETS.map(|target| target.name).join(", ");
    let target = TARGETS.iter().find(|target| target.name == name).ok_or_else(|| format!("name one of {}", names()))?;
    let mut number = |default: u64| args.next().map_or(Ok(default), |text| text.parse::<u64>());
    let count = number(1_000_000).map_err(|error| error.to_string())?;
    let first = number(0).map_err(|error| error.to_string())?;
    soak(target, first..first.saturating_add(count))
}

fn soak(target: &Target, numbers: std::ops::Range<u64>) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let seeds = seeds(&folder, target.name).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (mut slowest, mut most, mut bytes) = (Duration::ZERO, 0, 0_u64);
    let began = Instant::now();
    for number in numbers.clone() {
        let input = mutated(&seeds, number);
        bytes += input.len() as u64;
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let start = Instant::now();
        catch_unwind(|| (target.run)(&input)).map_err(|_| format!("input {number} panics"))?;
        let elapsed = start.elapsed();
        let held = MEMORY.peak_usage().saturating_sub(before);
        if elapsed > LONGEST || held > MOST_BYTES {
            return Err(format!("input {number} takes {elapsed:?} and {held} bytes"));
        }
        slowest = slowest.max(elapsed);
        most = most.max(held);
    }
    let (count, elapsed) = (numbers.end - numbers.start, began.elapsed());
    println!(
        "{}: {count} inputs, {bytes} bytes, in {:.0} s ({:.0} a second); slowest {slowest:?}, most memory {most} bytes",
        target.name,
        elapsed.as_secs_f64(),
        count as f64 / elapsed.as_secs_f64(),
    );
    Ok(())
}
