//! How w reaches a server: the questions that each kind is asked, in their order, with their bodies.

use std::sync::{Arc, Mutex};

use mergescope_core::engine::server::{Delivery, PathMapping, Prepare, Server, ServerSpec};
use mergescope_core::engine::{Engine as _, EngineError, ModelChoice};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, Recipe, VectorSpec};
use serde_json::{Value, json};

use crate::fixture::{Fixture, answer, connect, generate_one, json_reply, merged, never, recipe, status_reply};

fn load(server: &mut Server, model: &ModelChoice) -> Result<(), String> {
    server.load(model, &Control::new()).map_err(|error| error.to_string())
}

fn alone(path: &str) -> ModelChoice {
    ModelChoice::Alone(path.to_owned())
}

fn changed(change: impl FnOnce(&mut Recipe)) -> ModelChoice {
    let mut recipe = recipe(0.5);
    change(&mut recipe);
    ModelChoice::Merged(Box::new(recipe))
}

/// Has a folder for each w, and writes down for which it was asked.
fn folders() -> (Prepare, Arc<Mutex<Vec<f64>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = asked.clone();
    let prepare: Prepare = Box::new(move |recipe, _| {
        list.lock().unwrap().push(recipe.vector.w);
        Ok(format!("/work-space/w{}", recipe.vector.w).into())
    });
    (prepare, asked)
}

/// What a request to this server says beside the question.
fn asked_with(fixture: &Fixture, server: &mut Server) -> Value {
    fixture.on("/v1/completions", vec![answer("2")]);
    generate_one(server).unwrap();
    fixture.asked().remove(0).body
}

#[test]
fn a_server_as_loaded_is_only_asked_whether_it_is_there() {
    let fixture = Fixture::start();
    let mut server = connect(fixture.spec(), never()).unwrap();
    load(&mut server, &merged(0.5)).unwrap();
    load(&mut server, &alone("anything")).unwrap();
    assert!(fixture.asked().is_empty());
    let body = asked_with(&fixture, &mut server);
    assert_eq!((&body["model"], body.get("lora"), body.get("cache_prompt")), (&json!("m"), None, None));
}

fn sglang(fixture: &Fixture) -> ServerSpec {
    let success = json!({ "success": true, "message": "Succeeded to update model weights.", "num_paused_requests": 0 });
    fixture.on("/update_weights_from_disk", vec![json_reply(&success)]);
    ServerSpec { delivery: Delivery::Sglang, ..fixture.spec() }
}

#[test]
fn sglang_reads_a_merged_model_for_each_w() {
    let fixture = Fixture::start();
    let (prepare, prepared) = folders();
    let mut server = connect(sglang(&fixture), prepare).unwrap();
    for w in [0.0, 0.5] {
        load(&mut server, &merged(w)).unwrap();
    }
    load(&mut server, &alone("/models/post")).unwrap();
    let asked = fixture.asked();
    let bodies: Vec<&Value> = asked.iter().map(|asked| &asked.body).collect();
    let body = |path: &str| json!({ "model_path": path, "flush_cache": true });
    assert_eq!(bodies, [&body("/work-space/w0"), &body("/work-space/w0.5"), &body("/models/post")]);
    assert!(asked.iter().all(|asked| asked.method == "POST" && asked.path == "/update_weights_from_disk"));
    assert_eq!(*prepared.lock().unwrap(), [0.0, 0.5]);
    assert_eq!(asked_with(&fixture, &mut server)["model"], "m");
    assert_eq!(server.identity(), format!("server http://127.0.0.1:{} m", fixture.port));
}

