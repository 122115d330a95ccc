//! One exchange with a server over HTTP: what is sent, what may come back, and what its failures mean.

use std::io::Read as _;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::key::KeyVariable;
use crate::engine::EngineError;
use crate::http::{self, Again, Failure, Limits, MAX_ERROR_BYTES, Secret, ServerUrl};

/// Longest answer that is no stream, in bytes.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Connections to one server, with the key that they show.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    url: ServerUrl,
    key: Option<Key>,
}

/// A key and where it came from.
#[derive(Clone)]
struct Key {
    variable: String,
    secret: Secret,
}

impl Key {
    fn read(variable: &KeyVariable) -> Result<Self, EngineError> {
        let name = variable.name();
        let text = std::env::var(name).map(|key| key.trim().to_owned()).unwrap_or_default();
        if text.is_empty() {
            let message = format!("key_env: the environment variable {name}, which should hold the key, is not set");
            return Err(EngineError::failed(message));
        }
        let secret = Secret::new(&text).ok_or_else(|| {
            EngineError::failed(format!(
                "key_env: the environment variable {name} holds characters that no key may have"
            ))
        })?;
        Ok(Self { variable: name.to_owned(), secret })
    }
}

/// What is asked of the server.
pub(super) enum Call<'a> {
    /// `GET` of a path.
    Get(&'a str),
    /// `POST` of a JSON value to a path.
    Post(&'a str, &'a Value),
}

impl Call<'_> {
    fn name(&self) -> String {
        match self {
            Self::Get(path) => format!("GET {path}"),
            Self::Post(path, _) => format!("POST {path}"),
        }
    }
}

impl Client {
    /// Reads the key; contacts no one.
    pub(super) fn new(url: ServerUrl, key: Option<&KeyVariable>, limits: Limits) -> Result<Self, EngineError> {
        let key = key.map(Key::read).transpose()?;
        Ok(Self { agent: http::agent(&url, limits), url, key })
    }

    /// The same with connections of its own.
    pub(super) fn renewed(&self, limits: Limits) -> Self {
        Self { agent: http::agent(&self.url, limits), url: self.url.clone(), key: self.key.clone() }
    }

    /// Closes all connections, so that whoever waits for an answer on another thread gets an error at once, and the server
    /// hears that nobody listens any more. Afterwards nothing can be sent.
    pub(super) fn shut_down(&self) {
        self.agent.clone().shutdown();
    }

    /// Sends `call` and gives the answer, of which the body has yet to be read.
    pub(super) fn send(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let authorization = self.secret().map(Secret::header);
        let sent = match call {
            Call::Get(path) => {
                let request = self.agent.get(self.url.join(path));
                authorization
                    .into_iter()
                    .fold(request, |request, key| request.header(header::AUTHORIZATION, key))
                    .call()
            }
            Call::Post(path, body) => {
                let request = self.agent.post(self.url.join(path));
                let request =
                    authorization.into_iter().fold(request, |request, key| request.header(header::AUTHORIZATION, key));
                request.send_json(body)
            }
        };
        let mut response = sent.map_err(|error| self.not_reached(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(call, &mut response)) }
    }

    /// Sends `call` and reads the JSON that comes back.
    pub(super) fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        let mut response = self.send(call)?;
        let text = self.text(&mut response, MAX_JSON_BYTES)?;
        serde_json::from_str(&text).map_err(|error| {
            let (error, shown) = (self.clean(&error.to_string()), self.shown(&text));
            Failure::lasting(format!(
                "{}: the server's answer is not what was expected ({error}): {shown}",
                call.name()
            ))
        })
    }

    /// The whole body of an answer that is no stream.
    pub(super) fn whole(&self, response: &mut Response<Body>) -> Result<String, Failure> {
        self.text(response, MAX_JSON_BYTES)
    }

    fn text(&self, response: &mut Response<Body>, limit: u64) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        // One byte more than allowed tells an answer that is too long from one that just fits.
        let read = response.body_mut().as_reader().take(limit + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(Failure::lasting(format!(
                "the server's answer is longer than {limit} bytes, which none should be"
            )));
        }
        read.map_err(|error| {
            Failure::passing(format!("the server's answer broke off: {}", self.clean(&error.to_string())))
        })?;
        String::from_utf8(bytes).map_err(|_| Failure::lasting("the server's answer is not text in UTF-8"))
    }

    /// Nothing came back.
    fn not_reached(&self, error: &ureq::Error) -> Failure {
        http::unreached(error, self.url.host(), &self.clean(&error.to_string()), "is the server running?")
    }

    /// Something else came back than success.
    fn refused(&self, call: &Call, response: &mut Response<Body>) -> Failure {
        let status = response.status();
        let again = Again::of(response);
        let mut bytes = Vec::new();
        // What was read before an error says more than the error.
        let _partial = response.body_mut().as_reader().take(MAX_ERROR_BYTES).read_to_end(&mut bytes);
        let said = self.shown(&String::from_utf8_lossy(&bytes));
        let hint = match (status, &self.key) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => {
                "; name the environment variable that holds its key".to_owned()
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(key)) => {
                format!("; check the key in {}", key.variable)
            }
            (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
                "; check the address and what the server is".to_owned()
            }
            (status, _) if status.is_redirection() => "; give the address that it leads to".to_owned(),
            _ => String::new(),
        };
        Failure { error: format!("{}: the server answered {status}: {said}{hint}", call.name()), again }
    }

    /// What a server said, short and in one line: the message inside JSON, the kind of anything that is a page.
    pub(super) fn shown(&self, text: &str) -> String {
        http::shown(text, self.secret())
    }

    /// Without the key, without control characters, and short.
    pub(super) fn clean(&self, text: &str) -> String {
        http::clean(text, self.secret())
    }

    /// Its connections.
    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    fn secret(&self) -> Option<&Secret> {
        self.key.as_ref().map(|key| &key.secret)
    }
}
