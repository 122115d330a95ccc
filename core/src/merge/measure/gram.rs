//! Inner products of the target and the vectors of a tensor, from which angles and weights follow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::super::MergeError;
use super::super::weights::Weights;
use super::elements::RangeElements;
use super::pass::pass;
use super::{Elements, Measured, Spot};
use crate::method::LEAF;
use crate::method::mix::{magnitude_key, population_variance};
use crate::numeric::BLOCK;
use crate::recipe::{Combination, Recipe};
use crate::stream::Resources;

/// ⟨xᵢ, xⱼ⟩ of the target (0; zeros where it is not compared) and the vectors (1 and up), over the elements that all have.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Gram {
    models: usize,
    products: Vec<f64>,
    /// Elements summed up.
    pub elements: u64,
}

impl Gram {
    fn new(models: usize) -> Self {
        Self { models, products: vec![0.0; models * models], elements: 0 }
    }

    /// ⟨xᵢ, xⱼ⟩.
    pub(in super::super) fn product(&self, i: usize, j: usize) -> f64 {
        self.products[i.min(j) * self.models + i.max(j)]
    }

    /// ‖xᵢ‖.
    pub(in super::super) fn norm(&self, i: usize) -> f64 {
        self.product(i, i).sqrt()
    }

    fn add(&mut self, other: &Self) {
        self.products.iter_mut().zip(&other.products).for_each(|(sum, product)| *sum += product);
        self.elements += other.elements;
    }

    fn add_blocks(&mut self, blocks: &[[f64; BLOCK]], count: usize, rounded: impl Fn(usize, usize, f64) -> f64) {
        for i in 0..self.models {
            for j in i..self.models {
                let products = blocks[i][..count].iter().zip(&blocks[j][..count]).map(|(a, b)| rounded(i, j, a * b));
                self.products[i * self.models + j] += products.filter(|product| product.is_finite()).sum::<f64>();
            }
        }
        self.elements += count as u64;
    }
}

/// The key of the variance between the vectors at one position.
pub(super) fn variance_key(elements: &Elements<'_>, values: impl Iterator<Item = f64> + Clone) -> u32 {
    magnitude_key(elements.stored(population_variance(values)))
}

/// The Gram matrix of each tensor. For SCE over the elements that it selects.
pub(super) fn grams(
    weights: Weights<'_>,
    recipe: &Recipe,
    measured: &Measured,
    spots: &[Spot],
    resources: &Resources,
) -> Result<HashMap<usize, Gram>, MergeError> {
    let grams = Mutex::new(HashMap::new());
    let elements = Elements { weights, recipe, measured };
    let vectors = weights.models.vectors.len();
    let combination = recipe.method.name.combination();
    let selects = combination == Combination::Sce;
    pass(
        weights,
        spots,
        resources,
        |(): &mut (), buffers, spot, range| {
            let count = range.count as usize;
            let target = weights.reads(spot).contains(&0).then(|| weights.bytes(range, 0, buffers));
            let readers: Vec<RangeElements<'_>> =
                (0..vectors).map(|vector| elements.of(buffers, range, vector)).collect();
            let sources = &weights.plan.tensors[spot.tensor].sources;
            let cut = measured.cuts.get(&spot).and_then(|ranks| ranks.within).filter(|_| selects);
            let mut leaves: Vec<Gram> = Vec::new();
            let mut blocks = vec![[0.0; BLOCK]; vectors + 1];
            for from in (0..count).step_by(BLOCK) {
                let length = BLOCK.min(count - from);
                if let Some(target) = &target {
                    target.decode(from, &mut blocks[0][..length]);
                }
                for (block, reader) in blocks[1..].iter_mut().zip(&readers) {
                    reader.decode(from, &mut block[..length]);
                }
                if let Some(cut) = cut {
                    let first = range.first + from as u64;
                    for (i, element) in (first..).take(length).enumerate() {
                        let found = blocks[1..].iter().zip(sources).filter(|(_, source)| source.is_some());
                        if !cut.contains(variance_key(&elements, found.map(|(block, _)| block[i])), element) {
                            blocks.iter_mut().for_each(|block| block[i] = 0.0);
                        }
                    }
                }
                if from.is_multiple_of(LEAF) {
                    leaves.push(Gram::new(vectors + 1));
                }
                if let Some(leaf) = leaves.last_mut() {
                    // Where mergekit multiplies element by element, it stores the products.
                    let rounded = |i: usize, j: usize, product| match combination {
                        Combination::ModelStock if i != j => elements.stored(product),
                        Combination::Sce if i == j => elements.stored(product),
                        _ => product,
                    };
                    leaf.add_blocks(&blocks, length, rounded);
                }
            }
            Ok(leaves)
        },
        |spot, leaves| {
            let mut total = Gram::new(vectors + 1);
            leaves.flatten().for_each(|leaf| total.add(&leaf));
            grams.lock().unwrap_or_else(PoisonError::into_inner).insert(spot.tensor, total);
            Ok(())
        },
    )?;
    Ok(grams.into_inner().unwrap_or_else(PoisonError::into_inner))
}
