//! Who is asked what, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use mergescope_core::alignment::{Models, Role};
use mergescope_core::engine::{Prompt, Sampling};
use mergescope_core::evaluate::questions::Template;
use mergescope_core::evaluate::questions::perturb::Perturbation;
use mergescope_core::evaluate::sweep::{
    ArmModel, ControlArm, ControlsAt, ExamplesSpec, PerturbationSpec, PromptArm, SplitSpec, Sweep, SweepSpec,
};
use mergescope_core::merge::save_vector;
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, OutputDtype, Recipe};
use mergescope_core::stream::Resources;

use super::fixture::{Desk, Scripted, at, number, open, recipe, row, run};

fn all_right() -> Scripted {
    Scripted::by_number(|_, _| true)
}

#[test]
fn zero_is_always_asked_first_then_the_ends_then_what_lies_between_then_references() {
    let desk = Desk::new(3);
    let references = vec![Role::Pre, Role::Post, Role::Target];
    let spec = SweepSpec { w: vec![-0.5, 0.25, 0.5, 0.75, 1.0, 0.5], references, ..desk.spec() };
    let mut engine = all_right();
    let table = desk.swept(&spec, &mut engine);
    assert_eq!(engine.loads, ["0", "1", "-0.5", "0.5", "0.25", "0.75", "pre", "post"]);
    let shown: Vec<ArmModel> = table.arms.iter().map(|row| row.arm.unwrap().model).collect();
    let by_w = [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0].map(ArmModel::W);
    let references = [Role::Post, Role::Pre].map(ArmModel::Reference);
    assert_eq!(shown, [&by_w[..], &references].concat(), "the target is w = 0");
    assert!(row(&table, ArmModel::Reference(Role::Post)).against.unwrap().p_holm.is_none(), "not one of the grid");
}

#[test]
fn an_empty_grid_is_the_target_alone() {
    let desk = Desk::new(3);
    let spec = SweepSpec { w: Vec::new(), ..desk.spec() };
    let mut engine = all_right();
    let table = desk.swept(&spec, &mut engine);
    assert_eq!(engine.loads, ["0"]);
    assert_eq!((table.arms.len(), table.chosen), (1, None), "nothing is chosen among one");
}

#[test]
fn controls_are_measured_at_the_chosen_w_alone_unless_asked_for_everywhere() {
    let controls =
        vec![ControlArm { kind: ControlKind::Noise, seed: 1 }, ControlArm { kind: ControlKind::ShuffleSigns, seed: 2 }];
    let desk = Desk::new(6);
    let engine = || Scripted::by_number(|model, question| if model == "0.5" { question < 5 } else { question < 2 });
    let spec = SweepSpec { controls: controls.clone(), ..desk.spec() };
    let mut first = engine();
    let table = desk.swept(&spec, &mut first);
    assert_eq!(first.loads, ["0", "1", "0.5", "0.5 noise", "0.5 shuffle-signs"]);
    let noise = row(&table, ArmModel::Control(controls[0], 0.5));
    assert!(noise.label.ends_with(" control at w = 0.5") && noise.w == Some(0.5), "{}", noise.label);
    assert_eq!((noise.tally.right, noise.against.unwrap().p_holm), (2, None));

    // Those at the chosen w are there already, and there is no control at 0.
    let mut everywhere = engine();
    desk.swept(&SweepSpec { controls_at: ControlsAt::Grid, ..spec.clone() }, &mut everywhere);
    assert_eq!(everywhere.loads, ["1 noise", "1 shuffle-signs"]);

    // Where nothing beats the target, there is nothing to control for.
    let desk = Desk::new(6);
    let mut engine = Scripted::by_number(|model, question| model == "0" || question < 2);
    let table = desk.swept(&SweepSpec { questions: desk.spec().questions, ..spec }, &mut engine);
    assert_eq!(engine.loads, ["0", "1", "0.5"]);
    assert_eq!(table.chosen.unwrap().w, 0.0);
}

