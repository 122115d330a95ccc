//! Two parts of a question set: one to choose w on, one to report what it gives.

use super::set::QuestionSet;

/// The positions of the questions of each part, in the set's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Where w is chosen.
    pub dev: Vec<usize>,
    /// Where the chosen w is measured.
    pub test: Vec<usize>,
}

/// Why a set cannot be split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// Not a share that leaves something to both parts.
    #[error("the share of questions to choose w on is {share}; it must be above 0 and below 1, for example 0.5")]
    Share {
        /// What was given.
        share: f64,
    },
    /// One question cannot be split.
    #[error("a set of {questions} questions cannot be split; at least 2 are needed")]
    TooFew {
        /// How many there are.
        questions: usize,
    },
}

/// Puts `share` of the questions, rounded up, on the dev side, and at least one on each.
///
/// The questions are ordered by a hash of seed and id, and the first are dev: the order of the file is of no account, and a
/// file that grows moves few of them.
///
/// # Errors
/// When the share is not between 0 and 1, or there are fewer than two questions.
pub fn split(set: &QuestionSet, share: f64, seed: u64) -> Result<Split, SplitError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(SplitError::Share { share });
    }
    let count = set.questions.len();
    if count < 2 {
        return Err(SplitError::TooFew { questions: count });
    }
    let hash = |id: &str| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(id.as_bytes());
        *hasher.finalize().as_bytes()
    };
    let mut order: Vec<_> = set.questions.iter().enumerate().map(|(i, question)| (hash(&question.id), i)).collect();
    order.sort_unstable();
    let dev_count = ((share * count as f64).ceil() as usize).clamp(1, count - 1);
    let mut sides = order.into_iter().map(|(_, i)| i);
    let mut dev: Vec<usize> = sides.by_ref().take(dev_count).collect();
    let mut test: Vec<usize> = sides.collect();
    dev.sort_unstable();
    test.sort_unstable();
    Ok(Split { dev, test })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::evaluate::questions::{Mapping, QuestionFile};

    fn set(ids: impl Iterator<Item = usize>) -> QuestionSet {
        let lines: String = ids.map(|id| format!("{{\"id\":{id},\"question\":\"q\",\"answer\":\"a\"}}\n")).collect();
        let file = QuestionFile::from_bytes("a.jsonl", lines.as_bytes()).unwrap();
        let mapping = Mapping {
            id: Some("id".to_owned()),
            question: "question".to_owned(),
            answer: "answer".to_owned(),
            ..Mapping::default()
        };
        file.questions(&mapping).unwrap()
    }

    fn ids(set: &QuestionSet, side: &[usize]) -> BTreeSet<String> {
        set.only(side).questions.into_iter().map(|question| question.id).collect()
    }

    #[test]
    fn every_question_is_on_one_side_and_the_share_is_kept() {
        let set = set(0..101);
        for (share, dev) in [(0.5, 51), (0.2, 21), (0.001, 1), (0.9999, 100)] {
            let split = split(&set, share, 7).unwrap();
            assert_eq!(split.dev.len(), dev);
            let mut all = [split.dev, split.test].concat();
            all.sort_unstable();
            assert_eq!(all, (0..101).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_of_the_file_is_of_no_account_and_the_seed_is() {
        let (forwards, backwards) = (set(0..60), set((0..60).rev()));
        let dev = |set: &QuestionSet, seed| ids(set, &split(set, 0.5, seed).unwrap().dev);
        assert_eq!(dev(&forwards, 1), dev(&backwards, 1));
        assert_ne!(dev(&forwards, 1), dev(&forwards, 2));
    }

    #[test]
    fn a_file_that_grows_moves_few_questions() {
        let (small, large) = (set(0..100), set(0..110));
        let dev = |set: &QuestionSet| ids(set, &split(set, 0.5, 0).unwrap().dev);
        // Of the ten new ones some come before the border, and push as many or fewer of the old ones over it.
        assert!(dev(&small).difference(&dev(&large)).count() <= 10);
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        for share in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(matches!(split(&set(0..9), share, 0), Err(SplitError::Share { .. })));
        }
        assert_eq!(split(&set(0..1), 0.5, 0), Err(SplitError::TooFew { questions: 1 }));
    }
}
