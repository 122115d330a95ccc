//! A server that speaks the paths of the Hub, has one model, and fails when a test tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mergescope_core::hub::{Access, Download, Hub, HubError, HubName};
use mergescope_core::progress::Control;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The commit that every revision stands for, unless a test says otherwise.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What becomes of one question for a file.
#[derive(Clone)]
pub enum Reply {
    /// The whole file, wherever it is asked from.
    NoRange,
    /// So many bytes of what is asked for, then the end of the connection.
    Cut(usize),
    /// So many bytes of what is asked for, then nothing for as long as the client waits.
    Hang(usize),
    /// Other bytes than the listing tells of.
    Other(Vec<u8>),
    /// A status with headers and a body.
    Status(&'static str, String, String),
}

impl Reply {
    /// A status with the Hub's code for errors.
    pub fn error(status: &'static str, code: &str, message: &str) -> Self {
        let code = if code.is_empty() { String::new() } else { format!("X-Error-Code: {code}\r\n") };
        Self::Status(status, code, json!({ "error": message }).to_string())
    }

    /// Leads elsewhere.
    pub fn redirect(to: &str) -> Self {
        Self::Status("302 Found", format!("Location: {to}\r\n"), String::new())
    }
}

/// What the server was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    listing: Mutex<Option<Value>>,
    asked: Mutex<Vec<Asked>>,
    script: Mutex<BTreeMap<String, VecDeque<Reply>>>,
    delay: Mutex<Duration>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A Hub on this machine, with the model `org/name`.
pub struct FakeHub {
    pub port: u16,
    state: Arc<State>,
}

/// Bytes that are not all alike.
pub fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|position| (position / 3) as u8 ^ (position >> 8) as u8 ^ seed).collect()
}

/// A file of safetensors with one tensor of so many bytes.
pub fn safetensors(name: &str, length: usize) -> Vec<u8> {
    let header = json!({ name: { "dtype": "U8", "shape": [length], "data_offsets": [0, length] } }).to_string();
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    [&(padded.len() as u64).to_le_bytes()[..], padded.as_bytes(), &bytes(length, 7)].concat()
}

impl FakeHub {
    /// With a model of a config, a tokenizer, a subfolder's template and weights of 3 MB, among other files.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hub = Self { port, state: Arc::default() };
        for (path, bytes) in [
            ("config.json", br#"{"model_type":"qwen2"}"#.to_vec()),
            ("tokenizer.json", bytes(40_000, 1)),
            ("additional_chat_templates/tools.jinja", b"{{ tools }}".to_vec()),
            ("model.safetensors", safetensors("model.norm.weight", 3_000_000)),
            ("README.md", b"A model".to_vec()),
            ("model.gguf", bytes(100, 2)),
            ("modeling.py", b"import os".to_vec()),
            ("pytorch_model.bin", bytes(100, 3)),
        ] {
            hub.put(path, bytes);
        }
        let state = hub.state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = state.clone();
                thread::spawn(move || serve(&stream.unwrap(), &state));
            }
        });
        hub
    }

    /// Adds a file, or replaces one.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.state.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        self.state.files.lock().unwrap().remove(path);
    }

    /// The bytes of a file.
    pub fn get(&self, path: &str) -> Vec<u8> {
        self.state.files.lock().unwrap()[path].clone()
    }

    /// What the Hub calls a file's bytes.
    pub fn etag(&self, path: &str) -> String {
        etag(&self.get(path))
    }

    /// Replaces the listing.
    pub fn list(&self, listing: Value) {
        *self.state.listing.lock().unwrap() = Some(listing);
    }

    /// The listing as it would be.
    pub fn listing(&self) -> Value {
        listing(&self.state)
    }

    /// From now on questions for this file, or for this path of the API, get `replies`, one after the other, then what is right.
    pub fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.script.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
    }

    /// Waits so long before each file.
    pub fn slow_down(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.state.asked.lock().unwrap())
    }

    /// Those of [`Self::asked`] that were for a file.
    pub fn asked_for(&self, path: &str) -> Vec<Asked> {
        let ending = format!("/resolve/{COMMIT}/{path}");
        self.asked().into_iter().filter(|asked| asked.path.ends_with(&ending)).collect()
    }

    /// Most files that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.state.most_at_once.load(Ordering::SeqCst)
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        Access::to(&format!("http://127.0.0.1:{}", self.port))
    }

    /// A client with a cache of its own, that does not wait long between tries.
    pub fn client(&self) -> Client {
        self.client_with(self.access())
    }

    /// The same, reached in another way.
    pub fn client_with(&self, access: Access) -> Client {
        Client::new(access)
    }
}

/// A cache that is filled from a Hub.
pub struct Client {
    pub hub: Hub,
    pub home: tempfile::TempDir,
}

impl Client {
    /// With an empty cache.
    pub fn new(access: Access) -> Self {
        let home = tempfile::tempdir().unwrap();
        let hub = Hub::new(access, home.path().join("hub")).with_retries(3, Duration::from_millis(2));
        Self { hub, home }
    }

