//! Questions to the Hub: to its own address with the token, to wherever it leads without.

use std::io::Read as _;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::access::Access;
use super::error::HubError;
use super::name::HubName;
use crate::http::{self, Again, Failure, Limits, MAX_ERROR_BYTES, Secret, ServerUrl};

/// Times that an answer may lead to another address.
const MAX_REDIRECTS: usize = 6;

/// Longest list of files, in bytes; one of 100,000 files is about this long.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// How long the Hub, and where it leads, are waited for.
const LIMITS: Limits = Limits { connect: Duration::from_secs(10), idle: Duration::from_secs(30) };

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
enum What {
    /// The list of the model's files.
    Listing,
    /// A file of that list, from a byte on.
    File { from: u64 },
}

impl What {
    fn from(self) -> u64 {
        match self {
            Self::Listing => 0,
            Self::File { from } => from,
        }
    }
}

/// Connections to the Hub, for one model.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    url: ServerUrl,
    token: Option<(Secret, &'static str)>,
    name: HubName,
}

impl Client {
    /// Contacts no one.
    pub(super) fn new(access: &Access, name: &HubName) -> Result<Self, HubError> {
        let url = access.url(name)?;
        let token = access.token().map(|(secret, place)| (secret.clone(), place));
        Ok(Self { agent: http::agent(&url, LIMITS), url, token, name: name.clone() })
    }

    /// Its connections.
    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The Hub's host.
    pub(super) fn host(&self) -> &str {
        self.url.host()
    }

    /// The list of the model's files, as JSON.
    pub(super) fn listing(&self) -> Result<String, Failure<HubError>> {
        let revision = encoded(self.name.revision_or_main());
        let path = format!("/api/models/{}/revision/{revision}?blobs=true", self.name.id());
        let mut response = self.get(&path, What::Listing)?;
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > MAX_JSON_BYTES {
            return Err(self.nonsense(format!("it is longer than {MAX_JSON_BYTES} bytes")));
        }
        read.map_err(|error| self.broke_off(&error))?;
        String::from_utf8(bytes).map_err(|_| self.nonsense("it is not text in UTF-8".to_owned()))
    }

    /// A file of a commit, from byte `from` on; the answer says whether it begins there.
    pub(super) fn file(&self, commit: &str, path: &str, from: u64) -> Result<Response<Body>, Failure<HubError>> {
        let path: Vec<String> = path.split('/').map(encoded).collect();
        self.get(&format!("/{}/resolve/{commit}/{}", self.name.id(), path.join("/")), What::File { from })
    }

    /// What it means that an answer ended too soon.
    pub(super) fn broke_off(&self, error: &std::io::Error) -> Failure<HubError> {
        let reason = http::clean(&error.to_string(), self.secret());
        let message = format!("the answer of {} broke off: {reason}", self.host());
        Failure { error: HubError::exchange(message), again: Again::Soon }
    }

    /// The list of files is none.
    pub(super) fn nonsense(&self, reason: String) -> Failure<HubError> {
        let (host, name) = (self.host().to_owned(), self.name.clone());
        Failure { error: HubError::Listing { host, name, reason }, again: Again::Never }
    }

    fn secret(&self) -> Option<&Secret> {
        self.token.as_ref().map(|(secret, _)| secret)
    }

    /// Gets what is at a path of the Hub, wherever that leads.
    fn get(&self, path: &str, what: What) -> Result<Response<Body>, Failure<HubError>> {
        let from = what.from();
        let address = self.url.join(path);
        let mut uri: Uri = address.parse().map_err(|_| lasting(format!("{path} cannot be part of an address")))?;
        for _ in 0..=MAX_REDIRECTS {
            let is_own = self.url.is_origin_of(&uri);
            let mut request = self.agent.get(uri.clone()).header(header::ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            // Whoever the Hub leads to has no business with the token.
            if let Some(secret) = self.secret().filter(|_| is_own) {
                request = request.header(header::AUTHORIZATION, secret.header());
            }
            let mut response = request.call().map_err(|error| self.unreached(&error, &uri))?;
            let status = response.status();
            if status.is_success() || (status == StatusCode::RANGE_NOT_SATISFIABLE && from > 0) {
                return Ok(response);
            }
            if !status.is_redirection() {
                return Err(self.refused(&mut response, &uri, is_own.then_some(what)));
            }
            uri = self.next(&uri, response.headers())?;
        }
        Err(lasting(format!("{} leads from one address to the next, and nowhere in the end", self.host())))
    }

    /// Where an answer leads.
    fn next(&self, from: &Uri, headers: &HeaderMap) -> Result<Uri, Failure<HubError>> {
        let host = host_of(from);
        let nowhere = || lasting(format!("{host} leads to another address, but does not say to which"));
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(nowhere)?;
        let (scheme, authority) = (from.scheme_str().unwrap_or("https"), from.authority().map_or("", |a| a.as_str()));
        let address = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            return Err(nowhere());
        };
        // What stands behind # is for readers of pages.
        let next: Uri = address.split('#').next().unwrap_or_default().parse().map_err(|_| nowhere())?;
        match (scheme, next.scheme_str()) {
            (_, Some("https")) if cfg!(feature = "tls") => Ok(next),
            (_, Some("https")) => Err(Failure {
                error: HubError::NoTls { host: host_of(&next), name: self.name.clone() },
                again: Again::Never,
            }),
            ("http", Some("http")) => Ok(next),
            _ => Err(lasting(format!(
                "{host} leads away from https to {}, where others could read along",
                host_of(&next)
            ))),
        }
    }

