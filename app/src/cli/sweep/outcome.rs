//! How far a sweep is, how long it may take, and what went wrong.

use std::time::Duration;

use mergescope_core::evaluate::log::{Contents, Sample};
use mergescope_core::evaluate::sweep::{Arm, ArmModel, Sweep};

use crate::format;

/// What stands in an error of the engine that was tried again and may pass.
const TRIED: &str = "(tried ";

/// Those arms that are asked, controls included once it is known at which w.
fn arms(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool, log: &Contents, engine: &str) -> Vec<Arm> {
    let chosen = sweep.table(log, engine, &[]).chosen;
    let all = sweep.arms(chosen.map(|chosen| chosen.w));
    all.into_iter().filter(|arm| wanted(arm.model)).collect()
}

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

/// Why answers are errors.
pub struct Failures {
    /// Each reason with how many answers it ended, the commonest first.
    reasons: Vec<(String, usize)>,
}

impl Failures {
    /// Of those models that are wanted.
    pub fn of(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool, log: &Contents, engine: &str) -> Self {
        let mut reasons: Vec<(String, usize)> = Vec::new();
        for arm in arms(sweep, wanted, log, engine) {
            for key in sweep.keys(arm, engine).iter().flatten() {
                let Some(error) = log.get(key).and_then(|sample| sample.error.as_ref()) else { continue };
                match reasons.iter_mut().find(|(known, _)| known == error) {
                    Some((_, count)) => *count += 1,
                    None => reasons.push((error.clone(), 1)),
                }
            }
        }
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self { reasons }
    }

    /// Answers that ended in an error.
    pub fn count(&self) -> usize {
        self.reasons.iter().map(|(_, count)| count).sum()
    }

    /// The commonest reason, how many answers it ended, and whether asking again may help.
    pub fn text(&self) -> String {
        let Some((reason, most)) = self.reasons.first() else { return String::new() };
        let all = format::plural(self.count(), "answer");
        let share =
            if self.reasons.len() > 1 { format!(", {} of them", format::count(*most as u64)) } else { String::new() };
        let remedy = if reason.contains(TRIED) {
            "this may pass: the same command asks for them again"
        } else {
            "once that is mended, the same command asks for them again"
        };
        format!("{all} ended in an error{share} with: {reason} ({remedy})")
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

    #[test]
    fn only_what_may_pass_is_advised_to_be_tried_again() {
        let text = |reasons: &[(&str, usize)]| {
            let reasons = reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
            Failures { reasons }.text()
        };
        assert_eq!(text(&[]), "");
        let lasting = text(&[("the server answered 401", 2), ("other", 1)]);
        assert!(
            lasting.starts_with("3 answers ended in an error, 2 of them with: the server answered 401"),
            "{lasting}"
        );
        assert!(lasting.contains("once that is mended"), "{lasting}");
        let passing = text(&[("the server answered 500 (tried 6 times)", 1)]);
        assert!(passing.starts_with("1 answer ended in an error with: "), "{passing}");
        assert!(passing.contains("this may pass"), "{passing}");
    }
}
