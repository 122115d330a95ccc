//! What goes wrong on the way: tried again where that may help, and never taken for an answer.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use mergescope_core::engine::Event;
use mergescope_core::engine::server::{ServerSpec, ServerUrl};
use serde_json::json;

use crate::fixture::{
    CHUNKED, Fixture, Reply, STREAM, answer, chunk, connect, event, events, failure, generate, generate_one,
    json_reply, never, request, status_reply, stream,
};

#[test]
fn a_server_that_is_not_there_is_told_with_its_address() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = ServerUrl::parse(&format!("127.0.0.1:{port}")).unwrap();
    let spec = ServerSpec { retries: 2, backoff_ms: 1, ..ServerSpec::new(url) };
    let refused = connect(spec, never()).err().expect("nobody is there").to_string();
    assert!(refused.starts_with(&format!("127.0.0.1:{port} cannot be reached")), "{refused}");
    assert!(refused.contains("is the server running?") && refused.ends_with("(tried 3 times)"), "{refused}");
}

#[test]
fn a_server_that_comes_late_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(150));
        let listener = TcpListener::bind(address).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let Reply::Bytes(bytes) = json_reply(&json!({ "data": [{ "id": "late" }] })) else { unreachable!() };
        std::io::Write::write_all(&mut stream, &bytes).unwrap();
    });
    let spec = ServerSpec { backoff_ms: 100, ..ServerSpec::new(ServerUrl::parse(&address.to_string()).unwrap()) };
    let server = connect(spec, never()).unwrap();
    assert_eq!(mergescope_core::engine::Engine::identity(&server), format!("server http://{address} late, as loaded"));
    late.join().unwrap();
}

#[test]
fn a_busy_server_is_asked_again_after_the_wait_that_it_asks_for() {
    let fixture = Fixture::start();
    let busy = status_reply("429 Too Many Requests", "Retry-After: 1\r\n", "{\"error\":{\"message\":\"slow down\"}}");
    fixture.on("/v1/completions", vec![busy, answer("2")]);
    let began = Instant::now();
    assert_eq!(generate_one(&mut fixture.engine()).unwrap().text, "2");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(fixture.asked().len(), 2);
}

#[test]
fn failures_that_pass_are_tried_again() {
    let fixture = Fixture::start();
    for status in
        ["500 Internal Server Error", "503 Service Unavailable", "408 Request Timeout", "429 Too Many Requests"]
    {
        fixture.on("/v1/completions", vec![status_reply(status, "", "no"), answer("2")]);
        assert_eq!(generate_one(&mut fixture.engine()).unwrap().text, "2", "{status}");
        assert_eq!(fixture.asked().len(), 2, "{status}");
    }
}

