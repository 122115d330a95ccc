//! Work off the window's thread: each job on a named thread, its events over one bounded channel.
//!
//! 1. Progress is dropped when the channel is full; results never are. A thread with a result waits until the window
//!    has drained the channel, or gives up when the window is gone, so nothing can hang on the other.
//! 2. A panic becomes that job's error. No other job notices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mergescope_core::adapter::{AdapterError, AdapterReport};
use mergescope_core::alignment::{Alignment, Triple, VectorPair};
use mergescope_core::analysis::{LayerProducts, RoundingPreview, Spectrum, VectorAnalysis};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::engine::server::ServerSpec;
use mergescope_core::error::chain;
use mergescope_core::evaluate::sweep::Sweep;
use mergescope_core::hub::{self, CachedModel, Download, HubName};
use mergescope_core::merge::{self, MergeError, MergeReport, Partial, SavedVector};
use mergescope_core::preflight::{Finding, Preflight};
use mergescope_core::progress::{Control, Progress};
use mergescope_core::recipe::{OutputDtype, OutputSpec, Recipe};
use mergescope_core::stream::panic_message;

use super::asking::News;
use super::engine::{Engine, EngineChoice};
use super::engine_thread::{EngineThread, EngineWork};
use super::evaluation::Findings;
use super::evaluation::work::{Preparation, SweepNews};
use super::measured::Measured;
use super::picker::{PickRequest, Picker};

/// Events that may wait for the window.
const CHANNEL_CAPACITY: usize = 256;
/// How long closing the window waits for jobs to notice that they were cancelled.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// Names one run of one job.
pub type JobId = u64;

/// Asks the window to look at its channel.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Work that needs no words of its own.
pub type JobWork = Box<dyn FnOnce(&dyn Engine, &Control) -> Result<Outcome, JobError> + Send>;

/// Work to be done.
pub enum Job {
    /// Opens a model.
    Open {
        /// What the person typed.
        spec: String,
    },
    /// Compares three models.
    Preflight {
        /// The models.
        triple: Triple,
    },
    /// Measures the vector.
    Measure {
        /// The models.
        triple: Triple,
        /// Which of their tensors belong together.
        alignment: Alignment,
    },
    /// Looks for merges that were interrupted.
    FindUnfinished {
        /// The folder that they were to write into.
        folder: PathBuf,
    },
    /// Removes what is there of a merge that was interrupted.
    RemoveUnfinished(Box<Partial>),
    /// Asks a server for its models.
    FindModels {
        /// The server.
        spec: ServerSpec,
    },
    /// Asks the Hub what a model is made of.
    LookAtHub {
        /// The model.
        name: HubName,
    },
    /// Downloads a model.
    Download {
        /// What the Hub said of it.
        download: Box<Download>,
    },
    /// Looks whether a model has a chat template.
    FindTemplate {
        /// The model.
        model: Arc<Checkpoint>,
    },
    /// Reads questions and answers, or grades them.
    Evaluate(JobWork),
    /// Prepares a preview of rounding.
    Preview {
        /// The vector.
        analysis: Arc<VectorAnalysis>,
        /// What would be written.
        output: OutputSpec,
    },
    /// Compares v between the layers.
    LayerProducts {
        /// The models.
        triple: Triple,
        /// Which of their tensors belong together.
        alignment: Alignment,
    },
    /// Measures the singular values of one tensor of v.
    Spectrum {
        /// The models.
        triple: Triple,
        /// Which of their tensors belong together.
        alignment: Alignment,
        /// The tensor's name in the target.
        name: String,
    },
    /// Writes the merged model.
    Merge {
        /// What to write.
        recipe: Box<Recipe>,
        /// Where to.
        output: PathBuf,
    },
    /// Writes w·v as an adapter.
    ExportAdapter {
        /// What to write.
        recipe: Box<Recipe>,
        /// Where to.
        output: PathBuf,
    },
    /// Writes a vector.
    SaveVector {
        /// Its models.
        pair: VectorPair,
        /// What they are called.
        names: [String; 2],
        /// Element type.
        dtype: OutputDtype,
        /// Where to.
        output: PathBuf,
    },
}

