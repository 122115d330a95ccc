//! The merge methods once more, plainly: f64 throughout, whole tensors at once, each step from its definition. And models to
//! try them on.

#![allow(dead_code, reason = "each test file uses its own share of these helpers")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

use std::collections::BTreeMap;
use std::fs;

use half::{bf16, f16};
use mergescope_core::checkpoint::Dtype;
use mergescope_core::error::chain;
use mergescope_core::merge::{MergeError, MergeReport, merge};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{Method, MethodSpec, Recipe, Sparsify, SparsifyRule, VectorSpec};
use mergescope_core::stream::Resources;
use tempfile::TempDir;

use crate::support::{Model, Tensor, Written, decode, read_model, values};

/// Spans several leaves, and its rows cross every one of their ends.
pub const UP: &str = "model.layers.0.mlp.up_proj.weight";
pub const DOWN: &str = "model.layers.1.mlp.down_proj.weight";
pub const NORM: &str = "model.norm.weight";
pub const SHAPES: [(&str, &[usize]); 3] = [(UP, &[130, 151]), (DOWN, &[33, 64]), (NORM, &[77])];

/// Models in a temporary folder, by name.
pub struct Bench {
    pub dir: TempDir,
    pub models: BTreeMap<String, Model>,
}

impl Bench {
    pub fn new<'a>(models: impl IntoIterator<Item = (&'a str, Model)>) -> Self {
        let mut bench = Self { dir: TempDir::new().unwrap(), models: BTreeMap::new() };
        for (name, model) in models {
            bench.add(name, model);
        }
        bench
    }

    pub fn add(&mut self, name: &str, model: Model) {
        model.write(&self.dir.path().join(name));
        self.models.insert(name.to_owned(), model);
    }

    /// Two bases, a fine-tuned model of each, one more of the first, and a target, in these dtypes in turn.
    pub fn of_dtypes(dtypes: &[Dtype], each: impl Fn(u64, Dtype) -> Model) -> Self {
        let names = ["base", "one", "two", "other-base", "three", "target"];
        Self::new(names.into_iter().enumerate().map(|(i, name)| (name, each(i as u64, dtypes[i % dtypes.len()]))))
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn vector(&self, pre: &str, post: &str, w: f64) -> VectorSpec {
        VectorSpec { w, ..VectorSpec::new(self.path(pre), self.path(post)) }
    }

    /// A whole model.
    pub fn whole(&self, name: &str, w: f64) -> VectorSpec {
        VectorSpec { w, ..VectorSpec::new("", self.path(name)) }
    }

    /// "one" and "two" from "base", "three" from another.
    pub fn three(&self, w: [f64; 3]) -> Vec<VectorSpec> {
        let pairs = [("base", "one"), ("base", "two"), ("other-base", "three")];
        pairs.into_iter().zip(w).map(|((pre, post), w)| self.vector(pre, post, w)).collect()
    }

    pub fn recipe(&self, method: MethodSpec, mut vectors: Vec<VectorSpec>) -> Recipe {
        let mut recipe = Recipe::new("", "", self.path("target"));
        recipe.method = method;
        recipe.vector = vectors.remove(0);
        recipe.others = vectors;
        recipe
    }

    pub fn try_merge(&self, recipe: &Recipe, resources: &Resources) -> Result<(MergeReport, Written), MergeError> {
        let output = tempfile::tempdir_in(self.dir.path()).unwrap();
        let output = output.path().join("merged");
        let report = merge(recipe, &output, resources, &Control::new())?;
        Ok((report, read_model(&output)))
    }

    pub fn merge(&self, recipe: &Recipe) -> (MergeReport, Written) {
        self.try_merge(recipe, &Resources::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// The message with which a merge is refused, after checking that nothing is left behind.
    pub fn refused(&self, recipe: &Recipe) -> String {
        let files = || {
            let mut names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names
        };
        let before = files();
        let output = self.dir.path().join("merged");
        let error = merge(recipe, &output, &Resources::default(), &Control::new()).expect_err("the merge is refused");
        assert_eq!(files(), before, "a refused merge leaves nothing behind");
        chain(&error)
    }

    /// The elements of a tensor, which f64 holds exactly.
    pub fn elements(&self, model: &str, tensor: &str) -> Vec<f64> {
        let tensor = self.models[model].tensor(tensor);
        numbers(tensor.dtype, &tensor.bytes)
    }

    /// post − pre.
    pub fn delta(&self, pre: &str, post: &str, tensor: &str) -> Vec<f64> {
        self.elements(post, tensor).iter().zip(self.elements(pre, tensor)).map(|(post, pre)| post - pre).collect()
    }

    /// The deltas of [`Self::three`].
    pub fn deltas(&self, tensor: &str) -> Vec<Vec<f64>> {
        [("base", "one"), ("base", "two"), ("other-base", "three")]
            .map(|(pre, post)| self.delta(pre, post, tensor))
            .into()
    }
}

pub fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    decode(dtype, bytes).into_iter().map(f64::from).collect()
}

/// A model of [`SHAPES`] with weights like those of a network.
pub fn smooth(seed: u64, dtype: Dtype) -> Model {
    let base = |seed, count| values(seed, count, 0.05);
    SHAPES.into_iter().enumerate().fold(Model::new(), |model, (i, (name, shape))| {
        let count = shape.iter().product();
        let noise = base(seed * 10 + i as u64 + 100, count);
        let elements: Vec<f32> =
            base(i as u64, count).iter().zip(noise).map(|(base, noise)| base + 0.1 * noise).collect();
        model.with_tensor(Tensor::of(name, dtype, shape, &elements))
    })
}

/// A model of [`SHAPES`] whose elements are few different multiples of 1∕128, so that most deltas have equals and many are 0.
pub fn coarse(seed: u64, dtype: Dtype) -> Model {
    SHAPES.into_iter().enumerate().fold(Model::new(), |model, (i, (name, shape))| {
        let count = shape.iter().product();
        let noise = values(seed * 10 + i as u64 + 100, count, 1.5);
        let elements: Vec<f32> = values(i as u64, count, 20.0)
            .iter()
            .zip(noise)
            .map(|(base, noise)| (base.round() + noise.round()) / 128.0)
            .collect();
        model.with_tensor(Tensor::of(name, dtype, shape, &elements))
    })
}

/// The nearest number of `dtype`, ties to even, by comparing with its neighbours.
pub fn nearest(dtype: Dtype, value: f64) -> f64 {
    let (bits, of): (u32, fn(u32) -> f64) = match dtype {
        Dtype::F32 => return f64::from(value as f32),
        Dtype::BF16 => (bf16::from_f64(value.abs()).to_bits().into(), |bits| bf16::from_bits(bits as u16).to_f64()),
        Dtype::F16 => (f16::from_f64(value.abs()).to_bits().into(), |bits| f16::from_bits(bits as u16).to_f64()),
        other => panic!("{other} is no output under test"),
    };
    let distance = |bits: &u32| (of(*bits) - value.abs()).abs();
    let candidates = bits.saturating_sub(1)..=bits + 1;
    let best = candidates.min_by(|a, b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)))).unwrap();
    of(best).copysign(value)
}

