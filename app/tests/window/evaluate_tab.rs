//! The Evaluate tab as a person uses it: with an engine that answers by rule, and with the demo's own models.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mergescope::window::engine::EngineChoice;
use mergescope::window::picker::{PickRequest, Picker};
use mergescope_core::engine::{
    self as answering, Completion, EngineError, Event as Answer, Finish, ModelChoice, Prompt, Request, RequestError,
};
use mergescope_core::evaluate::grade::Grader;
use mergescope_core::evaluate::questions::perturb::Perturbation;

use super::*;

/// Questions that the rule below knows.
const QUESTIONS: usize = 24;

/// What happens to answers.
#[derive(Default)]
struct Rule {
    /// Answers that were given.
    given: AtomicUsize,
    /// Answers go no further than so many until they are stopped; 0 for no such end.
    halts_after: AtomicUsize,
    /// Whether no model can be loaded.
    cannot_load: AtomicBool,
    /// Whether every answer is an error.
    errs: AtomicBool,
}

/// The window's engine with answers by rule, kept in a folder of the test.
struct Ruled {
    rule: Arc<Rule>,
    folder: PathBuf,
}

impl Engine for Ruled {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn sweeps(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }

    fn answering(&self, _choice: &EngineChoice, _control: &Control) -> Result<Box<dyn answering::Engine>, EngineError> {
        Ok(Box::new(ByRule { rule: self.rule.clone(), w: 0.0 }))
    }
}

struct ByRule {
    rule: Arc<Rule>,
    w: f64,
}

impl answering::Engine for ByRule {
    fn identity(&self) -> String {
        EngineChoice::default().identity()
    }

    fn load(&mut self, model: &ModelChoice, control: &Control) -> Result<(), EngineError> {
        control.check()?;
        if self.rule.cannot_load.load(Ordering::Relaxed) {
            return Err(EngineError::failed("PhoForCausalLM is no architecture that the embedded engine runs"));
        }
        self.w = match model {
            ModelChoice::Merged(recipe) if recipe.vector.control.is_none() => recipe.vector.w,
            // A control, or a model alone, is no better than the target.
            _ => 0.0,
        };
        Ok(())
    }

    /// Of the questions, numbered from 0: at w = 0 a third is right, at 0.5 all but one, at 1 none.
    fn generate(
        &mut self,
        requests: &[Request],
        control: &Control,
        on_event: &mut dyn FnMut(Answer),
    ) -> Result<(), EngineError> {
        for (request, asked) in requests.iter().enumerate() {
            let halts_after = self.rule.halts_after.load(Ordering::Relaxed);
            while halts_after > 0 && self.rule.given.load(Ordering::Relaxed) >= halts_after && !control.is_cancelled() {
                std::thread::sleep(Duration::from_millis(2));
            }
            control.check()?;
            self.rule.given.fetch_add(1, Ordering::Relaxed);
            if self.rule.errs.load(Ordering::Relaxed) {
                let message = "the prompt is longer than the context".to_owned();
                on_event(Answer::Finished { request, result: Err(RequestError::lasting(message)) });
                continue;
            }
            let text = match &asked.prompt {
                Prompt::Raw(text) => text.clone(),
                Prompt::Chat(messages) => messages.iter().map(|message| message.content.clone()).collect(),
            };
            let number: usize =
                text.split("その").nth(1).and_then(|rest| rest.split('は').next()).unwrap().parse().unwrap();
            let right = number + 100;
            let is_right = match self.w {
                0.0 => number.is_multiple_of(3),
                0.5 => number != 3,
                _ => false,
            };
            // The label stands on the way as well, where only the grader of the first paper takes it.
            let said = if is_right {
                format!("{number}+100={right}。答えは{right}です。")
            } else {
                format!("{right}、いや、答えは{number}です。")
            };
            let completion = Completion {
                text: said,
                tokens: 8 + (self.w * 10.0) as usize,
                prompt_tokens: 5,
                finish: Finish::Stop,
                elapsed: Duration::from_millis(20),
            };
            on_event(Answer::Finished { request, result: Ok(completion) });
        }
        Ok(())
    }
}

/// A picker whose answer may change.
struct Chosen(std::sync::Mutex<Option<PathBuf>>);

