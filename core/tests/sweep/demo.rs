//! The promise itself: on the demo's models, the vector makes the target reason better, and more than luck would.

use std::fs;

use mergescope_core::alignment::Role;
use mergescope_core::engine::{EmbeddedEngine, EmbeddedOptions, Engine, Finish};
use mergescope_core::evaluate::log::SampleLog;
use mergescope_core::evaluate::sweep::{ArmModel, ControlArm, Sweep, SweepSpec};
use mergescope_core::progress::Control;
use mergescope_core::recipe::ControlKind;

use super::fixture::{assets, at, recipe, row, run};

#[test]
fn the_vector_brings_steps_and_right_answers_where_a_control_brings_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.jsonl");
    let control = ControlArm { kind: ControlKind::ShuffleSigns, seed: 1 };
    let spec = SweepSpec {
        questions: assets("questions/demo-ja.jsonl"),
        limit: Some(100),
        w: vec![0.75, -0.5],
        references: vec![Role::Pre],
        controls: vec![control],
        max_tokens: Some(80),
        ..SweepSpec::default()
    };
    let sweep = Sweep::open(&recipe(), &spec, &Control::new()).unwrap();
    let mut engine = EmbeddedEngine::new(EmbeddedOptions::default()).unwrap();
    run(&sweep, &mut engine, &mut SampleLog::open(&path).unwrap()).unwrap();
    let log = SampleLog::read(&path).unwrap();
    let table = sweep.table(&log, &engine.identity(), &[]);

    assert_eq!((table.questions, table.dev_questions), (50, Some(50)));
    let chosen = table.chosen.unwrap();
    assert_eq!((chosen.w, chosen.held_out), (0.75, true));
    let (target, merged) = (at(&table, 0.0), at(&table, 0.75));
    let against = merged.against.unwrap();
    assert_eq!(against.questions, 50);
    assert!(against.difference > 0.15 && against.interval.low > 0.0, "{against:?}");
    assert!(against.p_holm.unwrap() < 0.05, "{against:?}");
    assert!(merged.in_steps.unwrap() > 0.8 && target.in_steps.unwrap() < 0.2);
    assert!(merged.mean_tokens.unwrap() > 3.0 * target.mean_tokens.unwrap());
    assert!(at(&table, -0.5).against.unwrap().difference <= 0.0, "taken away, it does not help");

    let control = row(&table, ArmModel::Control(control, 0.75));
    let of_control = control.against.unwrap();
    assert!(of_control.difference < against.difference / 2.0, "{of_control:?}");
    assert!(row(&table, ArmModel::Reference(Role::Pre)).right.unwrap().mean > target.right.unwrap().mean);

    assert_eq!(log.samples().len(), 500);
    assert!(log.samples().iter().all(|sample| sample.finish == Some(Finish::Stop) || sample.tokens == 80));
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["samples.jsonl"], "models are merged while they load: no other file is written");

    // Another engine of the same kind has nothing left to do, and answers a part of it alike.
    let mut again = EmbeddedEngine::new(EmbeddedOptions { batch: 3, ..EmbeddedOptions::default() }).unwrap();
    run(&sweep, &mut again, &mut SampleLog::open(&path).unwrap()).unwrap();
    assert_eq!(again.last_loaded(), 0, "nothing was loaded");
    let few = SweepSpec { limit: Some(5), w: vec![0.75], references: vec![], controls: vec![], ..spec };
    let few = Sweep::open(&recipe(), &few, &Control::new()).unwrap();
    let anew = folder.path().join("anew.jsonl");
    run(&few, &mut again, &mut SampleLog::open(&anew).unwrap()).unwrap();
    for sample in SampleLog::read(&anew).unwrap().samples() {
        assert_eq!(sample.resps, log.get(&sample.key).unwrap().resps, "{}", sample.question_id);
    }
}