#[test]
fn every_way_of_asking_is_put_to_every_model() {
    let desk = Desk::new(4);
    let way =
        |label: &str, instruction: &str| PromptArm { label: label.to_owned(), instruction: instruction.to_owned() };
    let spec = SweepSpec { prompts: vec![way("plain", ""), way("steps", "Think.")], w: vec![1.0], ..desk.spec() };
    let mut engine = Scripted::by_number(|_, question| question > 0);
    let table = desk.swept(&spec, &mut engine);
    assert_eq!(engine.loads, ["0", "1"], "each model is loaded once");
    let asked: BTreeSet<&str> = engine.seen.iter().map(|seen| seen.prompt.as_str()).collect();
    let expected = (0..4).flat_map(|at| [format!("{at}?"), format!("{at}? Think.")]).collect::<BTreeSet<_>>();
    assert_eq!(asked, expected.iter().map(String::as_str).collect());
    let labels: Vec<&str> = table.arms.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["w = 0, plain", "w = 1, plain", "w = 0, steps", "w = 1, steps"]);
}

#[test]
fn changed_questions_are_compared_by_id_with_their_own_labels() {
    let line = |id: &str, text: &str, answer: usize| {
        format!("{{\"id\":\"{id}\",\"question\":\"{text}\",\"answer\":{answer}}}\n")
    };
    let sums: String = (0..12).map(|at| line(&format!("s{at}"), &format!("sum of {at}, 40?"), at + 40)).collect();
    let desk = Desk::with(sums + &line("none", "Who?", 7));
    let change = PerturbationSpec { change: Perturbation::ChangedNumbers, seed: 3 };
    let split = Some(SplitSpec::default());
    let spec = SweepSpec { perturbation: Some(change), w: vec![1.0], split, ..desk.spec() };
    let sweep = open(&spec);
    let left_out: Vec<&str> = sweep.left_out().iter().map(|left| left.id.as_str()).collect();
    assert_eq!(left_out, ["none"], "what cannot be changed is asked in neither condition");
    assert_eq!(sweep.questions().len(), 12);
    // Adds up whatever it is given at w = 1; knows the questions by heart at w = 0.
    let by_heart: BTreeMap<String, String> =
        (0..12).map(|at| (format!("sum of {at}, 40?"), (at + 40).to_string())).collect();
    let mut engine = Scripted::new(move |seen| {
        let numbers = seen.prompt.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
        let sum = numbers.sum::<u64>().to_string();
        let known = by_heart.get(&seen.prompt).cloned().unwrap_or_else(|| "0".to_owned());
        super::fixture::Reply::Says(if seen.model == "1" { sum } else { known })
    });
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    let table = desk.table(&sweep);
    let shares: Vec<(&str, f64)> = table.arms.iter().map(|row| (row.label.as_str(), row.right.unwrap().mean)).collect();
    assert_eq!(
        shares,
        [("w = 0", 1.0), ("w = 1", 1.0), ("w = 0, changed numbers", 0.0), ("w = 1, changed numbers", 1.0)]
    );
    let changed = table.arms.iter().find(|row| row.label == "w = 1, changed numbers").unwrap();
    let against = changed.against.unwrap();
    assert_eq!((against.questions, against.gained), (6, Some(6)), "held out by id in both conditions");
    assert_eq!(at(&table, 1.0).against.unwrap().gained, Some(0));
}

#[test]
fn examples_are_not_asked() {
    let desk = Desk::new(6);
    let of = |file: Option<String>| SweepSpec { examples: Some(ExamplesSpec { count: 2, file }), ..desk.spec() };
    for spec in [of(None), of(Some(desk.spec().questions))] {
        let sweep = open(&spec);
        let ids: Vec<&str> = sweep.questions().iter().map(|question| question.id.as_str()).collect();
        assert_eq!(ids, ["q2", "q3", "q4", "q5"], "{:?}", spec.examples);
        let asked = sweep.asked(sweep.arms(None)[0]);
        assert_eq!(asked.prompts[0], Prompt::Raw("0? 1\n\n1? 1\n\n2?".to_owned()));
    }
    // Questions of another file are the only ones left out.
    let others = Desk::with(
        "{\"id\":\"q5\",\"question\":\"3?\",\"answer\":\"1\"}\n{\"id\":\"x\",\"question\":\"9?\",\"answer\":\"1\"}\n"
            .to_owned(),
    );
    let sweep = open(&of(Some(others.spec().questions)));
    let ids: Vec<&str> = sweep.questions().iter().map(|question| question.id.as_str()).collect();
    assert_eq!(ids, ["q0", "q1", "q2", "q4", "q5"], "told apart by what they ask");
}

