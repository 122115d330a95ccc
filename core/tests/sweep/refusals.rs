//! What cannot be run is refused before anything is asked, with what to do instead.

use mergescope_core::checkpoint::Dtype;
use mergescope_core::engine::Sampling;
use mergescope_core::evaluate::questions::Template;
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::sweep::{
    ChoiceScoring, ControlArm, ExamplesSpec, PerturbationSpec, PromptArm, SplitSpec, Sweep, SweepSpec,
};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, Method, Recipe};

use super::fixture::{Desk, recipe};
use super::support::{Folders, Size, related};

fn refused_with(recipe: &Recipe, spec: &SweepSpec) -> String {
    let error = Sweep::open(recipe, spec, &Control::new()).expect_err("it is refused");
    assert!(!error.is_cancelled());
    error.to_string()
}

/// What is said of a change to a sweep that would run without it.
#[track_caller]
fn refused(change: impl FnOnce(&mut SweepSpec), expected: &str) {
    let desk = Desk::new(6);
    let mut spec = desk.spec();
    assert!(Sweep::open(&recipe(), &spec, &Control::new()).is_ok());
    change(&mut spec);
    let message = refused_with(&recipe(), &spec);
    assert!(message.contains(expected), "{message}");
}

#[test]
fn question_files_that_are_none() {
    refused(|spec| spec.questions.clear(), "no question file is named");
    refused(|spec| spec.questions.push_str(".gone"), "cannot read the question file");
    let desk = Desk::with("{\"question\": \n".to_owned());
    assert!(refused_with(&recipe(), &desk.spec()).contains("questions.jsonl, line 1"));
    let desk = Desk::with(String::new());
    assert!(refused_with(&recipe(), &desk.spec()).contains("it is empty"));
}

#[test]
fn templates_that_do_not_fit_or_give_the_answer_away() {
    let template = |text: &str| Some(Template::raw(text));
    refused(|spec| spec.template = template("{qestion}"), "did you mean `question`?");
    refused(|spec| spec.template = template("{question} {answer}"), "the prompt template has {answer} in it");
    refused(|spec| spec.template = template(" "), "the prompt template is empty");
    // The label under the name of its field.
    let desk = Desk::with("{\"input\":\"1?\",\"target\":\"1\"}\n{\"input\":\"2?\",\"target\":\"1\"}\n".to_owned());
    let spec = SweepSpec { template: template("{input} It is { target }."), ..desk.spec() };
    let message = refused_with(&recipe(), &spec);
    assert!(message.contains("the prompt template has {target} in it"), "{message}");
    let spec = SweepSpec { template: template("{input}"), ..desk.spec() };
    assert!(Sweep::open(&recipe(), &spec, &Control::new()).is_ok());
}

#[test]
fn grids_that_are_none() {
    refused(|spec| spec.w = vec![f64::NAN], "w cannot be NaN");
    refused(|spec| spec.w = vec![0.5, f64::INFINITY], "w cannot be inf");
    refused(|spec| spec.w = (0..201).map(f64::from).collect(), "a grid of 201 values of w is too fine; at most 200");
    let desk = Desk::new(4);
    let mut stock = recipe();
    stock.method.name = Method::ModelStock;
    for w in [vec![0.5], vec![]] {
        let spec = SweepSpec { w, ..desk.spec() };
        let message = refused_with(&stock, &spec);
        assert!(message.contains("has no use for w"), "{message}");
    }
}

#[test]
fn samples_that_would_all_be_alike() {
    refused(|spec| spec.samples = 0, "0 answers to each question; expected 1 to 1000");
    refused(|spec| spec.samples = 1001, "1001 answers to each question");
    refused(|spec| spec.samples = 8, "8 answers to each question are 8 times the same at temperature 0");
    refused(
        |spec| {
            spec.samples = 8;
            spec.sampling.temperature = 1.0;
            spec.choices = Some(ChoiceScoring::Letter);
        },
        "the likeliest choice is always the same",
    );
}

#[test]
fn sampling_that_is_none() {
    let with = |sampling: Sampling| move |spec: &mut SweepSpec| spec.sampling = sampling;
    let greedy = Sampling::default();
    for temperature in [-1.0, f64::NAN, f64::INFINITY] {
        refused(with(Sampling { temperature, ..greedy }), "it must be 0 or above");
    }
    for top_p in [0.0, 1.5, f64::NAN] {
        refused(with(Sampling { top_p, ..greedy }), "it must be above 0 and at most 1");
    }
    for repetition_penalty in [0.0, -1.0, f64::NAN] {
        refused(with(Sampling { repetition_penalty, ..greedy }), "the repetition penalty is");
    }
    refused(|spec| spec.max_tokens = Some(0), "at most 0 tokens");
}

