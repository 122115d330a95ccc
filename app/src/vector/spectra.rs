//! One tensor in words, the same in the text, on the page and below its chart: sizes and spectrum.

use mergescope_core::analysis::{Spectrum, TensorAnalysis};

use super::magnitudes::quantile;
use crate::format;

/// The share of ‖v‖² that counts as most of it.
const MOST: f64 = 0.99;
/// Shares of ‖v‖² whose ranks are told.
const SHARES: [f64; 3] = [0.5, 0.9, MOST];

/// Instead of a spectrum, of a tensor that is no matrix.
pub const NONE: &str = "It is no matrix, so it has no singular values.";

/// How large its elements are: `|v|: median of those that are not zero about 0.0012, largest 0.0310`.
pub fn sizes(tensor: &TensorAnalysis) -> String {
    match quantile(&tensor.vector_histogram, 0.5) {
        Some(median) => {
            let largest = tensor.sums.max_abs;
            // The bins of a histogram are half an octave wide and know no largest.
            let median = if largest < median { largest } else { median };
            format!(
                "|v|: median of those that are not zero about {}, largest {}",
                format::significant(median),
                format::significant(largest)
            )
        }
        None => "Every element of v is zero here.".to_owned(),
    }
}

/// Its ranks and how it was taken: `effective rank 212, stable rank 12.3; all singular values`.
pub fn ranks(spectrum: &Spectrum) -> String {
    let range = spectrum.effective_rank;
    let effective = match range.low == range.high {
        true => format::norm(range.low),
        false => format!("{} to {}", format::norm(range.low), format::norm(range.high)),
    };
    let values = match spectrum.complete {
        true => "all singular values".to_owned(),
        false => {
            let error = format::norm(spectrum.error);
            match spectrum.singular_values.len() {
                1 => format!("first singular value, within {error}"),
                count => format!("first {}, each within {error}", format::plural(count, "singular value")),
            }
        }
    };
    format!("effective rank {effective}, stable rank {}; {values}", format::norm(spectrum.stable_rank))
}

/// What the lowest ranks that keep the shares of a half, 90 % and 99 % really keep: `rank 3 keeps 52 %, rank 20 keeps 91 % of ‖v‖²`; empty
/// for a zero vector, and where too few singular values are known.
pub fn kept(spectrum: &Spectrum) -> String {
    let mut ranks: Vec<usize> = SHARES.into_iter().filter_map(|share| spectrum.rank_for(share)).collect();
    // One rank may do for several shares.
    ranks.dedup();
    let kept = ranks.into_iter().filter_map(|rank| {
        let share = format::percent(spectrum.energy_kept(rank)?);
        Some(format!("rank {rank} keeps {share}"))
    });
    let kept: Vec<String> = kept.collect();
    if kept.is_empty() { String::new() } else { format!("{} of ‖v‖²", kept.join(", ")) }
}

/// Where most of it lies: `99 % of ‖v‖² is in the first 12 directions.`; `None` where that is not known, and for
/// a zero vector, which is in none.
pub fn directions(spectrum: &Spectrum) -> Option<String> {
    let rank = spectrum.rank_for(MOST).filter(|&rank| rank > 0)?;
    Some(format!("{} of ‖v‖² is in the first {}.", format::percent(MOST), first(rank)))
}

/// Whether v moves along the principal directions of pre; `None` where either is zero.
pub fn overlap(spectrum: &Spectrum) -> Option<String> {
    let overlap = spectrum.overlap.as_ref()?;
    Some(format!(
        "The first {} of v and of pre overlap by {} on the output side and {} on the input side; by chance it would be {} \
         and {}.",
        first(overlap.k),
        format::percent(overlap.left),
        format::percent(overlap.right),
        format::percent(overlap.left_chance),
        format::percent(overlap.right_chance),
    ))
}

/// How many directions, after “the first”.
fn first(count: usize) -> String {
    if count == 1 { "direction".to_owned() } else { format::plural(count, "direction") }
}

#[cfg(test)]
mod tests {
    use mergescope_core::analysis::{Bounds, Overlap};
    use mergescope_core::layout::Part;

    use super::super::testing::{spectrum_of as of, tensor};
    use super::*;

    fn plain(text: &str) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn a_rank_is_told_once_with_what_it_keeps() {
        assert_eq!(plain(&kept(&of(&[2.0, 0.0, 0.0]))), "rank 1 keeps 100 % of ‖v‖²");
        assert_eq!(plain(&kept(&of(&[3.0, 1.0]))), "rank 1 keeps 90 %, rank 2 keeps 100 % of ‖v‖²");
        assert_eq!(kept(&of(&[0.0, 0.0])), "");
    }

    #[test]
    fn no_median_is_above_the_largest() {
        let mut one = tensor(Some(0), Part::Norm, 1.0, 1.0);
        // All in the bin from 1 to 1.5.
        one.vector_histogram = serde_json::from_value(serde_json::json!({ "first": 254, "counts": [4] })).unwrap();
        one.sums.max_abs = 1.125;
        assert_eq!(sizes(&one), "|v|: median of those that are not zero about 1.12, largest 1.12");
        one.sums.max_abs = 1.375;
        assert_eq!(sizes(&one), "|v|: median of those that are not zero about 1.22, largest 1.38");
        one.vector_histogram = Default::default();
        assert_eq!(sizes(&one), "Every element of v is zero here.");
    }

    #[test]
    fn directions_are_counted_as_people_do() {
        assert_eq!(plain(&directions(&of(&[2.0, 0.0])).unwrap()), "99 % of ‖v‖² is in the first direction.");
        assert_eq!(plain(&directions(&of(&[2.0, 2.0])).unwrap()), "99 % of ‖v‖² is in the first 2 directions.");
        assert_eq!(directions(&of(&[0.0])), None);
        let overlap_of = |k| {
            let found = Some(Overlap { k, left: 0.5, right: 0.25, left_chance: 0.125, right_chance: 0.125 });
            overlap(&Spectrum { overlap: found, ..of(&[1.0]) }).unwrap()
        };
        assert!(overlap_of(1).starts_with("The first direction of v and of pre overlap by "));
        assert!(overlap_of(2).starts_with("The first 2 directions of v and of pre overlap by "));
    }

    #[test]
    fn what_is_not_known_to_the_end_is_a_range() {
        let part =
            Spectrum { complete: false, error: 0.01, effective_rank: Bounds { low: 2.0, high: 3.0 }, ..of(&[1.0]) };
        assert_eq!(
            ranks(&part),
            "effective rank 2.000 to 3.000, stable rank 1.250; first singular value, within 0.01000"
        );
        assert_eq!(ranks(&of(&[1.0])), "effective rank 1.500, stable rank 1.250; all singular values");
    }
}
