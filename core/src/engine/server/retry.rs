//! Trying again: what failed in passing is asked once more, after waits that grow.

use std::thread;
use std::time::{Duration, Instant};

use super::client::{Again, Failure};
use crate::numeric::StochasticKey;
use crate::progress::Control;

/// Longest wait between two tries that nobody asked for.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Longest wait that a server may ask for.
const MAX_ASKED: Duration = Duration::from_secs(60);

/// How soon a cancelled wait ends.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// How often and after what waits something is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// Tries after the first.
    pub retries: u32,
    /// Wait before the second try; it doubles each time.
    pub backoff: Duration,
}

impl Retry {
    /// Calls `attempt` until it succeeds, fails for good or has been tried often enough; then gives what to tell people. Who
    /// cancels gets the last failure, whatever it is.
    ///
    /// Waits are jittered by `key` at `place`, so that requests that failed together do not come back together.
    pub(super) fn run<T>(
        self,
        key: StochasticKey,
        place: u64,
        control: &Control,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, String> {
        let mut tries = 0;
        loop {
            let failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if failure.again == Again::Never || control.is_cancelled() {
                return Err(failure.message);
            }
            if tries == self.retries {
                return Err(match tries {
                    0 => failure.message,
                    _ => format!("{} (tried {} times)", failure.message, tries + 1),
                });
            }
            let draw = key.uniform(place.wrapping_mul(256).wrapping_add(u64::from(tries)));
            if !sleep(self.wait(tries, failure.again, draw), control) {
                return Err(failure.message);
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

/// Whether the time passed without being cancelled.
fn sleep(time: Duration, control: &Control) -> bool {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        if control.is_cancelled() {
            return false;
        }
        thread::sleep(left.min(PATIENCE));
    }
    !control.is_cancelled()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Retry = Retry { retries: 3, backoff: Duration::from_millis(1) };

    fn run(retry: Retry, mut outcomes: Vec<Result<u32, Failure>>) -> (Result<u32, String>, usize) {
        let before = outcomes.len();
        let result = retry.run(StochasticKey::new(0, "test"), 0, &Control::new(), || outcomes.remove(0));
        (result, before - outcomes.len())
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
    fn a_cancelled_wait_ends_at_once() {
        let control = Control::new();
        control.cancel();
        let began = Instant::now();
        let slow = Retry { retries: 5, backoff: Duration::from_secs(60) };
        let result: Result<(), String> =
            slow.run(StochasticKey::new(0, "test"), 0, &control, || Err(Failure::passing("busy")));
        assert!(result.is_err() && began.elapsed() < Duration::from_secs(1));
    }
}
