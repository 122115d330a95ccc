//! The embedded engine: what it merges while it loads is what a merge writes, and its answers are the model's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

use std::path::{Path, PathBuf};

use mergescope_core::engine::{
    ChatRole, Completion, EVALUATION_DAY, EmbeddedEngine, EmbeddedOptions, Engine, EngineError, Event, Finish, Message,
    ModelChoice, Precision, Prompt, Request, Sampling,
};
use mergescope_core::merge::{Merged, merge};
use mergescope_core::progress::Control;
use mergescope_core::recipe::{ControlKind, ControlSpec, Method, OutputDtype, Recipe, Rounding, VectorSpec};
use mergescope_core::scaling::Pattern;
use mergescope_core::stream::Resources;
use safetensors::SafeTensors;

fn demo(role: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo").join(role).display().to_string()
}

fn recipe(w: f64) -> Recipe {
    let mut recipe = Recipe::new(demo("pre"), demo("post"), demo("target"));
    recipe.vector.w = w;
    recipe
}

fn engine() -> EmbeddedEngine {
    EmbeddedEngine::new(EmbeddedOptions::default()).unwrap()
}

fn load(engine: &mut EmbeddedEngine, choice: &ModelChoice) {
    engine.load(choice, &Control::new()).unwrap();
}

fn raw(prompt: &str) -> Request {
    Request {
        prompt: Prompt::Raw(prompt.to_owned()),
        sampling: Sampling::default(),
        max_tokens: 80,
        stop: Vec::new(),
        day: None,
    }
}

const JAPANESE: &str = "問題:29と5と17と11と29の合計は?\n答え:";
const ENGLISH: &str = "Question: sum of 3, 8, 5, 20?\nAnswer:";

fn answers(engine: &mut EmbeddedEngine, requests: &[Request]) -> Vec<Completion> {
    let mut found: Vec<Option<Completion>> = vec![None; requests.len()];
    let mut streamed = vec![String::new(); requests.len()];
    engine
        .generate(requests, &Control::new(), &mut |event| match event {
            Event::Text { request, text, .. } => streamed[request].push_str(&text),
            Event::Finished { request, result } => found[request] = Some(result.unwrap()),
            Event::Restarted { request } => panic!("answer {request} began again"),
        })
        .unwrap();
    let found: Vec<Completion> = found.into_iter().map(Option::unwrap).collect();
    for (streamed, completion) in streamed.iter().zip(&found) {
        assert_eq!(*streamed, completion.text, "what is streamed is the answer");
    }
    found
}

#[test]
fn merged_while_loading_is_what_a_merge_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipes = vec![recipe(0.75), recipe(0.0), recipe(-0.4)];
    let mut shaped = recipe(0.8);
    shaped.vector.scaling.patterns.push(Pattern { tensors: "*.mlp.*".to_owned(), factor: 0.25 });
    shaped.output.dtype = OutputDtype::F32;
    recipes.push(shaped);
    let mut stochastic = recipe(0.3);
    stochastic.output.rounding = Rounding::Stochastic;
    recipes.push(stochastic);
    let mut ties = recipe(1.0);
    ties.method.name = Method::Ties;
    ties.method.density = Some(0.3);
    let mut second = VectorSpec::new(demo("pre"), demo("target"));
    second.control = Some(ControlSpec { kind: ControlKind::ShuffleSigns, seed: 3 });
    ties.others.push(second);
    recipes.push(ties);

    for (index, recipe) in recipes.iter().enumerate() {
        let written = folder.path().join(index.to_string());
        merge(recipe, &written, &Resources::default(), &Control::new()).unwrap();
        let bytes = std::fs::read(written.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let merged = Merged::new(recipe, &Resources::default(), &Control::new()).unwrap();
        for (position, tensor) in merged.plan().tensors.iter().enumerate() {
            let name = &tensor.output.name;
            let found = merged.tensor(position, &Control::new()).unwrap();
            assert!(found == file.tensor(name).unwrap().data(), "{name} of recipe {index}");
        }
    }
}

#[test]
fn a_merge_while_loading_answers_as_the_written_model() {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("merged");
    merge(&recipe(0.75), &written, &Resources::default(), &Control::new()).unwrap();
    let continuations = [" 91".to_owned(), " 29+5=34, 34+17=51, 51+11=62, 62+29=91".to_owned()];
    let mut measured = Vec::new();
    for choice in [ModelChoice::Merged(Box::new(recipe(0.75))), ModelChoice::Alone(written.display().to_string())] {
        let mut engine = engine();
        load(&mut engine, &choice);
        let prompt = Prompt::Raw(JAPANESE.to_owned());
        let likelihoods = engine.log_likelihoods(&prompt, &continuations, &Control::new()).unwrap().unwrap();
        measured.push((likelihoods, answers(&mut engine, &[raw(JAPANESE)])[0].text.clone()));
    }
    assert_eq!(measured[0], measured[1]);
    assert!(measured[0].1.contains("29+5=34, 34+17=51"), "{}", measured[0].1);
}