impl Job {
    fn thread_name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Preflight { .. } => "preflight",
            Self::Measure { .. } => "measure",
            Self::FindUnfinished { .. } | Self::RemoveUnfinished(_) => "unfinished",
            Self::FindModels { .. } => "server",
            Self::LookAtHub { .. } => "hub",
            Self::Download { .. } => "download",
            Self::FindTemplate { .. } => "template",
            Self::Evaluate(_) => "evaluate",
            Self::Preview { .. } => "preview",
            Self::LayerProducts { .. } => "layers",
            Self::Spectrum { .. } => "spectrum",
            Self::Merge { .. } => "merge",
            Self::ExportAdapter { .. } => "adapter",
            Self::SaveVector { .. } => "save vector",
        }
    }
}

/// What a job made.
pub enum Outcome {
    /// A model was opened.
    Opened {
        /// Where it is, whatever it was called.
        place: PathBuf,
        /// The model.
        model: Checkpoint,
    },
    /// Three models were compared.
    Checked(Preflight),
    /// The vector was measured.
    Measured(Box<Measured>),
    /// Merges that were interrupted.
    Unfinished(Vec<Partial>),
    /// What was there of a merge to that output is gone.
    RemovedUnfinished(String),
    /// The models of a server.
    Models(Vec<String>),
    /// What a model on the Hub is made of.
    Looked(Box<Download>),
    /// A model was downloaded.
    Downloaded,
    /// Whether a model has a chat template.
    Template(bool),
    /// All prompts were answered; the answers came as news.
    Answered,
    /// Questions and the answers that are there were read.
    Prepared(Box<Preparation>),
    /// Answers were graded anew, by the graders of that sweep.
    Graded(Arc<Sweep>, Box<Findings>),
    /// A preview of rounding is ready.
    Previewed(RoundingPreview),
    /// The layers were compared.
    Compared(LayerProducts),
    /// The singular values of a tensor were measured.
    Decomposed(Spectrum),
    /// A model was written.
    Merged(Box<MergeReport>),
    /// An adapter was written.
    Exported(Box<AdapterReport>),
    /// A vector was written.
    SavedVector(Box<SavedVector>),
}

/// Why a job made nothing.
#[derive(Debug)]
pub enum JobError {
    /// The person, or a newer choice, cancelled it.
    Cancelled,
    /// The models do not fit together.
    Refused(Vec<Finding>),
    /// Anything else, in words.
    Failed(String),
}

/// What a thread tells the window.
pub enum Event {
    /// How far a job has come.
    Progress(JobId, Progress),
    /// What becomes of prompts.
    News(JobId, News),
    /// What becomes of a sweep.
    Sweep(JobId, SweepNews),
    /// A job has ended.
    Finished(JobId, Result<Outcome, JobError>),
    /// The file dialog has closed.
    Picked {
        /// What it was asked for.
        request: PickRequest,
        /// What was chosen.
        path: Option<PathBuf>,
        /// How long it was open.
        open_for: Duration,
    },
    /// The Hub cache was listed.
    Cached(Vec<CachedModel>),
    /// A file was written, or not, and why.
    Saved(Result<PathBuf, String>),
}

struct Running {
    id: JobId,
    control: Control,
    thread: JoinHandle<()>,
}

/// Starts jobs and collects what they say.
pub struct Jobs {
    engine: Arc<dyn Engine>,
    picker: Arc<dyn Picker>,
    waker: Waker,
    sender: Sender<Event>,
    /// `None` once the window is closing, so that threads with a result stop waiting.
    receiver: Option<Receiver<Event>>,
    running: Vec<Running>,
    /// Begun with the first job that needs it.
    answering: Option<EngineThread>,
    last_id: JobId,
    picking: bool,
}

impl Jobs {
    /// No jobs yet.
    pub fn new(engine: Arc<dyn Engine>, picker: Arc<dyn Picker>, waker: Waker) -> Self {
        let (sender, receiver) = bounded(CHANNEL_CAPACITY);
        Self {
            engine,
            picker,
            waker,
            sender,
            receiver: Some(receiver),
            running: Vec::new(),
            answering: None,
            last_id: 0,
            picking: false,
        }
    }

    /// The engine that does the work.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// A number that no job has.
    pub fn next_id(&mut self) -> JobId {
        self.last_id += 1;
        self.last_id
    }

