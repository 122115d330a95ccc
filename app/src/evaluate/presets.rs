//! The experiments of the two papers, as sweeps.

use mergescope_core::alignment::Role;
use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::sweep::{ControlArm, PerturbationSpec, PromptArm, SweepSpec};
use mergescope_core::recipe::ControlKind;

/// What arXiv 2509.01363 asks in its second way.
pub const STEP_BY_STEP: &str = "Think step by step.";
/// Share of the letters of words that character noise makes a slip at.
pub const NOISE_RATE: f64 = 0.05;

/// A paper's experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaperPreset {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
}

/// Both.
pub const PRESETS: [PaperPreset; 2] = [
    PaperPreset {
        name: "arXiv-2508.02913",
        about: "w = 0.25 to 1 on AIME24 in Japanese and English, graded by whether the answer contains the label",
    },
    PaperPreset {
        name: "arXiv-2509.01363",
        about: "the vector added and subtracted, plainly and with “Think step by step.”, also on changed questions",
    },
];

/// Makes a sweep that of the paper; what the paper does not say stays.
///
/// The graders beside the paper's own, the intervals and the controls are not in the papers: they are what the numbers need
/// to be read.
pub fn apply(name: &str, spec: &mut SweepSpec) {
    if PRESETS.iter().any(|preset| preset.name == name) {
        // What another paper asked for is no part of this one.
        let plain = SweepSpec::default();
        (spec.prompts, spec.perturbation, spec.controls) = (plain.prompts, plain.perturbation, plain.controls);
        (spec.references, spec.choices, spec.graders) = (plain.references, plain.choices, Vec::new());
    }
    match name {
        "arXiv-2508.02913" => {
            spec.w = vec![0.0, 0.25, 0.5, 0.75, 1.0];
            spec.references = vec![Role::Post];
            spec.graders = vec![Grader::Substring, Grader::Boxed, Grader::Flexible];
        }
        "arXiv-2509.01363" => {
            spec.w = vec![-1.0, 0.0, 1.0];
            spec.references = vec![Role::Pre, Role::Post];
            spec.prompts = ["plain", "step by step"]
                .into_iter()
                .zip(["", STEP_BY_STEP])
                .map(|(label, instruction)| PromptArm { label: label.to_owned(), instruction: instruction.to_owned() })
                .collect();
            spec.perturbation = Some(PerturbationSpec { change: Perturbation::IrrelevantSentence, seed: 0 });
            spec.controls = vec![
                ControlArm { kind: ControlKind::ShuffleSigns, seed: 0 },
                ControlArm { kind: ControlKind::PermuteLayers, seed: 0 },
                ControlArm { kind: ControlKind::Noise, seed: 0 },
            ];
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_paper_leaves_nothing_of_the_other() {
        for [first, second] in [[0, 1], [1, 0]].map(|order| order.map(|at: usize| PRESETS[at].name)) {
            let mut after = SweepSpec { questions: "q.jsonl".to_owned(), ..SweepSpec::default() };
            let mut alone = after.clone();
            apply(first, &mut after);
            apply(second, &mut after);
            apply(second, &mut alone);
            assert_eq!(after, alone, "{second} after {first}");
        }
    }
}
