//! What answers: chosen in its dialog, and asked from both tabs. The servers are real ones on this machine, as far as HTTP goes.

use std::path::Path;

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use mergescope::served::Reach;
use mergescope::window::{App, Setup};
use serde_json::{Value, json};

use super::common::http::HttpServer;
use super::common::{TINY, Triple, fill, setup, wait, wait_for_label, wait_for_vector, window};
use super::is_disabled;

/// A server with two models. To a conversation it says which adapter it scaled, and by what.
fn server() -> HttpServer {
    HttpServer::start(|what, body| match what {
        "GET /v1/models" => ("200 OK", json!({ "data": [{ "id": "small" }, { "id": "large" }] }).to_string()),
        "GET /lora-adapters" => ("200 OK", json!([{ "id": 0, "path": "v.gguf" }]).to_string()),
        "POST /update_weights_from_disk" => ("200 OK", json!({ "success": true }).to_string()),
        "POST /v1/chat/completions" => ("200 OK", completion(body)),
        "POST /v1/completions" => {
            ("200 OK", json!({ "choices": [{ "text": "1", "finish_reason": "stop" }] }).to_string())
        }
        _ => ("404 Not Found", String::new()),
    })
}

fn completion(body: &Value) -> String {
    let said = match body["lora"][0]["scale"].as_f64() {
        Some(scale) => format!("{} at {scale}", body["model"].as_str().unwrap()),
        None => format!("{} speaks", body["model"].as_str().unwrap()),
    };
    json!({
        "choices": [{ "message": { "role": "assistant", "content": said }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 7, "completion_tokens": 3 },
    })
    .to_string()
}

fn trying(triple: &Triple) -> Harness<'static, App> {
    let mut harness = window(Setup { recipe: Some(triple.recipe()), ..setup() });
    wait_for_vector(&mut harness);
    harness.get_by_label("Try").click();
    harness.run_steps(3);
    harness
}

/// Opens the dialog from what is seldom changed.
fn choose(harness: &mut Harness<'_, App>) {
    harness.get_by_label("More choices").click();
    harness.run_steps(3);
    harness.get_by_label("Change…").click();
    harness.run_steps(4);
}

/// Fills the dialog for that server as far as its models.
fn find(harness: &mut Harness<'_, App>, url: &str) {
    harness.get_by_label("a server").click();
    harness.run_steps(3);
    fill(harness, "Address", url);
    harness.get_by_label("List models").click();
    harness.run_steps(2);
    wait_for_label(harness, "The server answers");
    harness.run_steps(2);
}

/// Chooses how w gets there.
fn deliver(harness: &mut Harness<'_, App>, how: &str) {
    harness.get_by_label_contains("Delivery: ").click();
    harness.run_steps(3);
    harness.get_by_label(how).click();
    harness.run_steps(4);
}

fn take(harness: &mut Harness<'_, App>) {
    harness.get_by_label("Use it").click();
    harness.run_steps(4);
    assert!(harness.query_by_label("Use it").is_none(), "the dialog closes");
}

fn ask(harness: &mut Harness<'_, App>, button: &str) {
    harness.get_by_label(button).click();
    harness.run_steps(2);
    wait(harness, "the answers come", |app| app.try_view().run.as_ref().is_some_and(|run| !run.is_under_way()));
    harness.run_steps(2);
}

fn said(harness: &Harness<'_, App>) -> Vec<String> {
    let run = harness.state().try_view().run.as_ref().expect("something was asked");
    run.answers.iter().map(|answer| answer.text.clone()).collect()
}

/// A window on the Evaluate tab with three questions.
fn evaluating(triple: &Triple) -> Harness<'static, App> {
    let questions = triple.root.path().join("questions.jsonl");
    let lines: String =
        (0..3).map(|n| format!("{}\n", json!({ "question": format!("{n}?"), "answer": "1" }))).collect();
    std::fs::write(&questions, lines).unwrap();
    let engine = super::evaluate_tab::Kept { folder: triple.root.path().join("sweeps") };
    let picker = std::sync::Arc::new(super::FakePicker(Some(questions)));
    let recipe = Some(triple.recipe());
    let mut harness = window(Setup { recipe, picker, ..super::setup_with(engine) });
    wait_for_vector(&mut harness);
    harness.get_by_label("Evaluate").click();
    harness.run_steps(3);
    harness.get_by_label("Open questions…").click();
    harness.run_steps(3);
    wait(&mut harness, "the file is read", |app| app.evaluation().questions.is_some());
    harness
}

