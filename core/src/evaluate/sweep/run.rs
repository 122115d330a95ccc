//! Asking an engine for what the log does not have yet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::arm::{Arm, ArmModel};
use super::error::SweepError;
use super::open::{Asked, Sweep};
use super::spec::{ChoiceScoring, ControlsAt};
use crate::engine::{
    Completion, EVALUATION_DAY, Engine, EngineError, Event, Finish, LogLikelihood, Request, RequestError,
};
use crate::evaluate::log::{Contents, Sample, SampleKey, SampleLog};
use crate::progress::Control;

/// How far a sweep has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SweepProgress {
    /// Answers that are there, those of earlier runs included.
    pub answered: usize,
    /// Answers in all. Controls at a w that is not chosen yet are counted from the start; once it is chosen, as many as there
    /// are.
    pub total: usize,
    /// Answers of this run.
    pub generated: usize,
    /// Tokens of this run's answers.
    pub tokens: usize,
    /// Time since this run began.
    pub elapsed: Duration,
}

impl SweepProgress {
    /// Time left, if what is to come goes as what was; `None` before the first answers.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.answered) as f64;
        let secs = self.elapsed.as_secs_f64() * left / self.generated as f64;
        (self.generated > 0).then(|| Duration::try_from_secs_f64(secs).ok()).flatten()
    }

    /// Tokens of answers in each second of this run, loading included.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let secs = self.elapsed.as_secs_f64();
        (self.tokens > 0 && secs > 0.0).then(|| self.tokens as f64 / secs)
    }
}

/// What happens while a sweep runs.
#[derive(Clone, Debug)]
pub enum SweepEvent {
    /// A model is being loaded.
    Loading {
        /// Who.
        model: ArmModel,
    },
    /// A model answers now.
    Asking {
        /// Who.
        model: ArmModel,
    },
    /// An answer is in the log.
    Answered {
        /// How far it is.
        progress: SweepProgress,
    },
    /// All answers of a model are in the log.
    Done {
        /// Whose.
        model: ArmModel,
    },
}

/// One answer that is wanted.
struct Task {
    arm: Arm,
    question: usize,
    sample: u32,
    key: SampleKey,
}

impl Sweep {
    /// Answers that the log has and answers in all, as far as it is known which they are.
    pub fn progress(&self, log: &Contents, engine: &str) -> SweepProgress {
        self.progress_of(&|_| true, log, engine)
    }

    /// The same for those models alone that are `wanted`.
    pub fn progress_of(&self, wanted: &dyn Fn(ArmModel) -> bool, log: &Contents, engine: &str) -> SweepProgress {
        let arms = |at| -> Vec<Arm> { self.arms(at).into_iter().filter(|arm| wanted(arm.model)).collect() };
        let (answered, known) = self.answered(&arms(None), log, engine);
        let (answered, total) = match answered < known {
            true => (answered, known + self.later(wanted) * self.answers_per_arm()),
            // All that w is chosen by is there.
            false => {
                let chosen = self.table(log, engine, &[]).chosen;
                self.answered(&arms(chosen.map(|chosen| chosen.w)), log, engine)
            }
        };
        SweepProgress { answered, total, ..SweepProgress::default() }
    }

    /// How many answers of those arms the log has, and how many there will be.
    fn answered(&self, arms: &[Arm], log: &Contents, engine: &str) -> (usize, usize) {
        let of = |arm: &Arm| self.keys(*arm, engine).iter().flatten().filter(|key| log.contains(key)).count();
        (arms.iter().map(of).sum(), arms.len() * self.answers_per_arm())
    }

    /// Arms of controls at a w that is not chosen yet.
    fn later(&self, wanted: &dyn Fn(ArmModel) -> bool) -> usize {
        if self.spec().controls_at == ControlsAt::Grid {
            return 0;
        }
        // Which w it will be makes no difference to who is asked.
        let controls = self.spec().controls.iter().filter(|control| wanted(ArmModel::Control(**control, 0.0)));
        controls.count() * self.spec().arms_of(ArmModel::W(0.0)).len()
    }

    /// Asks for every answer that the log does not have, model by model, and puts each into the log as it comes.
    ///
    /// Answers that ended in an error are asked for again. Stopped at any time, it goes on from there the next time.
    ///
    /// # Errors
    /// When the engine cannot go on, the log cannot be written, or it is cancelled. What was answered is in the log. A log that
    /// cannot be written cancels `control`, since the engine would go on for nothing.
    pub fn run(
        &self,
        engine: &mut dyn Engine,
        log: &mut SampleLog,
        control: &Control,
        on_event: &mut dyn FnMut(SweepEvent),
    ) -> Result<(), SweepError> {
        self.run_only(&|_| true, engine, log, control, on_event)
    }

    /// The same for those models alone that are `wanted`, such as the one that a server has loaded.
    ///
    /// # Errors
    /// As for [`Sweep::run`].
    pub fn run_only(
        &self,
        wanted: &dyn Fn(ArmModel) -> bool,
        engine: &mut dyn Engine,
        log: &mut SampleLog,
        control: &Control,
        on_event: &mut dyn FnMut(SweepEvent),
    ) -> Result<(), SweepError> {
        self.run_watched(wanted, engine, log, control, &mut |event, _| on_event(event))
    }

