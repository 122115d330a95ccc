//! The arithmetic on weights without files: what `benches/kernels.rs` measures.

use crate::analysis::{JointCounts, measure_leaves};
use crate::checkpoint::Dtype;
use crate::method::mix::{
    Base, Blend, Bytes, Cut, Equals, Ingredient, Keep, KeepRule, Mix, MixBuffers, MixStretch, VectorBytes,
    magnitude_key, mix,
};
use crate::method::{Leaf, Stretch, combine};
use crate::numeric::{StochasticKey, round_nearest};
use crate::recipe::Rounding;

/// The same elements of pre, post and target in one dtype, room for a merged one, and what workers keep from unit to unit.
pub struct Unit {
    dtype: Dtype,
    models: [Vec<u8>; 3],
    out: Vec<u8>,
    leaves: Vec<Leaf>,
    counts: JointCounts,
    buffers: MixBuffers,
}

/// What v is put through before it is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, with a w of ½: sums often lie in the middle between two elements.
    Plain,
    /// Nothing, with a w of many digits: they hardly ever do.
    Untied,
    /// DARE: half of its elements are kept at random.
    Random,
    /// TIES: the larger ones are kept, and signs are elected.
    Ranked,
}

impl Unit {
    /// `elements` of weights as those of a model fine-tuned a little.
    pub fn new(dtype: Dtype, elements: usize) -> Self {
        let key = StochasticKey::new(0, "weights");
        let width = dtype.bitsize() / 8;
        let model = |difference: f64, shift: u64| {
            let mut bytes = vec![0; elements * width];
            for (index, raw) in bytes.chunks_exact_mut(width).enumerate() {
                let draw = |stream: u64| key.uniform(index as u64 * 4 + stream) - 0.5;
                let value = 0.07 * draw(0) + difference * draw(shift);
                round_nearest(dtype, &[value], raw, &mut [0.0]);
            }
            bytes
        };
        Self {
            dtype,
            models: [model(0.0, 1), model(1e-3, 2), model(7e-4, 3)],
            out: vec![0; elements * width],
            leaves: Vec::new(),
            counts: JointCounts::default(),
            buffers: MixBuffers::default(),
        }
    }

    /// Bytes of the three models.
    pub fn bytes_read(&self) -> usize {
        self.models.iter().map(Vec::len).sum()
    }

    /// Bytes of the merged model.
    pub fn bytes_written(&self) -> usize {
        self.out.len()
    }

    /// Copies the target: what memory allows.
    pub fn copy(&mut self) {
        self.out.copy_from_slice(&self.models[2]);
    }

    /// Takes all sums and counts of an analysis; gives ‖v‖².
    pub fn measure(&mut self) -> f64 {
        let bytes = self.models.each_ref().map(Vec::as_slice);
        let elements = self.out.len() * 8 / self.dtype.bitsize();
        let sums = measure_leaves([self.dtype; 3], bytes, elements, &mut self.counts);
        std::hint::black_box(self.counts.take());
        sums.iter().map(|sums| sums.gram.v_v).sum()
    }

    /// target + w·v.
    pub fn merge(&mut self, kind: Kind) {
        let Self { dtype, models: [pre, post, target], out, leaves, buffers, .. } = self;
        let (dtype, key) = (*dtype, StochasticKey::new(0, "mask"));
        let rule = match kind {
            Kind::Plain | Kind::Untied => {
                let stretch = Stretch {
                    vector: Some([(dtype, pre), (dtype, post)]),
                    target: (dtype, target),
                    out_dtype: dtype,
                    coefficient: if kind == Kind::Plain { 0.5 } else { std::f32::consts::FRAC_1_PI },
                    rounding: Rounding::Nearest,
                    key,
                    first_element: 0,
                };
                return combine(&stretch, out, leaves);
            }
            Kind::Random => KeepRule::Random { probability: 0.5, key },
            Kind::Ranked => {
                let cut = Cut { key: magnitude_key(3e-4), element: 0, equals: Equals::LowFirst };
                KeepRule::Ranked { within: Some(cut), beyond: None }
            }
        };
        let blend = match kind {
            Kind::Ranked => Blend::Elect { normalize: true, lambda: 1.0 },
            _ => Blend::Sum { normalize: false, lambda: 1.0 },
        };
        let ingredient = Ingredient { coefficient: 0.5, control: None, keep: Keep { rule, scale: 2.0 } };
        let recipe =
            Mix { base: Base::Target, adds_target: false, whole: false, ingredients: vec![Some(ingredient)], blend };
        let bytes = |bytes| Bytes { dtype, bytes };
        let vectors = [Some(VectorBytes { pre: Some(bytes(pre)), post: bytes(post) })];
        let stretch = MixStretch {
            mix: &recipe,
            base: Some(bytes(target)),
            target: bytes(target),
            vectors: &vectors,
            odds: &[],
            out_dtype: dtype,
            rounding: Rounding::Nearest,
            key,
            first_element: 0,
        };
        mix(&stretch, buffers, out, leaves);
    }
}