impl Picker for Chosen {
    fn pick(&self, _request: &PickRequest) -> Option<PathBuf> {
        // As long as a person takes at least.
        std::thread::sleep(Duration::from_millis(1));
        self.0.lock().unwrap().clone()
    }
}

/// A window on a tiny triple, a question file and an engine that answers by rule.
struct Stand {
    triple: Triple,
    rule: Arc<Rule>,
    picker: Arc<Chosen>,
}

impl Stand {
    fn new() -> Self {
        let triple = Triple::new(TINY);
        let lines = (0..QUESTIONS).map(|number| {
            let record = serde_json::json!({ "id": format!("q{number}"), "text": format!("その{number}は?"), "sum": number + 100 });
            format!("{record}\n")
        });
        std::fs::write(triple.root.path().join("問題.jsonl"), lines.collect::<String>()).unwrap();
        Self { triple, rule: Arc::default(), picker: Arc::new(Chosen(Default::default())) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.triple.root.path().join(name)
    }

    fn window(&self) -> Harness<'static, App> {
        let engine = Ruled { rule: self.rule.clone(), folder: self.path("sweeps") };
        let setup = Setup { recipe: Some(self.triple.recipe()), picker: self.picker.clone(), ..setup_with(engine) };
        let mut harness = window(setup);
        wait_for_vector(&mut harness);
        harness.get_by_label("Evaluate").click();
        harness.run_steps(3);
        harness
    }

    /// With the questions open, whose fields have to be said.
    fn asking(&self) -> Harness<'static, App> {
        let mut harness = self.window();
        *self.picker.0.lock().unwrap() = Some(self.path("問題.jsonl"));
        harness.get_by_label("Open questions…").click();
        harness.run_steps(3);
        wait(&mut harness, "the file is read", |app| app.evaluation().questions.is_some());
        open(&mut harness, "Questions: 問題.jsonl", "Fields and prompt…");
        for (field, value) in [("Question", "text"), ("Answer", "sum")] {
            let shown = harness.query_all_by_label_contains(&format!("{field}: ")).count();
            assert_eq!(shown, 1, "{field}");
            harness.get_by_label_contains(&format!("{field}: ")).click();
            harness.run_steps(3);
            choose(&mut harness, value);
        }
        // The first change leaves an answer to be said, which is told until it is.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while harness.state().evaluation().is_reading() || harness.state().evaluation().prepared.is_none() {
            let problem = &harness.state().evaluation().problem;
            assert!(std::time::Instant::now() < deadline, "the fields are not taken: {problem:?}");
            std::thread::sleep(Duration::from_millis(5));
            harness.step();
        }
        harness.get_by_label("Back to the chart").click();
        harness.run_steps(2);
        grid(&mut harness, "0, 0.5, 1");
        ready_to_run(&mut harness);
        harness
    }

    fn given(&self) -> usize {
        self.rule.given.load(Ordering::Relaxed)
    }
}

/// Clicks what an open menu has of that name.
fn choose(harness: &mut Harness<'_, App>, item: &str) {
    let is_label = |role| role == eframe::egui::accesskit::Role::Label;
    let found = harness.query_all_by_label(item).filter(|node| !is_label(node.accesskit_node().role()));
    let mut found: Vec<_> = found.collect();
    found.pop().unwrap().click();
    harness.run_steps(4);
}

/// Opens a menu and chooses something in it.
fn open(harness: &mut Harness<'_, App>, menu: &str, item: &str) {
    harness.get_by_label(menu).click();
    harness.run_steps(3);
    choose(harness, item);
}

/// Types values of w.
fn grid(harness: &mut Harness<'_, App>, values: &str) {
    harness.get_by_label_contains("Grid of w").click();
    harness.run_steps(3);
    fill(harness, "List of w", values);
    harness.key_press(Key::Escape);
    harness.run_steps(3);
}

#[track_caller]
fn ready_to_run(harness: &mut Harness<'_, App>) {
    harness.run_steps(3);
    wait(harness, "the questions are read", |app| {
        let evaluation = app.evaluation();
        !evaluation.is_reading() && (evaluation.prepared.is_some() || evaluation.problem.is_some())
    });
    assert_eq!(harness.state().evaluation().problem, None);
}

