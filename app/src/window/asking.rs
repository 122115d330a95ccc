//! Prompts to models in a row, as a job of the engine's thread.

use std::time::{Duration, Instant};

use mergescope_core::engine::{Completion, Event, ModelChoice, Request, RequestError};

use super::engine_thread::{EngineWork, Teller};
use super::jobs::Outcome;

/// Shortest time between two reports of text.
const REPORT_EVERY: Duration = Duration::from_millis(33);

/// A prompt, and the weights that should answer it.
pub struct Question {
    /// The weights.
    pub model: ModelChoice,
    /// The prompt, and how to answer it.
    pub request: Request,
}

/// What becomes of questions, which are known by their positions.
#[derive(Debug)]
pub enum News {
    /// Its weights are being made.
    Loading(usize),
    /// Its weights are there, and it is being read.
    Begun(usize),
    /// More of its answer.
    Text {
        /// Which question.
        question: usize,
        /// What came after all that came before.
        text: String,
        /// Tokens of the answer so far.
        tokens: usize,
        /// Time since the question began.
        elapsed: Duration,
    },
    /// Its answer is complete, or will not come.
    Answered {
        /// Which question.
        question: usize,
        /// The answer.
        result: Result<Completion, RequestError>,
    },
}

/// Answers the questions one after another, each with its own weights.
pub fn ask(questions: Vec<Question>) -> EngineWork {
    Box::new(move |engine, control, teller| {
        for (number, question) in questions.iter().enumerate() {
            control.check()?;
            teller.tell(News::Loading(number));
            engine.load(&question.model, control)?;
            teller.tell(News::Begun(number));
            let mut answer = Stream::new(number, teller);
            let requests = std::slice::from_ref(&question.request);
            let result = engine.generate(requests, control, &mut |event| match event {
                Event::Text { text, tokens, .. } => answer.push(&text, tokens),
                // A server was cut off on the way: what came so far is void.
                Event::Restarted { .. } => {
                    answer = Stream::new(number, teller);
                    teller.tell(News::Begun(number));
                }
                Event::Finished { result, .. } => {
                    answer.flush();
                    teller.tell(News::Answered { question: number, result });
                }
            });
            // An answer that is cut short is shown as far as it came.
            answer.flush();
            result?;
        }
        Ok(Outcome::Answered)
    })
}

/// An answer on its way to the window, in no more reports than it can show.
struct Stream<'a> {
    question: usize,
    teller: &'a Teller,
    began: Instant,
    told_at: Option<Instant>,
    /// What was not told yet.
    text: String,
    tokens: usize,
}

impl<'a> Stream<'a> {
    fn new(question: usize, teller: &'a Teller) -> Self {
        Self { question, teller, began: Instant::now(), told_at: None, text: String::new(), tokens: 0 }
    }

    /// Takes more of the answer; tells it when the last report was long enough ago.
    fn push(&mut self, text: &str, tokens: usize) {
        self.text += text;
        self.tokens = tokens;
        let due = self.told_at.is_none_or(|told_at| told_at.elapsed() >= REPORT_EVERY);
        // A window that is hidden takes nothing in: what is not told now comes with the next report.
        if due && self.teller.try_tell(self.news()) {
            self.text.clear();
            self.told_at = Some(Instant::now());
        }
    }

    /// Tells what is left.
    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.teller.tell(self.news());
            self.text.clear();
        }
    }

    fn news(&self) -> News {
        let elapsed = self.began.elapsed();
        News::Text { question: self.question, text: self.text.clone(), tokens: self.tokens, elapsed }
    }
}
