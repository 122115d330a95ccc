//! Sums over many numbers in a fixed number of independent partial sums, so that every instruction set adds in the same order.

use pulp::Simd;

use super::BLOCK;

/// Partial sums: that of index i takes the numbers i, i + 8, i + 16 and so on.
pub(crate) const LANES: usize = 8;

/// In a pair of vectors: all ones.
pub(crate) const ONE: usize = usize::MAX;

/// A number whose products with one another are summed in f64.
pub(crate) trait Factor: Copy {
    /// Whether f64 holds every product of two, so that adding it is the same in one step or in two.
    const EXACT: bool;

    /// The number.
    fn wide(self) -> f64;
}

impl Factor for f32 {
    const EXACT: bool = true;

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Factor for f64 {
    const EXACT: bool = false;

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// Adds the products of each pair of `vectors` to its partial sums. A pair (0, 1) is of the first with the second; [`ONE`] as the
/// second of a pair adds up the first.
#[inline(always)]
pub(crate) fn add_products<S: Simd, T: Factor, const VECTORS: usize, const PAIRS: usize, const LANES: usize>(
    simd: S,
    vectors: [&[T; BLOCK]; VECTORS],
    pairs: [(usize, usize); PAIRS],
    sums: &mut [[f64; LANES]; PAIRS],
) {
    add_products_beside(simd, vectors, pairs, sums, |_| {});
}

/// The same, calling `beside` for the first index of every `LANES`: what needs no vectors can be done while they are waited for.
#[inline(always)]
pub(crate) fn add_products_beside<S: Simd, T: Factor, const VECTORS: usize, const PAIRS: usize, const LANES: usize>(
    simd: S,
    vectors: [&[T; BLOCK]; VECTORS],
    pairs: [(usize, usize); PAIRS],
    sums: &mut [[f64; LANES]; PAIRS],
    beside: impl FnMut(usize),
) {
    const { assert!(BLOCK.is_multiple_of(LANES) && LANES.is_power_of_two() && LANES <= 16) };
    // As many registers for each sum as it takes to hold its lanes.
    match LANES / S::F64_LANES {
        1 => add_products_by::<S, T, VECTORS, PAIRS, LANES, _, 1>(simd, vectors, pairs, sums, beside),
        2 => add_products_by::<S, T, VECTORS, PAIRS, LANES, _, 2>(simd, vectors, pairs, sums, beside),
        4 => add_products_by::<S, T, VECTORS, PAIRS, LANES, _, 4>(simd, vectors, pairs, sums, beside),
        8 => add_products_by::<S, T, VECTORS, PAIRS, LANES, _, 8>(simd, vectors, pairs, sums, beside),
        _ => add_products_by::<S, T, VECTORS, PAIRS, LANES, _, 16>(simd, vectors, pairs, sums, beside),
    }
}

#[inline(always)]
fn add_products_by<
    S: Simd,
    T: Factor,
    const VECTORS: usize,
    const PAIRS: usize,
    const LANES: usize,
    F: FnMut(usize),
    const REGISTERS: usize,
>(
    simd: S,
    vectors: [&[T; BLOCK]; VECTORS],
    pairs: [(usize, usize); PAIRS],
    sums: &mut [[f64; LANES]; PAIRS],
    mut beside: F,
) {
    let mut totals = sums.each_ref().map(|sums| load::<S, REGISTERS>(sums));
    for chunk in 0..BLOCK / LANES {
        let mut values = [[simd.splat_f64s(0.0); REGISTERS]; VECTORS];
        for (values, vector) in values.iter_mut().zip(vectors) {
            *values = wide::<S, T, REGISTERS, LANES>(&vector.as_chunks::<LANES>().0[chunk]);
        }
        beside(chunk * LANES);
        for pair in 0..PAIRS {
            let (a, b) = pairs[pair];
            for register in 0..REGISTERS {
                let (a, total) = (values[a][register], totals[pair][register]);
                if b == ONE {
                    totals[pair][register] = simd.add_f64s(total, a);
                    continue;
                }
                let b = values[b][register];
                // Where there are no vectors there may be no instruction for one step either.
                totals[pair][register] = if T::EXACT && S::F64_LANES > 1 {
                    simd.mul_add_f64s(a, b, total)
                } else {
                    simd.add_f64s(total, simd.mul_f64s(a, b))
                };
            }
        }
    }
    for (sums, totals) in sums.iter_mut().zip(totals) {
        store::<S, REGISTERS>(totals, sums);
    }
}

/// Adds the numbers to `sums`, and keeps the largest magnitudes in `largest`; none of them may be NaN.
#[inline(always)]
pub(crate) fn add_and_compare<S: Simd, T: Factor>(
    simd: S,
    values: &[T; BLOCK],
    sums: &mut [f64; LANES],
    largest: &mut [f64; LANES],
) {
    match S::F64_LANES {
        8 => add_and_compare_by::<S, T, 1>(simd, values, sums, largest),
        4 => add_and_compare_by::<S, T, 2>(simd, values, sums, largest),
        2 => add_and_compare_by::<S, T, 4>(simd, values, sums, largest),
        _ => add_and_compare_by::<S, T, 8>(simd, values, sums, largest),
    }
}

#[inline(always)]
fn add_and_compare_by<S: Simd, T: Factor, const REGISTERS: usize>(
    simd: S,
    values: &[T; BLOCK],
    sums: &mut [f64; LANES],
    largest: &mut [f64; LANES],
) {
    let mut totals = load::<S, REGISTERS>(sums);
    let mut most = load::<S, REGISTERS>(largest);
    for chunk in values.as_chunks::<LANES>().0 {
        let values = wide::<S, T, REGISTERS, LANES>(chunk);
        for register in 0..REGISTERS {
            totals[register] = simd.add_f64s(totals[register], values[register]);
            most[register] = simd.max_f64s(most[register], simd.abs_f64s(values[register]));
        }
    }
    store::<S, REGISTERS>(totals, sums);
    store::<S, REGISTERS>(most, largest);
}

#[inline(always)]
fn wide<S: Simd, T: Factor, const REGISTERS: usize, const LANES: usize>(values: &[T; LANES]) -> [S::f64s; REGISTERS] {
    let mut lanes = [0.0; LANES];
    for (lane, value) in lanes.iter_mut().zip(values) {
        *lane = value.wide();
    }
    load::<S, REGISTERS>(&lanes)
}

#[inline(always)]
fn load<S: Simd, const REGISTERS: usize>(lanes: &[f64]) -> [S::f64s; REGISTERS] {
    let registers = S::as_simd_f64s(lanes).0;
    std::array::from_fn(|register| registers[register])
}

#[inline(always)]
fn store<S: Simd, const REGISTERS: usize>(registers: [S::f64s; REGISTERS], lanes: &mut [f64]) {
    for (lane, register) in S::as_mut_simd_f64s(lanes).0.iter_mut().zip(registers) {
        *lane = register;
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Scalar, WithSimd};

    use super::*;

    struct Products<'a>([&'a [f64; BLOCK]; 2]);