fn shows(harness: &Harness<'_, App>, text: &str) -> bool {
    harness.query_all_by_label_contains(text).count() > 0
}

#[test]
fn a_server_is_asked_for_its_models_and_then_answers_with_what_it_has_loaded() {
    let (triple, server) = (Triple::new(TINY), server());
    let mut harness = trying(&triple);
    choose(&mut harness);
    harness.get_by_label("a server").click();
    harness.run_steps(3);
    assert!(shows(&harness, "Type the server's address first") && is_disabled(&harness, "Use it"));
    assert!(server.asked("GET /v1/models").is_empty(), "nobody is contacted before the person says so");
    find(&mut harness, &server.url);
    deliver(&mut harness, "it does not: as loaded");
    harness.get_by_label("w that is loaded").set_value_accesskit(0.5);
    harness.run_steps(2);
    take(&mut harness);
    let host = server.url.trim_start_matches("http://");
    assert!(shows(&harness, &format!("Answered by {host} · small")));
    assert!(is_disabled(&harness, "Strip of w"), "no other w reaches it");

    fill(&mut harness, "Prompt", "1+1?");
    ask(&mut harness, "Ask the server");
    assert_eq!(said(&harness), ["small speaks"]);
    assert!(shows(&harness, "w = 0.50, as loaded") && shows(&harness, "no w reaches it"));
    let asked = server.asked("POST /v1/chat/completions");
    assert_eq!(asked[0]["messages"][0]["content"], "1+1?");
}

#[test]
fn an_adapter_in_llama_cpp_is_scaled_by_each_w() {
    let (triple, server) = (Triple::new(TINY), server());
    let mut harness = trying(&triple);
    choose(&mut harness);
    find(&mut harness, &server.url);
    deliver(&mut harness, "its adapter, scaled (llama.cpp)");
    take(&mut harness);
    fill(&mut harness, "Prompt", "1+1?");
    harness.get_by_label("w slider").set_value_accesskit(0.75);
    harness.run_steps(2);
    ask(&mut harness, "Run both");
    assert_eq!(said(&harness), ["small at 0", "small at 0.75"]);
    assert!(shows(&harness, "approximates the merge"));
}

#[test]
fn a_merge_is_written_for_sglang_and_loaded_under_the_path_that_the_server_knows() {
    let (triple, server) = (Triple::new(TINY), server());
    let served = triple.root.path().join("served");
    let mut harness = trying(&triple);
    choose(&mut harness);
    find(&mut harness, &server.url);
    deliver(&mut harness, "a merge for each w (SGLang)");
    fill(&mut harness, "Folder for the server", &served.to_string_lossy());
    fill(&mut harness, "Folder as the server sees it", "/mnt/served");
    take(&mut harness);
    fill(&mut harness, "Prompt", "1+1?");
    fill(&mut harness, "Values of w", "0.5 1");
    ask(&mut harness, "Strip of w");
    assert_eq!(said(&harness), ["small speaks", "small speaks"]);
    let loaded = server.asked("POST /update_weights_from_disk");
    let paths: Vec<&str> = loaded.iter().map(|body| body["model_path"].as_str().unwrap()).collect();
    assert!(paths.len() == 2 && paths[0].starts_with("/mnt/served/merged-w0.5"), "{paths:?}");
    let written = served.join(Path::new(paths[1]).file_name().unwrap());
    assert!(written.join("model.safetensors").is_file(), "{}", written.display());
}

#[test]
fn a_key_in_the_place_of_its_variable_is_refused_and_never_repeated() {
    let triple = Triple::new(TINY);
    let mut harness = trying(&triple);
    choose(&mut harness);
    harness.get_by_label("a server").click();
    harness.run_steps(3);
    fill(&mut harness, "Address", "localhost:1");
    fill(&mut harness, "Model name", "m");
    fill(&mut harness, "Environment variable of the key", "sk-abc-123");
    assert!(is_disabled(&harness, "Use it") && is_disabled(&harness, "List models"));
    assert!(shows(&harness, "never write the key itself here"));
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    choose(&mut harness);
    harness.get_by_label("a server").click();
    harness.run_steps(3);
    assert!(!shows(&harness, "sk-abc"), "what was typed is gone");
}

