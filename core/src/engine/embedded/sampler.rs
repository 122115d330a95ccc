//! From logits to the next token.

use crate::engine::Sampling;
use crate::numeric::StochasticKey;

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    key: StochasticKey,
    drawn: u64,
    /// Logits and their tokens, kept for the next time.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Self {
        let key = StochasticKey::new(sampling.seed, "token");
        Self { sampling, key, drawn: 0, candidates: Vec::new() }
    }

    /// The next token after `context`; `None` where the logits hold NaN or no finite value.
    pub fn next(&mut self, logits: &[f32], context: impl Iterator<Item = u32>) -> Option<u32> {
        if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return None;
        }
        let Sampling { temperature, repetition_penalty, .. } = self.sampling;
        if temperature <= 0.0 && repetition_penalty == 1.0 {
            return greedy(logits.iter().copied().zip(0..));
        }
        self.candidates.clear();
        self.candidates.extend(logits.iter().copied().zip(0..));
        if repetition_penalty != 1.0 {
            penalise(&mut self.candidates, context, repetition_penalty as f32);
        }
        if temperature <= 0.0 {
            return greedy(self.candidates.iter().copied());
        }
        let uniform = self.key.uniform(self.drawn);
        self.drawn += 1;
        draw(&mut self.candidates, &self.sampling, uniform)
    }
}

/// The likeliest token; of equals the one with the smallest id.
fn greedy(logits: impl Iterator<Item = (f32, u32)>) -> Option<u32> {
    let best = logits.fold(
        (f32::NEG_INFINITY, None),
        |best, (logit, token)| {
            if logit > best.0 { (logit, Some(token)) } else { best }
        },
    );
    best.1
}

/// Makes tokens that occurred less likely (arXiv 1909.05858), each once however often it occurred.
fn penalise(candidates: &mut [(f32, u32)], context: impl Iterator<Item = u32>, penalty: f32) {
    let mut seen: Vec<u32> = context.collect();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        if let Some((logit, _)) = candidates.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// Draws from the softmax of logits ∕ temperature, of which top-k and top-p keep the likeliest.
fn draw(candidates: &mut Vec<(f32, u32)>, sampling: &Sampling, uniform: f64) -> Option<u32> {
    let likelier = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if sampling.top_k > 0 && sampling.top_k < candidates.len() {
        candidates.select_nth_unstable_by(sampling.top_k - 1, likelier);
        candidates.truncate(sampling.top_k);
    }
    candidates.sort_unstable_by(likelier);
    let largest = f64::from(candidates.first()?.0);
    if largest == f64::NEG_INFINITY {
        return None;
    }
    let odds: Vec<f64> =
        candidates.iter().map(|(logit, _)| ((f64::from(*logit) - largest) / sampling.temperature).exp()).collect();
    let all: f64 = odds.iter().sum();
    let mut kept = odds.len();
    if sampling.top_p < 1.0 {
        let mut sum = 0.0;
        // Those that are needed to reach the sum, and at least one.
        kept = 1 + odds
            .iter()
            .take_while(|odds| {
                sum += **odds / all;
                sum < sampling.top_p
            })
            .count();
        kept = kept.min(odds.len());
    }
    let mut left = uniform * odds[..kept].iter().sum::<f64>();
    for (odds, (_, token)) in odds[..kept].iter().zip(candidates.iter()) {
        left -= odds;
        if left < 0.0 {
            return Some(*token);
        }
    }
    // Rounding may leave a little.
    candidates.get(kept - 1).map(|(_, token)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64) -> Sampling {
        Sampling { temperature, ..Sampling::default() }
    }

    /// How often each token of `logits` comes in 20,000 draws.
    fn shares(logits: &[f32], sampling: Sampling) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut sampler = Sampler::new(sampling);
        for _ in 0..20_000 {
            counts[sampler.next(logits, std::iter::empty()).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_smallest_id_of_equals() {
        let mut sampler = Sampler::new(Sampling::default());
        assert_eq!(sampler.next(&[1.0, 3.0, 3.0, 2.0], std::iter::empty()), Some(1));
    }

    #[test]
    fn logits_without_a_largest_have_no_next_token() {
        let mut sampler = Sampler::new(sampling(1.0));
        for logits in [&[f32::NAN, 1.0][..], &[f32::NEG_INFINITY; 2], &[f32::INFINITY, 0.0], &[]] {
            assert_eq!(sampler.next(logits, std::iter::empty()), None);
            assert_eq!(Sampler::new(Sampling::default()).next(logits, std::iter::empty()), None);
        }
    }

    #[test]
    fn tokens_come_as_often_as_the_softmax_says() {
        let logits = [0.0, 1.0, 2.0];
        let expected = [0.090, 0.245, 0.665];
        for (found, expected) in shares(&logits, sampling(1.0)).iter().zip(expected) {
            assert!((found - expected).abs() < 0.012, "{found} against {expected}");
        }
        // At half the temperature logits count twice.
        let cold = shares(&logits, sampling(0.5));
        assert!((cold[2] - 0.867).abs() < 0.012, "{}", cold[2]);
    }

    #[test]
    fn top_k_and_top_p_keep_the_likeliest() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let kept = |sampling| shares(&logits, sampling).iter().filter(|share| **share > 0.0).count();
        assert_eq!(kept(Sampling { top_k: 2, ..sampling(1.0) }), 2);
        assert_eq!(kept(Sampling { top_p: 0.6, ..sampling(1.0) }), 1, "the likeliest has 0.64");
        assert_eq!(kept(Sampling { top_p: 0.65, ..sampling(1.0) }), 2);
        assert_eq!(kept(Sampling { top_p: 0.0, ..sampling(1.0) }), 1, "one is always left");
    }

    #[test]
    fn a_penalty_turns_to_what_has_not_been_said() {
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 1.5, ..Sampling::default() });
        assert_eq!(sampler.next(&[2.0, 2.5], [1, 1].into_iter()), Some(0), "2.5 ∕ 1.5 is less than 2");
        assert_eq!(sampler.next(&[-2.0, -1.5], [1].into_iter()), Some(0), "−1.5 · 1.5 is less than −2");
        assert_eq!(
            sampler.next(&[2.0, 2.5], [9].into_iter()),
            Some(1),
            "a token outside the vocabulary is passed over"
        );
    }

    #[test]
    fn a_seed_decides_every_draw() {
        let run = |seed| -> Vec<u32> {
            let mut sampler = Sampler::new(Sampling { seed, ..sampling(1.0) });
            (0..20).map(|_| sampler.next(&[1.0; 50], std::iter::empty()).unwrap()).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