#[test]
fn too_few_questions_for_what_is_wanted() {
    refused(|spec| spec.limit = Some(0), "at most 0 questions");
    let split = Some(SplitSpec::default());
    refused(|spec| (spec.limit, spec.split) = (Some(1), split), "a set of 1 questions cannot be split");
    refused(|spec| spec.split = Some(SplitSpec { share: 1.0, seed: 0 }), "it must be above 0 and below 1");
    let examples = |count| Some(ExamplesSpec { count, file: None });
    refused(|spec| spec.examples = examples(6), "has no question left to ask");
    let two = Desk::new(2);
    let file = Some(two.spec().questions);
    refused(|spec| spec.examples = Some(ExamplesSpec { count: 3, file }), "ask for fewer");
}

#[test]
fn changes_that_reach_no_question() {
    let change = |change| Some(PerturbationSpec { change, seed: 0 });
    refused(
        |spec| spec.perturbation = change(Perturbation::ShuffledSentences),
        "none of the questions can be changed: ",
    );
    refused(|spec| spec.perturbation = change(Perturbation::CharacterNoise { rate: 2.0 }), "the rate of slips is 2");
}

#[test]
fn likeliest_choices_of_questions_without_any() {
    refused(|spec| spec.choices = Some(ChoiceScoring::Text), "have no choices to take the likeliest of");
}

#[test]
fn ways_of_asking_that_cannot_be_told_apart() {
    let way = |instruction: &str| PromptArm { label: "steps".to_owned(), instruction: instruction.to_owned() };
    refused(|spec| spec.prompts = vec![way("a"), way("b")], "two ways of asking are called \"steps\"");
}

#[test]
fn models_that_are_not_there_or_not_those_of_the_recipe() {
    let desk = Desk::new(3);
    let mut gone = recipe();
    gone.vector.post.push_str("-gone");
    let error = Sweep::open(&gone, &desk.spec(), &Control::new()).expect_err("there is no such model");
    let why = std::error::Error::source(&error).expect("it has a cause").to_string();
    assert!(why.contains("demo/post-gone"), "{error}: {why}");
    let control = Control::new();
    control.cancel();
    assert!(Sweep::open(&recipe(), &desk.spec(), &control).expect_err("it was cancelled").is_cancelled());
}

#[test]
fn a_control_that_cannot_be_made_is_refused_before_the_grid_is_asked() {
    let (pre, post, target) = related(Size { layers: 1, ..Size::default() }, Dtype::BF16);
    let folders = Folders::write(&pre, &post, &target);
    let [pre, post, target] = [folders.pre(), folders.post(), folders.target()].map(|path| path.display().to_string());
    let desk = Desk::new(3);
    let one_layer = Recipe::new(pre, post, target);
    let control = |kind| SweepSpec { controls: vec![ControlArm { kind, seed: 1 }], ..desk.spec() };
    let message = refused_with(&one_layer, &control(ControlKind::PermuteLayers));
    assert!(message.contains("permute-layers") && message.contains("no two layers"), "{message}");
    assert!(Sweep::open(&one_layer, &control(ControlKind::Noise), &Control::new()).is_ok());
}

#[test]
fn choices_are_kept_in_a_file_by_their_names_and_unknown_ones_are_named() {
    let desk = Desk::new(3);
    let spec = SweepSpec {
        controls: vec![ControlArm { kind: ControlKind::ShuffleSigns, seed: 4 }],
        perturbation: Some(PerturbationSpec { change: Perturbation::IrrelevantSentence, seed: 2 }),
        choices: Some(ChoiceScoring::Text),
        split: Some(SplitSpec { share: 0.25, seed: 9 }),
        ..desk.spec()
    };
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&text).unwrap(), spec);
    let none: SweepSpec = serde_json::from_str("{}").unwrap();
    assert_eq!(none, SweepSpec { split: None, ..SweepSpec::default() }, "a file says it when there is a split");
    let error = serde_json::from_str::<SweepSpec>("{\"grid\": [0.5]}").expect_err("it is called w").to_string();
    assert!(error.contains("unknown field `grid`"), "{error}");
}
