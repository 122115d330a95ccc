//! Norms and biases, which an adapter holds whole: target + w·v.

use super::AdapterError;
use super::write::Aside;
use crate::alignment::{Role, Triple, element_bytes};
use crate::checkpoint::{Dtype, TensorInfo};
use crate::numeric::{BLOCK, decode, round_nearest};
use crate::stream::StreamError;

/// What a copy was made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copied {
    /// ‖w·v‖².
    pub energy: f64,
    /// ‖w·v − (written − target)‖².
    pub rest: f64,
    /// Elements that are NaN or infinite in a model.
    pub nonfinite: u64,
}

/// Writes target + coefficient · (post − pre), rounded once as in a merge, or the target where there are no such tensors.
pub(super) fn copy(
    triple: &Triple,
    target: &TensorInfo,
    vector: Option<(&TensorInfo, &TensorInfo)>,
    coefficient: f32,
    dtype: Dtype,
    aside: &mut Aside,
) -> Result<Copied, AdapterError> {
    let mut copied = Copied::default();
    let mut values = [[0.0; BLOCK]; 3];
    let mut bytes = [0; 8 * BLOCK];
    let elements = target.elements();
    for first in (0..elements).step_by(BLOCK) {
        let count = (elements - first).min(BLOCK as u64) as usize;
        let [pre, post, out] = &mut values;
        let mut read = |role: Role, tensor: &TensorInfo, values: &mut [f64; BLOCK]| {
            let width = element_bytes(tensor.dtype);
            let bytes = &mut bytes[..count * width as usize];
            triple.get(role).read(tensor, first * width, bytes).map_err(StreamError::from)?;
            decode(tensor.dtype, bytes, &mut values[..count]);
            Ok::<_, AdapterError>(())
        };
        read(Role::Target, target, out)?;
        match vector {
            Some((before, after)) => {
                read(Role::Pre, before, pre)?;
                read(Role::Post, after, post)?;
            }
            None => (*pre, *post) = ([0.0; BLOCK], [0.0; BLOCK]),
        }
        let mut sums = [0.0; BLOCK];
        for at in 0..count {
            sums[at] = out[at] + f64::from(coefficient) * (post[at] - pre[at]);
        }
        let mut written = [0.0; BLOCK];
        let width = element_bytes(dtype) as usize;
        round_nearest(dtype, &sums[..count], &mut bytes, &mut written);
        aside.write(&bytes[..count * width]).map_err(|error| AdapterError::write(aside.path(), error))?;
        for at in 0..count {
            let step = f64::from(coefficient) * (post[at] - pre[at]);
            let rest = step - (written[at] - out[at]);
            if rest.is_finite() {
                copied.energy += step * step;
                copied.rest += rest * rest;
            } else {
                copied.nonfinite += 1;
            }
        }
    }
    Ok(copied)
}
