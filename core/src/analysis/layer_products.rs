//! Do layers move alike? Inner products of v between layers, in one more pass over pre and post.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::gram::cosine;
use crate::alignment::{Alignment, Participation, Role, Triple, element_bytes};
use crate::checkpoint::{Dtype, ReadError, TensorInfo};
use crate::layout::{self, Part};
use crate::numeric::{BLOCK, decode, dispatch};
use crate::progress::{Control, Stage};
use crate::stream::{self, InOrder, Resources, StreamError};

/// Layers that can be compared with one another, at most. A table of more could not be looked at, and names that come
/// with a model could ask for any number.
pub const MAX_LAYERS: usize = 1_024;

/// Elements of each layer that are multiplied in one go: few enough that the deltas of 64 layers fit in a second-level
/// cache. Fixed, so that sums are added in the same order whatever the units.
const ROWS: usize = 2_048;

/// Bytes of one tensor read in one go, at most.
const STRETCH_BYTES: u64 = 256 << 10;

/// Inner products of v between layers, for each kind of part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerProducts {
    /// The layers that move, ascending; L of them.
    pub layers: Vec<u32>,
    /// For each part within layers, in the order of [`Part::ALL`], ⟨vᵢ, vⱼ⟩ over its tensors: L × L, row by row.
    ///
    /// Tensors are compared with those of the same name and shape in other layers.
    pub parts: Vec<(Part, Vec<f64>)>,
    /// Elements that were taken as no change, since v is NaN or infinite there. Only pre and post are read: what the target
    /// holds there counts for nothing, where [`Sums`](super::Sums) leave out an element for it.
    pub left_out: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Time taken.
    pub elapsed: Duration,
    /// Whether it was measured earlier and kept on disk; the two above speak of then.
    pub cached: bool,
}

/// Why layers could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum LayerProductsError {
    /// More layers than can be compared.
    #[error("the model has {found} layers; at most {MAX_LAYERS} can be compared with one another")]
    TooManyLayers {
        /// How many there are.
        found: usize,
    },
    /// The pass over the weights ended early.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl LayerProducts {
    /// cos(vᵢ, vⱼ) over the parts that `pick` chooses: L × L, row by row, −1 to 1.
    ///
    /// NaN where a layer has no such part, or does not move in it.
    pub fn cosine(&self, pick: impl Fn(Part) -> bool) -> Vec<f64> {
        let count = self.layers.len();
        let mut products = vec![0.0; count * count];
        for (_, part) in self.parts.iter().filter(|(part, _)| pick(*part)) {
            products.iter_mut().zip(part).for_each(|(sum, product)| *sum += product);
        }
        let norm_sq = |layer: usize| products[layer * count + layer];
        (0..count * count)
            .map(|at| {
                let (row, column) = (at / count, at % count);
                // Exactly 1, where a quotient might miss it by a bit.
                if row == column && norm_sq(row) > 0.0 {
                    1.0
                } else {
                    cosine(products[at], norm_sq(row), norm_sq(column))
                }
            })
            .collect()
    }
}

/// Tensors of the same name and shape, one for each layer that has it.
struct Family<'a> {
    part: Part,
    elements: u64,
    members: Vec<Member<'a>>,
    /// Lower triangle of the members' inner products, column by column.
    products: InOrder<Vec<Vec<f64>>, Vec<f64>>,
}

struct Member<'a> {
    layer: u32,
    pre: &'a TensorInfo,
    post: &'a TensorInfo,
}

