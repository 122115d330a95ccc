//! The thread that owns the engine which answers prompts, so that loaded weights stay from one job to the next.
//!
//! 1. Its jobs run one after another; a few may wait. Each is a closure that gets the engine, so that prompts and whole
//!    sweeps are both such jobs.
//! 2. The engine is made by the first job that needs it. Another choice takes its place, and so does a new one after a
//!    panic, since nobody knows what that left behind.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mergescope_core::engine::{self, EngineError};
use mergescope_core::progress::Control;

use super::asking::News;
use super::engine::{Engine, EngineChoice};
use super::evaluation::work::SweepNews;
use super::jobs::{Event, JobError, JobId, Outcome, Waker, deliver, failed, guarded};

/// Jobs that may wait for the engine.
const MAX_WAITING: usize = 8;

/// A job: it is given the engine, what it is cancelled by, and whom to tell what becomes of it.
pub type EngineWork =
    Box<dyn FnOnce(&mut dyn engine::Engine, &Control, &Teller) -> Result<Outcome, EngineError> + Send>;

/// Tells the window what becomes of a job while it runs.
pub struct Teller {
    id: JobId,
    sender: Sender<Event>,
    waker: Waker,
}

impl Teller {
    /// Tells it, and waits while the window is behind.
    pub fn tell(&self, news: News) {
        deliver(&self.sender, &self.waker, Event::News(self.id, news));
    }

    /// Tells what becomes of a sweep, and waits while the window is behind.
    pub fn tell_sweep(&self, news: SweepNews) {
        deliver(&self.sender, &self.waker, Event::Sweep(self.id, news));
    }

    /// Tells what becomes of a sweep unless the window is behind.
    pub fn try_tell_sweep(&self, news: SweepNews) {
        if self.sender.try_send(Event::Sweep(self.id, news)).is_ok() {
            (self.waker)();
        }
    }

    /// Tells it unless the window is behind; whether it was told.
    pub fn try_tell(&self, news: News) -> bool {
        let told = self.sender.try_send(Event::News(self.id, news)).is_ok();
        if told {
            (self.waker)();
        }
        told
    }
}

struct Task {
    id: JobId,
    control: Control,
    choice: EngineChoice,
    work: EngineWork,
}

/// The window's end of the thread.
pub struct EngineThread {
    tasks: Sender<Task>,
    thread: JoinHandle<()>,
    /// Jobs that have not ended.
    under_way: Vec<(JobId, Control)>,
}

impl EngineThread {
    /// Starts the thread; the error says why there is none.
    pub fn new(maker: Arc<dyn Engine>, sender: Sender<Event>, waker: Waker) -> Result<Self, String> {
        let (tasks, receiver) = bounded(MAX_WAITING);
        let thread = thread::Builder::new()
            .name("mergescope engine".to_owned())
            .spawn(move || run(&receiver, maker.as_ref(), &sender, &waker))
            .map_err(|error| format!("the system refused another thread: {error}"))?;
        Ok(Self { tasks, thread, under_way: Vec::new() })
    }

    /// Puts a job behind those that wait; the error says why it cannot be.
    pub fn start(&mut self, id: JobId, control: Control, choice: EngineChoice, work: EngineWork) -> Result<(), String> {
        let task = Task { id, control: control.clone(), choice, work };
        self.tasks.try_send(task).map_err(|error| match error {
            TrySendError::Full(_) => "too much waits for the engine; try again when some of it is done".to_owned(),
            TrySendError::Disconnected(_) => "the engine's thread has ended; start Mergescope again".to_owned(),
        })?;
        self.under_way.push((id, control));
        Ok(())
    }

    /// Asks a job to stop, whether it runs or waits.
    pub fn cancel(&self, id: JobId) {
        self.under_way.iter().filter(|(known, _)| *known == id).for_each(|(_, control)| control.cancel());
    }

    /// A job has ended.
    pub fn on_finished(&mut self, id: JobId) {
        self.under_way.retain(|(known, _)| *known != id);
    }

    /// Cancels everything; the thread ends soon after.
    pub fn stop(self) -> JoinHandle<()> {
        self.under_way.iter().for_each(|(_, control)| control.cancel());
        self.thread
    }
}

fn run(tasks: &Receiver<Task>, maker: &dyn Engine, sender: &Sender<Event>, waker: &Waker) {
    let mut held: Option<(EngineChoice, Box<dyn engine::Engine>)> = None;
    for Task { id, control, choice, work } in tasks {
        let teller = Teller { id, sender: sender.clone(), waker: waker.clone() };
        let result = guarded(|| {
            control.check().map_err(|_| JobError::Cancelled)?;
            // Another engine goes before the next is made: both may not fit into memory.
            let (_, mut engine) = match held.take().filter(|(of, _)| *of == choice) {
                Some(held) => held,
                None => (choice, maker.answering(choice).map_err(|error| failed(&error))?),
            };
            let result = work(engine.as_mut(), &control, &teller);
            held = Some((choice, engine));
            result.map_err(|error| match error {
                error if error.is_cancelled() => JobError::Cancelled,
                error => failed(&error),
            })
        });
        // However an error is worded, after a cancellation it means just that.
        let result = if control.is_cancelled() && result.is_err() { Err(JobError::Cancelled) } else { result };
        deliver(sender, waker, Event::Finished(id, result));
    }
}