    /// Starts a job.
    pub fn start(&mut self, job: Job) -> JobId {
        let id = self.next_id();
        let control = self.control(id);
        let name = job.thread_name();
        let (engine, worker_control) = (self.engine.clone(), control.clone());
        let spawned = self.spawn(name, move || {
            let result = guarded(|| perform(engine.as_ref(), id, job, &worker_control));
            // However an error is worded, after a cancellation it means just that.
            let result =
                if worker_control.is_cancelled() && result.is_err() { Err(JobError::Cancelled) } else { result };
            Event::Finished(id, result)
        });
        match spawned {
            Ok(thread) => self.running.push(Running { id, control, thread }),
            Err(message) => self.tell(Event::Finished(id, Err(JobError::Failed(message)))),
        }
        id
    }

    /// Starts a job on the thread that owns the engine, behind those that were started there before.
    pub fn ask(&mut self, choice: EngineChoice, work: EngineWork) -> JobId {
        let id = self.next_id();
        let control = self.control(id);
        let thread = match self.answering.take() {
            Some(thread) => Ok(thread),
            None => EngineThread::new(self.engine.clone(), self.sender.clone(), self.waker.clone()),
        };
        let started = thread.and_then(|thread| self.answering.insert(thread).start(id, control, choice, work));
        if let Err(message) = started {
            self.tell(Event::Finished(id, Err(JobError::Failed(message))));
        }
        id
    }

    /// What a job reports through and is cancelled by.
    fn control(&self, id: JobId) -> Control {
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        Control::with_observer(move |progress| {
            // Full means that the window is behind: the next report will do.
            if sender.try_send(Event::Progress(id, progress)).is_ok() {
                waker();
            }
        })
    }

    /// Asks a job to stop; it still ends with an event.
    pub fn cancel(&self, id: JobId) {
        for running in self.running.iter().filter(|running| running.id == id) {
            running.control.cancel();
        }
        if let Some(answering) = &self.answering {
            answering.cancel(id);
        }
    }

    /// Opens a file dialog, unless one is open.
    pub fn pick(&mut self, request: PickRequest) {
        if self.picking {
            return;
        }
        let picker = self.picker.clone();
        let spawned = self.spawn("file dialog", move || {
            let opened = Instant::now();
            let path = catch_unwind(AssertUnwindSafe(|| picker.pick(&request))).unwrap_or_default();
            Event::Picked { request, path, open_for: opened.elapsed() }
        });
        self.picking = spawned.is_ok();
    }

    /// Lists the Hub cache.
    pub fn list_cache(&mut self) {
        let engine = self.engine.clone();
        let listed = self.spawn("hub cache", move || {
            Event::Cached(catch_unwind(AssertUnwindSafe(|| engine.cached_models())).unwrap_or_default())
        });
        // Without the list there is still the path field.
        drop(listed);
    }

    /// Writes a file.
    pub fn save(&mut self, path: PathBuf, write: impl FnOnce(&std::path::Path) -> Result<(), String> + Send + 'static) {
        let spawned = self.spawn("save", move || Event::Saved(write(&path).map(|()| path)));
        if let Err(message) = spawned {
            self.tell(Event::Saved(Err(message)));
        }
    }

    /// What has been said since the last call.
    pub fn drain(&mut self) -> Vec<Event> {
        let events: Vec<Event> = self.receiver.iter().flat_map(Receiver::try_iter).collect();
        for event in &events {
            match event {
                Event::Finished(id, _) => {
                    self.running.retain(|running| running.id != *id);
                    if let Some(answering) = &mut self.answering {
                        answering.on_finished(*id);
                    }
                }
                Event::Picked { .. } => self.picking = false,
                _ => {}
            }
        }
        events
    }

    fn spawn(&self, name: &str, work: impl FnOnce() -> Event + Send + 'static) -> Result<JoinHandle<()>, String> {
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        thread::Builder::new()
            .name(format!("mergescope {name}"))
            .spawn(move || deliver(&sender, &waker, work()))
            .map_err(|error| format!("the system refused another thread: {error}"))
    }

    /// Puts an event into the window's own channel without ever waiting for the window itself.
    fn tell(&self, event: Event) {
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        if let Err(TrySendError::Full(event)) = sender.try_send(event) {
            // Only a thread may wait; without one the event is lost, and there is nothing left to try.
            drop(thread::Builder::new().spawn(move || deliver(&sender, &waker, event)));
        } else {
            (self.waker)();
        }
    }
}

