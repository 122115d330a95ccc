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
            let mut engine = match held.take().filter(|(of, _)| *of == choice) {
                Some((_, engine)) => engine,
                None => maker.answering(&choice, &control).map_err(|error| failed(&error))?,
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use mergescope_core::engine::{EmbeddedOptions, ModelChoice, Precision, Request};

    use super::*;

    /// Knows how many of it were made.
    #[derive(Default)]
    struct Maker(Arc<Mutex<Vec<String>>>);

    impl Engine for Maker {
        fn answering(&self, choice: &EngineChoice, _: &Control) -> Result<Box<dyn engine::Engine>, EngineError> {
            self.0.lock().unwrap().push(choice.identity());
            Ok(Box::new(Mute))
        }
    }

    struct Mute;

    impl engine::Engine for Mute {
        fn identity(&self) -> String {
            "mute".to_owned()
        }

        fn load(&mut self, _: &ModelChoice, _: &Control) -> Result<(), EngineError> {
            Ok(())
        }

        fn generate(
            &mut self,
            _: &[Request],
            _: &Control,
            _: &mut dyn FnMut(engine::Event),
        ) -> Result<(), EngineError> {
            Ok(())
        }
    }

    fn f32() -> EngineChoice {
        EngineChoice::default()
    }

    fn q8() -> EngineChoice {
        EngineChoice::Embedded(EmbeddedOptions { precision: Precision::Q8_0, ..EmbeddedOptions::default() })
    }

    struct Bench {
        thread: EngineThread,
        events: Receiver<Event>,
        made: Arc<Mutex<Vec<String>>>,
    }

    impl Bench {
        fn new() -> Self {
            let (sender, events) = bounded(64);
            let maker = Maker::default();
            let made = maker.0.clone();
            let thread = EngineThread::new(Arc::new(maker), sender, Arc::new(|| {})).unwrap();
            Self { thread, events, made }
        }

        fn start(&mut self, id: JobId, choice: EngineChoice, work: EngineWork) -> Result<(), String> {
            self.thread.start(id, Control::new(), choice, work)
        }

        fn end(&self) -> (JobId, Result<Outcome, JobError>) {
            match self.events.recv_timeout(Duration::from_secs(20)).unwrap() {
                Event::Finished(id, result) => (id, result),
                _ => panic!("only ends were expected"),
            }
        }
    }

    fn done() -> EngineWork {
        Box::new(|_, _, _| Ok(Outcome::Answered))
    }

    /// Goes on until it is cancelled.
    fn endless() -> EngineWork {
        Box::new(|_, control, _| {
            while !control.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Err(EngineError::failed("in whatever words"))
        })
    }

    #[test]
    fn one_engine_serves_all_jobs_of_a_choice_and_another_choice_has_its_own() {
        let mut bench = Bench::new();
        for (id, choice) in [(1, f32()), (2, f32()), (3, q8()), (4, f32())] {
            bench.start(id, choice, done()).unwrap();
            assert!(matches!(bench.end(), (ended, Ok(Outcome::Answered)) if ended == id));
        }
        assert_eq!(*bench.made.lock().unwrap(), ["embedded f32", "embedded q8_0", "embedded f32"]);
    }

    #[test]
    fn a_job_that_waits_can_be_cancelled_before_it_begins() {
        let mut bench = Bench::new();
        bench.start(1, f32(), endless()).unwrap();
        bench.start(2, f32(), Box::new(|_, _, _| panic!("it was cancelled"))).unwrap();
        bench.thread.cancel(2);
        bench.thread.cancel(1);
        for id in [1, 2] {
            assert!(matches!(bench.end(), (ended, Err(JobError::Cancelled)) if ended == id));
        }
    }

    #[test]
    fn a_panic_ends_its_job_alone_and_its_engine() {
        let mut bench = Bench::new();
        bench.start(1, f32(), Box::new(|_, _, _| panic!("on purpose"))).unwrap();
        bench.start(2, f32(), done()).unwrap();
        assert!(matches!(bench.end(), (1, Err(JobError::Failed(why))) if why.contains("on purpose")));
        assert!(matches!(bench.end(), (2, Ok(Outcome::Answered))));
        assert_eq!(bench.made.lock().unwrap().len(), 2);
    }

    #[test]
    fn too_many_jobs_are_refused_and_stopping_ends_the_thread() {
        let mut bench = Bench::new();
        bench.start(0, f32(), endless()).unwrap();
        let refused = (1..=MAX_WAITING as JobId + 2).find_map(|id| bench.start(id, f32(), done()).err());
        assert!(refused.unwrap().contains("too much waits"));
        let Bench { thread, events, .. } = bench;
        drop(events);
        thread.stop().join().unwrap();
    }
}
