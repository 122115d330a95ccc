//! A spectrum stays within the memory it was given, in full and by streaming. Alone in its file: the peak is that of the
//! whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

mod support;

use mergescope_core::alignment::Alignment;
use mergescope_core::analysis::{SpectrumOptions, spectrum_with};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::progress::Control;
use mergescope_core::stream::Resources;
use peak_alloc::PeakAlloc;
use support::{Folders, Model, Tensor, values};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

fn written(rows: usize, cols: usize) -> Folders {
    let model = |seed| {
        let values = values(seed, rows * cols, 0.02);
        Model::new().with_tensor(Tensor::of(NAME, Dtype::BF16, &[rows, cols], &values))
    };
    let pre = model(1);
    Folders::write(&pre, &model(2), &pre)
}

/// The most bytes that a spectrum held at a time.
fn peak(folders: &Folders, options: &SpectrumOptions, memory_bytes: u64) -> u64 {
    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    let resources = Resources { threads: 2, memory_bytes, ..Resources::default() };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let found = spectrum_with(&triple, &alignment, NAME, options, &resources, &Control::new()).unwrap();
    assert_eq!(found.complete, options.full_side == 1500);
    (ALLOCATOR.peak_usage() - before) as u64
}

#[test]
fn a_spectrum_stays_within_the_memory_given() {
    let options = |full_side, values| SpectrumOptions { full_side, values, passes: 4 };
    // What products reserve depends on the machine; a small matrix of a few blocks shows it.
    let beside = peak(&written(600, 900), &options(0, 1), 0);
    // In f64 36 MB, and 8 MB with 5 MB for each square of its smaller side.
    let (large, small) = (written(3000, 1500), written(1250, 800));
    let cases = [(&large, 16 << 20, 1024, 16), (&large, 24 << 20, 1024, 64), (&small, 80 << 20, 1500, 64)];
    for (folders, memory_bytes, full_side, values) in cases {
        let held = peak(folders, &options(full_side, values), memory_bytes);
        assert!(held <= memory_bytes + beside, "{held} bytes for {memory_bytes}, and {beside} beside");
    }
}