impl Drop for Jobs {
    /// Cancels everything and gives it a moment to leave no half-written model behind.
    fn drop(&mut self) {
        for running in &self.running {
            running.control.cancel();
        }
        self.receiver = None;
        let answering = self.answering.take().map(EngineThread::stop);
        let threads = || self.running.iter().map(|running| &running.thread).chain(&answering);
        let deadline = Instant::now() + SHUTDOWN_WAIT;
        while threads().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a result; waits while the channel is full, returns at once when the window is gone.
pub(super) fn deliver(sender: &Sender<Event>, waker: &Waker, event: Event) {
    if let Err(TrySendError::Full(event)) = sender.try_send(event) {
        waker();
        // An error means that the window is gone and nobody wants the result.
        drop(sender.send(event));
    }
    waker();
}

pub(super) fn guarded(work: impl FnOnce() -> Result<Outcome, JobError>) -> Result<Outcome, JobError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        Err(JobError::Failed(format!("this job stopped unexpectedly ({message}); please report this")))
    })
}

fn perform(engine: &dyn Engine, id: JobId, job: Job, control: &Control) -> Result<Outcome, JobError> {
    match job {
        Job::Open { spec } => {
            let model = engine.open(&spec).map_err(|e| failed(&e))?;
            let path = hub::resolve(&spec);
            Ok(Outcome::Opened { place: path.canonicalize().unwrap_or(path), model })
        }
        Job::Evaluate(work) => work(engine, control),
        // What cannot be listed has nothing to go on with.
        Job::FindUnfinished { folder } => Ok(Outcome::Unfinished(merge::partials(&folder).unwrap_or_default())),
        Job::RemoveUnfinished(partial) => {
            let name = partial.output_name();
            partial.remove().map(|()| Outcome::RemovedUnfinished(name)).map_err(|e| failed(&e))
        }
        Job::FindModels { spec } => engine.model_names(spec, control).map(Outcome::Models).map_err(|e| failed(&e)),
        Job::LookAtHub { name } => {
            engine.look(&name, control).map(|download| Outcome::Looked(Box::new(download))).map_err(|e| failed(&e))
        }
        Job::Download { download } => {
            engine.fetch(&download, control).map(|_| Outcome::Downloaded).map_err(|e| failed(&e))
        }
        Job::FindTemplate { model } => Ok(Outcome::Template(engine.has_chat_template(&model))),
        Job::Preflight { triple } => engine.preflight(&triple, control).map(Outcome::Checked).map_err(|e| failed(&e)),
        Job::Measure { triple, alignment } => {
            let analysis = engine.measure(&triple, &alignment, control).map_err(|e| failed(&e))?;
            Ok(Outcome::Measured(Box::new(Measured::new(id, analysis))))
        }
        Job::Preview { analysis, output } => Ok(Outcome::Previewed(RoundingPreview::new(&analysis, &output))),
        Job::LayerProducts { triple, alignment } => {
            engine.layer_products(&triple, &alignment, control).map(Outcome::Compared).map_err(|e| failed(&e))
        }
        Job::Spectrum { triple, alignment, name } => {
            engine.spectrum(&triple, &alignment, &name, control).map(Outcome::Decomposed).map_err(|e| failed(&e))
        }
        Job::Merge { recipe, output } => engine
            .merge(&recipe, &output, control)
            .map(|report| Outcome::Merged(Box::new(report)))
            .map_err(refused_or_failed),
        Job::ExportAdapter { recipe, output } => engine
            .export_adapter(&recipe, &output, control)
            .map(|report| Outcome::Exported(Box::new(report)))
            .map_err(|error| match error {
                AdapterError::Merge(error) => refused_or_failed(error),
                other => failed(&other),
            }),
        Job::SaveVector { pair, names, dtype, output } => engine
            .save_vector(&pair, [&names[0], &names[1]], dtype, &output, control)
            .map(|saved| Outcome::SavedVector(Box::new(saved)))
            .map_err(refused_or_failed),
    }
}

fn refused_or_failed(error: MergeError) -> JobError {
    match error {
        MergeError::Unfit { findings } => JobError::Refused(findings),
        other => failed(&other),
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> JobError {
    JobError::Failed(chain(error))
}