#[test]
fn a_limit_draws_by_id_and_not_from_the_beginning() {
    let desk = Desk::new(50);
    let ids = |desk: &Desk, limit| {
        let sweep = open(&SweepSpec { limit: Some(limit), ..desk.spec() });
        sweep.questions().iter().map(|question| question.id.clone()).collect::<BTreeSet<_>>()
    };
    let ten = ids(&desk, 10);
    assert_eq!(ten.len(), 10);
    assert_ne!(ten, (0..10).map(|at| format!("q{at}")).collect());
    assert!(ten.is_subset(&ids(&desk, 20)), "more questions keep those that were asked");
    assert_eq!(ids(&desk, 500).len(), 50);
    let backwards =
        (0..50).rev().map(|at| format!("{{\"id\":\"q{at}\",\"question\":\"{at}?\",\"answer\":\"1\"}}\n")).collect();
    assert_eq!(ids(&Desk::with(backwards), 10), ten);
}

#[test]
fn every_question_and_sample_has_a_seed_of_its_own_that_is_the_same_at_every_w() {
    let desk = Desk::new(5);
    let sampling = Sampling { temperature: 0.8, seed: 7, ..Sampling::default() };
    let spec = SweepSpec { samples: 3, sampling, ..desk.spec() };
    let mut engine = all_right();
    desk.swept(&spec, &mut engine);
    assert_eq!(engine.seen.len(), 45);
    let seeds = |engine: &Scripted, model: &str| -> BTreeSet<(usize, u64)> {
        let of_model = engine.seen.iter().filter(|seen| seen.model == model);
        of_model.map(|seen| (number(&seen.prompt), seen.request.sampling.seed)).collect()
    };
    assert_eq!(seeds(&engine, "0"), seeds(&engine, "0.5"));
    assert_eq!(seeds(&engine, "0"), seeds(&engine, "1"));
    let different: BTreeSet<u64> = seeds(&engine, "0").into_iter().map(|(_, seed)| seed).collect();
    assert_eq!(different.len(), 15);
    assert!(different.iter().all(|seed| *seed < 1 << 31), "servers take 31 bits");
    // More samples keep those that are there.
    let mut more = all_right();
    desk.swept(&SweepSpec { samples: 4, ..spec.clone() }, &mut more);
    assert_eq!(more.seen.len(), 15);
    let other = SweepSpec { sampling: Sampling { seed: 8, ..sampling }, ..spec };
    let mut again = all_right();
    desk.swept(&other, &mut again);
    assert!(seeds(&again, "0").is_disjoint(&seeds(&engine, "0")));
}

#[test]
fn a_saved_vector_has_no_models_to_compare_with() {
    let folder = tempfile::tempdir().unwrap();
    let vector = folder.path().join("vector");
    let Recipe { target, vector: pair, .. } = recipe();
    let names = [pair.pre.as_str(), pair.post.as_str()];
    let models = Models::open(&target, [(names[0], names[1])]).unwrap();
    let (dtype, resources) = (OutputDtype::F32, Resources::default());
    save_vector(&models.vectors[0], names, dtype, &vector, &resources, &Control::new()).unwrap();
    let saved = Recipe::new("", vector.display().to_string(), target);
    let desk = Desk::new(3);
    let controls = vec![ControlArm { kind: ControlKind::Noise, seed: 1 }];
    let spec = SweepSpec { references: vec![Role::Pre, Role::Post], controls, ..desk.spec() };
    let sweep = Sweep::open(&saved, &spec, &Control::new()).unwrap();
    let mut engine = Scripted::by_number(|model, _| model == "1");
    run(&sweep, &mut engine, &mut desk.log()).unwrap();
    assert_eq!(engine.loads, ["0", "1", "0.5", "1 noise"]);
}

#[test]
fn a_chat_template_is_the_models_own_affair() {
    let desk = Desk::new(2);
    let sweep = open(&SweepSpec { template: Some(Template::chat("{question}")), ..desk.spec() });
    let Prompt::Chat(messages) = &sweep.asked(sweep.arms(None)[0]).prompts[0] else { panic!("it is a conversation") };
    assert_eq!(messages[0].content, "0?");
}