#[test]
fn weights_that_sglang_does_not_take_are_no_model() {
    let fixture = Fixture::start();
    let mut server = connect(sglang(&fixture), folders().0).unwrap();
    let failed = json!({ "success": false, "message": "The size of tensor a does not match" });
    fixture.on("/update_weights_from_disk", vec![json_reply(&failed)]);
    let refused = load(&mut server, &merged(0.5)).unwrap_err();
    assert_eq!(refused, "SGLang did not take the weights in /work-space/w0.5: The size of tensor a does not match");
    fixture.on("/update_weights_from_disk", vec![status_reply("400 Bad Request", "", &failed.to_string())]);
    let refused = load(&mut server, &merged(0.5)).unwrap_err();
    assert!(refused.ends_with("400 Bad Request: The size of tensor a does not match"), "{refused}");
    let none = server.generate(&[], &Control::new(), &mut |_| {});
    assert!(matches!(none, Err(EngineError::NothingLoaded)));
    // Whether the first time did anything is not known: it is not simply done again.
    fixture.asked();
    fixture.on("/update_weights_from_disk", vec![status_reply("500 Internal Server Error", "", "")]);
    load(&mut server, &merged(0.5)).unwrap_err();
    assert_eq!(fixture.asked().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_told_as_it_is() {
    let fixture = Fixture::start();
    let full: Prepare = Box::new(|_, _| Err(EngineError::failed("the disk is full")));
    let mut server = connect(sglang(&fixture), full).unwrap();
    assert_eq!(load(&mut server, &merged(0.5)).unwrap_err(), "the disk is full");
    assert!(fixture.asked().is_empty());
}

#[test]
fn a_model_that_only_the_server_has_goes_by_its_name() {
    let fixture = Fixture::start();
    let spec = sglang(&fixture);
    let mapping = PathMapping { local: "/work-space".into(), server: "/mnt/merged".to_owned() };
    let mut server = connect(ServerSpec { paths: vec![mapping], ..spec }, folders().0).unwrap();
    load(&mut server, &alone("no-such-org/no-such-model")).unwrap();
    load(&mut server, &merged(1.0)).unwrap();
    // What lies where the server cannot reach it is copied to where it can.
    load(&mut server, &alone("/models/post")).unwrap();
    let paths: Vec<Value> = fixture.asked().into_iter().map(|asked| asked.body["model_path"].clone()).collect();
    assert_eq!(paths, ["no-such-org/no-such-model", "/mnt/merged/w1", "/mnt/merged/w0"]);
}

fn vllm(fixture: &Fixture) -> ServerSpec {
    let text = |text: &str| status_reply("200 OK", "Content-Type: text/plain\r\n", text);
    fixture.on("/v1/load_lora_adapter", vec![text("Success: LoRA adapter added successfully.")]);
    fixture.on("/v1/unload_lora_adapter", vec![text("Success: LoRA adapter removed successfully.")]);
    ServerSpec { delivery: Delivery::VllmLora, ..fixture.spec() }
}

#[test]
fn vllm_gets_an_adapter_of_a_new_name_for_each_w_and_is_freed_of_it() {
    let fixture = Fixture::start();
    let (prepare, prepared) = folders();
    let mut server = connect(vllm(&fixture), prepare).unwrap();
    let mut names = Vec::new();
    for w in [0.5, 0.5, -1.0] {
        load(&mut server, &merged(w)).unwrap();
        let mut asked = fixture.asked();
        let loaded = asked.pop().unwrap();
        assert_eq!((loaded.method.as_str(), loaded.path.as_str()), ("POST", "/v1/load_lora_adapter"));
        let name = loaded.body["lora_name"].as_str().unwrap().to_owned();
        assert_eq!(loaded.body, json!({ "lora_name": name, "lora_path": format!("/work-space/w{w}") }));
        let unloaded: Vec<Value> = asked.iter().map(|asked| asked.body.clone()).collect();
        let before: Vec<Value> = names.last().map(|name| json!({ "lora_name": name })).into_iter().collect();
        assert_eq!(unloaded, before);
        assert!(asked.iter().all(|asked| asked.path == "/v1/unload_lora_adapter"));
        assert_eq!(asked_with(&fixture, &mut server)["model"], *name);
        assert!(!names.contains(&name), "{name} came before");
        names.push(name);
    }
    assert_eq!(*prepared.lock().unwrap(), [0.5, 0.5, -1.0]);
    assert_eq!(server.identity(), format!("server http://127.0.0.1:{} m, adapter in vLLM", fixture.port));
    drop(server);
    let farewell = fixture.asked().remove(0);
    assert_eq!((farewell.path.as_str(), farewell.body), ("/v1/unload_lora_adapter", json!({ "lora_name": names[2] })));
}

#[test]
fn at_w_0_vllm_answers_without_an_adapter() {
    let fixture = Fixture::start();
    let mut server = connect(vllm(&fixture), never()).unwrap();
    for model in [merged(0.0), alone("/models/target")] {
        load(&mut server, &model).unwrap();
        assert!(fixture.asked().is_empty());
        assert_eq!(asked_with(&fixture, &mut server)["model"], "m");
    }
}

#[test]
fn an_adapter_that_vllm_cannot_let_go_does_not_stand_in_the_way() {
    let fixture = Fixture::start();
    let mut server = connect(vllm(&fixture), folders().0).unwrap();
    load(&mut server, &merged(0.5)).unwrap();
    fixture.on("/v1/unload_lora_adapter", vec![status_reply("404 Not Found", "", "{}")]);
    load(&mut server, &merged(0.6)).unwrap();
    let asked = fixture.asked_paths();
    assert_eq!(asked[1..], ["POST /v1/unload_lora_adapter", "POST /v1/load_lora_adapter"]);
}

#[test]
fn an_adapter_that_vllm_refuses_is_told_in_its_words() {
    let fixture = Fixture::start();
    let mut server = connect(vllm(&fixture), folders().0).unwrap();
    let said = json!({ "error": { "message": "LoRA rank 64 is greater than max_lora_rank 16.", "code": 400 } });
    fixture.on("/v1/load_lora_adapter", vec![status_reply("400 Bad Request", "", &said.to_string())]);
    let refused = load(&mut server, &merged(0.5)).unwrap_err();
    assert!(refused.ends_with("LoRA rank 64 is greater than max_lora_rank 16."), "{refused}");
}

fn llama_cpp(fixture: &Fixture) -> ServerSpec {
    let adapters =
        json!([{ "id": 0, "path": "other.gguf", "scale": 1.0 }, { "id": 1, "path": "v.gguf", "scale": 1.0 }]);
    fixture.on("/lora-adapters", vec![json_reply(&adapters)]);
    ServerSpec { delivery: Delivery::LlamaCppLora, lora_id: 1, ..fixture.spec() }
}

#[test]
fn llama_cpp_is_told_w_in_every_request_and_at_0_too() {
    let fixture = Fixture::start();
    let mut server = connect(llama_cpp(&fixture), never()).unwrap();
    for (model, w) in [(merged(0.25), 0.25), (merged(-1.0), -1.0), (merged(0.0), 0.0), (alone("/models/target"), 0.0)] {
        load(&mut server, &model).unwrap();
        assert_eq!(fixture.asked_paths(), ["GET /lora-adapters"]);
        let body = asked_with(&fixture, &mut server);
        assert_eq!(body["lora"], json!([{ "id": 1, "scale": w }]));
        assert_eq!((&body["cache_prompt"], &body["model"]), (&json!(false), &json!("m")));
    }
    assert_eq!(server.identity(), format!("server http://127.0.0.1:{} m, adapter in llama.cpp", fixture.port));
}

#[test]
fn an_adapter_that_llama_cpp_does_not_have_is_missed_before_any_question() {
    let fixture = Fixture::start();
    let spec = llama_cpp(&fixture);
    let mut server = connect(ServerSpec { lora_id: 2, ..spec }, never()).unwrap();
    let refused = load(&mut server, &merged(0.5)).unwrap_err();
    assert!(refused.contains("no adapter with the number 2"), "{refused}");
    assert!(refused.contains("it has: 0 (other.gguf), 1 (v.gguf)"), "{refused}");
    fixture.on("/lora-adapters", vec![json_reply(&json!([]))]);
    assert!(load(&mut server, &merged(0.5)).unwrap_err().contains("it has: none; start it with `--lora`"));
}

#[test]
fn adapters_answer_for_their_own_target_and_vector_alone() {
    let fixture = Fixture::start();
    for spec in [vllm(&fixture), llama_cpp(&fixture)] {
        let mut server = connect(spec, never()).unwrap();
        for model in [alone("/models/post"), changed(|recipe| recipe.target = "/models/post".to_owned())] {
            let refused = load(&mut server, &model).unwrap_err();
            let told = "a server with an adapter can answer for its target /models/target alone, at any w, and not for /models/post";
            assert!(refused.starts_with(told), "{refused}");
        }
    }
    let mut server = connect(llama_cpp(&fixture), never()).unwrap();
    let one_vector = "holds one vector as it is";
    let another = "holds the vector of the recipe that is evaluated";
    for (model, told) in [
        (changed(|recipe| recipe.others.push(VectorSpec::new("/models/pre", "/models/more"))), one_vector),
        (changed(|recipe| recipe.method.name = Method::Ties), one_vector),
        (changed(|recipe| recipe.vector.control = Some(ControlSpec { kind: ControlKind::Noise, seed: 1 })), one_vector),
        (
            changed(|recipe| recipe.vector.control = Some(ControlSpec { kind: ControlKind::PermuteLayers, seed: 1 })),
            one_vector,
        ),
        (changed(|recipe| recipe.vector.post = "/models/other".to_owned()), another),
        (changed(|recipe| recipe.vector.w = f64::NAN), "w is NaN"),
    ] {
        let refused = load(&mut server, &model).unwrap_err();
        assert!(refused.contains(told), "{refused} should say {told}");
    }
    // How a merge would be written is not the adapter's concern.
    load(&mut server, &changed(|recipe| recipe.output.seed = 5)).unwrap();
}
