//! An engine that says what a test tells it to, at the pace and with the mishaps that the test wants.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mergescope::window::engine::{Engine, EngineChoice};
use mergescope_core::alignment::{Alignment, Triple};
use mergescope_core::analysis::{AnalysisCache, VectorAnalysis};
use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::engine::server::ServerSpec;
use mergescope_core::engine::{
    Completion, Engine as Answering, EngineError, Event, Finish, ModelChoice, Request, RequestError,
};
use mergescope_core::hub::CachedModel;
use mergescope_core::progress::{Control, Stage};
use mergescope_core::stream::{Resources, StreamError};

/// What happens.
#[derive(Default)]
pub struct Script {
    /// Text that each model says, by its w, with `|` between tokens; `None` is the target alone.
    pub says: Option<fn(Option<f64>) -> String>,
    /// Answers go no further than so many tokens until they are stopped.
    pub halts_after: Mutex<Option<usize>>,
    /// Loading stops halfway until it is cancelled.
    pub loading_halts: AtomicBool,
    /// What loading fails with.
    pub load_error: Mutex<Option<&'static str>>,
    /// What each request fails with.
    pub request_error: Mutex<Option<&'static str>>,
    /// Whether loading panics.
    pub panics: AtomicBool,
    /// Whether models have a chat template.
    pub has_template: bool,
    /// What was asked of which model.
    pub asked: Mutex<Vec<(ModelChoice, Request)>>,
    /// What engines were made for.
    pub choices: Mutex<Vec<String>>,
    /// Engines that were made.
    pub made: AtomicUsize,
}

impl Script {
    /// What was asked, as w and request; `None` is the target alone.
    pub fn asked(&self) -> Vec<(Option<f64>, Request)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(model, request)| (w_of(model), request.clone())).collect()
    }
}

fn w_of(model: &ModelChoice) -> Option<f64> {
    match model {
        ModelChoice::Alone(_) => None,
        ModelChoice::Merged(recipe) => Some(recipe.vector.w),
    }
}

/// The window's engine with such answers, and with everything that differs between runs held still.
pub struct Scripted(pub Arc<Script>);

impl Engine for Scripted {
    fn measure(
        &self,
        triple: &Triple,
        alignment: &Alignment,
        control: &Control,
    ) -> Result<VectorAnalysis, StreamError> {
        let mut analysis = mergescope_core::analysis::measure(triple, alignment, &self.resources(), control)?;
        analysis.elapsed = Duration::from_millis(200);
        Ok(analysis)
    }

    fn answering(&self, choice: &EngineChoice, _control: &Control) -> Result<Box<dyn Answering>, EngineError> {
        self.0.choices.lock().unwrap().push(choice.identity());
        self.0.made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(ScriptedAnswers { script: self.0.clone(), model: None }))
    }

    fn model_names(&self, _spec: ServerSpec, _control: &Control) -> Result<Vec<String>, EngineError> {
        Ok(vec!["EZO-Qwen2.5-32B".to_owned(), "Qwen2.5-32B-Instruct".to_owned()])
    }

    fn has_chat_template(&self, _model: &Checkpoint) -> bool {
        self.0.has_template
    }

    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn cached_models(&self) -> Vec<CachedModel> {
        Vec::new()
    }

    fn free_bytes(&self, _folder: &std::path::Path) -> Option<u64> {
        Some(79_400_000_000)
    }

    fn resources(&self) -> Resources {
        Resources { threads: 2, memory_bytes: 256 << 20, ..Resources::default() }
    }
}

struct ScriptedAnswers {
    script: Arc<Script>,
    model: Option<ModelChoice>,
}

fn wait_for_cancel(control: &Control) {
    while !control.is_cancelled() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Answering for ScriptedAnswers {
    fn identity(&self) -> String {
        "scripted".to_owned()
    }

    fn load(&mut self, model: &ModelChoice, control: &Control) -> Result<(), EngineError> {
        control.begin(Stage::Loading, 988_000_000);
        assert!(!self.script.panics.load(Ordering::Relaxed), "the script says so");
        if let Some(message) = *self.script.load_error.lock().unwrap() {
            return Err(EngineError::failed(message));
        }
        if self.script.loading_halts.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            control.advance(702_000_000, Some(3));
            wait_for_cancel(control);
        }
        control.check()?;
        self.model = Some(model.clone());
        Ok(())
    }

    fn generate(
        &mut self,
        requests: &[Request],
        control: &Control,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let model = self.model.clone().ok_or(EngineError::NothingLoaded)?;
        for (request, asked) in requests.iter().enumerate() {
            self.script.asked.lock().unwrap().push((model.clone(), asked.clone()));
            if let Some(message) = *self.script.request_error.lock().unwrap() {
                let message = message.to_owned();
                on_event(Event::Finished { request, result: Err(RequestError::lasting(message)) });
                continue;
            }
            let text = self.script.says.map_or_else(|| "one |two |three".to_owned(), |says| says(w_of(&model)));
            let words: Vec<&str> = text.split('|').collect();
            let halts = *self.script.halts_after.lock().unwrap();
            for (number, word) in words.iter().take(asked.max_tokens).enumerate() {
                if halts == Some(number) {
                    wait_for_cancel(control);
                }
                control.check()?;
                on_event(Event::Text { request, text: (*word).to_owned(), tokens: number + 1 });
            }
            let tokens = words.len().min(asked.max_tokens);
            let finish = if tokens < words.len() { Finish::Length } else { Finish::Stop };
            let text = words[..tokens].concat();
            // 400 tokens a second.
            let elapsed = Duration::from_micros(2500 * tokens as u64);
            let completion = Completion { text, tokens, prompt_tokens: 9, finish, elapsed };
            on_event(Event::Finished { request, result: Ok(completion) });
        }
        Ok(())
    }
}
