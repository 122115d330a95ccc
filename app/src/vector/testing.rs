//! Made-up measurements for the tests of this folder.

use mergescope_core::analysis::{
    Bounds, Gram, LogHistogram, Overview, RoundingPreview, Sample, Spectrum, Sums, TensorAnalysis, VectorAnalysis,
};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::layout::{Part, Place};
use mergescope_core::recipe::OutputSpec;

use super::View;

/// A tensor of 100 elements with those squared norms; target = pre.
pub fn tensor(layer: Option<u32>, part: Part, pre_sq: f64, v_sq: f64) -> TensorAnalysis {
    TensorAnalysis {
        name: format!("{layer:?}.{part}"),
        place: Place { layer, part, expert: None },
        dtype: Dtype::BF16,
        shape: vec![10, 10],
        sums: Sums {
            elements: 100,
            gram: Gram { pre_pre: pre_sq, v_v: v_sq, ..Gram::default() },
            zeros: if v_sq == 0.0 { 100 } else { 0 },
            ..Sums::default()
        },
        vector_histogram: LogHistogram::default(),
        pre_histogram: LogHistogram::default(),
        sample: Sample::default(),
    }
}

/// A sample of updates (target, v) of a tensor; all of them when `complete`.
pub fn sample(pairs: &[[f32; 2]], complete: bool) -> Sample {
    let updates: Vec<[f32; 3]> = pairs.iter().map(|&[target, v]| [0.0, v, target]).collect();
    serde_json::from_value(serde_json::json!({ "updates": { "Narrow": updates }, "complete": complete })).unwrap()
}

/// A spectrum of those singular values, all there are.
pub fn spectrum_of(values: &[f64]) -> Spectrum {
    Spectrum {
        name: "a".to_owned(),
        rows: 4,
        cols: 4,
        singular_values: values.to_vec(),
        complete: true,
        energy: values.iter().map(|value| value * value).sum(),
        error: 0.0,
        effective_rank: Bounds { low: 1.5, high: 1.5 },
        stable_rank: 1.25,
        left_out: 0,
        overlap: None,
        elapsed: Default::default(),
    }
}

/// What a [`View`] looks at.
pub struct Measured {
    pub analysis: VectorAnalysis,
    pub overview: Overview,
    pub preview: RoundingPreview,
    pub output: OutputSpec,
    pub shares: Vec<f64>,
}

impl Measured {
    pub fn new(tensors: Vec<TensorAnalysis>) -> Self {
        Self::written(tensors, OutputSpec::default())
    }

    pub fn written(tensors: Vec<TensorAnalysis>, output: OutputSpec) -> Self {
        let analysis = VectorAnalysis { tensors, ..VectorAnalysis::default() };
        let (overview, preview) = (Overview::new(&analysis), RoundingPreview::new(&analysis, &output));
        let shares = vec![1.0; analysis.tensors.len()];
        Self { analysis, overview, preview, output, shares }
    }

    pub fn view(&self, w: f64) -> View<'_> {
        View {
            analysis: &self.analysis,
            overview: &self.overview,
            preview: &self.preview,
            output: &self.output,
            w,
            shares: &self.shares,
        }
    }
}
