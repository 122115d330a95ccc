//! Why an exchange came to nothing, and whether the same may succeed another time.

use std::io::ErrorKind;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode, header};

/// Why an exchange came to nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure<E = String> {
    /// For people; holds no secret.
    pub error: E,
    /// Whether the same may succeed when it is tried again.
    pub again: Again,
}

/// Whether something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would come to the same.
    Never,
    /// After a wait.
    Soon,
    /// After the wait that the server asked for.
    After(Duration),
}

impl Failure {
    /// What would fail again.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self { error: message.into(), again: Again::Never }
    }

    /// What may succeed another time.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { error: message.into(), again: Again::Soon }
    }
}

impl Again {
    /// What an answer that is no success says about the next try.
    pub(crate) fn of(response: &Response<Body>) -> Self {
        let passes = match response.status() {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
            status => status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED,
        };
        let wait =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match (passes, wait) {
            (false, _) => Self::Never,
            (true, None) => Self::Soon,
            (true, Some(seconds)) => Self::After(Duration::from_secs(seconds)),
        }
    }
}

/// What it means that nothing came back from `host`. `reason` is `error` in words that hold no secret, `hint` what to look at
/// when the host does not answer.
pub(crate) fn unreached(error: &ureq::Error, host: &str, reason: &str, hint: &str) -> Failure {
    match error {
        // What rustls finds wrong.
        ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => Failure::lasting(format!(
            "no trusted connection to {host}: {reason}; check its certificate and the address"
        )),
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed => {
            Failure::passing(format!("{host} cannot be reached, or ended the connection: {reason}; {hint}"))
        }
        ureq::Error::Timeout(_) => Failure::passing(format!("{host} did not answer in time ({reason})")),
        ureq::Error::HostNotFound => {
            Failure::lasting(format!("there is no host of the name {host}; check the address"))
        }
        _ => Failure::lasting(format!("no answer came from {host}: {reason}; check the address")),
    }
}
