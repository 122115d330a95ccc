//! The buffers of a merge stay within the memory it was given, however large the model. Alone in its file: the peak is
//! that of the whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

mod support;

use mergescope_core::checkpoint::Dtype;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use mergescope_core::stream::Resources;
use peak_alloc::PeakAlloc;
use support::{Folders, Model, Size};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn buffers_stay_within_the_memory_given() {
    // 34 MB a model, its largest tensor 17 MB: several times what the merge may hold.
    let size = Size { hidden: 512, ffn: 1024, vocab: 16_384, layers: 2, ..Size::default() };
    let folders = {
        let model = Model::qwen2(size, Dtype::BF16, 1);
        Folders::write(&model, &model, &model)
    };
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let recipe = Recipe::new(path(folders.pre()), path(folders.post()), path(folders.target()));
    let memory_bytes = 4 << 20;
    let resources = Resources { threads: 2, memory_bytes, ..Resources::default() };

    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    merge(&recipe, &folders.dir.path().join("merged"), &resources, &Control::new()).unwrap();
    let grown = ALLOCATOR.peak_usage() - before;
    // Headers, plan, report and the preflight's sample take their share beside the buffers.
    let beside_buffers = 4 << 20;
    assert!(grown as u64 <= memory_bytes + beside_buffers, "{grown} bytes for buffers of {memory_bytes}");
}
