//! An export stays within the memory it was given. Alone in its file: the peak is that of the whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

mod support;

use mergescope_core::adapter::{AdapterSpec, export};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;
use peak_alloc::PeakAlloc;
use support::{Folders, Model, Tensor, values};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The most bytes that the export of one `rows` × `cols` matrix held at a time.
fn peak(rows: usize, cols: usize, rank: u32, memory_bytes: u64) -> u64 {
    let model = |seed| {
        let name = "model.layers.0.mlp.up_proj.weight";
        Model::new().with_tensor(Tensor::of(name, Dtype::BF16, &[rows, cols], &values(seed, rows * cols, 0.02)))
    };
    let pre = model(1);
    let folders = Folders::write(&pre, &model(2), &pre);
    drop(pre);
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let mut recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
    recipe.adapter = Some(AdapterSpec { rank, ..AdapterSpec::default() });
    let resources = Resources { threads: 2, memory_bytes, ..Resources::default() };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    export(&recipe, &folders.dir.path().join("adapter"), &resources, &Control::new()).unwrap();
    (ALLOCATOR.peak_usage() - before) as u64
}

#[test]
fn an_export_stays_within_the_memory_given() {
    // What products reserve depends on the machine; a small matrix of a few blocks shows it.
    let beside = peak(300, 900, 1, 0);
    // In f64 the first would have 9.6 MB; the second has many rows, and the third is decomposed in full.
    for (rows, cols, rank, mib) in [(2000, 600, 4, 8), (6000, 280, 8, 10), (150, 2500, 8, 14)] {
        let memory_bytes = mib << 20;
        let held = peak(rows, cols, rank, memory_bytes);
        assert!(held <= memory_bytes + beside, "{rows} × {cols}: {held} bytes for {memory_bytes}, and {beside} beside");
    }
}
