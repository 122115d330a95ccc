//! A real server: llama.cpp's, with the demo's target and v as an adapter. `goldens/check_server.py` starts it, says what
//! transformers answers at each w, and runs this.

use mergescope_core::engine::server::{Delivery, KeyVariable, ServerSpec, ServerUrl};
use mergescope_core::engine::{ChatRole, Engine as _, Finish, Message, Prompt, Request, Sampling};
use mergescope_core::progress::Control;
use serde::Deserialize;

use crate::fixture::{connect, generate, merged, never, request};

#[derive(Deserialize)]
struct Expected {
    max_tokens: usize,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    w: f64,
    prompt: String,
    text: String,
    tokens: usize,
    prompt_tokens: usize,
    finish: Finish,
}

fn spec() -> ServerSpec {
    let url = std::env::var("MERGESCOPE_LLAMA_SERVER").expect("the address of a server, by check_server.py");
    let key_env = Some(KeyVariable::parse("MERGESCOPE_LLAMA_KEY").unwrap());
    ServerSpec {
        delivery: Delivery::LlamaCppLora,
        key_env,
        concurrency: 4,
        ..ServerSpec::new(ServerUrl::parse(&url).unwrap())
    }
}

#[test]
#[ignore = "needs a server, which core/tests/goldens/check_server.py starts"]
fn answers_at_each_w_are_those_of_transformers() {
    let file = std::env::var("MERGESCOPE_LLAMA_EXPECTED").expect("what is expected, by check_server.py");
    let Expected { max_tokens, answers } = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut server = connect(spec(), never()).unwrap();
    let (mut compared, mut texts_by_w) = (0, Vec::new());
    for of_one_w in answers.chunk_by(|one, other| one.w == other.w) {
        server.load(&merged(of_one_w[0].w), &Control::new()).unwrap();
        let requests: Vec<Request> =
            of_one_w.iter().map(|answer| Request { max_tokens, ..request(&answer.prompt) }).collect();
        let (results, _) = generate(&mut server, &requests);
        for (expected, result) in of_one_w.iter().zip(results) {
            let found = result.unwrap();
            assert_eq!(found.text, expected.text, "w = {}, {}", expected.w, expected.prompt);
            assert_eq!(found.finish, expected.finish, "{}", found.text);
            assert_eq!(
                (found.tokens, found.prompt_tokens),
                (expected.tokens, expected.prompt_tokens),
                "{}",
                found.text
            );
            compared += 1;
        }
        texts_by_w.push(of_one_w.iter().map(|answer| answer.text.as_str()).collect::<Vec<_>>());
    }
    println!("{compared} answers compared");
    assert!(texts_by_w.windows(2).all(|pair| pair[0] != pair[1]), "w makes a difference");
}

#[test]
#[ignore = "needs a server, which core/tests/goldens/check_server.py starts"]
fn what_is_drawn_follows_from_the_seed() {
    let mut server = connect(spec(), never()).unwrap();
    server.load(&merged(0.5), &Control::new()).unwrap();
    let drawn = |seed, top_k| {
        let sampling = Sampling { temperature: 3.0, seed, top_k, ..Sampling::default() };
        Request { sampling, max_tokens: 30, ..request("Question: sum of 3, 8?\nAnswer:") }
    };
    // One at a time: a batch of another size may round otherwise.
    let mut text = |request: Request| generate(&mut server, &[request]).0.remove(0).unwrap().text;
    let first = text(drawn(1, 0));
    assert_eq!(text(drawn(1, 0)), first);
    assert_eq!(text(drawn(u64::MAX, 0)), text(drawn(u64::MAX, 0)));
    assert_ne!(text(drawn(2, 0)), first);
    // The likeliest token alone is the greedy one, however hot.
    let greedy = Request { sampling: Sampling::default(), ..drawn(1, 0) };
    assert_eq!(text(drawn(1, 1)), text(greedy));
}

#[test]
#[ignore = "needs a server, which core/tests/goldens/check_server.py starts"]
fn conversations_stops_and_refusals_are_understood() {
    let mut server = connect(spec(), never()).unwrap();
    server.load(&merged(1.0), &Control::new()).unwrap();
    let messages = vec![Message { role: ChatRole::User, content: "3+8=?".to_owned() }];
    let chat = Request { prompt: Prompt::Chat(messages), max_tokens: 5, ..request("") };
    let stopped = Request { stop: vec![",".to_owned()], ..request("Question: sum of 3, 8, 5?\nAnswer:") };
    let too_long = request(&"1+1, ".repeat(2000));
    let (results, _) = generate(&mut server, &[chat, stopped, too_long]);
    let chat = results[0].as_ref().unwrap();
    assert!(chat.tokens <= 5 && chat.prompt_tokens > 5, "{chat:?}");
    let stopped = results[1].as_ref().unwrap();
    assert_eq!((stopped.text.as_str(), stopped.finish), (" 3+8=11", Finish::Stop));
    let refused = &results[2].as_ref().unwrap_err().message;
    assert!(refused.starts_with("POST /v1/completions: the server answered 400 Bad Request"), "{refused}");
    assert!(refused.contains("context"), "{refused}");
}
