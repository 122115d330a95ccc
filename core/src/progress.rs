//! How long work reports progress and is cancelled: the one progress type of the engine.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most this many progress reports reach an observer each second.
const REPORTS_PER_SEC: u64 = 30;

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Comparing headers and sampling weights.
    Checking = 0,
    /// Reading the three models to measure the vector.
    Measuring = 1,
    /// Reading, combining and writing weights.
    Merging = 2,
    /// Waiting until the output has reached the disk.
    Syncing = 3,
    /// Multiplying the vector's layers with one another.
    Comparing = 4,
    /// Finding the directions of weights that hold most of the vector.
    Decomposing = 5,
    /// Making the weights that answer.
    Loading = 6,
    /// Asking the Hub what a model is made of.
    Listing = 7,
    /// Downloading a model.
    Downloading = 8,
    /// Reading back what was written.
    Verifying = 9,
}

impl Stage {
    /// The stage as a word for people, such as "Merging".
    pub fn label(self) -> &'static str {
        match self {
            Self::Checking => "Checking",
            Self::Measuring => "Measuring",
            Self::Merging => "Merging",
            Self::Syncing => "Syncing to disk",
            Self::Comparing => "Comparing layers",
            Self::Decomposing => "Decomposing",
            Self::Loading => "Loading",
            Self::Listing => "Asking the Hub",
            Self::Downloading => "Downloading",
            Self::Verifying => "Reading back",
        }
    }

    fn from_repr(value: u8) -> Self {
        match value {
            1 => Self::Measuring,
            2 => Self::Merging,
            3 => Self::Syncing,
            4 => Self::Comparing,
            5 => Self::Decomposing,
            6 => Self::Loading,
            7 => Self::Listing,
            8 => Self::Downloading,
            9 => Self::Verifying,
            _ => Self::Checking,
        }
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes of this stage that are done.
    pub done_bytes: u64,
    /// Bytes of this stage in all; 0 when unknown.
    pub total_bytes: u64,
    /// The layer that was worked on last, zero-based.
    pub layer: Option<u32>,
    /// Time since the stage began.
    pub elapsed: Duration,
}

impl Progress {
    /// Done over total, 0 to 1; 0 while the total is unknown.
    pub fn fraction(&self) -> f32 {
        if self.total_bytes == 0 {
            return 0.0;
        }
        (self.done_bytes as f64 / self.total_bytes as f64).min(1.0) as f32
    }

    /// Mean speed of this stage so far in bytes per second, once there is something to divide by.
    pub fn bytes_per_sec(&self) -> Option<f64> {
        let secs = self.elapsed.as_secs_f64();
        (self.done_bytes > 0 && secs > 0.0).then(|| self.done_bytes as f64 / secs)
    }

    /// Time left at the mean speed so far.
    pub fn remaining(&self) -> Option<Duration> {
        let left_bytes = self.total_bytes.checked_sub(self.done_bytes)?;
        let secs = left_bytes as f64 / self.bytes_per_sec()?;
        Duration::try_from_secs_f64(secs).ok()
    }
}

/// The job was cancelled by the person who started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

type Observer = dyn Fn(Progress) + Send + Sync;

struct Shared {
    cancelled: AtomicBool,
    stage: AtomicU8,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    layer: AtomicI64,
    stage_began: Mutex<Instant>,
    created: Instant,
    /// Milliseconds after `created` before which no further report is made.
    next_report_ms: AtomicU64,
    observer: Option<Box<Observer>>,
}