    /// The same, with what the log holds at each event, for those who show results while they come.
    ///
    /// # Errors
    /// As for [`Sweep::run`].
    pub fn run_watched(
        &self,
        wanted: &dyn Fn(ArmModel) -> bool,
        engine: &mut dyn Engine,
        log: &mut SampleLog,
        control: &Control,
        on_event: &mut dyn FnMut(SweepEvent, &Contents),
    ) -> Result<(), SweepError> {
        let began = Instant::now();
        let identity = engine.identity();
        let mut progress = self.progress_of(wanted, log.contents(), &identity);
        let models = self.spec().models(self.recipe());
        for model in models.into_iter().filter(|model| wanted(*model)) {
            self.ask(model, engine, log, control, &mut progress, began, on_event)?;
        }
        let at: Vec<f64> = match self.spec().controls_at {
            ControlsAt::Grid => super::arm::coarse_to_fine(&self.spec().w),
            ControlsAt::Chosen => {
                self.table(log.contents(), &identity, &[]).chosen.iter().map(|chosen| chosen.w).collect()
            }
        };
        let now = self.progress_of(wanted, log.contents(), &identity);
        (progress.answered, progress.total) = (now.answered, now.total);
        for model in self.spec().control_models(&at).into_iter().filter(|model| wanted(*model)) {
            self.ask(model, engine, log, control, &mut progress, began, on_event)?;
        }
        Ok(())
    }

    /// Asks one model for all that is wanted of it.
    #[expect(clippy::too_many_arguments, reason = "the parts of one run, which live as long as it does")]
    fn ask(
        &self,
        model: ArmModel,
        engine: &mut dyn Engine,
        log: &mut SampleLog,
        control: &Control,
        progress: &mut SweepProgress,
        began: Instant,
        on_event: &mut dyn FnMut(SweepEvent, &Contents),
    ) -> Result<(), SweepError> {
        let identity = engine.identity();
        let mut tasks = Vec::new();
        // Questions that are put in the same words share an answer.
        let mut sharing: HashMap<SampleKey, usize> = HashMap::new();
        for arm in self.spec().arms_of(model) {
            for (question, keys) in self.keys(arm, &identity).iter().enumerate() {
                let open = keys.iter().copied().zip(0..).filter(|(key, _)| !log.contents().contains(key));
                for (key, sample) in open {
                    let places = sharing.entry(key).or_default();
                    if *places == 0 {
                        tasks.push(Task { arm, question, sample, key });
                    }
                    *places += 1;
                }
            }
        }
        if !tasks.is_empty() {
            control.check()?;
            on_event(SweepEvent::Loading { model }, log.contents());
            engine.load(&model.choice(self.recipe()), control)?;
            on_event(SweepEvent::Asking { model }, log.contents());
            let mut failure = None;
            let mut keep = |task: &Task, answer: Answer| {
                let sample = self.sample(task, answer, &identity);
                if sample.error.is_none() {
                    progress.answered += sharing.get(&task.key).copied().unwrap_or(1);
                }
                progress.generated += 1;
                progress.tokens += sample.tokens;
                progress.elapsed = began.elapsed();
                match log.append(sample) {
                    Ok(()) => on_event(SweepEvent::Answered { progress: *progress }, log.contents()),
                    Err(error) => {
                        // Nothing that comes later could be kept either.
                        control.cancel();
                        failure.get_or_insert(error);
                    }
                }
            };
            let result = match self.spec().choices {
                None => self.generate(&tasks, engine, control, &mut keep),
                Some(scoring) => self.choose(scoring, &tasks, engine, control, &mut keep),
            };
            if let Some(error) = failure {
                return Err(error.into());
            }
            result?;
        }
        on_event(SweepEvent::Done { model }, log.contents());
        Ok(())
    }

    fn generate(
        &self,
        tasks: &[Task],
        engine: &mut dyn Engine,
        control: &Control,
        keep: &mut dyn FnMut(&Task, Answer),
    ) -> Result<(), SweepError> {
        let stop = self.stop();
        let requests: Vec<Request> = tasks
            .iter()
            .map(|task| {
                let Asked { set, prompts, .. } = self.asked(task.arm);
                Request {
                    prompt: prompts[task.question].clone(),
                    sampling: self.sampling(&set.questions[task.question], task.sample),
                    max_tokens: self.max_tokens(),
                    stop: stop.clone(),
                    day: Some(EVALUATION_DAY),
                }
            })
            .collect();
        engine.generate(&requests, control, &mut |event| {
            if let Event::Finished { request, result } = event
                && let Some(task) = tasks.get(request)
            {
                keep(task, Answer::Written(result));
            }
        })?;
        Ok(())
    }

