//! A server on this machine that answers by rule and remembers what it was asked.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// What was asked: method and path, and the body as JSON; `null` without one.
pub type Asked = (String, Value);

/// The server; it lives as long as the test's process.
#[derive(Clone)]
pub struct HttpServer {
    /// Its address, `http://` included.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HttpServer {
    /// Answers every question with the status and body that `rule` gives for method and path, and the body.
    pub fn start(rule: impl Fn(&str, &Value) -> (&'static str, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let remembered = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who leaves early is no fault of the server's.
                let Some((what, body, mut stream)) = read(stream) else { continue };
                let (status, reply) = rule(&what, &body);
                remembered.lock().unwrap().push((what, body));
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", reply.len());
                let _ = stream.write_all(format!("{head}{reply}").as_bytes());
            }
        });
        Self { url, asked }
    }

    /// What was asked at that method and path, in order.
    pub fn asked(&self, what: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(known, _)| known == what).map(|(_, body)| body.clone()).collect()
    }
}

fn read(stream: TcpStream) -> Option<(String, Value, TcpStream)> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while stream.read_line(&mut head).ok()? > 2 {}
    for line in head.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let what = head.lines().next()?.rsplit_once(' ')?.0.to_owned();
    Some((what, serde_json::from_slice(&body).unwrap_or(Value::Null), stream.into_inner()))
}