/// Multiplies v of every layer with v of every other. The result does not depend on `resources`.
pub fn layer_products(
    triple: &Triple,
    alignment: &Alignment,
    resources: &Resources,
    control: &Control,
) -> Result<LayerProducts, LayerProductsError> {
    let began = Instant::now();
    let families = families(triple, alignment);
    let mut layers: Vec<u32> =
        families.iter().flat_map(|family| family.members.iter().map(|member| member.layer)).collect();
    layers.sort_unstable();
    layers.dedup();
    if layers.len() > MAX_LAYERS {
        return Err(LayerProductsError::TooManyLayers { found: layers.len() });
    }

    let mut units = Vec::new();
    for (index, family) in families.iter().enumerate() {
        let widest = family.members.iter().flat_map(|member| [member.pre, member.post]);
        let widest = widest.map(|tensor| element_bytes(tensor.dtype)).max().unwrap_or(1);
        let by_memory = resources.memory_bytes / (resources.threads.max(1) * family.members.len() * 2) as u64;
        let rows = ROWS as u64;
        let step = (by_memory.min(STRETCH_BYTES) / widest / rows).max(1) * rows;
        units.extend(stream::cut(0, family.elements, step).map(|(first, count)| (index, first, count)));
    }
    let bytes_of = |family: &Family<'_>, count: u64| -> u64 {
        let both = |member: &Member<'_>| element_bytes(member.pre.dtype) + element_bytes(member.post.dtype);
        family.members.iter().map(|member| both(member) * count).sum()
    };
    let bytes_read = families.iter().map(|family| bytes_of(family, family.elements)).sum();
    control.begin(Stage::Comparing, bytes_read);
    let left_out = AtomicU64::new(0);

    stream::run::<_, StreamError>(units.len(), resources.threads, control, Scratch::default, |scratch, unit| {
        let (index, first, count) = units[unit];
        let family = &families[index];
        scratch.read(triple, family, resources, first, count)?;
        let products = (0..count as usize).step_by(ROWS).map(|start| {
            let rows = ROWS.min(count as usize - start);
            let (products, nonfinite) = scratch.products(family, start, rows, count as usize);
            left_out.fetch_add(nonfinite, Ordering::Relaxed);
            products
        });
        family.products.add(first, count, products.collect(), |sum, products| {
            for products in products {
                sum.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
            }
        });
        control.advance(bytes_of(family, count), None);
        Ok(())
    })?;
    Ok(LayerProducts {
        parts: by_part(families, &layers),
        layers,
        left_out: left_out.into_inner(),
        bytes_read,
        elapsed: began.elapsed(),
        cached: false,
    })
}

/// The tensors within layers that move.
fn families<'a>(triple: &'a Triple, alignment: &Alignment) -> Vec<Family<'a>> {
    // By name without the layer's number, and by shape.
    let mut places: BTreeMap<(String, &[u64]), usize> = BTreeMap::new();
    let mut families: Vec<Family<'a>> = Vec::new();
    for aligned in &alignment.tensors {
        let Participation::Moves { pre, post, shared_elements } = aligned.participation else { continue };
        let target = &triple.target.tensors()[aligned.target];
        let (Some(layer), Some(name)) = (aligned.place.layer, layout::without_layer(&target.name)) else { continue };
        let place = *places.entry((name, &target.shape)).or_insert(families.len());
        if place == families.len() {
            let (part, elements) = (aligned.place.part, shared_elements);
            families.push(Family { part, elements, members: Vec::new(), products: InOrder::new(Vec::new()) });
        }
        families[place].members.push(Member {
            layer,
            pre: &triple.pre.tensors()[pre],
            post: &triple.post.tensors()[post],
        });
    }
    for family in &mut families {
        family.products = InOrder::new(vec![0.0; family.members.len().pow(2)]);
    }
    families
}

/// Adds families up by part, on the axes of all layers.
fn by_part(families: Vec<Family<'_>>, layers: &[u32]) -> Vec<(Part, Vec<f64>)> {
    let count = layers.len();
    let mut parts: BTreeMap<usize, (Part, Vec<f64>)> = BTreeMap::new();
    for family in families {
        let shown_at = Part::ALL.iter().position(|&part| part == family.part).unwrap_or(Part::ALL.len());
        let (_, sum) = parts.entry(shown_at).or_insert_with(|| (family.part, vec![0.0; count * count]));
        let products = family.products.finish();
        let members = family.members.len();
        // Every member's layer is one of them.
        let at: Vec<usize> =
            family.members.iter().map(|member| layers.partition_point(|&layer| layer < member.layer)).collect();
        for column in 0..members {
            for row in column..members {
                let product = products[column * members + row];
                sum[at[row] * count + at[column]] += product;
                if row != column {
                    sum[at[column] * count + at[row]] += product;
                }
            }
        }
    }
    parts.into_values().collect()
}

