//! What was asked and answered before: kept, copied and saved.

use mergescope_core::recipe::Recipe;
use serde::{Deserialize, Serialize};

use super::run::{Of, Run, State, with_weights};
use super::settings::Settings;

/// Most runs that are kept.
const MAX_ENTRIES: usize = 50;
/// Most bytes of prompts and answers that are kept in all.
const MAX_BYTES: usize = 512 << 10;

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was asked, and how.
    pub settings: Settings,
    /// Whether the prompt was given as it stands.
    pub raw: bool,
    /// What answered.
    #[serde(default)]
    pub engine: String,
    /// What w was a choice of.
    pub recipe: Recipe,
    /// The answers.
    pub answers: Vec<Said>,
}

/// An answer of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// What it is called: `w = 0.25`.
    pub title: String,
    /// The w of each vector; empty for the target alone.
    pub w: Vec<f64>,
    /// Whether a server gave it with what somebody had loaded there, so that w is what that person said.
    #[serde(default)]
    pub is_loaded: bool,
    /// The answer.
    pub text: String,
    /// Its tokens.
    pub tokens: usize,
    /// Tokens a second.
    pub speed: Option<f64>,
    /// How it ended: `stop`, `length`, `stopped`, `error`.
    pub finish: String,
}

impl Entry {
    /// What a run came to; `None` where nothing was said.
    pub fn of(run: &Run) -> Option<Self> {
        let said = run.answers.iter().filter(|answer| answer.tokens > 0 && !matches!(answer.state, State::Failed(_)));
        let answers: Vec<Said> = said
            .map(|answer| Said {
                title: run.title(answer),
                w: match &answer.of {
                    Of::Target => Vec::new(),
                    Of::Merged(weights) => weights.clone(),
                    Of::Loaded(w) => vec![*w],
                },
                is_loaded: matches!(answer.of, Of::Loaded(_)),
                text: answer.text.clone(),
                tokens: answer.tokens,
                speed: answer.speed(),
                finish: answer.finish().to_owned(),
            })
            .collect();
        let (settings, engine, recipe) = (run.settings.clone(), run.engine.clone(), run.recipe.clone());
        (!answers.is_empty()).then_some(Self { settings, raw: run.raw, engine, recipe, answers })
    }

    /// The first line of the prompt that says something.
    pub fn first_line(&self) -> &str {
        let mut lines = self.settings.prompt.lines().map(str::trim);
        lines.find(|line| !line.is_empty()).unwrap_or_default()
    }

    /// Prompt and answers as people read them.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.settings.prompt.trim_end());
        if self.engine.starts_with("server ") {
            text += &format!("(answered by {})\n", self.engine);
        }
        for said in &self.answers {
            text += &format!("\n[{}]\n{}\n", said.title, said.text.trim_end());
        }
        text
    }

    /// One JSON object for each answer, with what is needed to get it again.
    fn json_lines(&self) -> String {
        let lines = self.answers.iter().map(|said| {
            let merged = (!said.w.is_empty() && !said.is_loaded).then(|| with_weights(&self.recipe, &said.w));
            let sampling = self.settings.sampling;
            let line = serde_json::json!({
                "prompt": self.settings.prompt,
                "system": (!self.raw && !self.settings.system.trim().is_empty()).then_some(&self.settings.system),
                "template": if self.raw { "raw" } else { "chat" },
                "model": said.w.is_empty().then_some(&self.recipe.target),
                "w": said.w,
                "text": said.text,
                "tokens": said.tokens,
                "tokens_per_second": said.speed,
                "finish": said.finish,
                "sampling": sampling,
                "max_tokens": self.settings.max_tokens,
                "stop": self.settings.request(self.raw).stop,
                "engine": self.engine,
                "as_loaded": said.is_loaded,
                "recipe": merged,
            });
            format!("{line}\n")
        });
        lines.collect()
    }

    fn bytes(&self) -> usize {
        self.settings.prompt.len() + self.answers.iter().map(|said| said.text.len()).sum::<usize>()
    }
}

/// Runs of the past, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Transcript {
    entries: Vec<Entry>,
}

impl Transcript {
    /// The runs, the latest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Keeps a run; the oldest go where there are too many, or too long ones.
    pub fn add(&mut self, entry: Entry) {
        self.entries.insert(0, entry);
        self.bound();
    }

    /// Lets the oldest go until the rest is within bounds.
    pub fn bound(&mut self) {
        self.entries.truncate(MAX_ENTRIES);
        let mut bytes = 0;
        self.entries.retain(|entry| {
            bytes += entry.bytes();
            bytes <= MAX_BYTES
        });
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// All of it as people read it, in the order of time.
    pub fn text(&self) -> String {
        let entries: Vec<String> = self.entries.iter().rev().map(Entry::text).collect();
        entries.join("\n———\n\n")
    }

    /// All of it as JSON, a line for each answer, in the order of time.
    pub fn json_lines(&self) -> String {
        self.entries.iter().rev().map(Entry::json_lines).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prompt: &str, text: &str) -> Entry {
        let settings = Settings { prompt: prompt.to_owned(), system: "Think.".into(), ..Settings::default() };
        let said = |title: &str, w: Vec<f64>| {
            let (text, finish) = (text.to_owned(), "stop".to_owned());
            Said { title: title.to_owned(), w, is_loaded: false, text, tokens: 3, speed: Some(412.0), finish }
        };
        let answers = vec![said("w = 0, the target alone", Vec::new()), said("w = 0.25", vec![0.25])];
        Entry {
            settings,
            raw: false,
            engine: "embedded f32".into(),
            recipe: Recipe::new("pre", "post", "target"),
            answers,
        }
    }

    #[test]
    fn each_answer_is_a_line_of_json_from_which_it_can_be_had_again() {
        let mut transcript = Transcript::default();
        transcript.add(entry("問題:1+1?", "2\nです。"));
        transcript.add(entry("later", "3"));
        let json = transcript.json_lines();
        let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["prompt"], "問題:1+1?", "in the order of time");
        assert_eq!((&lines[0]["model"], &lines[0]["recipe"]), (&"target".into(), &serde_json::Value::Null));
        assert_eq!(lines[1]["recipe"]["vector"]["w"], 0.25);
        assert_eq!(lines[1]["system"], "Think.");
        assert_eq!(transcript.text().lines().next(), Some("問題:1+1?"));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let mut transcript = Transcript::default();
        for number in 0..MAX_ENTRIES + 3 {
            transcript.add(entry(&number.to_string(), "2"));
        }
        assert_eq!(transcript.entries().len(), MAX_ENTRIES);
        assert_eq!(transcript.entries()[0].first_line(), (MAX_ENTRIES + 2).to_string());
        transcript.add(entry("long", &"x".repeat(MAX_BYTES / 2 - 2)));
        assert_eq!(transcript.entries().len(), 1, "the one that fills it is the latest");
    }

    #[test]
    fn it_is_stored_as_it_is() {
        let mut transcript = Transcript::default();
        transcript.add(entry("\n  問題 \n", "2"));
        let stored = serde_json::to_string(&transcript).unwrap();
        assert_eq!(serde_json::from_str::<Transcript>(&stored).unwrap(), transcript);
        assert_eq!(transcript.entries()[0].first_line(), "問題");
    }
}