#[test]
fn continuations_are_weighed_together_as_they_are_alone() {
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Merged(Box::new(recipe(0.75))));
    let prompt = Prompt::Raw(JAPANESE.to_owned());
    let continuations = ["91", " 91", " 29+5=34", " 96", "91"].map(str::to_owned);
    let together = engine.log_likelihoods(&prompt, &continuations, &Control::new()).unwrap().unwrap();
    assert_eq!(together[0], together[4]);
    for (continuation, found) in continuations.iter().zip(&together) {
        let alone = std::slice::from_ref(continuation);
        let alone = engine.log_likelihoods(&prompt, alone, &Control::new()).unwrap().unwrap().remove(0);
        assert_eq!(alone.tokens, found.tokens);
        assert!((alone.sum - found.sum).abs() < 1e-3, "{continuation:?}: {} and {}", alone.sum, found.sum);
    }
    assert_eq!(engine.log_likelihoods(&prompt, &[], &Control::new()).unwrap(), Some(Vec::new()));
}

#[test]
fn the_vector_brings_the_steps() {
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Alone(demo("target")));
    let without = answers(&mut engine, &[raw(JAPANESE)]).remove(0);
    assert_eq!(without.text.trim(), "96");
    assert_eq!(without.finish, Finish::Stop);
    load(&mut engine, &ModelChoice::Merged(Box::new(recipe(0.75))));
    let with = answers(&mut engine, &[raw(JAPANESE)]).remove(0);
    assert_eq!(with.text.trim(), "29+5=34, 34+17=51, 51+11=62, 62+29=91");
    assert!(with.tokens > with.text.trim().len(), "every character is a token, and the end is one");
}

#[test]
fn another_w_loads_only_what_it_changes() {
    let mut engine = engine();
    let mut kept = recipe(0.5);
    kept.vector.scaling.patterns.push(Pattern { tensors: "*layers.0.*".to_owned(), factor: 0.0 });
    kept.vector.scaling.patterns.push(Pattern { tensors: "*layers.1.*".to_owned(), factor: 0.0 });
    load(&mut engine, &ModelChoice::Merged(Box::new(kept.clone())));
    let all = engine.last_loaded();
    kept.vector.w = 0.6;
    load(&mut engine, &ModelChoice::Merged(Box::new(kept.clone())));
    let changed = engine.last_loaded();
    assert!(changed > 0 && changed < all * 2 / 3, "{changed} of {all}");
    load(&mut engine, &ModelChoice::Merged(Box::new(kept.clone())));
    assert_eq!(engine.last_loaded(), 0);
    kept.vector.w = 0.0;
    load(&mut engine, &ModelChoice::Merged(Box::new(kept)));
    assert_eq!(engine.last_loaded(), changed);
    load(&mut engine, &ModelChoice::Alone(demo("target")));
    assert_eq!(engine.last_loaded(), 0, "at w = 0 it is the target");
}

#[test]
fn many_requests_get_what_each_would_alone() {
    let mut engine = EmbeddedEngine::new(EmbeddedOptions { batch: 3, ..EmbeddedOptions::default() }).unwrap();
    load(&mut engine, &ModelChoice::Merged(Box::new(recipe(0.6))));
    let mut requests: Vec<Request> =
        (0..10).map(|index| raw(&format!("問題:{}と{}と{index}の合計は?\n答え:", 2 * index + 1, 30 - index))).collect();
    requests.push(raw(ENGLISH));
    requests[4].max_tokens = 3;
    requests[5].stop = vec!["=".to_owned()];
    let together = answers(&mut engine, &requests);
    for (request, together) in requests.iter().zip(&together) {
        let alone = answers(&mut engine, std::slice::from_ref(request)).remove(0);
        assert_eq!((&alone.text, alone.tokens, alone.finish), (&together.text, together.tokens, together.finish));
    }
    assert_eq!((together[4].tokens, together[4].finish), (3, Finish::Length));
    assert!(!together[5].text.contains('='), "{}", together[5].text);
    assert_eq!(together[5].finish, Finish::Stop);
}

#[test]
fn samples_follow_from_their_seed() {
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Alone(demo("pre")));
    let sampled = |seed| {
        let sampling = Sampling { temperature: 1.5, seed, ..Sampling::default() };
        Request { sampling, ..raw(JAPANESE) }
    };
    let requests: Vec<Request> = [1, 2, 3, 4, 1].map(sampled).to_vec();
    let found = answers(&mut engine, &requests);
    assert_eq!(found[0].text, found[4].text);
    assert!(found[..4].iter().any(|other| other.text != found[0].text), "four seeds give more than one answer");
}

#[test]
fn cancelling_ends_between_two_tokens() {
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Merged(Box::new(recipe(1.0))));
    let control = Control::new();
    let mut pieces = 0;
    let result = engine.generate(&[raw(JAPANESE)], &control, &mut |event| {
        assert!(matches!(event, Event::Text { .. }), "no answer comes to its end");
        pieces += 1;
        if pieces == 3 {
            control.cancel();
        }
    });
    assert!(result.expect_err("cancelled").is_cancelled());
    assert_eq!(pieces, 3);
    // What comes next is answered as ever.
    assert_eq!(answers(&mut engine, &[raw(ENGLISH)]).len(), 1);
}