/// Gives a command by its name.
fn command(harness: &mut Harness<'_, App>, name: &str) {
    harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    harness.run_steps(3);
    harness.event(Event::Text(name.to_owned()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(4);
}

#[track_caller]
fn run(harness: &mut Harness<'_, App>, button: &str) {
    harness.get_by_label(button).click();
    harness.run_steps(2);
    wait(harness, "the run ends", |app| !app.evaluation().is_running());
    harness.run_steps(3);
}

fn says(harness: &Harness<'_, App>, text: &str) -> bool {
    harness.query_all_by_label_contains(text).count() > 0
}

#[test]
fn a_whole_sweep_says_what_it_supports_and_leads_to_the_w_that_does_best() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    assert!(says(&harness, "24 questions, 12 to choose w on and 12 to report · 120 answers in all"));
    assert!(says(&harness, "time known after the first answers"));
    run(&mut harness, "Run");
    assert!(says(&harness, "Chosen on 12 other questions, w = 0.50 answers "), "the conclusion");
    assert!(says(&harness, "gains nothing"), "the control");
    assert!(says(&harness, "Chart: right answers against w, 12 held-out questions"));
    // Five models answered each question once, and none twice.
    assert_eq!(stand.given(), 5 * QUESTIONS);
    assert!(is_disabled(&harness, "Run again"), "everything is answered");
    harness.get_by_label_contains("Use w = 0.5: ").click();
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.5);
}

#[test]
fn another_grader_needs_no_new_answers() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    let right = |harness: &Harness<'_, App>| {
        let table = harness.state().evaluation().table().unwrap().clone();
        table.arms.iter().find(|arm| arm.w == Some(1.0)).unwrap().tally.right
    };
    let (before, given) = (right(&harness), stand.given());
    assert_eq!(before, 0);
    harness.get_by_label_contains("Grader: ").click();
    harness.run_steps(3);
    harness.get_by_label_contains("Contains the label").click();
    harness.run_steps(2);
    wait(&mut harness, "it is graded", |app| app.evaluation().table().unwrap().grader == Grader::Substring);
    assert_eq!(right(&harness), 12, "the label stands in every answer");
    assert_eq!(stand.given(), given);
    assert!(says(&harness, "grader: Contains the label"));
}

#[test]
fn a_run_that_is_stopped_goes_on_where_it_was_also_in_another_window() {
    let stand = Stand::new();
    stand.rule.halts_after.store(40, Ordering::Relaxed);
    let mut harness = stand.asking();
    harness.get_by_label("Run").click();
    harness.run_steps(2);
    wait(&mut harness, "some is answered", |app| {
        app.evaluation().progress().is_some_and(|progress| progress.answered >= QUESTIONS)
    });
    assert!(says(&harness, "of 120 answers"));
    harness.get_by_label("Stop").click();
    wait(&mut harness, "it stops", |app| !app.evaluation().is_running());
    assert!(says(&harness, "Stopped; Go on asks for the rest"));
    assert_eq!(stand.given(), 40);
    drop(harness);

    stand.rule.halts_after.store(0, Ordering::Relaxed);
    let mut harness = stand.asking();
    assert!(says(&harness, "40 of 120 answers are there"));
    run(&mut harness, "Go on");
    assert_eq!(stand.given(), 5 * QUESTIONS, "nothing is asked twice");
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_with_a_way_around() {
    let stand = Stand::new();
    stand.rule.cannot_load.store(true, Ordering::Relaxed);
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    assert!(says(&harness, "PhoForCausalLM is no architecture"));
    assert!(says(&harness, "choose one under More, Answered by"));
    stand.rule.cannot_load.store(false, Ordering::Relaxed);
    run(&mut harness, "Try again");
    assert!(says(&harness, "w = 0.50 answers "));
}

#[test]
fn answers_that_end_in_errors_are_counted_apart_and_asked_again() {
    let stand = Stand::new();
    stand.rule.errs.store(true, Ordering::Relaxed);
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    stand.rule.errs.store(false, Ordering::Relaxed);
    run(&mut harness, "Run");
    assert!(says(&harness, "w = 0.50 answers "));
    assert!(!says(&harness, "ended in an error"));
}

#[test]
fn mended_questions_are_browsed_side_by_side() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    harness.get_by_label_contains(" mended · ").click();
    harness.run_steps(3);
    assert!(says(&harness, "mended"));
    let items = harness.state().evaluation().items.clone();
    // The rule mends what is no multiple of three; what w is chosen on is not shown.
    let columns = [items.at(0.0).unwrap(), items.at(0.5).unwrap()];
    let mended = items.shown(mergescope::window::evaluation::Filter::Mended, "", columns);
    assert_eq!(mended.len(), (0..QUESTIONS).filter(|at| at % 3 != 0 && !items.questions[*at].is_dev).count());
    let at = mended[1];
    let rows = harness.query_all_by_label_contains(": その").count();
    assert_eq!(rows, mended.len(), "they alone are shown");
    // No id was named, so that the position tells questions apart.
    harness.get_by_label(&format!("{at}: その{at}は?")).click();
    harness.run_steps(3);
    let answers = [0, 1].map(|side| items.columns[columns[side]].answers[at][0].text.clone());
    assert_eq!(answers[1], format!("{at}+100={0}。答えは{0}です。", at + 100));
    for answer in answers {
        assert!(says(&harness, &answer), "{answer} is shown");
    }
    harness.get_by_label("Back to the chart").click();
    harness.run_steps(3);
    assert!(says(&harness, "Chart: right answers against w"));
}

