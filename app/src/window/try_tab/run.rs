//! One run: what was asked of which weights, and how far each answer is.

use std::ops::Range;
use std::time::Duration;

use mergescope_core::engine::{Completion, Finish, ModelChoice, RequestError};
use mergescope_core::progress::Progress;
use mergescope_core::recipe::{Combination, Recipe};

use super::difference::difference;
use super::settings::Settings;
use crate::format;
use crate::window::asking::{News, Question};
use crate::window::jobs::{JobError, JobId};
use crate::window::method_words;

/// Whose answer it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    /// The target's, as it stands.
    Target,
    /// That of what the recipe would write with these w, one for each vector.
    Merged(Vec<f64>),
    /// That of what somebody loaded on a server, who says that it has this w.
    Loaded(f64),
}

/// How far an answer is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Others come first.
    Waiting,
    /// Its weights are being made.
    Loading,
    /// Its weights are there; the prompt is being read.
    Reading,
    /// It is being written.
    Writing,
    /// It is complete, or cut off.
    Ended(Finish),
    /// The person stopped it.
    Stopped,
    /// It will not come, and why.
    Failed(String),
    /// It was not asked for any more, since the one before it failed.
    NotAsked,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whose it is.
    pub of: Of,
    /// How far it is.
    pub state: State,
    /// What was said so far.
    pub text: String,
    /// Its tokens so far.
    pub tokens: usize,
    /// Time that they took.
    pub elapsed: Duration,
    /// What differs from the answer that it is held against, in bytes of `text`.
    pub marks: Vec<Range<usize>>,
}

impl Answer {
    fn new(of: Of) -> Self {
        let (text, marks) = (String::new(), Vec::new());
        Self { of, state: State::Waiting, text, tokens: 0, elapsed: Duration::ZERO, marks }
    }

    /// Tokens a second; `None` before there are any.
    pub fn speed(&self) -> Option<f64> {
        let secs = self.elapsed.as_secs_f64();
        (self.tokens > 0 && secs > 0.0).then(|| self.tokens as f64 / secs)
    }

    /// `3 tokens · 412 tokens/s`; empty before there are any.
    pub fn pace(&self) -> String {
        let tokens = format::plural(self.tokens, "token");
        match self.speed() {
            Some(speed) => format!("{tokens} · {} tokens/s", format::count(speed.round() as u64)),
            None if matches!(self.state, State::Ended(_) | State::Stopped) => tokens,
            None => String::new(),
        }
    }

    /// What people should know of how it ended; `None` where the model ended it itself, or goes on.
    pub fn remark(&self, max_tokens: usize) -> Option<String> {
        let tokens = format::plural(self.tokens, "token");
        match &self.state {
            State::Ended(Finish::Length) if self.tokens < max_tokens => {
                Some(format!("Cut off after {tokens}, where the model's context ends"))
            }
            State::Ended(Finish::Length) => Some(format!("Cut off at {tokens}; raise the limit")),
            State::Ended(Finish::Stop) if self.text.trim().is_empty() => {
                Some("The model ended its answer at once".to_owned())
            }
            State::NotAsked => Some("Not asked, since the one before it failed".to_owned()),
            State::Stopped if self.tokens == 0 => Some("Stopped before it began".to_owned()),
            State::Stopped => Some(format!("Stopped after {tokens}")),
            _ => None,
        }
    }

    /// How it ended, in a word for machines.
    pub fn finish(&self) -> &'static str {
        match self.state {
            State::Ended(Finish::Stop) => "stop",
            State::Ended(Finish::Length) => "length",
            State::Stopped => "stopped",
            State::Failed(_) | State::NotAsked => "error",
            State::Waiting | State::Loading | State::Reading | State::Writing => "",
        }
    }
}

/// What is asked in one go.
pub struct Run {
    /// The job, while it goes on.
    pub id: Option<JobId>,
    /// What was asked, and how.
    pub settings: Settings,
    /// Whether the prompt was given as it stands.
    pub raw: bool,
    /// What answers, by [`Engine::identity`](mergescope_core::engine::Engine::identity).
    pub engine: String,
    /// What is said of how the answers came about.
    pub note: String,
    /// What w was a choice of.
    pub recipe: Recipe,
    /// Whether several w are answered one below the other.
    pub is_strip: bool,
    /// The answers, in their order.
    pub answers: Vec<Answer>,
    /// How far the loading is.
    pub progress: Option<Progress>,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

impl Run {
    /// The target and what `recipe` would write, to be asked the same. At w = 0 they are one and the same model, which is
    /// asked once.
    pub fn both(settings: Settings, raw: bool, recipe: Recipe) -> Self {
        let mut answers = vec![Answer::new(Of::Target)];
        if !is_target(&recipe) {
            answers.push(Answer::new(Of::Merged(weights(&recipe))));
        }
        Self::new(settings, raw, recipe, answers, false)
    }

