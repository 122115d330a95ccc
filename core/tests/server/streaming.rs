//! Answers as they come.

use std::time::Duration;

use mergescope_core::engine::{ChatRole, Event, Finish, Message, Prompt, Request};
use serde_json::json;

use crate::fixture::{
    CHUNKED, Fixture, Reply, STREAM, answer, chunk, event, events, generate, generate_one, json_reply, request, stream,
};

#[test]
fn a_text_is_continued_and_streamed() {
    let fixture = Fixture::start();
    let pieces = ["二", "、三", ""];
    fixture.on("/v1/completions", vec![stream(&events(&pieces, Some("length")))]);
    let (results, heard) = generate(&mut fixture.engine(), &[request("一、")]);
    let completion = results[0].as_ref().unwrap();
    assert_eq!((completion.text.as_str(), completion.finish), ("二、三", Finish::Length));
    assert_eq!((completion.tokens, completion.prompt_tokens), (4, 4));
    let text = |text: &str, tokens| Event::Text { request: 0, text: text.to_owned(), tokens };
    assert_eq!(heard[..2], [text("二", 1), text("、三", 2)]);
    assert_eq!(heard.len(), 3);
}

#[test]
fn japanese_that_is_cut_within_its_characters_stays_whole() {
    let fixture = Fixture::start();
    let body = events(&["答えは", "七です。"], Some("stop"));
    let mut pieces = vec![CHUNKED.as_bytes().to_vec()];
    // Seven is no multiple of the three bytes of a character.
    pieces.extend(body.as_bytes().chunks(7).map(chunk));
    pieces.push(chunk(b""));
    fixture.on("/v1/completions", vec![Reply::Slowly(Duration::from_millis(1), pieces)]);
    assert_eq!(generate_one(&mut fixture.engine()).unwrap().text, "答えは七です。");
}

#[test]
fn comments_and_windows_line_ends_do_not_matter() {
    let fixture = Fixture::start();
    let body = events(&["a", "b"], Some("stop")).replace('\n', "\r\n").replacen("data:", ": ping\r\n\r\ndata:", 1);
    fixture.on("/v1/completions", vec![stream(&body)]);
    assert_eq!(generate_one(&mut fixture.engine()).unwrap().text, "ab");
}

#[test]
fn a_conversation_goes_to_the_chat_and_its_thinking_comes_back_in_tags() {
    let fixture = Fixture::start();
    let delta =
        |delta, finish: Option<&str>| event(&json!({ "choices": [{ "delta": delta, "finish_reason": finish }] }));
    let body = [
        delta(json!({ "role": "assistant", "content": null }), None),
        delta(json!({ "reasoning_content": "1と1" }), None),
        delta(json!({ "content": "2" }), Some("stop")),
        "data: [DONE]\n\n".to_owned(),
    ];
    fixture.on("/v1/chat/completions", vec![stream(&body.concat())]);
    let messages = vec![Message { role: ChatRole::User, content: "1+1=?".to_owned() }];
    let asked = Request { prompt: Prompt::Chat(messages), ..request("") };
    let (results, _) = generate(&mut fixture.engine(), &[asked]);
    assert_eq!(results[0].as_ref().unwrap().text, "<think>1と1</think>2");
    let sent = fixture.asked();
    assert_eq!(sent[0].path, "/v1/chat/completions");
    assert_eq!(sent[0].body["messages"], json!([{ "role": "user", "content": "1+1=?" }]));
    assert_eq!(sent[0].body["model"], "m");
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let fixture = Fixture::start();
    let whole = json!({
        "choices": [{ "index": 0, "text": "2", "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2 },
    });
    fixture.on("/v1/completions", vec![json_reply(&whole)]);
    let completion = generate_one(&mut fixture.engine()).unwrap();
    assert_eq!((completion.text.as_str(), completion.tokens, completion.prompt_tokens), ("2", 2, 3));
}

#[test]
fn an_answer_is_whole_once_its_end_is_told_even_if_the_rest_is_lost() {
    let fixture = Fixture::start();
    let told = event(&json!({ "choices": [{ "text": "2", "finish_reason": "stop" }] }));
    // A chunk that promises more than comes: the connection breaks.
    let broken = [CHUNKED.as_bytes(), &chunk(told.as_bytes()), b"ff\r\ndata: {"].concat();
    fixture.on("/v1/completions", vec![Reply::Bytes(broken)]);
    assert_eq!(generate_one(&mut fixture.engine()).unwrap().text, "2");
    assert_eq!(fixture.asked().len(), 1);
}

#[test]
fn a_connection_that_stays_open_after_the_end_is_not_waited_for() {
    let fixture = Fixture::start();
    let body = format!("{STREAM}{}", events(&["2"], Some("stop")));
    fixture.on("/v1/completions", vec![Reply::Hang(body.into_bytes())]);
    assert_eq!(generate_one(&mut fixture.engine()).unwrap().text, "2");
}

#[test]
fn an_engine_is_used_again() {
    let fixture = Fixture::start();
    fixture.on("/v1/completions", vec![answer("a"), answer("b")]);
    let mut engine = fixture.engine();
    assert_eq!(generate_one(&mut engine).unwrap().text, "a");
    assert_eq!(generate_one(&mut engine).unwrap().text, "b");
    assert!(generate(&mut engine, &[]).0.is_empty());
}
