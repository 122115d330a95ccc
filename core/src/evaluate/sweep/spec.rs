//! Every choice behind a sweep, as one small value that can be saved beside the answers.

use serde::{Deserialize, Serialize};

use crate::alignment::Role;
use crate::engine::Sampling;
use crate::evaluate::grade::Grader;
use crate::evaluate::questions::perturb::Perturbation;
use crate::evaluate::questions::{Mapping, Template};
use crate::recipe::ControlKind;

/// What is asked of whom, and how answers are graded. What is not said follows from the question file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SweepSpec {
    /// The question file: JSONL, JSON, CSV or TSV.
    pub questions: String,
    /// What its fields mean; guessed where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
    /// How a question becomes a prompt; guessed where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Answered examples before each question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<ExamplesSpec>,
    /// At most so many questions, drawn by a hash of their ids and not from the beginning of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The scaling coefficients of the first vector. 0 is always among them: the target alone, or with the other vectors
    /// where there are several.
    pub w: Vec<f64>,
    /// Models of the recipe that answer too, as lines to compare with. The target is w = 0 already where there is one
    /// vector.
    pub references: Vec<Role>,
    /// Vectors that should not help.
    pub controls: Vec<ControlArm>,
    /// Where controls are measured.
    pub controls_at: ControlsAt,
    /// Ways of asking, each for every model; without any, the template alone.
    pub prompts: Vec<PromptArm>,
    /// Asks every question a second time, changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perturbation: Option<PerturbationSpec>,
    /// How answers are graded, the one that counts first; without any, as fits the questions.
    pub graders: Vec<Grader>,
    /// Takes the likeliest choice instead of letting the model write; for questions with choices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<ChoiceScoring>,
    /// Answers to each question. More than one needs a temperature above 0.
    pub samples: u32,
    /// How tokens are chosen. Each question and sample has a seed of its own that follows from the one here; it is the same at
    /// every w.
    pub sampling: Sampling,
    /// Tokens of an answer; as fits the questions where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// An answer ends before any of these.
    pub stop: Vec<String>,
    /// Keeps some questions to choose w on, and reports on the others. A file that does not name it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
}

impl Default for SweepSpec {
    /// w = 0 … 1 in quarters, half of the questions to choose w on, one greedy answer each, post as a reference.
    fn default() -> Self {
        Self {
            questions: String::new(),
            mapping: None,
            template: None,
            examples: None,
            limit: None,
            w: vec![0.0, 0.25, 0.5, 0.75, 1.0],
            references: vec![Role::Post],
            controls: Vec::new(),
            controls_at: ControlsAt::Chosen,
            prompts: Vec::new(),
            perturbation: None,
            graders: Vec::new(),
            choices: None,
            samples: 1,
            sampling: Sampling::default(),
            max_tokens: None,
            stop: Vec::new(),
            split: Some(SplitSpec::default()),
        }
    }
}

/// Answered examples that stand before each question (few-shot).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplesSpec {
    /// How many.
    pub count: usize,
    /// Another question file to take them from; without it the first questions of the file, which are then not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A vector that should not help, in place of the recipe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlArm {
    /// How it is made.
    pub kind: ControlKind,
    /// What it is drawn from.
    #[serde(default)]
    pub seed: u64,
}

/// Where controls are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlsAt {
    /// At the w that is chosen, once it is known.
    #[default]
    Chosen,
    /// At every w.
    Grid,
}

/// A way of asking.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptArm {
    /// What it is called.
    pub label: String,
    /// What it adds to the prompt, such as "Think step by step."; nothing where it is empty.
    #[serde(default)]
    pub instruction: String,
}

/// How questions are changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerturbationSpec {
    /// What is done to them.
    pub change: Perturbation,
    /// What it is drawn from.
    #[serde(default)]
    pub seed: u64,
}

/// What the likelihood is taken of. The text that counts is the likeliest choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChoiceScoring {
    /// The letters, where the prompt shows them: the largest ln p.
    Letter,
    /// The texts: the largest ln p for each byte of the text, which is lm-eval's `acc_norm`.
    Text,
}

/// Some questions to choose w on, the others to report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Share of the questions that w is chosen on, between 0 and 1.
    pub share: f64,
    /// Decides which they are, with their ids.
    #[serde(default)]
    pub seed: u64,
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self { share: 0.5, seed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_back_as_it_was_written() {
        let without = SweepSpec { questions: "q.jsonl".to_owned(), split: None, ..SweepSpec::default() };
        let with = SweepSpec { limit: Some(3), ..SweepSpec::default() };
        for spec in [without, with] {
            let text = toml::to_string(&spec).unwrap();
            assert_eq!(toml::from_str::<SweepSpec>(&text).unwrap(), spec, "{text}");
        }
    }
}
