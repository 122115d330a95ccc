//! Trying again: what failed in passing is asked once more, after waits that grow.

use std::thread;
use std::time::{Duration, Instant};

use super::failure::{Again, Failure};

/// Longest wait between two tries that nobody asked for.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Longest wait that a server may ask for.
const MAX_ASKED: Duration = Duration::from_secs(60);

/// How soon a wait that is cancelled ends.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

/// How often and after what waits something is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// Tries after the first.
    pub retries: u32,
    /// Wait before the second try; it doubles each time.
    pub backoff: Duration,
}

/// Why it was tried no more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GaveUp<E = String> {
    /// What went wrong the last time.
    pub error: E,
    /// How often it was tried in vain; 1 for what is not tried again.
    pub tries: u32,
    /// Whether it may succeed another time all the same.
    pub passes: bool,
}

impl GaveUp {
    /// What to tell people.
    pub(crate) fn message(self) -> String {
        match self.tries {
            0 | 1 => self.error,
            tries => format!("{} (tried {tries} times)", self.error),
        }
    }
}

impl Retry {
    /// Calls `attempt` until it succeeds, fails for good, has been tried often enough or is `stopped`. Who stops it gets the
    /// last failure, whatever it is.
    ///
    /// Waits are jittered by what `draw` gives in [0, 1) for each try, so that requests that failed together do not come back
    /// together.
    pub(crate) fn run<T, E>(
        self,
        draw: impl Fn(u32) -> f64,
        stopped: impl Fn() -> bool,
        mut attempt: impl FnMut() -> Result<T, Failure<E>>,
    ) -> Result<T, GaveUp<E>> {
        let mut tries = 0;
        loop {
            let Failure { error, again } = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let passes = again != Again::Never;
            if !passes || stopped() {
                return Err(GaveUp { error, tries: 1, passes });
            }
            if tries == self.retries {
                return Err(GaveUp { error, tries: tries + 1, passes });
            }
            if !sleep(self.wait(tries, again, draw(tries)), &stopped) {
                return Err(GaveUp { error, tries: 1, passes });
            }
            tries += 1;
        }
    }

    /// The wait after try number `tries`: half of the doubled wait for certain, the other half by `draw` in [0, 1).
    fn wait(self, tries: u32, again: Again, draw: f64) -> Duration {
        match again {
            Again::After(asked) => asked.min(MAX_ASKED) + self.backoff.mul_f64(draw),
            Again::Soon | Again::Never => {
                let doubled = self.backoff.saturating_mul(2_u32.saturating_pow(tries)).min(MAX_BACKOFF);
                doubled.mul_f64(0.5 + 0.5 * draw)
            }
        }
    }
}

/// Whether the time passed without being stopped.
fn sleep(time: Duration, stopped: impl Fn() -> bool) -> bool {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        if stopped() {
            return false;
        }
        thread::sleep(left.min(PATIENCE));
    }
    !stopped()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Retry = Retry { retries: 3, backoff: Duration::from_millis(1) };

    fn run(retry: Retry, mut outcomes: Vec<Result<u32, Failure>>) -> (Result<u32, String>, usize) {
        let before = outcomes.len();
        let result = retry.run(|_| 0.5, || false, || outcomes.remove(0));
        (result.map_err(GaveUp::message), before - outcomes.len())
    }

    fn soon() -> Result<u32, Failure> {
        Err(Failure::passing("busy"))
    }

    #[test]
    fn what_fails_in_passing_is_tried_again_and_what_lasts_is_not() {
        assert_eq!(run(QUICK, vec![soon(), soon(), Ok(7), soon()]), (Ok(7), 3));
        assert_eq!(run(QUICK, vec![Err(Failure::lasting("no")), Ok(7)]), (Err("no".to_owned()), 1));
        assert_eq!(
            run(QUICK, vec![soon(), soon(), soon(), soon(), Ok(7)]),
            (Err("busy (tried 4 times)".to_owned()), 4)
        );
        assert_eq!(run(Retry { retries: 0, ..QUICK }, vec![soon(), Ok(7)]), (Err("busy".to_owned()), 1));
        let passes = |outcome: Result<u32, Failure>| {
            let gave_up = Retry { retries: 0, ..QUICK }.run(|_| 0.5, || false, || outcome.clone()).unwrap_err();
            gave_up.passes
        };
        assert!(passes(soon()) && !passes(Err(Failure::lasting("no"))));
    }

    #[test]
    fn waits_double_up_to_a_limit_and_those_asked_for_are_kept() {
        let retry = Retry { retries: 20, backoff: Duration::from_millis(500) };
        let waits = [0, 1, 2, 10, 19].map(|tries| retry.wait(tries, Again::Soon, 0.0).as_millis());
        assert_eq!(waits, [250, 500, 1000, 15_000, 15_000]);
        assert!(retry.wait(0, Again::Soon, 0.999).as_millis() < 500);
        assert_eq!(retry.wait(0, Again::After(Duration::from_secs(7)), 0.0).as_secs(), 7);
        assert_eq!(retry.wait(0, Again::After(Duration::from_secs(1 << 40)), 0.5).as_millis(), 60_250);
    }

    #[test]
    fn a_wait_that_is_stopped_ends_at_once() {
        let began = Instant::now();
        let slow = Retry { retries: 5, backoff: Duration::from_secs(60) };
        let result: Result<(), GaveUp> = slow.run(|_| 0.5, || true, || Err(Failure::passing("busy")));
        assert!(result.is_err() && began.elapsed() < Duration::from_secs(1));
    }
}