/// Asserts that a tensor holds the nearest elements to `exact`; where `exact` lies between two so closely that the order of
/// the sum decides, either.
pub fn assert_nearest(written: &Written, tensor: &str, exact: &[f64], what: &str) {
    let (dtype, _, bytes) = &written[tensor];
    let found = numbers(*dtype, bytes);
    assert_eq!(found.len(), exact.len(), "{what}: {tensor}");
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        let best = nearest(*dtype, *exact);
        let slack = 1e-12 * (exact.abs() + 0.01);
        let right = (found - exact).abs() <= (best - exact).abs() + slack;
        assert!(right, "{what}: element {i} of {tensor} is {found}, not {best}, for {exact}");
    }
}

/// The indices by falling magnitude as f32; equals in the order of their indices.
fn falling(v: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..v.len()).collect();
    order.sort_by(|a, b| (v[*b].abs() as f32).total_cmp(&(v[*a].abs() as f32)).then(a.cmp(b)));
    order
}

fn only(v: &[f64], kept: impl IntoIterator<Item = usize>) -> Vec<f64> {
    let mut thinned = vec![0.0; v.len()];
    kept.into_iter().for_each(|index| thinned[index] = v[index]);
    thinned
}

/// TIES' first step: the largest `density` of all elements, at least one.
pub fn trimmed(v: &[f64], density: f64) -> Vec<f64> {
    let count = if density > 0.0 { ((density * v.len() as f64) as usize).max(1) } else { 0 };
    only(v, falling(v).into_iter().take(count))
}

/// Neither the largest `gamma` nor the smallest; `density` of all. Sorted by rising magnitude, so that of equals the last is
/// the largest.
pub fn breadcrumbs(v: &[f64], density: f64, gamma: f64) -> Vec<f64> {
    let share = |share: f64| (share * v.len() as f64) as usize;
    let mut order: Vec<usize> = (0..v.len()).collect();
    order.sort_by(|a, b| (v[*a].abs() as f32).total_cmp(&(v[*b].abs() as f32)).then(a.cmp(b)));
    let kept = share(density).min(v.len());
    let top = share(gamma).min(v.len() - kept);
    only(v, order[v.len() - top - kept..v.len() - top].to_vec())
}

/// What a rule by rank keeps, rescaled to the sum of magnitudes that the whole had.
pub fn thinned(v: &[f64], rule: &SparsifyRule) -> Vec<f64> {
    let mut kept = match rule.sparsify {
        Sparsify::None => return v.to_vec(),
        Sparsify::Trim => trimmed(v, rule.density),
        Sparsify::Breadcrumbs => breadcrumbs(v, rule.density, rule.gamma),
        Sparsify::Dare | Sparsify::Della => panic!("drawn at random"),
    };
    let size = |v: &[f64]| v.iter().map(|value| value.abs()).sum::<f64>();
    if rule.rescale && size(&kept) > 0.0 {
        let scale = size(v) / size(&kept);
        kept.iter_mut().for_each(|value| *value *= scale);
    }
    kept
}

