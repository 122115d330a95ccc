//! A server that says what a test tells it to, byte by byte, and writes down what it is asked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mergescope_core::engine::server::{Prepare, Server, ServerSpec, ServerUrl};
use mergescope_core::engine::{
    Completion, Engine as _, EngineError, Event, ModelChoice, Prompt, Request, RequestError, Sampling,
};
use mergescope_core::progress::Control;
use mergescope_core::recipe::Recipe;
use serde_json::{Value, json};

/// What the fixture does with one request.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These pieces, with a wait before each.
    Slowly(Duration, Vec<Vec<u8>>),
    /// These bytes, then nothing until the client goes.
    Hang(Vec<u8>),
}

/// What the fixture was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<Asked>>,
    /// Replies to questions whose path begins so, in their order; the last one stays.
    script: Mutex<Vec<(String, VecDeque<Reply>)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// How many clients went away while they were kept waiting.
    gone: Mutex<usize>,
    left: Condvar,
}

/// A server on this machine.
pub struct Fixture {
    pub port: u16,
    state: Arc<State>,
}

impl Fixture {
    /// A server with the model `m`.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let fixture = Self { port, state: state.clone() };
        fixture
            .on("/v1/models", vec![json_reply(&json!({ "object": "list", "data": [{ "id": "m" }, { "id": "n" }] }))]);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = state.clone();
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        fixture
    }

    /// From now on questions whose path begins so get `replies`, one after the other, and then the last one always.
    pub fn on(&self, path: &str, replies: Vec<Reply>) {
        let mut script = self.state.script.lock().unwrap();
        script.retain(|(known, _)| known != path);
        script.push((path.to_owned(), replies.into()));
    }

    /// What it was asked since the last time, beside the list of models.
    pub fn asked(&self) -> Vec<Asked> {
        let mut asked = std::mem::take(&mut *self.state.asked.lock().unwrap());
        asked.retain(|asked| asked.path != "/v1/models");
        asked
    }

    /// The paths of [`Self::asked`].
    pub fn asked_paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    /// How many questions were open at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.state.most_at_once.load(Ordering::SeqCst)
    }

    /// Waits until so many clients have gone away while they were kept waiting.
    pub fn wait_for_gone(&self, count: usize) -> bool {
        let gone = self.state.gone.lock().unwrap();
        !self.state.left.wait_timeout_while(gone, Duration::from_secs(5), |gone| *gone < count).unwrap().1.timed_out()
    }

    /// A spec for it, with short waits.
    pub fn spec(&self) -> ServerSpec {
        let url = ServerUrl::parse(&format!("http://127.0.0.1:{}/v1", self.port)).unwrap();
        ServerSpec { retries: 3, backoff_ms: 4, ..ServerSpec::new(url) }
    }

    /// An engine that has loaded its model.
    pub fn engine(&self) -> Server {
        self.engine_with(self.spec())
    }

    /// An engine with this spec that has loaded the target.
    pub fn engine_with(&self, spec: ServerSpec) -> Server {
        let mut server = connect(spec, never()).unwrap();
        server.load(&ModelChoice::Alone("/models/target".to_owned()), &Control::new()).unwrap();
        self.asked();
        server
    }
}

/// Connects with the recipe of these tests.
pub fn connect(spec: ServerSpec, prepare: Prepare) -> Result<Server, EngineError> {
    Server::connect(spec, recipe(0.5), prepare, &Control::new())
}

/// The recipe of these tests at w.
pub fn recipe(w: f64) -> Recipe {
    let mut recipe = Recipe::new("/models/pre", "/models/post", "/models/target");
    recipe.vector.w = w;
    recipe
}

/// What is evaluated at w.
pub fn merged(w: f64) -> ModelChoice {
    ModelChoice::Merged(Box::new(recipe(w)))
}

/// For deliveries that need no folder.
pub fn never() -> Prepare {
    Box::new(|_, _| panic!("no folder is needed"))
}

