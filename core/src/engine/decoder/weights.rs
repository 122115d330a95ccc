//! Weights in the formats that they have in memory on a processor, and as f32.

use half::{bf16, f16};
use rayon::prelude::*;

/// A matrix in 8 bits: for each 32 weights of a row one scale, as in GGUF's `Q8_0`. The weight is quant · scale.
#[derive(Clone, Debug)]
pub(super) struct Q8 {
    quants: Vec<i8>,
    /// One for each [`Self::GROUP`] quants; f16 numbers, kept as f32.
    scales: Vec<f32>,
}

impl Q8 {
    /// Weights that share a scale.
    pub const GROUP: usize = 32;

    /// Rounds rows whose length is a multiple of [`Self::GROUP`].
    pub fn new(weights: &[f32]) -> Self {
        let mut quants = vec![0; weights.len()];
        let mut scales = vec![0.0; weights.len() / Self::GROUP];
        let groups = weights.par_chunks_exact(Self::GROUP).zip(quants.par_chunks_exact_mut(Self::GROUP));
        groups.zip(&mut scales).with_min_len(256).for_each(|((weights, quants), scale)| {
            let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            let step = largest / 127.0;
            let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
            *scale = f16::from_f32(step).to_f32();
            for (quant, weight) in quants.iter_mut().zip(weights) {
                *quant = (weight * inverse).round() as i8;
            }
        });
        Self { quants, scales }
    }
}

/// Weights of a matrix, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Q8(&'a Q8),
}

impl Weights<'_> {
    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Self::F32(weights) => weights.len(),
            Self::Bf16(weights) => weights.len(),
            Self::Q8(weights) => weights.quants.len(),
        }
    }

    /// Those from `first` on, as f32.
    #[inline(always)]
    pub fn widen(self, first: usize, out: &mut [f32]) {
        match self {
            Self::F32(weights) => out.copy_from_slice(&weights[first..first + out.len()]),
            Self::Bf16(weights) => {
                for (out, weight) in out.iter_mut().zip(&weights[first..]) {
                    *out = f32::from_bits(u32::from(weight.to_bits()) << 16);
                }
            }
            Self::Q8(Q8 { quants, scales }) => {
                let (quants, _) = quants[first..first + out.len()].as_chunks::<{ Q8::GROUP }>();
                let (out, _) = out.as_chunks_mut::<{ Q8::GROUP }>();
                for ((out, quants), scale) in out.iter_mut().zip(quants).zip(&scales[first / Q8::GROUP..]) {
                    scaled(quants, *scale, out);
                }
            }
        }
    }
}

/// A group of quants as weights; in two steps, each of which compilers have an instruction for.
#[inline(always)]
fn scaled(quants: &[i8; Q8::GROUP], scale: f32, out: &mut [f32; Q8::GROUP]) {
    const LANES: usize = 8;
    let (quants, _) = quants.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (out, quants) in out.iter_mut().zip(quants) {
        let mut wide = [0_i32; LANES];
        for lane in 0..LANES {
            wide[lane] = i32::from(quants[lane]);
        }
        for lane in 0..LANES {
            out[lane] = wide[lane] as f32 * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_zeros_stays_zero() {
        let quantised = Q8::new(&[0.0; 64]);
        let mut out = [1.0; 64];
        Weights::Q8(&quantised).widen(0, &mut out);
        assert_eq!(out, [0.0; 64]);
    }
}
