//! Many requests at once: workers that each ask the server and read its answer as it comes.
//!
//! A worker may be inside a read when the run is cancelled; its connection is then closed under it, and the run does not wait
//! for it. So workers own what they work with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::answer::Answer;
use super::body::{Served, Wire, wire};
use super::client::{Call, Client};
use super::sse::{Events, SseError};
use crate::engine::{Completion, EngineError, Event, Request, RequestError};
use crate::http::{Failure, GaveUp, PATIENCE, Retry};
use crate::numeric::StochasticKey;
use crate::progress::Control;

/// Events that may wait to be heard.
const WAITING_EVENTS: usize = 1024;

/// What the workers share.
pub(super) struct Run {
    pub client: Client,
    pub served: Served,
    pub requests: Vec<Request>,
    pub concurrency: usize,
    /// How long each part of an answer is waited for.
    pub patience: Duration,
    pub retry: Retry,
    pub control: Control,
}

/// Closes the connections at the end, whatever end it is.
struct ShutDown(Client);

impl Drop for ShutDown {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl Run {
    /// Answers all requests.
    pub(super) fn answer(self, on_event: &mut dyn FnMut(Event)) -> Result<(), EngineError> {
        let run = Arc::new(self);
        let _shut_down = ShutDown(run.client.clone());
        let next = Arc::new(AtomicUsize::new(0));
        let (sender, events) = bounded(WAITING_EVENTS);
        for number in 0..run.concurrency.min(run.requests.len()) {
            let (run, next, sender) = (run.clone(), next.clone(), sender.clone());
            thread::Builder::new()
                .name(format!("server request {number}"))
                .spawn(move || run.work(&next, &sender))
                .map_err(|error| EngineError::caused("no thread could be started for requests", error))?;
        }
        drop(sender);
        let mut finished = 0;
        loop {
            run.control.check()?;
            match events.recv_timeout(PATIENCE) {
                Ok(event) => {
                    finished += usize::from(matches!(event, Event::Finished { .. }));
                    on_event(event);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        run.control.check()?;
        if finished < run.requests.len() {
            return Err(EngineError::failed(
                "a thread that asked the server ended early; this is a fault of the program",
            ));
        }
        Ok(())
    }

    /// Takes one request after the other until none is left, or nobody listens.
    fn work(&self, next: &AtomicUsize, events: &Sender<Event>) {
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = self.requests.get(position) else { return };
            let result = wire(request, &self.served).and_then(|wire| self.ask(position, request, &wire, events));
            if self.control.is_cancelled() || events.send(Event::Finished { request: position, result }).is_err() {
                return;
            }
        }
    }

    /// Asks until there is an answer or no hope.
    fn ask(
        &self,
        position: usize,
        request: &Request,
        wire: &Wire,
        events: &Sender<Event>,
    ) -> Result<Completion, RequestError> {
        let key = StochasticKey::new(request.sampling.seed, "server retry");
        let mut heard = false;
        let draw = |tries| key.uniform((position as u64).wrapping_mul(256).wrapping_add(u64::from(tries)));
        let answered = self.retry.run(
            draw,
            || self.control.is_cancelled(),
            || {
                if std::mem::take(&mut heard) {
                    tell(events, Event::Restarted { request: position })?;
                }
                self.attempt(wire, |text, tokens| {
                    heard = true;
                    tell(events, Event::Text { request: position, text, tokens })
                })
            },
        );
        answered.map_err(|gave_up: GaveUp| RequestError { passes: gave_up.passes, message: gave_up.message() })
    }

    /// Asks once, and reads the answer as it comes.
    fn attempt(
        &self,
        wire: &Wire,
        mut on_text: impl FnMut(String, usize) -> Result<(), Failure>,
    ) -> Result<Completion, Failure> {
        let began = Instant::now();
        let mut response = self.client.send(&Call::Post(wire.path, &wire.body))?;
        let mut answer = Answer::of_at_most(wire.max_tokens);
        if response.body().mime_type() == Some("text/event-stream") {
            let mut stream = Events::new(response.body_mut().as_reader(), self.patience);
            loop {
                let data = match stream.next() {
                    Ok(Some(data)) if data != "[DONE]" => data,
                    Ok(_) => break,
                    // The answer is whole; only its count of tokens may be missing.
                    Err(_) if answer.is_finished() => break,
                    Err(error @ SseError::Broken(_)) => {
                        return Err(Failure::passing(self.client.clean(&error.to_string())));
                    }
                    Err(error @ SseError::Malformed(_)) => return Err(Failure::lasting(error.to_string())),
                };
                let text = answer.take(&data, &self.client)?;
                if !text.is_empty() {
                    on_text(text, answer.tokens())?;
                }
            }
        } else {
            // Some servers and proxies do not stream.
            answer.take(&self.client.whole(&mut response)?, &self.client)?;
        }
        answer.complete(began.elapsed()).ok_or_else(|| Failure::passing("the answer broke off before its end"))
    }
}

/// Tells whoever waits for the events; a failure once nobody does.
fn tell(events: &Sender<Event>, event: Event) -> Result<(), Failure> {
    events.send(event).map_err(|_| Failure::lasting("nobody waits for the answer"))
}