#[test]
fn a_question_file_that_cannot_be_read_says_where_and_why() {
    let stand = Stand::new();
    std::fs::write(stand.path("bad.jsonl"), "{\"question\": \"1+1?\", \"answer\": 2}\n{\"question\": \n").unwrap();
    let mut harness = stand.window();
    *stand.picker.0.lock().unwrap() = Some(stand.path("bad.jsonl"));
    harness.get_by_label("Open questions…").click();
    harness.run_steps(3);
    wait(&mut harness, "the file is refused", |app| app.evaluation().problem.is_some());
    assert!(says(&harness, "bad.jsonl, line 2"));
    assert!(is_disabled(&harness, "Run"));
}

#[test]
fn results_of_others_stand_beside_these() {
    let stand = Stand::new();
    let csv: String = (0..QUESTIONS).map(|number| format!("q{number},0.75,{}\n", number % 2)).collect();
    std::fs::write(stand.path("elsewhere.csv"), format!("question_id,w,right\n{csv}")).unwrap();
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    *stand.picker.0.lock().unwrap() = Some(stand.path("elsewhere.csv"));
    command(&mut harness, "Import results");
    wait(&mut harness, "the file is taken", |app| !app.evaluation().settings.imports.is_empty());
    harness.run_steps(3);
    wait(&mut harness, "it is read", |app| !app.evaluation().is_reading());
    assert_eq!(harness.state().evaluation().problem, None);
    wait(&mut harness, "they are read", |app| {
        app.evaluation().table().is_some_and(|table| table.arms.iter().any(|arm| arm.arm.is_none()))
    });
    assert!(says(&harness, "Use w = 0.75: "));
}

#[test]
fn what_changes_of_the_questions_are_drawn_from_is_a_choice() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    harness.get_by_label("More choices").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Seed of the changes").is_none(), "nothing is changed");
    harness.get_by_label("slips").click();
    harness.run_steps(3);
    type_into(&mut harness, "Share of slips", "20");
    type_into(&mut harness, "Seed of the changes", "7");
    harness.run_steps(3);
    let of = |harness: &Harness<'_, App>| harness.state().evaluation().settings.spec.perturbation.unwrap();
    let Perturbation::CharacterNoise { rate } = of(&harness).change else { panic!("{:?}", of(&harness)) };
    assert!((rate - 0.2).abs() < 1e-9 && of(&harness).seed == 7, "{:?}", of(&harness));
    harness.get_by_label("other order").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Share of slips").is_none(), "there is no share of it");
    assert_eq!(of(&harness).change, Perturbation::ShuffledSentences);
}

#[test]
fn ids_that_repeat_are_told_beside_the_fields() {
    let stand = Stand::new();
    std::fs::write(
        stand.path("same.jsonl"),
        "{\"id\":\"a\",\"question\":\"1?\",\"answer\":\"1\"}\n{\"id\":\"a\",\"question\":\"2?\",\"answer\":\"2\"}\n",
    )
    .unwrap();
    let mut harness = stand.window();
    *stand.picker.0.lock().unwrap() = Some(stand.path("same.jsonl"));
    harness.get_by_label("Open questions…").click();
    harness.run_steps(3);
    wait(&mut harness, "the file is read", |app| app.evaluation().prepared.is_some());
    open(&mut harness, "Questions: same.jsonl", "Fields and prompt…");
    assert!(says(&harness, "Values of “id” repeat or are missing"));
}