fn serve(mut stream: TcpStream, state: &State) {
    let Some(asked) = read_request(&mut BufReader::new(stream.try_clone().unwrap())) else { return };
    let at_once = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let reply = state.reply_to(&asked.path);
    state.asked.lock().unwrap().push(asked);
    // Done before its last bytes are out: as soon as the client has those, it may ask the next question.
    let done = || state.at_once.fetch_sub(1, Ordering::SeqCst);
    // That the client has gone is no fault: some tests are about that.
    match reply {
        Reply::Bytes(bytes) => {
            done();
            drop(stream.write_all(&bytes));
        }
        Reply::Slowly(wait, pieces) => {
            for (position, piece) in pieces.iter().enumerate() {
                thread::sleep(wait);
                if position + 1 == pieces.len() {
                    done();
                }
                drop(stream.write_all(piece));
            }
        }
        Reply::Hang(bytes) => {
            drop(stream.write_all(&bytes));
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            if !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                *state.gone.lock().unwrap() += 1;
                state.left.notify_all();
            }
            done();
        }
    }
}

impl State {
    fn reply_to(&self, path: &str) -> Reply {
        let mut script = self.script.lock().unwrap();
        let matching = script.iter_mut().filter(|(known, _)| path.starts_with(known.as_str()));
        match matching.max_by_key(|(known, _)| known.len()).map(|(_, queue)| queue) {
            Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
            Some(queue) => queue.front().cloned().expect("a reply"),
            None => status_reply("404 Not Found", "", "{\"detail\":\"Not Found\"}"),
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim();
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            name => assert_ne!(name, "transfer-encoding", "bodies are sent with their length"),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some(Asked { method, path, authorization, body })
}

/// A status with headers and a body.
pub fn status_reply(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into_bytes(),
    )
}

/// Success with JSON.
pub fn json_reply(body: &Value) -> Reply {
    status_reply("200 OK", "Content-Type: application/json\r\n", &body.to_string())
}

/// What stands before a stream that ends with its connection.
pub const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";

/// What stands before a stream in chunks.
pub const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// One chunk of a chunked body.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Events of an answer to a text: its pieces, the reason why it ended, and the counts.
pub fn events(pieces: &[&str], finish: Option<&str>) -> String {
    let mut stream: String =
        pieces.iter().map(|piece| event(&json!({ "choices": [{ "index": 0, "text": piece }] }))).collect();
    if let Some(finish) = finish {
        stream += &event(&json!({ "choices": [{ "index": 0, "text": "", "finish_reason": finish }] }));
        stream +=
            &event(&json!({ "choices": [], "usage": { "prompt_tokens": 4, "completion_tokens": pieces.len() + 1 } }));
        stream += "data: [DONE]\n\n";
    }
    stream
}

/// One event.
pub fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// A stream that ends with its connection.
pub fn stream(events: &str) -> Reply {
    Reply::Bytes(format!("{STREAM}{events}").into_bytes())
}

/// A whole answer to a text.
pub fn answer(text: &str) -> Reply {
    stream(&events(&[text], Some("stop")))
}

/// A text to be continued.
pub fn request(text: &str) -> Request {
    Request {
        prompt: Prompt::Raw(text.to_owned()),
        sampling: Sampling::default(),
        max_tokens: 16,
        stop: Vec::new(),
        day: None,
    }
}

/// What became of each request, and all events.
pub fn generate(server: &mut Server, requests: &[Request]) -> (Vec<Result<Completion, RequestError>>, Vec<Event>) {
    let mut results: Vec<Option<Result<Completion, RequestError>>> = vec![None; requests.len()];
    let mut events = Vec::new();
    let began = Instant::now();
    server
        .generate(requests, &Control::new(), &mut |event| {
            if let Event::Finished { request, result } = &event {
                assert!(results[*request].replace(result.clone()).is_none(), "each request ends once");
            }
            events.push(event);
        })
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    (results.into_iter().map(|result| result.expect("each request ends")).collect(), events)
}

/// What became of one request.
pub fn generate_one(server: &mut Server) -> Result<Completion, RequestError> {
    generate(server, &[request("1+1=")]).0.remove(0)
}

/// Why one request has no answer.
pub fn failure(server: &mut Server) -> String {
    generate_one(server).expect_err("no answer").message
}
