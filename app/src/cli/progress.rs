//! A long job on a terminal: its bar, and Ctrl-C.

use std::io::{self, IsTerminal as _};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mergescope_core::evaluate::sweep::SweepProgress;
use mergescope_core::progress::{Control, Progress};

use super::exit::Exit;
use crate::format;

/// How often the bar is drawn again while nothing is reported.
const TICK: Duration = Duration::from_millis(200);

/// Answers of a run after which its speed is known: as many as are made together.
const SETTLED: usize = 32;

/// A job that shows how far it is on stderr, if that is a terminal, and that Ctrl-C cancels.
///
/// The first Ctrl-C lets the unit at work end and cleans up; the second leaves at once. So does the first once this value
/// is dropped. A process has one job at a time and makes one value of this type.
pub struct Job {
    /// The engine's end of it.
    pub control: Control,
    bar: ProgressBar,
    over: Arc<AtomicBool>,
}

impl Job {
    /// Shows a bar and listens to Ctrl-C from now on.
    pub fn begin() -> Self {
        let bar = bar();
        let control = Control::with_observer({
            let bar = bar.clone();
            move |progress| show(&bar, progress)
        });
        let over = Arc::new(AtomicBool::new(false));
        // Without a handler Ctrl-C ends the process, and the next merge to that output clears what is left behind.
        let _ = ctrlc::set_handler({
            let (control, over) = (control.clone(), over.clone());
            move || {
                if over.swap(true, Ordering::Relaxed) {
                    process::exit(Exit::Cancelled.code().into());
                }
                control.cancel();
            }
        });
        Self { control, bar, over }
    }

    /// Takes the bar away while something else is said or asked on the terminal.
    pub fn aside<T>(&self, words: impl FnOnce() -> T) -> T {
        self.bar.suspend(words)
    }

    /// Takes the bar away for good, so that other words can come.
    pub fn hide(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

/// A bar of answers, in the place of the job's.
pub struct SweepBar {
    bar: ProgressBar,
}

impl SweepBar {
    /// Shows it from now on.
    pub fn begin(job: &Job) -> Self {
        job.hide();
        Self { bar: bar() }
    }

    /// A model is being made ready.
    pub fn loading(&self, model: &str) {
        self.bar.set_message(format!("Loading {model}"));
    }

    /// A model answers.
    pub fn asking(&self, model: &str) {
        self.bar.set_message(format!("Asking {model}"));
    }

    /// One more answer is there.
    pub fn answered(&self, progress: &SweepProgress) {
        if self.bar.length() != Some(progress.total as u64) {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos} of {len} answers, {prefix}");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_length(progress.total as u64);
        }
        self.bar.set_position(progress.answered as u64);
        // Answers that are made together come together: the first of them say nothing about the others.
        let open = progress.total.saturating_sub(progress.answered) + progress.generated;
        let settled = progress.generated >= SETTLED.min(open.div_ceil(4));
        let left = progress.remaining().filter(|_| settled);
        let left = left.map_or_else(|| "time known soon".to_owned(), |left| format!("{} left", format::duration(left)));
        let speed = progress.tokens_per_second().map_or_else(String::new, |speed| format!(", {speed:.0} tokens/s"));
        self.bar.set_prefix(format!("{left}{speed}"));
    }
}

impl Drop for SweepBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // Without this the first tick draws a bar of which nothing is known.
    bar.set_style(style(0));
    bar.enable_steady_tick(TICK);
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    let label = progress.stage.label();
    if bar.message() != label {
        bar.reset();
        bar.set_style(style(progress.total_bytes));
        bar.set_message(label);
    }
    bar.set_length(progress.total_bytes);
    bar.set_position(progress.done_bytes);
}

/// A bar, or where nobody knows how long it takes, something that moves.
fn style(total_bytes: u64) -> ProgressStyle {
    let template = match total_bytes {
        0 => "{spinner} {msg}",
        _ => "{msg} {wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
