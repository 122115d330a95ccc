//! The buffers of a merge, and of the passes that measure, stay within the memory they were given, however large the
//! model. One test alone in its file: the peak is that of the whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

mod support;

use mergescope_core::alignment::{Alignment, Triple};
use mergescope_core::analysis::{layer_products, measure};
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

    let grown = |work: &dyn Fn()| {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        work();
        (ALLOCATOR.peak_usage() - before) as u64
    };
    // Headers, plan, report and the preflight's sample take their share beside the buffers.
    let merging = grown(&|| {
        merge(&recipe, &folders.dir.path().join("merged"), &resources, &Control::new()).unwrap();
    });
    assert!(merging <= memory_bytes + (4 << 20), "{merging} bytes for buffers of {memory_bytes}");

    let triple = folders.open();
    let alignment = Alignment::new(&triple);
    // 27 tensors keep up to 77 kB of updates each, of which four times as many were drawn.
    let measuring = grown(&|| drop(measure(&triple, &alignment, &resources, &Control::new()).unwrap()));
    assert!(measuring <= memory_bytes + (7 << 20), "{measuring} bytes for buffers of {memory_bytes}");
    // Matrix products take buffers of their own for each worker, as large as the processor's caches suggest, however small
    // the model.
    let alone = Resources { threads: 1, ..resources };
    let tiny = {
        let model = Model::qwen2(Size { hidden: 64, ..Size::default() }, Dtype::BF16, 1);
        Folders::write(&model, &model, &model)
    };
    let compare = |triple: &Triple| {
        grown(&|| drop(layer_products(triple, &Alignment::new(triple), &alone, &Control::new()).unwrap()))
    };
    let (least, comparing) = (compare(&tiny.open()), compare(&triple));
    assert!(
        comparing <= least + memory_bytes + (1 << 20),
        "{comparing} bytes for buffers of {memory_bytes} and {least}"
    );
}