    /// Takes the likeliest choice of each question.
    fn choose(
        &self,
        scoring: ChoiceScoring,
        tasks: &[Task],
        engine: &mut dyn Engine,
        control: &Control,
        keep: &mut dyn FnMut(&Task, Answer),
    ) -> Result<(), SweepError> {
        for task in tasks {
            control.check()?;
            let began = Instant::now();
            let Asked { set, prompts, .. } = self.asked(task.arm);
            let question = &set.questions[task.question];
            let prompt = &prompts[task.question];
            let letters: Vec<String> = ('A'..='Z').take(question.choices.len()).map(String::from).collect();
            let texts = match scoring {
                ChoiceScoring::Letter => &letters,
                ChoiceScoring::Text => &question.choices,
            };
            // Raw text goes on after a space; an assistant's message begins with its first letter.
            let space = matches!(prompt, crate::engine::Prompt::Raw(text) if !text.ends_with(char::is_whitespace));
            let continuations: Vec<String> =
                texts.iter().map(|text| if space { format!(" {text}") } else { text.clone() }).collect();
            if continuations.is_empty() {
                keep(task, Answer::Written(Err(RequestError::lasting("the question has no choices"))));
                continue;
            }
            let found = match engine.log_likelihoods(prompt, &continuations, control) {
                // What is wrong with one prompt is that question's error, as where the model writes.
                Err(EngineError::Failed { message, .. }) => Err(message),
                Err(error) => return Err(error.into()),
                Ok(None) => {
                    let message = "this engine does not tell how likely a choice is; let the model write its answer";
                    return Err(EngineError::failed(message).into());
                }
                Ok(Some(found)) => match likeliest(scoring, texts, &found) {
                    Some(best) => Ok((best, found)),
                    None => Err("the engine did not say how likely each choice is".to_owned()),
                },
            };
            let answer = match found {
                Err(message) => Answer::Written(Err(RequestError::lasting(message))),
                Ok((best, likelihoods)) => Answer::Chosen {
                    letter: letters[best].clone(),
                    text: texts[best].clone(),
                    likelihoods,
                    elapsed: began.elapsed(),
                },
            };
            keep(task, answer);
        }
        Ok(())
    }

    /// What the log keeps of an answer.
    fn sample(&self, task: &Task, answer: Answer, engine: &str) -> Sample {
        let Asked { set, prompts, .. } = self.asked(task.arm);
        let question = &set.questions[task.question];
        let mut sample = Sample {
            key: task.key,
            arm: self.label(task.arm),
            w: task.arm.model.w(),
            question_id: question.id.clone(),
            condition: self.condition(task.arm).to_owned(),
            sample: task.sample,
            doc_id: self.place(question),
            doc: (*question.record).clone(),
            target: question.answer.clone(),
            arguments: prompts[task.question].clone(),
            resps: Vec::new(),
            filtered_resps: Vec::new(),
            prompt_tokens: 0,
            tokens: 0,
            finish: None,
            error: None,
            error_passes: false,
            elapsed_s: 0.0,
            engine: engine.to_owned(),
            log_likelihoods: None,
        };
        match answer {
            Answer::Written(Ok(Completion { text, tokens, prompt_tokens, finish, elapsed })) => {
                let expected = super::table::expected(question);
                let grade = self.graders().first().map(|grader| grader.grade(&text, &expected));
                sample.filtered_resps = grade.and_then(|grade| grade.extracted).into_iter().collect();
                sample.resps = vec![vec![text]];
                (sample.tokens, sample.prompt_tokens) = (tokens, prompt_tokens);
                (sample.finish, sample.elapsed_s) = (Some(finish), elapsed.as_secs_f64());
            }
            Answer::Written(Err(error)) => {
                (sample.error, sample.error_passes) = (Some(error.message), error.passes);
            }
            Answer::Chosen { letter, text, likelihoods, elapsed } => {
                sample.filtered_resps = vec![text];
                // A text can be another choice's letter, or part of another's text; a letter names one choice.
                sample.resps = vec![vec![letter]];
                sample.finish = Some(Finish::Stop);
                sample.elapsed_s = elapsed.as_secs_f64();
                sample.log_likelihoods = Some(likelihoods.into_iter().map(Into::into).collect());
            }
        }
        sample
    }
}

/// What came of one task.
enum Answer {
    Written(Result<Completion, RequestError>),
    Chosen { letter: String, text: String, likelihoods: Vec<LogLikelihood>, elapsed: Duration },
}

/// The position of the likeliest choice, of equals the first; `None` where that cannot be told of all of them.
fn likeliest(scoring: ChoiceScoring, texts: &[String], found: &[LogLikelihood]) -> Option<usize> {
    if found.len() != texts.len() || found.iter().any(|choice| choice.sum.is_nan()) {
        return None;
    }
    let weight = |at: usize| match scoring {
        ChoiceScoring::Letter => found[at].sum,
        ChoiceScoring::Text => found[at].sum / texts[at].len().max(1) as f64,
    };
    (0..found.len()).reduce(|best, at| if weight(at) > weight(best) { at } else { best })
}