    impl WithSimd for Products<'_> {
        type Output = [[f64; LANES]; 4];

        fn with_simd<S: Simd>(self, simd: S) -> [[f64; LANES]; 4] {
            let mut products = [[0.5; LANES]; 2];
            add_products(simd, self.0, [(0, 1), (1, 1)], &mut products);
            let (mut sums, mut largest) = ([0.25; LANES], [0.0; LANES]);
            add_and_compare(simd, self.0[0], &mut sums, &mut largest);
            [products[0], products[1], sums, largest]
        }
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_plain_loops() {
        let of = |factor: f64| std::array::from_fn(|i| (i as f64 * factor).sin() / 3.0);
        let (a, b): ([f64; BLOCK], [f64; BLOCK]) = (of(0.37), of(0.91));
        let mut expected = [[0.5; LANES], [0.5; LANES], [0.25; LANES], [0.0; LANES]];
        for i in 0..BLOCK {
            expected[0][i % LANES] += a[i] * b[i];
            expected[1][i % LANES] += b[i] * b[i];
            expected[2][i % LANES] += a[i];
            expected[3][i % LANES] = expected[3][i % LANES].max(a[i].abs());
        }
        assert_eq!(Products([&a, &b]).with_simd(Scalar), expected);
        assert_eq!(Arch::new().dispatch(Products([&a, &b])), expected);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            assert_eq!(Simd::vectorize(simd, Products([&a, &b])), expected);
        }
    }
}
