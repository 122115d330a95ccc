//! Many requests at once, and how they are stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mergescope_core::engine::server::{Server, ServerSpec};
use mergescope_core::engine::{Engine as _, EngineError, Event, Prompt, Request};
use mergescope_core::progress::Control;

use crate::fixture::{Fixture, Reply, STREAM, answer, connect, events, generate, merged, never, request, status_reply};

fn requests(count: usize) -> Vec<Request> {
    (0..count).map(|number| request(&number.to_string())).collect()
}

#[test]
fn never_more_are_under_way_than_allowed_and_all_are_answered() {
    let fixture = Fixture::start();
    let pieces = events(&["2"], Some("stop")).into_bytes();
    let slow = Reply::Slowly(Duration::from_millis(15), vec![STREAM.as_bytes().to_vec(), pieces]);
    fixture.on("/v1/completions", vec![slow]);
    let mut engine = fixture.engine_with(ServerSpec { concurrency: 3, ..fixture.spec() });
    let (results, _) = generate(&mut engine, &requests(20));
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|completion| completion.text == "2")));
    assert_eq!(fixture.most_at_once(), 3);
    let mut prompts: Vec<u32> =
        fixture.asked().iter().map(|asked| asked.body["prompt"].as_str().unwrap().parse().unwrap()).collect();
    prompts.sort_unstable();
    assert_eq!(prompts, (0..20).collect::<Vec<_>>());
}

#[test]
fn requests_keep_their_places_whatever_order_they_end_in() {
    let fixture = Fixture::start();
    let slow = Reply::Slowly(
        Duration::from_millis(300),
        vec![format!("{STREAM}{}", events(&["slow"], Some("stop"))).into_bytes()],
    );
    fixture.on("/v1/chat/completions", vec![slow]);
    fixture.on("/v1/completions", vec![answer("fast")]);
    let chat = Request { prompt: Prompt::Chat(Vec::new()), ..request("") };
    let (results, heard) = generate(&mut fixture.engine(), &[chat, request("b")]);
    let text = |position: usize| results[position].as_ref().unwrap().text.clone();
    assert_eq!((text(0), text(1)), ("slow".to_owned(), "fast".to_owned()));
    let ends = heard.iter().filter_map(|event| match event {
        Event::Finished { request, .. } => Some(*request),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [1, 0]);
}

/// Cancelling takes a twentieth of a second; a machine that is busy with other tests gets more. The servers wait for far longer.
const AT_ONCE: Duration = Duration::from_millis(750);

/// Cancels after a while; gives the outcome and how long the run took from then on.
fn cancelled(server: &mut Server, run: impl FnOnce(&mut Server, &Control) -> Result<(), EngineError>) -> Duration {
    let control = Control::new();
    let at = thread::spawn({
        let control = control.clone();
        move || {
            thread::sleep(Duration::from_millis(200));
            control.cancel();
            Instant::now()
        }
    });
    let outcome = run(server, &control);
    let ended = Instant::now();
    assert!(outcome.unwrap_err().is_cancelled());
    ended.saturating_duration_since(at.join().unwrap())
}

#[test]
fn cancelling_does_not_wait_for_a_slow_server_and_the_server_hears_of_it() {
    let fixture = Fixture::start();
    let begun = format!("{STREAM}{}", events(&["well"], None));
    // One that has begun to answer, and one that has said nothing yet.
    fixture.on("/v1/completions", vec![Reply::Hang(begun.into_bytes()), Reply::Hang(Vec::new())]);
    let mut engine = fixture.engine_with(ServerSpec { concurrency: 2, ..fixture.spec() });
    let finished = Arc::new(AtomicBool::new(false));
    let heard = finished.clone();
    let late = cancelled(&mut engine, |engine, control| {
        engine.generate(&requests(5), control, &mut |event| {
            heard.fetch_or(matches!(event, Event::Finished { .. }), Ordering::Relaxed);
        })
    });
    assert!(late < AT_ONCE, "{late:?}");
    assert!(!finished.load(Ordering::Relaxed), "what was cancelled has no answer and no error");
    assert!(fixture.wait_for_gone(2), "the server is told to stop");
    assert_eq!(fixture.asked().len(), 2, "nothing more is asked");
    // The engine is none the worse for it.
    fixture.on("/v1/completions", vec![answer("2")]);
    assert_eq!(generate(&mut engine, &requests(1)).0[0].as_ref().unwrap().text, "2");
}

#[test]
fn cancelling_does_not_wait_for_the_next_try() {
    let fixture = Fixture::start();
    fixture.on("/v1/completions", vec![status_reply("503 Service Unavailable", "Retry-After: 30\r\n", "loading")]);
    let late = cancelled(&mut fixture.engine(), |engine, control| engine.generate(&requests(1), control, &mut |_| {}));
    assert!(late < AT_ONCE, "{late:?}");
}

#[test]
fn cancelling_does_not_wait_for_weights() {
    let fixture = Fixture::start();
    let mut engine = fixture.engine();
    fixture.on("/v1/models", vec![Reply::Hang(Vec::new())]);
    let late = cancelled(&mut engine, |engine, control| engine.load(&merged(0.5), control));
    assert!(late < AT_ONCE, "{late:?}");
}

#[test]
fn without_a_model_nothing_is_answered() {
    let fixture = Fixture::start();
    let mut engine = connect(fixture.spec(), never()).unwrap();
    let refused = engine.generate(&requests(1), &Control::new(), &mut |_| {});
    assert!(matches!(refused, Err(EngineError::NothingLoaded)));
    // A model that could not be loaded leaves none.
    engine.load(&merged(0.5), &Control::new()).unwrap();
    fixture.on("/v1/models", vec![status_reply("404 Not Found", "", "")]);
    assert!(engine.load(&merged(0.5), &Control::new()).is_err());
    assert!(matches!(engine.generate(&requests(1), &Control::new(), &mut |_| {}), Err(EngineError::NothingLoaded)));
}

#[test]
fn probabilities_are_not_to_be_had() {
    let fixture = Fixture::start();
    let prompt = Prompt::Raw("1+1=".to_owned());
    let told = fixture.engine().log_likelihoods(&prompt, &["2".to_owned()], &Control::new()).unwrap();
    assert_eq!(told, None);
}
