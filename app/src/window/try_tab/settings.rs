//! What is asked, and how it is to be answered.

use mergescope_core::engine::{ChatRole, Message, Prompt, Request, Sampling};
use serde::{Deserialize, Serialize};

use crate::curve_edit;
use crate::format;

/// Longest prompt and system prompt that the fields take, in characters.
pub const MAX_PROMPT_CHARS: usize = 200_000;
/// Longest list of w, and of stop strings, that the fields take, in characters.
pub const MAX_LIST_CHARS: usize = 2_000;
/// Most values of w in a strip: each loads the model's changed weights anew.
const MAX_STRIP: usize = 24;
/// Values of w that the number field takes too.
const W_RANGE: std::ops::RangeInclusive<f64> = -10.0..=10.0;
/// Most tokens of an answer that can be asked for.
pub const MOST_TOKENS: usize = 131_072;

/// The prompt and all choices about the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What the model is given.
    pub prompt: String,
    /// Whether the prompt is given as it stands, without the target's chat template.
    pub raw: bool,
    /// Instructions for the whole conversation; none when blank. Raw text has none.
    pub system: String,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// After so many tokens an answer is cut off.
    pub max_tokens: usize,
    /// An answer ends before any of these, one a line, with `\n` for a new line.
    pub stop: String,
    /// Values of w for a strip, as they were typed.
    pub strip: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            raw: false,
            system: String::new(),
            sampling: Sampling::default(),
            max_tokens: 128,
            stop: String::new(),
            strip: "−0.5, 0, 0.25, 0.5, 0.75, 1, 1.5".to_owned(),
        }
    }
}

impl Settings {
    /// The request that they come to; `raw` where the target has no chat template too.
    pub fn request(&self, raw: bool) -> Request {
        let prompt = if raw {
            Prompt::Raw(self.prompt.clone())
        } else {
            let said = |role, content: &str| Message { role, content: content.to_owned() };
            let system = (!self.system.trim().is_empty()).then(|| said(ChatRole::System, &self.system));
            Prompt::Chat(system.into_iter().chain([said(ChatRole::User, &self.prompt)]).collect())
        };
        Request {
            prompt,
            sampling: self.sampling,
            max_tokens: self.max_tokens.max(1),
            stop: self.stop_strings(),
            day: None,
        }
    }

    /// The stop strings, one of each line.
    fn stop_strings(&self) -> Vec<String> {
        let lines = self.stop.lines().filter(|line| !line.is_empty());
        lines.map(|line| line.replace("\\n", "\n").replace("\\t", "\t")).collect()
    }

    /// The values of w for a strip, or what is wrong with the list.
    pub fn strip_values(&self) -> Result<Vec<f64>, String> {
        let mut values: Vec<f64> = Vec::new();
        let typed = curve_edit::parse_numbers(&self.strip)
            .map_err(|_| format!("“{}” is no list of w: write numbers with commas between them", self.strip.trim()))?;
        for w in typed {
            if !W_RANGE.contains(&w) {
                return Err(format!("{} in the list of w lies outside of −10 to 10", format::w(w)));
            }
            if !values.contains(&w) {
                values.push(w);
            }
        }
        match values.len() {
            0 => Err("Write the values of w for the strip, such as 0, 0.5, 1".to_owned()),
            1..=MAX_STRIP => Ok(values),
            count => Err(format!("{count} values of w are too many for a strip; at most {MAX_STRIP}")),
        }
    }

    /// How many choices behind “More” are not as they come.
    pub fn set_apart(&self, raw: bool) -> usize {
        let Sampling { temperature: _, top_p, top_k, repetition_penalty, seed } = self.sampling;
        let plain = Self::default();
        [
            !raw && !self.system.trim().is_empty(),
            top_p != plain.sampling.top_p,
            top_k != plain.sampling.top_k,
            repetition_penalty != plain.sampling.repetition_penalty,
            seed != plain.sampling.seed,
            !self.stop_strings().is_empty(),
        ]
        .into_iter()
        .filter(|is_set| *is_set)
        .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_prompt_goes_before_the_prompt_and_not_into_raw_text() {
        let settings = Settings { prompt: "1+1?".into(), system: "Think.".into(), ..Settings::default() };
        let Prompt::Chat(messages) = settings.request(false).prompt else { panic!("a conversation was asked for") };
        let said: Vec<_> = messages.iter().map(|message| (message.role.name(), message.content.as_str())).collect();
        assert_eq!(said, [("system", "Think."), ("user", "1+1?")]);
        assert_eq!(settings.request(true).prompt, Prompt::Raw("1+1?".into()));
    }

    #[test]
    fn stop_strings_stand_one_a_line() {
        let settings = Settings { stop: "\\n\\n問題:\n\nEND".into(), ..Settings::default() };
        assert_eq!(settings.request(true).stop, ["\n\n問題:", "END"]);
    }

    #[test]
    fn the_strip_takes_numbers_as_people_write_them() {
        let strip = |text: &str| Settings { strip: text.into(), ..Settings::default() }.strip_values();
        assert_eq!(Settings::default().strip_values().unwrap(), [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]);
        assert_eq!(strip("1 0.5; 1").unwrap(), [1.0, 0.5], "each once, in their order");
        for (text, reason) in [("", "such as 0, 0.5, 1"), ("a lot", "no list of w"), ("11", "outside of −10 to 10")] {
            assert!(strip(text).unwrap_err().contains(reason), "{text}");
        }
        let many: Vec<String> = (0..30).map(|step| format!("{}", f64::from(step) / 10.0)).collect();
        assert!(strip(&many.join(" ")).unwrap_err().contains("too many"));
    }

    #[test]
    fn what_is_set_behind_more_is_counted() {
        let mut settings = Settings::default();
        assert_eq!(settings.set_apart(false), 0);
        settings.sampling.top_k = 40;
        settings.system = "Think.".to_owned();
        assert_eq!((settings.set_apart(false), settings.set_apart(true)), (2, 1));
    }
}
