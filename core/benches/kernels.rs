//! The arithmetic on weights, in bytes of the output for merges and of all three models for the analysis, beside a copy of the
//! same bytes: `cargo bench -p mergescope-core --features benching --bench kernels`.
//!
//! A unit is as large as those that a worker takes, so that the numbers are of one core and of data that comes from memory.

use divan::Bencher;
use divan::counter::BytesCount;
use mergescope_core::benching::{Kind, Unit};
use mergescope_core::checkpoint::Dtype;

/// Elements of a unit: 4 MiB in 16 bits.
const ELEMENTS: usize = 2 << 20;

const DTYPES: [Dtype; 3] = [Dtype::BF16, Dtype::F16, Dtype::F32];

fn main() {
    divan::main();
}

#[divan::bench(args = DTYPES)]
fn copy_of_one_model(bencher: Bencher<'_, '_>, dtype: Dtype) {
    let mut unit = Unit::new(dtype, ELEMENTS);
    let bytes = BytesCount::new(unit.bytes_written());
    bencher.counter(bytes).bench_local(|| unit.copy());
}

#[divan::bench(args = DTYPES)]
fn merge(bencher: Bencher<'_, '_>, dtype: Dtype) {
    merge_of(bencher, dtype, Kind::Plain);
}

#[divan::bench(args = DTYPES)]
fn merge_untied(bencher: Bencher<'_, '_>, dtype: Dtype) {
    merge_of(bencher, dtype, Kind::Untied);
}

#[divan::bench(args = DTYPES)]
fn merge_dare(bencher: Bencher<'_, '_>, dtype: Dtype) {
    merge_of(bencher, dtype, Kind::Random);
}

#[divan::bench(args = DTYPES)]
fn merge_ties(bencher: Bencher<'_, '_>, dtype: Dtype) {
    merge_of(bencher, dtype, Kind::Ranked);
}

fn merge_of(bencher: Bencher<'_, '_>, dtype: Dtype, kind: Kind) {
    let mut unit = Unit::new(dtype, ELEMENTS);
    let bytes = BytesCount::new(unit.bytes_written());
    bencher.counter(bytes).bench_local(|| unit.merge(kind));
}

#[divan::bench(args = DTYPES)]
fn analysis(bencher: Bencher<'_, '_>, dtype: Dtype) {
    let mut unit = Unit::new(dtype, ELEMENTS);
    let bytes = BytesCount::new(unit.bytes_read());
    bencher.counter(bytes).bench_local(|| unit.measure());
}