/// Σ c·v, divided by Σ c if `normalize`.
pub fn summed(vectors: &[Vec<f64>], c: &[f64], normalize: bool) -> Vec<f64> {
    let divisor = if normalize { c.iter().sum::<f64>() } else { 1.0 };
    (0..vectors[0].len()).map(|i| vectors.iter().zip(c).map(|(v, c)| c * v[i]).sum::<f64>() / divisor).collect()
}

/// Σ c·v over those that have the sign of the whole sum (a sum of 0 counts as positive), divided by their Σ c if `normalize`.
pub fn elected(vectors: &[Vec<f64>], c: &[f64], normalize: bool) -> Vec<f64> {
    let at = |i: usize| {
        let updates: Vec<f64> = vectors.iter().zip(c).map(|(v, c)| c * v[i]).collect();
        let sign = if updates.iter().sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = || updates.iter().zip(c).filter(|(update, _)| *update * sign > 0.0);
        let divisor: f64 = agreeing().map(|(_, c)| c).sum();
        let sum: f64 = agreeing().map(|(update, _)| update).sum();
        if normalize && divisor != 0.0 { sum / divisor } else { sum }
    };
    (0..vectors[0].len()).map(at).collect()
}

/// target + λ·sum.
pub fn added(target: &[f64], lambda: f64, sum: &[f64]) -> Vec<f64> {
    target.iter().zip(sum).map(|(target, sum)| target + lambda * sum).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    (dot(a, b) / (norm(a) * norm(b))).clamp(-1.0, 1.0)
}

/// x·a + y·b.
pub fn mixed(x: f64, a: &[f64], y: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| x * a + y * b).collect()
}

/// Along the great circle from a to b.
pub fn great_circle(a: &[f64], b: &[f64], t: f64) -> Vec<f64> {
    let angle = cosine(a, b).acos();
    mixed(((1.0 - t) * angle).sin() / angle.sin(), a, (t * angle).sin() / angle.sin(), b)
}

/// What model stock adds to the base: t·mean(v), t = N·cos ∕ (1 + (N − 1)·cos).
pub fn stock(vectors: &[Vec<f64>]) -> Vec<f64> {
    let count = vectors.len();
    let pairs: Vec<f64> = (0..count)
        .flat_map(|i| (i + 1..count).map(move |j| (i, j)))
        .map(|(i, j)| cosine(&vectors[i], &vectors[j]))
        .collect();
    let cos = pairs.iter().sum::<f64>() / pairs.len() as f64;
    let t = count as f64 * cos / (1.0 + (count as f64 - 1.0) * cos);
    summed(vectors, &vec![t / count as f64; count], false)
}

/// What SCE adds to the base.
pub fn sce(vectors: &[Vec<f64>], topk: f64) -> Vec<f64> {
    let (count, length) = (vectors.len() as f64, vectors[0].len());
    let variance: Vec<f64> = (0..length)
        .map(|i| {
            let mean = vectors.iter().map(|v| v[i]).sum::<f64>() / count;
            vectors.iter().map(|v| (v[i] - mean).powi(2)).sum::<f64>() / count
        })
        .collect();
    let selected: Vec<Vec<f64>> = if topk < 1.0 {
        let varying = variance.iter().filter(|variance| **variance as f32 != 0.0).count();
        let chosen: Vec<usize> = falling(&variance).into_iter().take((topk * varying as f64) as usize).collect();
        vectors.iter().map(|v| only(v, chosen.iter().copied())).collect()
    } else {
        vectors.to_vec()
    };
    let squares: Vec<f64> = selected.iter().map(|v| dot(v, v)).collect();
    let total: f64 = squares.iter().sum();
    let weights: Vec<f64> =
        squares.iter().map(|square| if total > 0.0 { square / total } else { 1.0 / count }).collect();
    let at = |i: usize| {
        let sign = if selected.iter().map(|v| v[i]).sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = || selected.iter().zip(&weights).filter(|(v, _)| v[i] * sign > 0.0);
        let divisor: f64 = agreeing().map(|(_, weight)| weight).sum();
        if divisor > 0.0 { agreeing().map(|(v, weight)| weight * v[i]).sum::<f64>() / divisor } else { 0.0 }
    };
    (0..length).map(at).collect()
}

/// A method with one parameter changed.
pub fn method(name: Method, change: impl FnOnce(&mut MethodSpec)) -> MethodSpec {
    let mut spec = MethodSpec::new(name);
    change(&mut spec);
    spec
}

/// w as arithmetic uses it.
pub fn as_f32(w: [f64; 3]) -> [f64; 3] {
    w.map(|w| f64::from(w as f32))
}
