//! How large the elements are: counts by magnitude in half octaves.

use serde::{Deserialize, Serialize};

/// Half octaves of f32: its exponent and the first bit of its mantissa.
pub(super) const BINS: usize = 512;

/// Magnitudes of the elements of a tensor, counted in bins of half an octave each.
///
/// Bin b holds the magnitudes whose f32 has the exponent and the first mantissa bit of b: 2ᵉ to 1.5·2ᵉ for an even b,
/// 1.5·2ᵉ to 2ᵉ⁺¹ for an odd one. Exact zeros are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHistogram {
    /// The bin of the first count.
    first: u16,
    /// Counts from there on, without empty bins at either end.
    counts: Vec<u64>,
}

/// The magnitudes of one bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Smallest magnitude.
    pub low: f64,
    /// Magnitude above the largest.
    pub high: f64,
    /// Elements.
    pub count: u64,
}

impl Bin {
    /// Elements per octave: counts made comparable between bins, whose widths on a log scale alternate.
    pub fn per_octave(&self) -> f64 {
        self.count as f64 / (self.high / self.low).log2()
    }
}

impl LogHistogram {
    /// Counts by bin, all [`BINS`] of them.
    pub(super) fn from_counts(counts: &[u64]) -> Self {
        let Some(first) = counts.iter().position(|&count| count > 0) else { return Self::default() };
        let end = counts.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
        // At most BINS.
        Self { first: first as u16, counts: counts[first..end].to_vec() }
    }

    /// The bins from the first to the last that holds anything, empty ones between them included.
    pub fn bins(&self) -> impl ExactSizeIterator<Item = Bin> {
        self.counts.iter().enumerate().map(|(position, &count)| {
            let bin = usize::from(self.first) + position;
            Bin { low: lower_edge(bin), high: lower_edge(bin + 1), count }
        })
    }

    /// The counts from the first octave that holds anything to the last, two for each, and the exponent e of the first:
    /// counts 0 and 1 are of 2ᵉ to 1.5·2ᵉ and of 1.5·2ᵉ to 2ᵉ⁺¹, and so on. `None` when nothing was counted.
    ///
    /// The octave −127 holds what is below 2⁻¹²⁶, the subnormals of f32, divided at 2⁻¹²⁷; 128 holds all from 2¹²⁸ on.
    pub fn octaves(&self) -> Option<(i32, Vec<u64>)> {
        if self.counts.is_empty() {
            return None;
        }
        let mut counts = vec![0; usize::from(self.first % 2)];
        counts.extend(&self.counts);
        counts.resize(counts.len().next_multiple_of(2), 0);
        Some((i32::from(self.first / 2) - 127, counts))
    }

    /// Elements counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        let mut counts = vec![0; BINS];
        for histogram in [&*self, other] {
            for (sum, count) in counts[usize::from(histogram.first)..].iter_mut().zip(&histogram.counts) {
                *sum += count;
            }
        }
        *self = Self::from_counts(&counts);
    }
}

/// The bin of a value.
#[inline(always)]
pub(super) fn bin(value: f32) -> u32 {
    (value.to_bits() & 0x7fff_ffff) >> 22
}

/// The smallest magnitude of a bin. Those of the subnormals of f32 reach down to its smallest.
fn lower_edge(bin: usize) -> f64 {
    let smallest = f64::from(f32::from_bits(1));
    let bits = (bin as u32) << 22;
    if bits >= f32::INFINITY.to_bits() { 128_f64.exp2() } else { f64::from(f32::from_bits(bits)).max(smallest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> LogHistogram {
        let mut counts = vec![0; BINS];
        values.iter().for_each(|&value| counts[bin(value) as usize] += 1);
        LogHistogram::from_counts(&counts)
    }

    #[test]
    fn a_value_lies_within_its_bin() {
        for value in [1.0, -1.0, 1.4999, 1.5, -1.99, 0.02, 3e-5, 1e-44, f32::MIN_POSITIVE, f32::MAX] {
            let histogram = of(&[value]);
            let bins: Vec<Bin> = histogram.bins().collect();
            assert_eq!(bins.len(), 1);
            let magnitude = f64::from(value.abs());
            assert!(bins[0].low <= magnitude && magnitude < bins[0].high, "{value} in {:?}", bins[0]);
        }
    }

    #[test]
    fn octaves_are_two_bins_each_however_the_first_and_last_lie() {
        assert_eq!(of(&[1.0, 1.4, 1.6, 2.0]).octaves(), Some((0, vec![2, 1, 1, 0])));
        assert_eq!(of(&[0.0625 * 1.5, -0.125]).octaves(), Some((-4, vec![0, 1, 1, 0])));
        assert_eq!(of(&[1e-45, f32::MIN_POSITIVE / 2.0]).octaves(), Some((-127, vec![1, 1])));
        assert_eq!(of(&[f32::MIN_POSITIVE]).octaves(), Some((-126, vec![1, 0])));
        assert_eq!(of(&[f32::INFINITY]).octaves(), Some((128, vec![1, 0])));
        assert_eq!(of(&[]).octaves(), None);
    }

    #[test]
    fn sums_of_histograms_count_what_their_elements_count() {
        let (a, b) = ([1.0, 1.2, 8.0], [0.001, 1.7]);
        let mut sum = of(&a);
        sum.add(&of(&b));
        assert_eq!(sum, of(&[a.as_slice(), &b].concat()));
        assert_eq!(sum.total(), 5);
        let mut none = LogHistogram::default();
        none.add(&LogHistogram::default());
        assert_eq!((none.total(), none.bins().len()), (0, 0));
    }

    #[test]
    fn a_flat_density_looks_flat_although_bins_alternate_in_width() {
        let (narrow, wide) = (Bin { low: 1.5, high: 2.0, count: 415 }, Bin { low: 1.0, high: 1.5, count: 585 });
        assert!((narrow.per_octave() / wide.per_octave() - 1.0).abs() < 1e-3);
    }
}