    /// The cache.
    pub fn cache(&self) -> PathBuf {
        self.home.path().join("hub")
    }

    /// The model's folder in the cache.
    pub fn repo(&self) -> PathBuf {
        self.cache().join("models--org--name")
    }

    /// Asks for a model.
    pub fn look(&self, name: &str) -> Result<Download, HubError> {
        self.hub.look(&HubName::parse(name).unwrap(), &Control::new())
    }

    /// Downloads a model.
    pub fn download(&self, name: &str) -> Result<PathBuf, HubError> {
        let control = Control::new();
        let download = self.hub.look(&HubName::parse(name).unwrap(), &control)?;
        let path = self.hub.fetch(&download, &control)?;
        assert_eq!(control.snapshot().done_bytes, download.total_bytes(), "progress ends at the whole");
        Ok(path)
    }

    /// Why a model is not downloaded, with all causes.
    pub fn failure(&self, name: &str) -> String {
        let error = self.download(name).expect_err("nothing is downloaded");
        mergescope_core::error::chain(&error)
    }

    /// A file among the model's blobs.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.repo().join("blobs").join(etag)
    }
}

/// All files and links below a folder, by their paths, without locks.
pub fn files_below(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, root, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.retain(|path| !path.starts_with(".locks/"));
    found.sort();
    found
}

/// Waits until something is true.
#[track_caller]
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the Hub keeps a file apart from git: here, when it is large.
fn is_large(bytes: &[u8]) -> bool {
    bytes.len() > 100_000
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn etag(bytes: &[u8]) -> String {
    if is_large(bytes) {
        return hex(&Sha256::digest(bytes));
    }
    hex(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
}

fn listing(state: &State) -> Value {
    if let Some(listing) = &*state.listing.lock().unwrap() {
        return listing.clone();
    }
    let files = state.files.lock().unwrap();
    let siblings = files.iter().map(|(path, bytes)| {
        // The blob of a large file is a pointer to it, whose hash is another.
        let mut sibling =
            json!({ "rfilename": path, "size": bytes.len(), "blobId": etag(&bytes[..bytes.len().min(50)]) });
        if is_large(bytes) {
            sibling["lfs"] = json!({ "sha256": etag(bytes), "size": bytes.len(), "pointerSize": 134 });
        } else {
            sibling["blobId"] = json!(etag(bytes));
        }
        sibling
    });
    json!({ "id": "org/name", "sha": COMMIT, "gated": false, "siblings": siblings.collect::<Vec<_>>() })
}

fn serve(stream: &TcpStream, state: &State) {
    let Some(asked) = read_request(&mut BufReader::new(stream)) else { return };
    let (path, range) = (asked.path.clone(), asked.range.clone());
    state.asked.lock().unwrap().push(asked);
    let (route, _query) = path.split_once('?').unwrap_or((&path, ""));
    let file =
        route.split_once("/resolve/").and_then(|(_, rest)| rest.split_once('/')).map(|(_, file)| file.to_owned());
    let key = file.clone().unwrap_or_else(|| route.to_owned());
    let reply = state.script.lock().unwrap().get_mut(&key).and_then(VecDeque::pop_front);
    // That the client has gone is no fault: some tests are about that.
    let mut out = stream;
    if let Some(Reply::Status(status, headers, body)) = reply {
        let length = body.len();
        drop(write!(out, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"));
        return;
    }
    let Some(file) = file else {
        let body = listing(state).to_string();
        let length = body.len();
        drop(write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"));
        return;
    };
    let at_once = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let delay = *state.delay.lock().unwrap();
    thread::sleep(delay);
    let whole = state.files.lock().unwrap().get(&file).cloned();
    state.at_once.fetch_sub(1, Ordering::SeqCst);
    let Some(whole) = whole else {
        drop(write!(out, "HTTP/1.1 404 Not Found\r\nX-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n\r\n"));
        return;
    };
    let from: usize =
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let body = match &reply {
        Some(Reply::Other(bytes)) => bytes.get(from..).unwrap_or_default().to_vec(),
        Some(Reply::NoRange) => whole.clone(),
        _ => whole.get(from..).unwrap_or_default().to_vec(),
    };
    let partial = from > 0 && !matches!(reply, Some(Reply::NoRange));
    let head = match partial {
        true => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", whole.len() - 1, whole.len()),
        false => "200 OK".to_owned(),
    };
    drop(write!(out, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
    match reply {
        Some(Reply::Cut(count)) => drop(out.write_all(&body[..count.min(body.len())])),
        Some(Reply::Hang(count)) => {
            drop(out.write_all(&body[..count.min(body.len())]));
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            drop(out.read(&mut [0]));
        }
        _ => drop(out.write_all(&body)),
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut asked = Asked { path, range: None, authorization: None };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { return Some(asked) };
        match name.to_ascii_lowercase().as_str() {
            "range" => asked.range = Some(value.trim().to_owned()),
            "authorization" => asked.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}