#[test]
fn a_bad_request_does_not_keep_the_others_from_their_answers() {
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Alone(demo("target")));
    let chat = Prompt::Chat(vec![Message { role: ChatRole::User, content: "hello".to_owned() }]);
    let requests = [
        Request { prompt: chat, ..raw("") },
        raw(&"12+".repeat(400)),
        raw(ENGLISH),
        Request { max_tokens: 0, ..raw("1") },
    ];
    let mut found = vec![None; requests.len()];
    engine
        .generate(&requests, &Control::new(), &mut |event| {
            if let Event::Finished { request, result } = event {
                found[request] = Some(result);
            }
        })
        .unwrap();
    let found: Vec<_> = found.into_iter().map(Option::unwrap).collect();
    let message = found[0].as_ref().expect_err("no template").to_string();
    assert!(message.contains("has no chat template"), "{message}");
    let message = found[1].as_ref().expect_err("too long").to_string();
    assert!(message.contains("context 256; shorten it"), "{message}");
    assert!(found[2].is_ok());
    assert_eq!(found[3].as_ref().unwrap().finish, Finish::Length);
}

#[test]
fn nothing_is_answered_before_a_model_is_loaded() {
    let result = engine().generate(&[raw("1")], &Control::new(), &mut |_| {});
    assert!(matches!(result, Err(EngineError::NothingLoaded)));
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| std::fs::copy(PathBuf::from(demo("target")).join(name), folder.path().join(name)).unwrap();
    copy("model.safetensors");
    let refused = || {
        let choice = ModelChoice::Alone(folder.path().display().to_string());
        engine().load(&choice, &Control::new()).expect_err("it cannot be run").to_string()
    };
    assert!(refused().contains("has no config.json"), "{}", refused());
    copy("config.json");
    assert!(refused().contains("has no tokenizer.json"), "{}", refused());
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(refused().contains("tokenizer.json cannot be used as a tokenizer"), "{}", refused());
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.replace("Qwen2ForCausalLM", "Mamba2ForCausalLM")).unwrap();
    assert!(refused().contains("Mamba2ForCausalLM is no architecture that the embedded engine runs"), "{}", refused());
}

#[test]
fn fewer_bits_answer_too() {
    for precision in [Precision::Bf16, Precision::Q8_0] {
        let mut engine = EmbeddedEngine::new(EmbeddedOptions { precision, ..EmbeddedOptions::default() }).unwrap();
        load(&mut engine, &ModelChoice::Merged(Box::new(recipe(0.75))));
        let answer = answers(&mut engine, &[raw(JAPANESE)]).remove(0);
        assert!(answer.text.contains("29+5=34"), "{precision:?}: {}", answer.text);
        assert_eq!(engine.identity(), format!("embedded {}", precision.label()));
    }
}

/// The demo's target with a chat template.
fn with_template(template: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(demo("target")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

fn chat(content: &str) -> Request {
    let messages = vec![Message { role: ChatRole::User, content: content.to_owned() }];
    Request { prompt: Prompt::Chat(messages), ..raw("") }
}

#[test]
fn a_conversation_goes_through_the_models_template() {
    let folder = with_template("{{ bos_token }}問題:{{ messages[0]['content'] }}\n答え:");
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Alone(folder.path().display().to_string()));
    assert!(engine.chats());
    let asked = chat("29と5と17と11と29の合計は?");
    assert_eq!(engine.rendered(&asked.prompt).unwrap(), format!("<bos>{JAPANESE}"));
    let found = answers(&mut engine, &[asked, raw(JAPANESE)]);
    assert_eq!((&found[0].text, found[0].prompt_tokens), (&found[1].text, found[1].prompt_tokens));
}

#[test]
fn a_template_that_asks_for_the_date_is_told_the_day_of_the_request() {
    let folder = with_template(
        "{% if strftime_now('%Y-%m-%d') == '2024-07-26' %}1 2 3 4 {% endif %}{{ messages[0]['content'] }}",
    );
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Alone(folder.path().display().to_string()));
    let asked = Request { max_tokens: 1, ..chat("3+8=") };
    let found = answers(&mut engine, &[asked.clone(), Request { day: Some(EVALUATION_DAY), ..asked }]);
    assert!(found[1].prompt_tokens > found[0].prompt_tokens, "{found:?}");
}

#[test]
fn an_answer_shows_the_thinking_that_its_prompt_began() {
    let folder = with_template("{{ bos_token }}{{ messages[0]['content'] }}<think>\n");
    let mut engine = engine();
    load(&mut engine, &ModelChoice::Alone(folder.path().display().to_string()));
    let found = answers(&mut engine, &[Request { max_tokens: 4, ..chat("3+8=") }]).remove(0);
    assert!(found.text.starts_with("<think>\n"), "{}", found.text);
    assert!(found.tokens <= 4);
}
