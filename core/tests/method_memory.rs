//! Methods that need to know a whole tensor hold none. One test alone in its file: the peak is that of the whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

mod support;

use mergescope_core::checkpoint::Dtype;
use mergescope_core::merge::merge;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{Method, MethodSpec, Parameter, Recipe, VectorSpec};
use mergescope_core::stream::Resources;
use peak_alloc::PeakAlloc;
use support::{Folders, Model, Tensor, values};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn no_method_holds_a_tensor() {
    // 16 MB in one tensor of f32, whose two vectors are all but equal in magnitude: every element falls where a rank ends, and
    // nearly each differs from the others.
    let (rows, columns) = (1000, 4096);
    let folders = {
        let count = rows * columns;
        let tensor = |values: &[f32]| {
            Model::new().with_tensor(Tensor::of(
                "model.layers.0.mlp.up_proj.weight",
                Dtype::F32,
                &[rows, columns],
                values,
            ))
        };
        let steps: Vec<f32> = values(1, count, 1.0).iter().map(|noise| (1.0 + 1e-3 * noise).copysign(*noise)).collect();
        Folders::write(&tensor(&vec![0.0; count]), &tensor(&steps), &tensor(&vec![1.0; count]))
    };
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let memory_bytes = 2 << 20;
    let resources = Resources { threads: 2, memory_bytes, ..Resources::default() };
    for name in Method::ALL {
        let vector = match name {
            Method::Linear | Method::Slerp => VectorSpec::new("", path(folders.post())),
            _ => VectorSpec::new(path(folders.pre()), path(folders.post())),
        };
        let mut recipe = Recipe::new("", "", path(folders.target()));
        recipe.method = MethodSpec::new(name);
        if name.uses(Parameter::Density) {
            recipe.method.density = Some(0.37);
        }
        match name {
            Method::Sce => recipe.method.select_topk = Some(0.3),
            Method::Nuslerp => recipe.method.flatten = Some(false),
            _ => {}
        }
        if name.vectors().1 > 1 {
            recipe.others = vec![vector.clone()];
        }
        recipe.vector = vector;
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        merge(&recipe, &folders.dir.path().join(name.label()), &resources, &Control::new()).unwrap();
        let grown = (ALLOCATOR.peak_usage() - before) as u64;
        // Beside the buffers: plan, report and the preflight's sample, and for each worker the counters of ranks.
        let allowance = 12 << 20;
        assert!(grown <= memory_bytes + allowance, "{name}: {grown} bytes for buffers of {memory_bytes}");
        std::fs::remove_dir_all(folders.dir.path().join(name.label())).unwrap();
    }
}