#[test]
fn a_server_that_does_not_answer_is_told_in_the_dialog_and_in_the_answer() {
    let triple = Triple::new(TINY);
    let mut harness = trying(&triple);
    choose(&mut harness);
    harness.get_by_label("a server").click();
    harness.run_steps(3);
    // Nothing listens on this port for long enough that anybody could guess it.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    fill(&mut harness, "Address", &closed);
    harness.get_by_label("List models").click();
    harness.run_steps(2);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !shows(&harness, "is the server running") {
        assert!(std::time::Instant::now() < deadline, "the refusal is not told");
        std::thread::sleep(std::time::Duration::from_millis(20));
        harness.step();
    }
    assert!(is_disabled(&harness, "Use it"), "a model has to be named");
}

#[test]
fn only_the_w_that_a_server_has_loaded_is_evaluated() {
    let (triple, server) = (Triple::new(TINY), server());
    let mut harness = evaluating(&triple);
    choose(&mut harness);
    find(&mut harness, &server.url);
    harness.get_by_label("w that is loaded").set_value_accesskit(0.3);
    harness.run_steps(2);
    take(&mut harness);
    wait(&mut harness, "the questions are read", |app| {
        app.evaluation().prepared.as_ref().is_some_and(|prepared| prepared.reach == Reach::Loaded(0.3))
    });
    assert!(is_disabled(&harness, "Run"), "0.3 is not in the grid");

    harness.get_by_label("Change").click();
    harness.run_steps(4);
    harness.get_by_label("w that is loaded").set_value_accesskit(0.5);
    harness.run_steps(2);
    take(&mut harness);
    wait(&mut harness, "the questions are read", |app| {
        app.evaluation().prepared.as_ref().is_some_and(|prepared| prepared.reach == Reach::Loaded(0.5))
    });
    harness.get_by_label("Run").click();
    harness.run_steps(2);
    wait(&mut harness, "the run ends", |app| !app.evaluation().is_running());
    harness.run_steps(3);
    assert_eq!(server.asked("POST /v1/completions").len(), 3, "the questions at one w");
    let progress = harness.state().evaluation().progress().unwrap();
    assert!(progress.answered == 3 && progress.total == 3, "{progress:?}");
    assert!(shows(&harness, "Only w = 0.50 is asked, which the server has loaded"));
    assert!(is_disabled(&harness, "Run again"), "load another w and say so");
}

#[test]
fn menus_of_the_dialog_come_up_in_front_of_it_also_the_second_time() {
    let (triple, server) = (Triple::new(TINY), server());
    let mut harness = trying(&triple);
    for how in ["a merge for each w (SGLang)", "an adapter for each w (vLLM)"] {
        choose(&mut harness);
        if harness.query_by_label("Address").is_none() {
            harness.get_by_label("a server").click();
            harness.run_steps(3);
        }
        fill(&mut harness, "Address", &server.url);
        harness.get_by_label_contains("Delivery: ").click();
        harness.run_steps(3);
        // Where it is drawn, by the pointer: what lies behind the dialog cannot be reached there.
        let at = harness.get_by_label(how).rect().center();
        harness.hover_at(at);
        harness.run_steps(2);
        harness.drag_at(at);
        harness.drop_at(at);
        harness.run_steps(4);
        assert!(shows(&harness, &format!("Delivery: {how}")), "{how} was chosen");
        harness.get_by_label("Cancel").click();
        harness.run_steps(4);
    }
}

#[test]
fn an_adapter_is_evaluated_at_every_w_and_post_and_controls_are_left_out_with_a_word() {
    let (triple, server) = (Triple::new(TINY), server());
    let mut harness = evaluating(&triple);
    choose(&mut harness);
    find(&mut harness, &server.url);
    deliver(&mut harness, "its adapter, scaled (llama.cpp)");
    take(&mut harness);
    wait(&mut harness, "the questions are read", |app| {
        app.evaluation().prepared.as_ref().is_some_and(|prepared| prepared.reach == Reach::Target)
    });
    assert!(shows(&harness, "Post and controls left out"));
    harness.get_by_label("Run").click();
    harness.run_steps(2);
    wait(&mut harness, "the run ends", |app| !app.evaluation().is_running());
    harness.run_steps(3);
    let progress = harness.state().evaluation().progress().unwrap();
    assert_eq!((progress.answered, progress.total), (27, 27), "three questions at nine values of w");
}
