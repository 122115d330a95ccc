//! A fixed sample of the weights: stretches of elements spread evenly over the tensors that take part.

use rayon::prelude::*;

use super::{Lineage, PreflightError};
use crate::alignment::{Aligned, Alignment, Participation, Role, Triple, element_bytes};
use crate::checkpoint::{Checkpoint, ReadError, TensorInfo};
use crate::numeric::{BLOCK, decode};
use crate::progress::{Control, Stage};

/// Elements read in one go.
const STRETCH: u64 = 256;
const _: () = assert!(STRETCH as usize <= BLOCK, "a stretch is decoded at once");

/// Most stretches of one tensor.
const STRETCHES_PER_TENSOR: u64 = 16;

/// About the most stretches of all tensors together. Each is one read from each model, so that even a cold disk is done
/// in about a second; a mixture of experts with more tensors than this has every n-th of them sampled.
const STRETCHES: u64 = 2048;

/// What the sample says, as sums in f64 weighted so that they estimate those over all elements that take part.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// ⟨pre, pre⟩.
    pub pre_pre: f64,
    /// ⟨pre, u⟩ with u = target − pre.
    pub pre_u: f64,
    /// ⟨v, v⟩ with v = post − pre.
    pub v_v: f64,
    /// ⟨v, u⟩.
    pub v_u: f64,
    /// ⟨u, u⟩.
    pub u_u: f64,
    /// Elements sampled.
    pub elements: u64,
    /// Elements in which post and pre differ: squares of differences may be lost in f64.
    pub post_not_pre: u64,
    /// Elements in which target and pre differ.
    pub target_not_pre: u64,
    /// Elements in which target and post differ.
    pub target_not_post: u64,
    /// Tensors with NaN or infinity in the sample, by role.
    pub nonfinite: Vec<(Role, String)>,
}

impl Sample {
    /// The figures that are shown.
    pub(super) fn lineage(&self) -> Lineage {
        Lineage {
            relative_norm: (self.v_v / self.pre_pre).sqrt(),
            target_distance: (self.u_u / self.pre_pre).sqrt(),
            cos_vector_target: self.v_u / (self.v_v * self.u_u).sqrt(),
            sampled: self.elements,
        }
    }

    /// cos(pre, target), from ⟨pre, target⟩ = ⟨pre, pre⟩ + ⟨pre, u⟩.
    pub(super) fn cos_pre_target(&self) -> f64 {
        let target_target = self.pre_pre + 2.0 * self.pre_u + self.u_u;
        (self.pre_pre + self.pre_u) / (self.pre_pre * target_target).sqrt()
    }
}

/// Samples the tensors that take part. The same files give the same sample.
pub(super) fn take(triple: &Triple, alignment: &Alignment, control: &Control) -> Result<Sample, PreflightError> {
    let moving: Vec<_> = alignment
        .tensors
        .iter()
        .filter_map(|aligned| match aligned.participation {
            Participation::Moves { pre, post, shared_elements } if shared_elements > 0 => {
                Some((aligned, [pre, post, aligned.target], shared_elements))
            }
            _ => None,
        })
        .collect();
    let every = (moving.len() as u64).div_ceil(STRETCHES).max(1) as usize;
    let sampled: Vec<_> = moving.into_iter().step_by(every).collect();
    let stretches = (STRETCHES / (sampled.len() as u64).max(1)).clamp(1, STRETCHES_PER_TENSOR);

    let stretch_bytes = |[pre, post, target]: [usize; 3]| {
        element_bytes(triple.pre.tensors()[pre].dtype)
            + element_bytes(triple.post.tensors()[post].dtype)
            + element_bytes(triple.target.tensors()[target].dtype)
    };
    let bytes_of = |positions, elements| {
        spread(elements, stretches).map(|(_, length)| length).sum::<u64>() * stretch_bytes(positions)
    };
    control.begin(Stage::Checking, sampled.iter().map(|&(_, positions, elements)| bytes_of(positions, elements)).sum());

    let read = |buffers: &mut Buffers, &(aligned, positions, elements): &(&Aligned, [usize; 3], u64)| {
        control.check()?;
        let of_tensor = OfTensor::read(triple, positions, spread(elements, stretches), buffers)?;
        control.advance(bytes_of(positions, elements), aligned.place.layer);
        Ok(of_tensor)
    };
    // Several reads at a time keep a disk busy; what they say is added up in one order.
    let of_tensors: Vec<OfTensor> =
        sampled.par_iter().map_init(Buffers::default, read).collect::<Result<_, PreflightError>>()?;

    let mut sample = Sample::default();
    for ((_, positions, elements), of_tensor) in sampled.iter().zip(of_tensors) {
        sample.add_weighted(&of_tensor.sums, *elements);
        for ((role, position), nonfinite) in Role::ALL.into_iter().zip(positions).zip(of_tensor.nonfinite) {
            if nonfinite {
                sample.nonfinite.push((role, triple.get(role).tensors()[*position].name.clone()));
            }
        }
    }
    Ok(sample)
}

