//! What went wrong in a sweep, in words.

use mergescope_core::evaluate::log::Contents;
use mergescope_core::evaluate::sweep::{Arm, ArmModel, Sweep};

use crate::format;

/// Those arms that are asked, controls included once it is known at which w.
pub fn arms(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool, log: &Contents, engine: &str) -> Vec<Arm> {
    let chosen = sweep.table(log, engine, &[]).chosen;
    let all = sweep.arms(chosen.map(|chosen| chosen.w));
    all.into_iter().filter(|arm| wanted(arm.model)).collect()
}

/// Why answers are errors.
pub struct Failures {
    /// The commonest first.
    reasons: Vec<Reason>,
}

struct Reason {
    error: String,
    /// How many answers it ended.
    count: usize,
    /// Whether it may pass with nothing changed.
    passes: bool,
}

impl Failures {
    /// Of those models that are wanted.
    pub fn of(sweep: &Sweep, wanted: &dyn Fn(ArmModel) -> bool, log: &Contents, engine: &str) -> Self {
        let mut reasons: Vec<Reason> = Vec::new();
        for arm in arms(sweep, wanted, log, engine) {
            for key in sweep.keys(arm, engine).iter().flatten() {
                let found = log.get(key).and_then(|sample| Some((sample.error.as_ref()?, sample.error_passes)));
                let Some((error, passes)) = found else { continue };
                match reasons.iter_mut().find(|known| known.error == *error) {
                    Some(known) => known.count += 1,
                    None => reasons.push(Reason { error: error.clone(), count: 1, passes }),
                }
            }
        }
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        Self { reasons }
    }

    /// Answers that ended in an error.
    pub fn count(&self) -> usize {
        self.reasons.iter().map(|reason| reason.count).sum()
    }

    /// The commonest reason, how many answers it ended, and whether asking again may help; `again` is what asks for them, as in
    /// “the same command”.
    pub fn text(&self, again: &str) -> String {
        let Some(Reason { error, count, passes }) = self.reasons.first() else { return String::new() };
        let all = format::plural(self.count(), "answer");
        let share =
            if self.reasons.len() > 1 { format!(", {} of them", format::count(*count as u64)) } else { String::new() };
        let remedy = if *passes {
            format!("this may pass: {again} asks for them again")
        } else {
            format!("once that is mended, {again} asks for them again")
        };
        format!("{all} ended in an error{share} with: {error} ({remedy})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_advised_to_be_tried_again() {
        let text = |reasons: &[(&str, usize, bool)]| {
            let reason = |(error, count, passes): &(&str, usize, bool)| Reason {
                error: (*error).to_owned(),
                count: *count,
                passes: *passes,
            };
            Failures { reasons: reasons.iter().map(reason).collect() }.text("the same command")
        };
        assert_eq!(text(&[]), "");
        let lasting = text(&[("the server answered 401", 2, false), ("other", 1, true)]);
        assert!(
            lasting.starts_with("3 answers ended in an error, 2 of them with: the server answered 401"),
            "{lasting}"
        );
        assert!(lasting.contains("once that is mended"), "{lasting}");
        let passing = text(&[("the server answered 500 (tried 6 times)", 1, true)]);
        assert!(passing.starts_with("1 answer ended in an error with: "), "{passing}");
        assert!(passing.contains("this may pass"), "{passing}");
    }
}
