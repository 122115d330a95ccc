//! One exchange with a server over HTTP: what is sent, what may come back, and what its failures mean.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{HeaderValue, Response, StatusCode, header};
#[cfg(feature = "tls")]
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::address::{KeyVariable, ServerUrl};
use crate::engine::EngineError;

/// Longest answer that is no stream, in bytes.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// As much as is read of a page that says what went wrong, in bytes.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// As much as is shown of what a server says, in characters.
const SHOWN_CHARS: usize = 300;

/// Why an exchange came to nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// For people; holds no secret.
    pub message: String,
    /// Whether the same may succeed when it is tried again.
    pub again: Again,
}

/// Whether something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It would come to the same.
    Never,
    /// After a wait.
    Soon,
    /// After the wait that the server asked for.
    After(Duration),
}

impl Failure {
    /// What would fail again.
    pub(super) fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), again: Again::Never }
    }

    /// What may succeed another time.
    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), again: Again::Soon }
    }
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub idle: Duration,
}

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
    secret: String,
    header: HeaderValue,
}

impl Key {
    fn read(variable: &KeyVariable) -> Result<Self, EngineError> {
        let name = variable.name();
        let secret = std::env::var(name).map(|key| key.trim().to_owned()).unwrap_or_default();
        if secret.is_empty() {
            let message = format!("key_env: the environment variable {name}, which should hold the key, is not set");
            return Err(EngineError::failed(message));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {secret}")).map_err(|_| {
            EngineError::failed(format!(
                "key_env: the environment variable {name} holds characters that no key may have"
            ))
        })?;
        header.set_sensitive(true);
        Ok(Self { variable: name.to_owned(), secret, header })
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
        Ok(Self { agent: agent(&url, limits), url, key })
    }

    /// The same with connections of its own.
    pub(super) fn renewed(&self, limits: Limits) -> Self {
        Self { agent: agent(&self.url, limits), url: self.url.clone(), key: self.key.clone() }
    }

    /// Closes all connections, so that whoever waits for an answer on another thread gets an error at once, and the server
    /// hears that nobody listens any more. Afterwards nothing can be sent.
    pub(super) fn shut_down(&self) {
        self.agent.clone().shutdown();
    }

    /// Sends `call` and gives the answer, of which the body has yet to be read.
    pub(super) fn send(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let authorization = self.key.as_ref().map(|key| &key.header);
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
        let host = self.url.host();
        let reason = self.clean(&error.to_string());
        match error {
            // What rustls finds wrong.
            ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => Failure::lasting(format!(
                "no trusted connection to {host}: {reason}; check its certificate and the address"
            )),
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed => Failure::passing(format!(
                "{host} cannot be reached, or ended the connection: {reason}; is the server running?"
            )),
            ureq::Error::Timeout(_) => Failure::passing(format!("{host} did not answer in time ({reason})")),
            ureq::Error::HostNotFound => {
                Failure::lasting(format!("there is no host of the name {host}; check the address"))
            }
            _ => Failure::lasting(format!("no answer came from {host}: {reason}; check the address")),
        }
    }

    /// Something else came back than success.
    fn refused(&self, call: &Call, response: &mut Response<Body>) -> Failure {
        let status = response.status();
        let wait =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
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
        let message = format!("{}: the server answered {status}: {said}{hint}", call.name());
        let again = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
            status => status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED,
        };
        match (again, wait) {
            (false, _) => Failure::lasting(message),
            (true, None) => Failure::passing(message),
            (true, Some(seconds)) => Failure { message, again: Again::After(Duration::from_secs(seconds)) },
        }
    }

    /// What a server said, short and in one line: the message inside JSON, the kind of anything that is a page.
    pub(super) fn shown(&self, text: &str) -> String {
        let text = text.trim();
        if text.is_empty() {
            return "(nothing)".to_owned();
        }
        if text.starts_with('<') {
            return "(a page in HTML, which no model server sends)".to_owned();
        }
        let message = serde_json::from_str::<Value>(text).ok().and_then(|value| message_in(&value));
        self.clean(message.as_deref().unwrap_or(text))
    }

    /// Without the key, without control characters, and short.
    pub(super) fn clean(&self, text: &str) -> String {
        let text = match &self.key {
            Some(key) => text.replace(&key.secret, "(the key)"),
            None => text.to_owned(),
        };
        let mut shown: String = text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().nth(SHOWN_CHARS).is_some() {
            shown.push('…');
        }
        shown
    }
}

/// The message in what the servers' errors look like: `{"error": {"message"}}`, `{"error"}`, `{"message"}`, `{"detail"}`.
fn message_in(value: &Value) -> Option<String> {
    let error = value.get("error");
    let places = [error.and_then(|error| error.get("message")), error, value.get("message"), value.get("detail")];
    places.into_iter().flatten().find_map(|place| place.as_str().map(str::to_owned))
}

fn agent(url: &ServerUrl, limits: Limits) -> Agent {
    let config = Agent::config_builder();
    // Servers of models are often certified by an authority of their own, which the system knows.
    #[cfg(feature = "tls")]
    let config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    let config = config
        .http_status_as_error(false)
        // A redirect would take the key and the questions to an address that nobody gave.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A proxy of the environment can lead anywhere but back to this machine.
        .proxy(if url.is_loopback() { None } else { Proxy::try_from_env() })
        .timeout_resolve(Some(limits.connect))
        .timeout_connect(Some(limits.connect))
        .timeout_per_write(Some(limits.idle))
        .timeout_per_read(Some(limits.idle))
        .timeout_recv_response(Some(limits.idle))
        // Below the five seconds after which uvicorn, which vLLM and SGLang run on, closes connections.
        .max_idle_age(Duration::from_secs(3))
        .user_agent(concat!("mergescope/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::new_with_config(config)
}
