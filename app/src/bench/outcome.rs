//! What came of all turns.

use std::collections::BTreeMap;

use super::child::Taken;

/// What is held against what, and how often.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// For each contender of a turn, by label: what it took, turn by turn.
    turns: BTreeMap<String, Vec<Taken>>,
}

/// A ratio to another contender, of the times of one turn each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Outcome {
    /// Takes in what a contender took in the turn that goes on.
    pub fn add(&mut self, label: &str, taken: Taken) {
        self.turns.entry(label.to_owned()).or_default().push(taken);
    }

    /// The times of a contender, turn by turn.
    pub fn secs(&self, label: &str) -> Vec<f64> {
        self.turns.get(label).into_iter().flatten().map(|taken| taken.secs).collect()
    }

    /// Its median time, in seconds; `None` where it was not measured.
    pub fn median_secs(&self, label: &str) -> Option<f64> {
        median(self.secs(label))
    }

    /// Most anonymous memory of a contender in all turns, in bytes.
    pub fn anonymous_bytes(&self, label: &str) -> Option<u64> {
        self.turns.get(label)?.iter().filter_map(|taken| taken.anonymous_bytes).max()
    }

    /// The time of `label` over that of `floor`, each turn by itself, so that what slows the machine down for a while concerns
    /// both.
    pub fn ratio(&self, label: &str, floor: &str) -> Option<Ratio> {
        let ratios: Vec<f64> =
            self.secs(label).iter().zip(self.secs(floor)).map(|(secs, floor)| secs / floor).collect();
        let fold = |pick: fn(f64, f64) -> f64| ratios.iter().copied().reduce(pick);
        Some(Ratio { median: median(ratios.clone())?, least: fold(f64::min)?, most: fold(f64::max)? })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => None,
        0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_turn() {
        let mut outcome = Outcome::default();
        // The second turn was slow for both.
        for (floor, merge) in [(1.0, 1.1), (4.0, 4.8), (1.0, 1.0)] {
            outcome.add("floor", Taken { secs: floor, anonymous_bytes: None });
            outcome.add("merge", Taken { secs: merge, anonymous_bytes: Some((merge * 10.0) as u64) });
        }
        let ratio = outcome.ratio("merge", "floor").expect("both were measured");
        assert_eq!(ratio, Ratio { median: 1.1, least: 1.0, most: 1.2 });
        assert_eq!(outcome.median_secs("merge"), Some(1.1));
        assert_eq!(outcome.anonymous_bytes("merge"), Some(48));
        assert_eq!((outcome.anonymous_bytes("floor"), outcome.ratio("merge", "other")), (None, None));
    }
}