/// The buffers of one worker.
#[derive(Default)]
struct Scratch {
    /// Pre and post of each member.
    bytes: Vec<[Vec<u8>; 2]>,
    /// v of each member, one column of up to [`ROWS`] each.
    deltas: Vec<f64>,
}

impl Scratch {
    fn read(
        &mut self,
        triple: &Triple,
        family: &Family<'_>,
        resources: &Resources,
        first: u64,
        count: u64,
    ) -> Result<(), ReadError> {
        if self.bytes.len() < family.members.len() {
            self.bytes.resize_with(family.members.len(), Default::default);
        }
        for (member, buffers) in family.members.iter().zip(&mut self.bytes) {
            for (role, (tensor, buffer)) in
                [Role::Pre, Role::Post].into_iter().zip([member.pre, member.post].into_iter().zip(buffers))
            {
                let width = element_bytes(tensor.dtype);
                let buffer = stream::sized(buffer, count * width);
                triple.get(role).read_by(resources.read_path, tensor, first * width, buffer)?;
            }
        }
        Ok(())
    }

    /// Lower triangle of the inner products over `rows` elements from `start` on, of the `count` that were read; and how
    /// many elements were taken as no change.
    fn products(&mut self, family: &Family<'_>, start: usize, rows: usize, count: usize) -> (Vec<f64>, u64) {
        let mut left_out = 0;
        let members = family.members.len();
        self.deltas.resize(members * ROWS, 0.0);
        for ((member, [pre, post]), delta) in
            family.members.iter().zip(&self.bytes).zip(self.deltas.chunks_exact_mut(rows))
        {
            let stretch = |tensor: &TensorInfo, bytes: &'_ [u8]| -> std::ops::Range<usize> {
                let width = tensor.dtype.bitsize() / 8;
                debug_assert!(bytes.len() >= count * width, "the whole unit was read");
                start * width..(start + rows) * width
            };
            left_out += dispatch(Delta {
                pre: (member.pre.dtype, &pre[stretch(member.pre, pre)]),
                post: (member.post.dtype, &post[stretch(member.post, post)]),
                out: delta,
            });
        }
        let deltas = MatRef::from_column_major_slice(&self.deltas[..members * rows], rows, members);
        let mut products = vec![0.0; members * members];
        matmul(
            MatMut::from_column_major_slice_mut(&mut products, members, members),
            BlockStructure::TriangularLower,
            Accum::Replace,
            deltas.transpose(),
            BlockStructure::Rectangular,
            deltas,
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
        (products, left_out)
    }
}

/// v = post − pre in f64, as an operation that is compiled for each instruction set. NaN and infinity are taken as
/// no change; gives how many.
struct Delta<'a> {
    pre: (Dtype, &'a [u8]),
    post: (Dtype, &'a [u8]),
    out: &'a mut [f64],
}

impl WithSimd for Delta<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> u64 {
        let mut left_out = 0;
        let mut values = [[0.0; BLOCK]; 2];
        for (block, out) in self.out.chunks_mut(BLOCK).enumerate() {
            for ((dtype, bytes), values) in [self.pre, self.post].into_iter().zip(&mut values) {
                let width = dtype.bitsize() / 8;
                decode(dtype, &bytes[block * BLOCK * width..][..out.len() * width], &mut values[..out.len()]);
            }
            let [pre, post] = &values;
            for ((out, pre), post) in out.iter_mut().zip(pre).zip(post) {
                let delta = post - pre;
                *out = if delta.is_finite() { delta } else { 0.0 };
                left_out += u64::from(!delta.is_finite());
            }
        }
        left_out
    }
}