/// What a worker reads into.
#[derive(Default)]
struct Buffers {
    bytes: Vec<u8>,
    values: [Vec<f64>; 3],
}

/// The sample of one tensor.
struct OfTensor {
    sums: Sample,
    /// Whether there is NaN or infinity in it, by role.
    nonfinite: [bool; 3],
}

impl OfTensor {
    /// Reads stretches, given as first element and number of elements, of the tensors at `positions` in the three models.
    fn read(
        triple: &Triple,
        positions: [usize; 3],
        stretches: impl Iterator<Item = (u64, u64)>,
        Buffers { bytes, values }: &mut Buffers,
    ) -> Result<Self, ReadError> {
        let mut sums = Sample::default();
        let mut nonfinite = [false; 3];
        for (start, length) in stretches {
            for (index, role) in Role::ALL.into_iter().enumerate() {
                let checkpoint = triple.get(role);
                let tensor = &checkpoint.tensors()[positions[index]];
                read(checkpoint, tensor, start, length, bytes)?;
                values[index].resize(length as usize, 0.0);
                decode(tensor.dtype, bytes, &mut values[index]);
                nonfinite[index] |= values[index].iter().any(|value| !value.is_finite());
            }
            sums.add(values);
        }
        Ok(Self { sums, nonfinite })
    }
}

impl Sample {
    fn add(&mut self, [pre, post, target]: &[Vec<f64>; 3]) {
        for ((&pre, &post), &target) in pre.iter().zip(post).zip(target) {
            if !(pre.is_finite() && post.is_finite() && target.is_finite()) {
                continue;
            }
            let (v, u) = (post - pre, target - pre);
            self.pre_pre += pre * pre;
            self.pre_u += pre * u;
            self.v_v += v * v;
            self.v_u += v * u;
            self.u_u += u * u;
            self.elements += 1;
            self.post_not_pre += u64::from(post != pre);
            self.target_not_pre += u64::from(target != pre);
            self.target_not_post += u64::from(target != post);
        }
    }

    /// Adds the sums of one tensor as if all its `elements` had been read.
    fn add_weighted(&mut self, sums: &Self, elements: u64) {
        if sums.elements == 0 {
            return;
        }
        let weight = elements as f64 / sums.elements as f64;
        self.pre_pre += weight * sums.pre_pre;
        self.pre_u += weight * sums.pre_u;
        self.v_v += weight * sums.v_v;
        self.v_u += weight * sums.v_u;
        self.u_u += weight * sums.u_u;
        self.elements += sums.elements;
        self.post_not_pre += sums.post_not_pre;
        self.target_not_pre += sums.target_not_pre;
        self.target_not_post += sums.target_not_post;
    }
}

/// Whether two tensors of one model hold the same bytes, as far as a sample of them shows.
pub(super) fn same_bytes(checkpoint: &Checkpoint, a: &TensorInfo, b: &TensorInfo) -> Result<bool, ReadError> {
    if a.dtype != b.dtype || a.shape != b.shape {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (start, length) in spread(a.bytes, STRETCHES_PER_TENSOR) {
        for (tensor, buffer) in [(a, &mut left), (b, &mut right)] {
            buffer.resize(length as usize, 0);
            checkpoint.read(tensor, start, buffer)?;
        }
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Starts and lengths of up to `stretches` stretches, evenly from the first of `count` elements to the last.
fn spread(count: u64, stretches: u64) -> impl Iterator<Item = (u64, u64)> {
    let whole = count <= stretches * STRETCH;
    let pieces = if whole { count.div_ceil(STRETCH) } else { stretches };
    (0..pieces).map(move |piece| {
        let start = match (whole, pieces) {
            (true, _) => piece * STRETCH,
            (false, 1) => (count - STRETCH) / 2,
            // In u128: a tensor has fewer than 2^64 elements, their multiples may have more.
            (false, _) => (u128::from(count - STRETCH) * u128::from(piece) / u128::from(pieces - 1)) as u64,
        };
        (start, STRETCH.min(count - start))
    })
}

fn read(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    start: u64,
    length: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let width = element_bytes(tensor.dtype);
    bytes.resize((length * width) as usize, 0);
    checkpoint.read(tensor, start * width, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_tensor_is_read_whole_and_once() {
        assert_eq!(spread(600, 16).collect::<Vec<_>>(), [(0, 256), (256, 256), (512, 88)]);
        assert_eq!(spread(0, 16).count(), 0);
    }

    proptest! {
        #[test]
        fn stretches_lie_apart_and_within(count in 0_u64..u64::MAX, stretches in 1_u64..20) {
            let mut end = 0;
            for (start, length) in spread(count, stretches) {
                prop_assert!(start >= end && length > 0);
                end = start + length;
                prop_assert!(end <= count);
            }
        }
    }
}