#[test]
fn what_would_fail_again_is_not_tried_again() {
    let fixture = Fixture::start();
    for (status, body, told) in [
        (
            "400 Bad Request",
            r#"{"error":{"message":"max_tokens is too large"}}"#,
            "400 Bad Request: max_tokens is too large",
        ),
        (
            "404 Not Found",
            r#"{"object":"error","message":"The model `x` does not exist."}"#,
            "does not exist.; check the address",
        ),
        (
            "401 Unauthorized",
            r#"{"error":"Unauthorized"}"#,
            "Unauthorized; name the environment variable that holds its key",
        ),
        ("422 Unprocessable Entity", r#"{"detail":[{"msg":"x"}]}"#, r#"{"detail":[{"msg":"x"}]}"#),
        ("307 Temporary Redirect", "", "give the address that it leads to"),
    ] {
        fixture
            .on("/v1/completions", vec![status_reply(status, "Location: http://127.0.0.1:1/\r\n", body), answer("2")]);
        let message = failure(&mut fixture.engine());
        assert!(message.starts_with("POST /v1/completions: the server answered"), "{message}");
        assert!(message.contains(told), "{message}");
        assert_eq!(fixture.asked().len(), 1, "{status}");
    }
}

#[test]
fn an_answer_that_breaks_off_begins_anew() {
    let fixture = Fixture::start();
    let cut = stream(&events(&["wro", "ng"], None));
    let cut_in_a_chunk = Reply::Bytes([CHUNKED.as_bytes(), &chunk(b": hello\n\n"), b"ff\r\ndata: {"].concat());
    let done_without_end = stream("data: [DONE]\n\n");
    fixture.on("/v1/completions", vec![cut, cut_in_a_chunk, done_without_end, answer("right")]);
    let (results, heard) = generate(&mut fixture.engine(), &[request("?")]);
    assert_eq!(results[0].as_ref().unwrap().text, "right");
    // Who shows the text as it comes learns that what came is void.
    let text = |text: &str, tokens| Event::Text { request: 0, text: text.to_owned(), tokens };
    let restarted = Event::Restarted { request: 0 };
    assert_eq!(heard[..4], [text("wro", 1), text("ng", 2), restarted, text("right", 1)]);
    assert_eq!(fixture.asked().len(), 4);
}

#[test]
fn what_never_succeeds_is_the_error_of_its_request_alone() {
    let fixture = Fixture::start();
    let failed = stream(&event(&json!({ "error": { "message": "CUDA out of memory", "code": 500 } })));
    fixture.on("/v1/completions", vec![failed.clone(), failed.clone(), failed.clone(), failed, answer("2")]);
    let mut engine = fixture.engine_with(ServerSpec { concurrency: 1, ..fixture.spec() });
    let (results, _) = generate(&mut engine, &[request("a"), request("b")]);
    let message = &results[0].as_ref().unwrap_err().message;
    assert_eq!(message, "the server failed while it answered: CUDA out of memory (tried 4 times)");
    assert_eq!(results[1].as_ref().unwrap().text, "2");
}

#[test]
fn a_cut_answer_is_never_an_answer() {
    let fixture = Fixture::start();
    fixture.on("/v1/completions", vec![stream(&events(&["The answer is 4"], None))]);
    assert_eq!(failure(&mut fixture.engine()), "the answer broke off before its end (tried 4 times)");
}

#[test]
fn what_is_no_answer_is_shown_for_what_it_is() {
    let fixture = Fixture::start();
    let page = "<!DOCTYPE html><html><body>Welcome!</body></html>";
    let html = status_reply("200 OK", "Content-Type: text/html\r\n", page);
    for (reply, told) in [
        (html, "(a page in HTML, which no such server sends)"),
        (status_reply("404 Not Found", "Content-Type: text/html\r\n", page), "404 Not Found: (a page in HTML"),
        (stream("data: {\"choices\": 7}\n\n"), "not what was expected"),
        (stream("data: not JSON\n\n"), "not JSON"),
        (stream("data: {\"choices\":[{\"text\":\"\u{7}bell\"}\n\n"), " bell"),
        (json_reply(&json!([1, 2])), "not what was expected"),
        (Reply::Bytes([STREAM.as_bytes(), b"data: \xff\xfe\n\n"].concat()), "not text in UTF-8"),
        (Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec()), "check the address"),
    ] {
        fixture.on("/v1/completions", vec![reply, answer("2")]);
        let message = failure(&mut fixture.engine());
        assert!(message.contains(told), "{message} should say {told}");
        assert!(!message.contains('\u{7}') && message.chars().count() < 600, "{message}");
        assert_eq!(fixture.asked().len(), 1, "{told}");
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up_in_time() {
    let fixture = Fixture::start();
    let silent = || Reply::Hang(format!("{STREAM}{}", events(&["well"], None)).into_bytes());
    fixture.on("/v1/completions", vec![silent(), Reply::Hang(Vec::new()), answer("2")]);
    let mut engine = fixture.engine_with(ServerSpec { idle_timeout_secs: 1, ..fixture.spec() });
    let began = Instant::now();
    assert_eq!(generate_one(&mut engine).unwrap().text, "2");
    assert!((2..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn endless_answers_are_cut_short() {
    let fixture = Fixture::start();
    let line = Reply::Bytes([STREAM.as_bytes(), b"data: ", &vec![b'a'; 3 << 20]].concat());
    let body = status_reply("200 OK", "Content-Type: application/json\r\n", &" ".repeat(17 << 20));
    let error = status_reply("400 Bad Request", "", &"x".repeat(1 << 20));
    for (reply, told) in [(line, "longer than 1 MiB"), (body, "longer than 16777216 bytes"), (error, "xxx…")] {
        fixture.on("/v1/completions", vec![reply]);
        let message = failure(&mut fixture.engine());
        assert!(message.contains(told) && message.len() < 1000, "{message}");
    }
}

#[test]
fn a_model_that_the_server_does_not_have_is_named_with_those_that_it_has() {
    let fixture = Fixture::start();
    let with = |model: &str| connect(ServerSpec { model: Some(model.to_owned()), ..fixture.spec() }, never());
    assert!(with("n").is_ok());
    let refused = with("q").err().expect("no such model").to_string();
    assert_eq!(refused, format!("127.0.0.1:{} has no model q; it has: m, n", fixture.port));
    fixture.on("/v1/models", vec![json_reply(&json!({ "data": [{ "id": "qwen3:latest" }] }))]);
    assert!(with("qwen3").is_ok());
    fixture.on("/v1/models", vec![json_reply(&json!({ "data": null }))]);
    let refused = connect(fixture.spec(), never()).err().expect("no model").to_string();
    assert!(refused.contains("has no model; give it one"), "{refused}");
}