    /// What somebody loaded on a server, who says that it is what `recipe` writes at `w`.
    pub fn loaded(settings: Settings, raw: bool, recipe: Recipe, w: f64) -> Self {
        Self::new(settings, raw, recipe, vec![Answer::new(Of::Loaded(w))], false)
    }

    /// What `recipe` would write at each of `values` for the w of the vector at `vector`.
    pub fn strip(settings: Settings, raw: bool, recipe: Recipe, vector: usize, values: &[f64]) -> Self {
        let answers = values.iter().map(|&w| {
            let mut all = weights(&recipe);
            if let Some(own) = all.get_mut(vector) {
                *own = w;
            }
            Answer::new(Of::Merged(all))
        });
        let answers = answers.collect();
        Self::new(settings, raw, recipe, answers, true)
    }

    fn new(settings: Settings, raw: bool, recipe: Recipe, answers: Vec<Answer>, is_strip: bool) -> Self {
        let (engine, note) = (String::new(), String::new());
        Self { id: None, settings, raw, engine, note, recipe, is_strip, answers, progress: None, stopping: false }
    }

    /// The questions to be answered, in the order of the answers.
    pub fn questions(&self) -> Vec<Question> {
        let request = self.settings.request(self.raw);
        let question = |answer: &Answer| Question { model: self.model(&answer.of), request: request.clone() };
        self.answers.iter().map(question).collect()
    }

    fn model(&self, of: &Of) -> ModelChoice {
        match of {
            Of::Target => ModelChoice::Alone(self.recipe.target.clone()),
            Of::Merged(weights) => ModelChoice::Merged(Box::new(with_weights(&self.recipe, weights))),
            // Whatever is named, the server answers with what it has.
            Of::Loaded(_) => ModelChoice::Alone(self.recipe.target.clone()),
        }
    }

    /// Whether it goes on.
    pub fn is_under_way(&self) -> bool {
        self.id.is_some()
    }

    /// Whether the target alone was asked, since w is 0.
    pub fn is_target_alone(&self) -> bool {
        !self.is_strip && self.answers.len() == 1 && !self.is_loaded()
    }

    /// Whether a server was asked for what it has loaded.
    pub fn is_loaded(&self) -> bool {
        matches!(self.answers.as_slice(), [Answer { of: Of::Loaded(_), .. }])
    }

    /// Whether all answers came, and say the same.
    pub fn is_unanimous(&self) -> bool {
        let first = self.answers.first().map(|answer| answer.text.trim());
        let is_same = |answer: &Answer| matches!(answer.state, State::Ended(_)) && Some(answer.text.trim()) == first;
        self.answers.len() > 1 && self.answers.iter().all(is_same)
    }

    /// The answer that another is held against: the target's, or in a strip that at w = 0, else the first.
    pub fn reference(&self) -> usize {
        let is_plain = |answer: &Answer| match &answer.of {
            Of::Target => true,
            Of::Merged(weights) => weights.iter().all(|w| *w == 0.0),
            Of::Loaded(w) => *w == 0.0,
        };
        self.answers.iter().position(is_plain).unwrap_or(0)
    }

    /// What an answer is called: `w = 0, the target alone`, `w = 0.25`.
    pub fn title(&self, answer: &Answer) -> String {
        let uses_w = self.recipe.method.name.uses_w();
        match &answer.of {
            Of::Target if uses_w && self.recipe.others.is_empty() && at_zero(&self.recipe) => {
                "w = 0, the target alone".to_owned()
            }
            Of::Target => "The target alone".to_owned(),
            Of::Loaded(w) if uses_w => format!("w = {}, as loaded", w_text(*w)),
            Of::Loaded(_) => "As loaded".to_owned(),
            Of::Merged(_) if !uses_w => format!("Merged by {}", method_words::name(self.recipe.method.name)),
            Of::Merged(weights) => {
                let shown: Vec<String> = weights.iter().map(|&w| w_text(w)).collect();
                format!("w = {}", shown.join(", "))
            }
        }
    }

    /// What would be asked for with `recipe` and was not: `None` while the answers are those of `recipe`.
    pub fn changed_since(&self, recipe: &Recipe) -> Option<String> {
        if self.is_loaded() || (self.is_strip && same_but_w(&self.recipe, recipe)) {
            return None;
        }
        if weightless(&self.recipe) == weightless(recipe) && weights(&self.recipe) == weights(recipe) {
            return None;
        }
        let w: Vec<String> = weights(recipe).into_iter().map(w_text).collect();
        Some(match same_but_w(&self.recipe, recipe) {
            true => format!("Run again for w = {}", w.join(", ")),
            false => "Run again with the recipe as it is now".to_owned(),
        })
    }

