//! Which layers move alike: the cosine of v between each two layers, and what stands out in it.

use mergescope_core::analysis::LayerProducts;

use super::PartSet;

/// cos(v of layer i, v of layer j), for one kind of part or for several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerCosine {
    /// The layers, ascending.
    pub layers: Vec<u32>,
    /// Row-major layers × layers, −1 to 1; NaN where a layer has no such part or does not move.
    pub values: Vec<f64>,
}

/// Layers between an early and a late block, as a share of all layers: neighbours are compared on their own.
const GAP: f64 = 0.25;

/// A set of cosines that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// First and last layer of the first block.
    pub early: (u32, u32),
    /// First and last layer of the second.
    pub late: (u32, u32),
    /// Mean cosine between a layer of the one and a layer of the other.
    pub mean: f64,
}

impl LayerCosine {
    /// Over those parts together.
    pub fn new(products: &LayerProducts, parts: PartSet) -> Self {
        let values = products.cosine(|part| parts.contains(part));
        Self { layers: products.layers.clone(), values }
    }

    /// The cosine of the layers at two positions.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values.get(row * self.layers.len() + column).copied().unwrap_or(f64::NAN)
    }

    /// Mean cosine of layers that follow each other; NaN when there are none.
    pub fn neighbours(&self) -> f64 {
        let pairs = (1..self.layers.len()).map(|position| self.at(position - 1, position));
        mean(pairs)
    }

    /// The largest |cosine| between two layers; NaN when there are no two.
    pub fn largest(&self) -> f64 {
        let pairs = (0..self.layers.len()).flat_map(|row| (0..row).map(move |column| (row, column)));
        let sizes = pairs.map(|(row, column)| self.at(row, column).abs()).filter(|size| size.is_finite());
        sizes.fold(f64::NAN, f64::max)
    }

    /// The first layers against the last ones: where the one block ends and the other begins so that they stand out most.
    ///
    /// A scan statistic: of all pairs of blocks the one with the largest |sum| ∕ √pairs, which is the mean in units of
    /// what chance makes of it. `None` when no two layers are far enough apart.
    pub fn early_and_late(&self) -> Option<Block> {
        let count = self.layers.len();
        let gap = ((count as f64 * GAP).ceil() as usize).max(1);
        let mut best: Option<(f64, Block)> = None;
        // Sums over rows 0..=last_early of the columns from first_late on.
        let mut column_sums = vec![(0.0, 0_u64); count];
        for last_early in 0..count {
            for (column, (sum, pairs)) in column_sums.iter_mut().enumerate() {
                let value = self.at(last_early, column);
                if value.is_finite() {
                    *sum += value;
                    *pairs += 1;
                }
            }
            let (mut sum, mut pairs) = (0.0, 0);
            for first_late in (last_early + gap..count).rev() {
                sum += column_sums[first_late].0;
                pairs += column_sums[first_late].1;
                if pairs == 0 {
                    continue;
                }
                let score = f64::abs(sum) / (pairs as f64).sqrt();
                if best.is_none_or(|(known, _)| score > known) {
                    let block = Block {
                        early: (self.layers[0], self.layers[last_early]),
                        late: (self.layers[first_late], self.layers[count - 1]),
                        mean: sum / pairs as f64,
                    };
                    best = Some((score, block));
                }
            }
        }
        best.map(|(_, block)| block)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|value| value.is_finite()).fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    if count > 0 { sum / count as f64 } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(count: u32, value: impl Fn(u32, u32) -> f64) -> LayerCosine {
        let values = (0..count).flat_map(|row| (0..count).map(move |column| (row, column)));
        let values = values.map(|(row, column)| if row == column { 1.0 } else { value(row, column) }).collect();
        LayerCosine { layers: (0..count).collect(), values }
    }

    #[test]
    fn planted_blocks_are_found_to_the_layer() {
        let planted = cosine(24, |a, b| if a.min(b) <= 4 && a.max(b) >= 16 { -0.25 } else { 0.01 });
        let block = planted.early_and_late().unwrap();
        assert_eq!((block.early, block.late), ((0, 4), (16, 23)));
        assert!((block.mean + 0.25).abs() < 1e-12);
        assert_eq!(planted.largest(), 0.25);
    }

    #[test]
    fn neighbours_are_taken_by_themselves() {
        let chain = cosine(8, |a, b| if a.abs_diff(b) == 1 { 0.4 } else { 0.0 });
        assert!((chain.neighbours() - 0.4).abs() < 1e-12);
        assert_eq!(chain.early_and_late().unwrap().mean, 0.0);
    }

    #[test]
    fn one_layer_or_none_has_nothing_to_compare() {
        for count in [0, 1] {
            let alone = cosine(count, |_, _| 0.0);
            assert!(alone.neighbours().is_nan() && alone.largest().is_nan() && alone.early_and_late().is_none());
        }
        let still = cosine(5, |_, _| f64::NAN);
        assert!(still.neighbours().is_nan() && still.early_and_late().is_none());
    }
}