/// A handle on a running job, shared between the one who waits and those who work.
///
/// Clones refer to the same job. Without an observer it costs a few atomic additions a unit.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// A control that nobody observes; [`Control::snapshot`] can be polled.
    pub fn new() -> Self {
        Self::build(None)
    }

    /// A control that calls `observer` at most 30 times a second and whenever a stage begins.
    ///
    /// The observer runs on the threads that do the work: it must not block.
    pub fn with_observer(observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self::build(Some(Box::new(observer)))
    }

    fn build(observer: Option<Box<Observer>>) -> Self {
        let now = Instant::now();
        Self {
            shared: Arc::new(Shared {
                cancelled: AtomicBool::new(false),
                stage: AtomicU8::new(Stage::Checking as u8),
                done_bytes: AtomicU64::new(0),
                total_bytes: AtomicU64::new(0),
                layer: AtomicI64::new(-1),
                stage_began: Mutex::new(now),
                created: now,
                next_report_ms: AtomicU64::new(0),
                observer,
            }),
        }
    }

    /// Asks the job to stop. It returns [`Cancelled`] after the unit it is working on.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`Control::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// `Err` once the job was cancelled; for use with `?` between units of work.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Begins a stage of `total_bytes` and reports it.
    pub fn begin(&self, stage: Stage, total_bytes: u64) {
        let shared = &self.shared;
        *shared.stage_began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        shared.stage.store(stage as u8, Ordering::Relaxed);
        shared.done_bytes.store(0, Ordering::Relaxed);
        shared.total_bytes.store(total_bytes, Ordering::Relaxed);
        shared.layer.store(-1, Ordering::Relaxed);
        self.report();
    }

    /// Adds `bytes` to what is done; `layer` is where they belong, if to a layer.
    pub fn advance(&self, bytes: u64, layer: Option<u32>) {
        let shared = &self.shared;
        shared.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(layer) = layer {
            shared.layer.store(i64::from(layer), Ordering::Relaxed);
        }
        if shared.observer.is_none() {
            return;
        }
        let now_ms = shared.created.elapsed().as_millis() as u64;
        let due_ms = shared.next_report_ms.load(Ordering::Relaxed);
        let next_ms = now_ms + 1000 / REPORTS_PER_SEC;
        // Of several threads that find a report due, the one whose exchange succeeds makes it.
        let mine = now_ms >= due_ms
            && shared.next_report_ms.compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            self.report();
        }
    }

    /// Takes `bytes` back that were done and have to be done again.
    pub fn take_back(&self, bytes: u64) {
        self.shared.done_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How far the job is now.
    pub fn snapshot(&self) -> Progress {
        let shared = &self.shared;
        let began = *shared.stage_began.lock().unwrap_or_else(PoisonError::into_inner);
        Progress {
            stage: Stage::from_repr(shared.stage.load(Ordering::Relaxed)),
            done_bytes: shared.done_bytes.load(Ordering::Relaxed),
            total_bytes: shared.total_bytes.load(Ordering::Relaxed),
            layer: u32::try_from(shared.layer.load(Ordering::Relaxed)).ok(),
            elapsed: began.elapsed(),
        }
    }

    fn report(&self) {
        if let Some(observer) = &self.shared.observer {
            observer(self.snapshot());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_cancellation() {
        let control = Control::new();
        let worker = control.clone();
        assert_eq!(worker.check(), Ok(()));
        control.cancel();
        assert_eq!(worker.check(), Err(Cancelled));
    }

    #[test]
    fn an_observer_hears_every_stage_but_not_every_unit() {
        let heard = Arc::new(AtomicU64::new(0));
        let control = Control::with_observer({
            let heard = heard.clone();
            move |_| {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        });
        control.begin(Stage::Merging, 1_000_000);
        for _ in 0..10_000 {
            control.advance(100, Some(3));
        }
        control.begin(Stage::Syncing, 0);
        let count = heard.load(Ordering::Relaxed);
        assert!((2..1_000).contains(&count), "{count} reports for 10,000 units");
    }

    #[test]
    fn speed_and_time_left_follow_from_bytes_and_time() {
        let progress = Progress {
            stage: Stage::Merging,
            done_bytes: 250,
            total_bytes: 1000,
            layer: None,
            elapsed: Duration::from_secs(5),
        };
        assert_eq!(progress.fraction(), 0.25);
        assert_eq!(progress.bytes_per_sec(), Some(50.0));
        assert_eq!(progress.remaining(), Some(Duration::from_secs(15)));
    }
}