    /// Takes in what became of a question.
    pub fn on_news(&mut self, news: News) {
        let number = match &news {
            News::Loading(number) | News::Begun(number) => *number,
            News::Text { question, .. } | News::Answered { question, .. } => *question,
        };
        let Some(answer) = self.answers.get_mut(number) else { return };
        match news {
            News::Loading(_) => {
                answer.state = State::Loading;
                self.progress = None;
            }
            // It may begin once more: then what came before is void.
            News::Begun(_) => *answer = Answer { state: State::Reading, ..Answer::new(answer.of.clone()) },
            News::Text { text, tokens, elapsed, .. } => {
                answer.state = State::Writing;
                answer.text += &shown(&text);
                (answer.tokens, answer.elapsed) = (tokens, elapsed);
            }
            News::Answered { result: Ok(completion), .. } => {
                let Completion { text, tokens, prompt_tokens: _, finish, elapsed } = completion;
                answer.text = shown(&text);
                (answer.tokens, answer.elapsed, answer.state) = (tokens, elapsed, State::Ended(finish));
            }
            News::Answered { result: Err(RequestError { message, .. }), .. } => {
                answer.state = State::Failed(format::sentence(&message));
            }
        }
        self.mark(number);
    }

    /// Marks what differs, once the answer that others are held against is complete.
    fn mark(&mut self, changed: usize) {
        let reference = self.reference();
        let Some(Answer { text: other, state: State::Ended(_) | State::Stopped, .. }) =
            self.answers.get(reference).cloned()
        else {
            return;
        };
        for (number, answer) in self.answers.iter_mut().enumerate() {
            if number != reference && (number == changed || changed == reference) {
                answer.marks = difference(&other, &answer.text);
            }
        }
    }

    /// Takes the end of the job.
    pub fn on_finished(&mut self, result: &Result<(), JobError>) {
        self.id = None;
        self.progress = None;
        let is_open = |answer: &&mut Answer| !matches!(answer.state, State::Ended(_) | State::Failed(_));
        let mut open = self.answers.iter_mut().filter(is_open);
        if let Err(JobError::Failed(message)) = result
            && let Some(first) = open.next()
        {
            // It may begin with the name of a model.
            first.state = State::Failed(message.clone());
            open.for_each(|answer| answer.state = State::NotAsked);
        } else {
            open.for_each(|answer| answer.state = State::Stopped);
        }
        let reference = self.reference();
        self.mark(reference);
    }
}

/// w as it stands in a title: 0 and 1 need no decimals, but next to 0.25 the others have two.
fn w_text(w: f64) -> String {
    if w == 0.0 { "0".to_owned() } else { format::w(w) }
}

/// The w of each vector.
pub fn weights(recipe: &Recipe) -> Vec<f64> {
    recipe.vectors().map(|vector| vector.w).collect()
}

/// The recipe with other w.
pub fn with_weights(recipe: &Recipe, weights: &[f64]) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.vectors_mut().zip(weights).for_each(|(vector, w)| vector.w = *w);
    recipe
}

/// What decides the weights of the answers, but for w.
fn weightless(recipe: &Recipe) -> Recipe {
    let mut recipe = Recipe { inputs: None, adapter: None, ..recipe.clone() };
    recipe.vectors_mut().for_each(|vector| vector.w = 0.0);
    recipe
}

fn same_but_w(one: &Recipe, other: &Recipe) -> bool {
    weightless(one) == weightless(other)
}

/// Whether the recipe gives the target itself when all w are 0: not where weights are divided by their sum.
fn at_zero(recipe: &Recipe) -> bool {
    matches!(recipe.method.name.combination(), Combination::Sum | Combination::Slerp)
}

/// Whether the recipe gives the target itself.
pub fn is_target(recipe: &Recipe) -> bool {
    recipe.method.name.uses_w() && at_zero(recipe) && weights(recipe).iter().all(|w| *w == 0.0)
}