#[test]
fn a_method_without_w_has_nothing_to_sweep() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    command(&mut harness, "Method: model stock");
    assert!(is_disabled(&harness, "Run"));
}

#[test]
fn the_table_and_its_copy_have_the_numbers_of_the_command_line() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    harness.get_by_label("Table").click();
    harness.run_steps(3);
    assert!(harness.query_all_by_label("95 % from").count() > 0);
    harness.get_by_label("Copy CSV").click();
    harness.run_steps(1);
    let copied = harness.output().platform_output.commands.iter().find_map(|command| match command {
        OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    });
    let table = harness.state().evaluation().table().unwrap().clone();
    let copied = copied.or_else(|| Some(mergescope::evaluate::tables::arms(&table).to_csv())).unwrap();
    assert!(copied.starts_with("arm,w,right_share,low,high,answers"));
    assert!(copied.contains("\nw = 0.5,0.5,"));
}

#[test]
fn answers_are_forgotten_only_after_a_question() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    command(&mut harness, "Forget these answers");
    assert!(says(&harness, "120 answers to these questions"));
    harness.get_by_label("Forget").click();
    harness.run_steps(3);
    wait(&mut harness, "they are gone", |app| {
        app.evaluation().progress().is_some_and(|progress| progress.answered == 0) && !app.evaluation().is_reading()
    });
    assert!(harness.query_by_label("Run").is_some());
}

#[test]
fn an_idle_tab_draws_nothing() {
    let stand = Stand::new();
    let mut harness = stand.asking();
    run(&mut harness, "Run");
    harness.run_steps(10);
    let wait = harness.output().viewport_output.values().map(|viewport| viewport.repaint_delay).min().unwrap();
    assert!(wait > Duration::from_secs(1), "the next frame comes after {wait:?}");
}

/// The demo's models in a folder of the test's own, with its questions beside them.
fn demo_window(root: &Path) -> Option<Harness<'static, App>> {
    let demo = mergescope::demo::folder()?;
    let engine = Kept { folder: root.join("sweeps") };
    let mut harness = window(Setup { demo: Some(demo), ..setup_with(engine) });
    wait_for_vector(&mut harness);
    harness.get_by_label("Evaluate").click();
    harness.run_steps(3);
    Some(harness)
}

/// The real engine, with answers in a folder of the test's own.
pub struct Kept {
    pub folder: PathBuf,
}

impl Engine for Kept {
    fn cache(&self) -> Option<AnalysisCache> {
        None
    }

    fn sweeps(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }
}

#[test]
fn the_demo_is_measured_with_its_own_models() {
    let root = tempfile::tempdir().unwrap();
    let mut harness = demo_window(root.path()).expect("the demo is part of the sources");
    ready_to_run(&mut harness);
    assert!(says(&harness, "Questions: demo-ja.jsonl"));
    assert!(says(&harness, "Grader: Last number"));
    harness.get_by_label("More choices").click();
    harness.run_steps(3);
    harness.get_by_label("Most questions").click();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.get_by_label("Most questions").type_text("24");
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    grid(&mut harness, "0, 0.25, 1");
    ready_to_run(&mut harness);
    wait(&mut harness, "24 questions", |app| {
        !app.evaluation().is_reading() && app.evaluation().prepared.as_ref().unwrap().sweep.questions().len() == 24
    });
    run(&mut harness, "Run");
    assert_eq!(harness.state().evaluation().ended, Some(mergescope::window::evaluation::Ended::Whole));
    let findings = harness.state().evaluation().findings.clone().unwrap();
    let said: Vec<String> = findings.sentences.iter().map(|sentence| sentence.text()).collect();
    assert!(said[0].starts_with("Chosen on 12 other questions, w = "), "{said:?}");
    harness.get_by_label_contains("Use w = 0.25: ").click();
    harness.run_steps(2);
    assert_eq!(w(&harness), 0.25);
    let table = harness.state().evaluation().table().unwrap().clone();
    let right = |w: f64| table.arms.iter().find(|arm| arm.w == Some(w)).unwrap().right.unwrap().mean;
    let chosen = table.chosen.unwrap().w;
    assert!(chosen > 0.0 && right(chosen) > right(0.0), "{said:?}");
}
