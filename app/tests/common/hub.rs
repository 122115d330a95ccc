//! A Hub on this machine with the model `org/name`: a small Qwen2 that can be opened.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sha1::{Digest as _, Sha1};

use super::http::HttpServer;

/// The commit that every revision stands for.
pub const COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// The Hub; it lives as long as the test's process.
pub struct FakeHub {
    /// Answers the questions.
    pub server: HttpServer,
    waits: Arc<Mutex<Duration>>,
}

/// The model's files. All bytes of the weights are letters or zeros.
pub fn files() -> Vec<(&'static str, String)> {
    let header = json!({ "model.norm.weight": { "dtype": "BF16", "shape": [20_000], "data_offsets": [0, 40_000] } });
    let header = header.to_string();
    let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    assert!(header.len() < 128);
    let weights = format!("{}{}{header}{}", char::from(header.len() as u8), "\0".repeat(7), "\0".repeat(40_000));
    vec![
        ("config.json", json!({ "model_type": "qwen2", "num_hidden_layers": 2 }).to_string()),
        ("model.safetensors", weights),
        ("tokenizer.json", "{}".to_owned()),
    ]
}

/// Bytes of all files.
pub fn total_bytes() -> usize {
    files().iter().map(|(_, text)| text.len()).sum()
}

impl FakeHub {
    /// Starts it.
    pub fn start() -> Self {
        let waits: Arc<Mutex<Duration>> = Arc::default();
        let waiting = waits.clone();
        let server = HttpServer::start(move |what, _| {
            if let Some(revision) = what.strip_prefix("GET /api/models/org/name/revision/") {
                let known = ["main?blobs=true", "v1.0?blobs=true"].contains(&revision);
                return if known { ("200 OK", listing()) } else { ("404 Not Found", "Invalid rev id".to_owned()) };
            }
            if what.starts_with("GET /api/models/org/gated/") {
                return ("401 Unauthorized\r\nX-Error-Code: GatedRepo", "{}".to_owned());
            }
            let file = what.strip_prefix(&format!("GET /org/name/resolve/{COMMIT}/"));
            match file.and_then(|file| files().into_iter().find(|(path, _)| *path == file)) {
                Some((_, text)) => {
                    thread::sleep(*waiting.lock().unwrap());
                    ("200 OK", text)
                }
                None => ("404 Not Found", "Not Found".to_owned()),
            }
        });
        Self { server, waits }
    }

    /// Waits so long before each file.
    pub fn slow_down(&self, wait: Duration) {
        *self.waits.lock().unwrap() = wait;
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        self.server.url.trim_start_matches("http://")
    }
}

fn listing() -> String {
    let siblings = files().into_iter().map(|(path, text)| {
        let hash = Sha1::digest(format!("blob {}\0{text}", text.len()));
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "rfilename": path, "size": text.len(), "blobId": hash })
    });
    json!({ "sha": COMMIT, "siblings": siblings.collect::<Vec<_>>() }).to_string()
}
