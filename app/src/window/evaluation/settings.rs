//! What is asked, and how it is graded: the choices of the Evaluate tab.

use std::path::{Path, PathBuf};

use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::sweep::{ControlArm, SweepSpec};
use mergescope_core::recipe::ControlKind;
use serde::{Deserialize, Serialize};

use crate::evaluate::grid;

/// Question files that the menu remembers.
const MAX_RECENT: usize = 8;

/// All choices; they survive closing the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What is asked of whom.
    pub spec: SweepSpec,
    /// Files with results that others measured.
    pub imports: Vec<PathBuf>,
    /// Question files used before, the latest first.
    pub recent: Vec<String>,
}

impl Default for Settings {
    /// w from −0.5 to 1.5 in quarters with the sign-shuffled control, half of the questions to choose w on.
    fn default() -> Self {
        let spec = SweepSpec {
            w: grid::range(-0.5, 1.5, 0.25).unwrap_or_default(),
            controls: vec![ControlArm { kind: ControlKind::ShuffleSigns, seed: 0 }],
            ..SweepSpec::default()
        };
        Self { spec, imports: Vec::new(), recent: Vec::new() }
    }
}

impl Settings {
    /// Chooses a question file. What was said about the fields and the prompt of another goes with it.
    pub fn choose_questions(&mut self, path: &Path) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned();
        if path != self.spec.questions {
            (self.spec.mapping, self.spec.template, self.spec.examples) = (None, None, None);
            (self.spec.choices, self.spec.max_tokens) = (None, None);
            self.spec.graders.clear();
        }
        self.recent.retain(|known| *known != path);
        self.recent.insert(0, path.clone());
        self.recent.truncate(MAX_RECENT);
        self.spec.questions = path;
    }

    /// Puts a grader before all others.
    pub fn choose_grader(&mut self, grader: &Grader, known: &[Grader]) {
        let others = known.iter().filter(|other| *other != grader && !matches!(other, Grader::Regex(_)));
        self.spec.graders = std::iter::once(grader.clone()).chain(others.cloned()).collect();
    }

    /// What is asked, whatever grades it: the answers to the same are the same.
    pub fn asked(&self) -> SweepSpec {
        SweepSpec { graders: Vec::new(), ..self.spec.clone() }
    }

    /// How many choices behind “More” are not as they come.
    pub fn set_apart(&self) -> usize {
        let (spec, plain) = (&self.spec, SweepSpec::default());
        [
            spec.limit.is_some(),
            spec.samples != plain.samples,
            spec.sampling != plain.sampling,
            spec.max_tokens.is_some(),
            !spec.stop.is_empty(),
            !spec.prompts.is_empty(),
            spec.perturbation.is_some(),
            spec.choices.is_some(),
            !self.imports.is_empty(),
        ]
        .into_iter()
        .filter(|is_set| *is_set)
        .count()
    }
}

/// All graders for questions that have choices, or have none: those that are chosen first, in their order.
pub fn graders(chosen: &[Grader], has_choices: bool) -> Vec<Grader> {
    let mut all = chosen.to_vec();
    for grader in Grader::BUILT_IN {
        if !all.contains(&grader) && (has_choices || grader != Grader::Choice) {
            all.push(grader);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_question_file_forgets_what_was_said_about_the_first() {
        let mut settings = Settings::default();
        settings.choose_questions(Path::new("/a.jsonl"));
        settings.spec.mapping = Some(Default::default());
        settings.spec.graders = vec![Grader::Exact];
        settings.choose_questions(Path::new("/a.jsonl"));
        assert!(settings.spec.mapping.is_some(), "it is the same file");
        settings.choose_questions(Path::new("/b.csv"));
        assert_eq!((&settings.spec.mapping, settings.spec.graders.len()), (&None, 0));
        assert_eq!(settings.recent, ["/b.csv", "/a.jsonl"]);
    }

    #[test]
    fn the_chosen_grader_comes_first_and_the_others_stay_beside_it() {
        let mut settings = Settings::default();
        let all = graders(&[Grader::Flexible], false);
        assert_eq!(all.len(), 5, "nothing to choose from has no grader of choices");
        settings.choose_grader(&Grader::Substring, &all);
        assert_eq!(settings.spec.graders[..2], [Grader::Substring, Grader::Flexible]);
        assert_eq!(settings.spec.graders.len(), 5);
        assert_eq!(settings.asked(), Settings::default().asked(), "what is asked is the same");
    }

    #[test]
    fn choices_survive_as_text() {
        let mut settings = Settings::default();
        settings.choose_questions(Path::new("/日本語.jsonl"));
        settings.spec.sampling.temperature = 0.7;
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    }
}