/// What a model says, with `\u{1b}` for every character that would steer what shows it.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match format::steers(character) && !matches!(character, '\n' | '\t') {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(w: f64) -> Run {
        let mut recipe = Recipe::new("pre", "post", "target");
        recipe.vector.w = w;
        Run::both(Settings::default(), true, recipe)
    }

    fn completion(text: &str, tokens: usize, finish: Finish) -> Completion {
        let elapsed = Duration::from_millis(100);
        Completion { text: text.to_owned(), tokens, prompt_tokens: 5, finish, elapsed }
    }

    fn answered(question: usize, completion: Completion) -> News {
        News::Answered { question, result: Ok(completion) }
    }

    #[test]
    fn the_target_and_the_merge_are_asked_the_same() {
        let run = run(0.25);
        let questions = run.questions();
        assert_eq!(questions[0].model, ModelChoice::Alone("target".into()));
        assert_eq!(questions[1].model, ModelChoice::Merged(Box::new(run.recipe.clone())));
        assert_eq!(questions[0].request, questions[1].request);
        let titles: Vec<String> = run.answers.iter().map(|answer| run.title(answer)).collect();
        assert_eq!(titles, ["w = 0, the target alone", "w = 0.25"]);
    }

    #[test]
    fn what_a_server_has_loaded_is_one_answer_whatever_the_recipe_says() {
        let run = Run::loaded(Settings::default(), false, Recipe::new("pre", "post", "target"), 0.5);
        assert_eq!(run.questions().len(), 1);
        assert_eq!(run.title(&run.answers[0]), "w = 0.50, as loaded");
        assert!(run.is_loaded() && !run.is_target_alone());
        assert_eq!(run.changed_since(&Recipe::new("a", "b", "c")), None);
    }

    #[test]
    fn at_w_0_only_the_target_is_asked() {
        assert!(run(0.0).is_target_alone());
        assert!(!run(0.25).is_target_alone());
    }

    #[test]
    fn a_strip_changes_the_w_of_one_vector_alone() {
        let mut recipe = Recipe::new("pre", "post", "target");
        recipe.others.push(mergescope_core::recipe::VectorSpec::new("a", "b"));
        recipe.vector.w = 0.5;
        let run = Run::strip(Settings::default(), true, recipe, 1, &[0.0, 1.5]);
        let of: Vec<&Of> = run.answers.iter().map(|answer| &answer.of).collect();
        assert_eq!(of, [&Of::Merged(vec![0.5, 0.0]), &Of::Merged(vec![0.5, 1.5])]);
        let ModelChoice::Merged(merged) = &run.questions()[1].model else { panic!("it is merged") };
        assert_eq!(weights(merged), [0.5, 1.5]);
    }

    #[test]
    fn what_differs_from_the_target_is_marked_as_it_comes() {
        let mut run = run(0.25);
        run.on_news(answered(0, completion("82です。", 3, Finish::Stop)));
        run.on_news(News::Text { question: 1, text: "15+".into(), tokens: 3, elapsed: Duration::from_millis(10) });
        assert_eq!(run.answers[1].state, State::Writing);
        assert!(run.answers[1].marks.iter().eq([&(0..3)]));
        run.on_news(answered(1, completion("82です。", 3, Finish::Stop)));
        assert!(run.answers[1].marks.is_empty() && run.is_unanimous());
        assert_eq!(run.answers[1].pace(), "3 tokens · 30 tokens/s");
    }

    #[test]
    fn a_stopped_run_keeps_what_was_said() {
        let mut run = run(0.25);
        run.on_news(News::Text { question: 0, text: "8".into(), tokens: 1, elapsed: Duration::from_millis(10) });
        run.on_finished(&Err(JobError::Cancelled));
        assert_eq!((run.answers[0].text.as_str(), run.is_under_way()), ("8", false));
        assert_eq!(run.answers[0].remark(128).unwrap(), "Stopped after 1 token");
        assert_eq!(run.answers[1].remark(128).unwrap(), "Stopped before it began");
    }

    #[test]
    fn an_error_belongs_to_the_answer_that_was_made_and_the_rest_does_not_come() {
        let mut run = run(0.25);
        run.on_news(answered(0, completion("82", 1, Finish::Length)));
        assert_eq!(run.answers[0].remark(1).unwrap(), "Cut off at 1 token; raise the limit");
        assert!(run.answers[0].remark(2).unwrap().contains("context ends"));
        run.on_news(News::Loading(1));
        run.on_finished(&Err(JobError::Failed("no room".into())));
        assert_eq!(run.answers[0].finish(), "length");
        assert_eq!(run.answers[1].state, State::Failed("no room".into()));
    }

    #[test]
    fn a_moved_w_and_another_recipe_are_told_apart() {
        let run = run(0.25);
        let mut recipe = run.recipe.clone();
        assert_eq!(run.changed_since(&recipe), None);
        recipe.vector.w = 0.5;
        assert_eq!(run.changed_since(&recipe).unwrap(), "Run again for w = 0.50");
        recipe.target = "other".into();
        assert_eq!(run.changed_since(&recipe).unwrap(), "Run again with the recipe as it is now");
    }

    #[test]
    fn what_a_model_says_steers_nothing() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\n\\u{202e}b");
    }
}
