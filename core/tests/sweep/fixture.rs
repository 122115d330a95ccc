//! Questions of a few words, and an engine that answers by rule and remembers what it was asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mergescope_core::engine::{
    Completion, Engine, EngineError, Event, Finish, LogLikelihood, ModelChoice, Prompt, Request, RequestError,
};
use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::questions::Template;
use mergescope_core::evaluate::sweep::{ArmModel, ArmResult, Sweep, SweepError, SweepEvent, SweepSpec, SweepTable};
use mergescope_core::progress::{Cancelled, Control};
use mergescope_core::recipe::Recipe;

pub fn assets(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets").join(path).display().to_string()
}

pub fn recipe() -> Recipe {
    Recipe::new(assets("demo/pre"), assets("demo/post"), assets("demo/target"))
}

/// What an engine does with a request.
pub enum Reply {
    /// It answers.
    Says(String),
    /// Its answer reaches the token limit.
    CutOff(String),
    /// This one request fails.
    Fails,
}

/// Right ("1") or wrong ("0") in the questions of this fixture.
pub fn right(is_right: bool) -> Reply {
    Reply::Says(if is_right { "1" } else { "0" }.to_owned())
}

/// One request as the engine saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The model that was loaded: `0.5`, `post`, `0.5 noise`.
    pub model: String,
    /// The prompt's text; of a conversation the last message.
    pub prompt: String,
    /// The request.
    pub request: Request,
}

type Rule = Box<dyn Fn(&Seen) -> Reply + Send>;
type Weigh = Box<dyn Fn(&str, &str) -> f64 + Send>;

/// An engine that answers by rule.
pub struct Scripted {
    pub name: String,
    pub loads: Vec<String>,
    pub seen: Vec<Seen>,
    /// Cancelled before it answers one more than so many.
    pub cancel_after: Option<usize>,
    /// This model cannot be loaded.
    pub broken: Option<String>,
    rule: Rule,
    weigh: Option<Weigh>,
    loaded: Option<String>,
}

impl Scripted {
    pub fn new(rule: impl Fn(&Seen) -> Reply + Send + 'static) -> Self {
        Self {
            name: "scripted".to_owned(),
            loads: Vec::new(),
            seen: Vec::new(),
            cancel_after: None,
            broken: None,
            rule: Box::new(rule),
            weigh: None,
            loaded: None,
        }
    }

    /// Right by the name of the model and the number of the question.
    pub fn by_number(rule: impl Fn(&str, usize) -> bool + Send + 'static) -> Self {
        Self::new(move |seen| right(rule(&seen.model, number(&seen.prompt))))
    }

    /// An engine that weighs continuations: ln p by prompt and continuation, one token for each byte.
    pub fn weighing(weigh: impl Fn(&str, &str) -> f64 + Send + 'static) -> Self {
        Self { weigh: Some(Box::new(weigh)), ..Self::new(|_| Reply::Fails) }
    }

    /// How often each model and prompt was asked.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for seen in &self.seen {
            *counts.entry((seen.model.clone(), seen.prompt.clone())).or_default() += 1;
        }
        counts
    }
}

/// The first number of a text: of `3?` it is 3.
pub fn number(text: &str) -> usize {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap()
}

pub fn text_of(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Raw(text) => text.clone(),
        Prompt::Chat(messages) => messages.last().unwrap().content.clone(),
    }
}

fn name_of(model: &ModelChoice) -> String {
    match model {
        ModelChoice::Alone(path) => Path::new(path).file_name().unwrap().to_string_lossy().into_owned(),
        ModelChoice::Merged(recipe) => match recipe.vector.control {
            None => recipe.vector.w.to_string(),
            Some(control) => format!("{} {}", recipe.vector.w, control.kind.label()),
        },
    }
}

impl Engine for Scripted {
    fn identity(&self) -> String {
        self.name.clone()
    }

    fn load(&mut self, model: &ModelChoice, _: &Control) -> Result<(), EngineError> {
        let name = name_of(model);
        self.loaded = None;
        if self.broken.as_ref() == Some(&name) {
            return Err(EngineError::failed("no room for it"));
        }
        self.loads.push(name.clone());
        self.loaded = Some(name);
        Ok(())
    }

