//! How far a sweep is, and how long it may take.

use std::time::Duration;

use mergescope_core::evaluate::log::{Contents, Sample};
use mergescope_core::evaluate::sweep::{ArmModel, Sweep};

use crate::evaluate::failures::arms;
use crate::format;

/// How many answers are there, and how long the others may take.
pub struct Pace {
    /// Answers that are there.
    pub there: usize,
    /// Answers in all, as far as it is known.
    pub total: usize,
    /// Time for the others, if they go as the earlier ones of the folder; `None` without any.
    pub left: Option<Duration>,
}

impl Pace {
    /// Of those models that are wanted. Without an `engine` it is the one that answered last.
    pub fn of(
        sweep: &Sweep,
        wanted: &dyn Fn(ArmModel) -> bool,
        log: &Contents,
        engine: Option<&str>,
        at_once: usize,
    ) -> Self {
        let last = log.samples().last().map_or("", |sample| sample.engine.as_str());
        let engine = engine.unwrap_or(last);
        // Choices are weighed one after the other.
        let at_once = if sweep.spec().choices.is_some() { 1 } else { at_once.max(1) };
        let (mut there, mut total, mut turns) = (0, 0, 0.0);
        let arms = arms(sweep, wanted, log, engine);
        for of_model in arms.chunk_by(|a, b| a.model == b.model) {
            let keys: Vec<_> = of_model.iter().map(|arm| sweep.keys(*arm, engine)).collect();
            let all = keys.iter().flat_map(|keys| keys.iter().flatten());
            let (found, of) = all.fold((0, 0), |(found, of), key| (found + usize::from(log.contains(key)), of + 1));
            there += found;
            total += of;
            // Answers that are made together take the time of one.
            turns += if found < of { ((of - found) as f64 / at_once as f64).max(1.0) } else { 0.0 };
        }
        let timed = |sample: &&Sample| sample.engine == engine && sample.error.is_none() && sample.elapsed_s > 0.0;
        let times: Vec<f64> = log.samples().iter().filter(timed).map(|sample| sample.elapsed_s).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let left = (!times.is_empty()).then(|| Duration::try_from_secs_f64(mean * turns).ok()).flatten();
        Self { there, total, left }
    }

    /// Answers that are not there.
    pub fn open(&self) -> usize {
        self.total.saturating_sub(self.there)
    }

    /// In words.
    pub fn text(&self) -> String {
        let (there, open) = (format::count(self.there as u64), format::count(self.open() as u64));
        let all = format::plural(self.total, "answer");
        let verb = if self.there == 1 { "is" } else { "are" };
        match (self.there, self.open(), self.left) {
            (1, 0, _) => "The one answer is there; nothing new is asked".to_owned(),
            (_, 0, _) => format!("All {all} are there; nothing new is asked"),
            (0, _, None) => format!("{all} to come; how long they take is known after the first ones"),
            (0, _, Some(left)) => {
                format!("{all} to come, in about {} if they go as earlier ones here", format::duration(left))
            }
            (_, _, None) => format!("{there} of {all} {verb} there; how long the other {open} take is not known yet"),
            (_, _, Some(left)) => {
                format!("{there} of {all} {verb} there; the other {open} take about {}", format::duration(left))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_where_it_is_known() {
        let text = |there, total, left: Option<u64>| Pace { there, total, left: left.map(Duration::from_secs) }.text();
        assert_eq!(text(0, 1, None), "1 answer to come; how long they take is known after the first ones");
        assert_eq!(text(1, 6, Some(12)), "1 of 6 answers is there; the other 5 take about 12\u{a0}s");
        assert_eq!(text(6, 6, Some(0)), "All 6 answers are there; nothing new is asked");
    }
}