    /// Nothing came back.
    fn unreached(&self, error: &ureq::Error, uri: &Uri) -> Failure<HubError> {
        // Others repeat the address, whose query may hold a key to the file.
        let reason = match error {
            ureq::Error::Io(error) => http::clean(&error.to_string(), self.secret()),
            ureq::Error::Timeout(timeout) => timeout.to_string(),
            _ => "it was not understood".to_owned(),
        };
        let Failure { error, again } = http::unreached(error, &host_of(uri), &reason, "check the connection");
        Failure { error: HubError::exchange(error), again }
    }

    /// Something else came back than success.
    fn refused(&self, response: &mut Response<Body>, uri: &Uri, own: Option<What>) -> Failure<HubError> {
        let (status, again) = (response.status(), Again::of(response));
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let code = code.to_owned();
        let mut bytes = Vec::new();
        // What was read before an error says more than the error.
        let _partial = response.body_mut().as_reader().take(MAX_ERROR_BYTES).read_to_end(&mut bytes);
        let said = http::shown(&String::from_utf8_lossy(&bytes), self.secret());
        if let Some(error) = own.and_then(|what| self.denied(what, status, &code, &said)) {
            return Failure { error, again: Again::Never };
        }
        // An address that the Hub led to is good for an hour or so; the next try gets another.
        let again = if own.is_none() && status == StatusCode::FORBIDDEN { Again::Soon } else { again };
        Failure { error: HubError::exchange(format!("{} answered {status}: {said}", host_of(uri))), again }
    }

    /// What the Hub means by not giving something. It answers 401 for what does not exist to those without a token, and tells
    /// more in the header `X-Error-Code`.
    fn denied(&self, what: What, status: StatusCode, code: &str, said: &str) -> Option<HubError> {
        let (host, name) = (self.host().to_owned(), self.name.clone());
        let no_revision =
            || HubError::NoRevision { id: name.id().to_owned(), revision: name.revision_or_main().to_owned() };
        let no_model = || {
            let (who, hint) = match self.token {
                Some(_) => ("this token", ", and whether the token may see it"),
                None => ("everyone", "; for a private or gated one, set HF_TOKEN"),
            };
            HubError::NoModel { host: host.clone(), id: name.id().to_owned(), who, hint }
        };
        Some(match (status, code, &self.token) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, "GatedRepo", token) => HubError::Gated {
                page: format!("{}/{}", self.url, name.id()),
                then: match token {
                    Some(_) => " with the account of your token",
                    None => ", then set HF_TOKEN to a token of your account",
                },
                name,
            },
            (_, "RevisionNotFound", _) => no_revision(),
            (_, "RepoNotFound", _) | (StatusCode::UNAUTHORIZED, _, None) => no_model(),
            (StatusCode::UNAUTHORIZED, _, Some((_, place))) => HubError::Unauthorised { host, place },
            (StatusCode::FORBIDDEN, _, Some(_)) => HubError::Forbidden { host, name, said: said.to_owned() },
            // A mirror may know no codes; of a file that was listed it means that file.
            (StatusCode::NOT_FOUND, ..) if what != What::Listing => return None,
            (StatusCode::NOT_FOUND, "", _) if said.to_ascii_lowercase().contains("invalid rev") => no_revision(),
            (StatusCode::NOT_FOUND, "", _) => no_model(),
            _ => return None,
        })
    }
}

fn lasting(message: String) -> Failure<HubError> {
    Failure { error: HubError::exchange(message), again: Again::Never }
}

fn host_of(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_owned()
}

/// A part of a path as it stands in an address: RFC 3986, 2.1.
fn encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_are_encoded() {
        assert_eq!(encoded("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encoded("日 %?#.json"), "%E6%97%A5%20%25%3F%23.json");
    }

    #[test]
    fn an_answer_leads_to_whole_and_partial_addresses_and_never_away_from_https() {
        let client = Client::new(&Access::to("http://hub:1"), &HubName::parse("org/name").unwrap()).unwrap();
        let next = |from: &'static str, location: &str| {
            let headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
            let next = client.next(&Uri::from_static(from), &headers);
            next.map(|uri| uri.to_string()).map_err(|failure| failure.error.to_string())
        };
        assert_eq!(next("http://hub:1/a", "/b?c=d#e").as_deref(), Ok("http://hub:1/b?c=d"));
        assert_eq!(next("http://hub:1/a", "//cdn/b").as_deref(), Ok("http://cdn/b"));
        assert_eq!(next("http://hub:1/a", "http://cdn:2/b").as_deref(), Ok("http://cdn:2/b"));
        assert!(next("http://hub:1/a", "b").unwrap_err().contains("does not say to which"));
        assert!(next("https://hub/a", "http://cdn/b").unwrap_err().contains("away from https to cdn"));
        assert!(next("http://hub:1/a", "file:///etc/passwd").is_err());
        let encrypted = next("http://hub:1/a", "https://cdn/b?signature=x");
        assert_eq!(encrypted.is_ok(), cfg!(feature = "tls"));
        assert!(!encrypted.err().unwrap_or_default().contains("signature"));
    }
}