    fn generate(
        &mut self,
        requests: &[Request],
        control: &Control,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let model = self.loaded.clone().ok_or(EngineError::NothingLoaded)?;
        // Answers come in whatever order.
        for (position, request) in requests.iter().enumerate().rev() {
            if self.cancel_after == Some(self.seen.len()) {
                control.cancel();
            }
            if control.is_cancelled() {
                return Err(Cancelled.into());
            }
            let seen = Seen { model: model.clone(), prompt: text_of(&request.prompt), request: request.clone() };
            let said = |text: String, finish| Completion {
                tokens: text.chars().count(),
                text,
                prompt_tokens: 3,
                finish,
                elapsed: Duration::from_millis(5),
            };
            let result = match (self.rule)(&seen) {
                Reply::Says(text) => Ok(said(text, Finish::Stop)),
                Reply::CutOff(text) => Ok(said(text, Finish::Length)),
                Reply::Fails => Err(RequestError::lasting("the prompt is too long")),
            };
            self.seen.push(seen);
            on_event(Event::Finished { request: position, result });
        }
        Ok(())
    }

    fn log_likelihoods(
        &mut self,
        prompt: &Prompt,
        continuations: &[String],
        _: &Control,
    ) -> Result<Option<Vec<LogLikelihood>>, EngineError> {
        let Some(weigh) = &self.weigh else { return Ok(None) };
        let prompt = text_of(prompt);
        let weighed = continuations.iter().map(|text| LogLikelihood { sum: weigh(&prompt, text), tokens: text.len() });
        Ok(Some(weighed.collect()))
    }
}

/// A folder with a question file and a sample log.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// Questions `0?`, `1?` and so on with the ids `q0`, `q1`; 1 is the right answer to all.
    pub fn new(questions: usize) -> Self {
        Self::with(
            (0..questions)
                .map(|at| format!("{{\"id\":\"q{at}\",\"question\":\"{at}?\",\"answer\":\"1\"}}\n"))
                .collect(),
        )
    }

    pub fn with(questions: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("questions.jsonl"), questions).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> SampleLog {
        SampleLog::open(&self.path("samples.jsonl")).unwrap()
    }

    /// Everything asked at w = 0, 0.5 and 1, in as few words as can be; no reference, no split.
    pub fn spec(&self) -> SweepSpec {
        SweepSpec {
            questions: self.path("questions.jsonl").display().to_string(),
            template: Some(Template::raw("{question}")),
            graders: vec![Grader::Exact],
            w: vec![0.5, 1.0],
            references: Vec::new(),
            split: None,
            ..SweepSpec::default()
        }
    }

    pub fn table(&self, sweep: &Sweep) -> SweepTable {
        sweep.table(&SampleLog::read(&self.path("samples.jsonl")).unwrap(), "scripted", &[])
    }

    /// Opens and runs a sweep to its end, and says what it comes to.
    pub fn swept(&self, spec: &SweepSpec, engine: &mut Scripted) -> SweepTable {
        let sweep = open(spec);
        run(&sweep, engine, &mut self.log()).unwrap();
        self.table(&sweep)
    }
}

pub fn open(spec: &SweepSpec) -> Sweep {
    Sweep::open(&recipe(), spec, &Control::new()).unwrap()
}

/// Runs a sweep and checks what it tells on the way.
pub fn run(sweep: &Sweep, engine: &mut dyn Engine, log: &mut SampleLog) -> Result<(), SweepError> {
    let (mut answered, mut asking) = (None, None);
    let result = sweep.run(engine, log, &Control::new(), &mut |event| match event {
        SweepEvent::Loading { model } => asking = Some(model),
        SweepEvent::Asking { model } => assert_eq!(asking, Some(model)),
        SweepEvent::Answered { progress } => {
            assert!(progress.answered <= progress.total, "{progress:?}");
            assert!(answered.is_none_or(|before| before <= progress.answered), "{progress:?}");
            answered = Some(progress.answered);
        }
        SweepEvent::Done { .. } => {}
    });
    if result.is_ok() && log.contents().samples().iter().all(|sample| sample.error.is_none()) {
        let progress = sweep.progress(log.contents(), &engine.identity());
        assert_eq!(progress.answered, progress.total, "a sweep that is done has nothing left to do");
    }
    result
}

/// The row of a model, asked in the first way and plainly.
#[track_caller]
pub fn row(table: &SweepTable, model: ArmModel) -> &ArmResult {
    let is_it = |row: &&ArmResult| row.arm.is_some_and(|arm| arm.model == model && arm.prompt == 0 && !arm.perturbed);
    table.arms.iter().find(is_it).expect("the arm is in the table")
}

#[track_caller]
pub fn at(table: &SweepTable, w: f64) -> &ArmResult {
    row(table, ArmModel::W(w))
}

#[track_caller]
pub fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}
