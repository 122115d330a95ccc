//! Where a server is, in a form that cannot hold a secret.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use ureq::http::Uri;

/// The address of a server: `http://host:port`, with or without `/v1` behind it; `https` needs the feature `tls`.
///
/// It cannot hold a user, a password or a query, so that it may be shown and stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl {
    /// Whether it is `https`.
    encrypted: bool,
    /// Host, and port where one is given.
    authority: String,
    /// What comes before `/v1`, with a slash in front and none behind; mostly nothing.
    path: String,
}

impl ServerUrl {
    /// Takes what a person typed.
    ///
    /// # Errors
    /// When it is no address of a server. The error does not repeat it, since it might hold a password.
    pub fn parse(text: &str) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = whole.parse().map_err(|_| ServerUrlError::NoAddress)?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") if cfg!(feature = "tls") => true,
            Some("https") => return Err(ServerUrlError::NoTls),
            _ => return Err(ServerUrlError::Scheme),
        };
        let authority = uri.authority().ok_or(ServerUrlError::NoAddress)?.as_str();
        if authority.contains('@') {
            return Err(ServerUrlError::Password);
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(ServerUrlError::Query);
        }
        let port = uri.host().filter(|host| !host.is_empty()).and_then(|host| authority.strip_prefix(host));
        let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        if !port.is_some_and(|port| port.is_empty() || is_port(port)) {
            return Err(ServerUrlError::NoAddress);
        }
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/');
        Ok(Self { encrypted, authority: authority.to_ascii_lowercase(), path: path.to_owned() })
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.authority
    }

    /// The address of something on the server; `path` begins with a slash.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether `uri` is on this server: by the same scheme, host and port.
    pub(crate) fn is_origin_of(&self, uri: &Uri) -> bool {
        let scheme = if self.encrypted { "https" } else { "http" };
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        uri.scheme_str() == Some(scheme) && authority.as_ref() == Some(&self.authority)
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => &self.authority,
        };
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = ServerUrlError;

    fn try_from(text: String) -> Result<Self, ServerUrlError> {
        Self::parse(&text)
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        url.to_string()
    }
}

/// Why a text is no address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// There is no host in it.
    #[error("this is no address of a server; write, for example, http://localhost:8000")]
    NoAddress,
    /// It is for another protocol.
    #[error("the address of a server begins with http:// or https://")]
    Scheme,
    /// It is encrypted, and this program cannot do that.
    #[error(
        "the address begins with https, which this program was built without; use http, for example through an SSH tunnel, or build it with `--features tls`"
    )]
    NoTls,
    /// It holds a user or a password.
    #[error(
        "the address holds a user or a password, which would be stored and shown; take it out, and name the environment variable that holds the key instead"
    )]
    Password,
    /// It holds a query, which might hold a key.
    #[error(
        "the address has something behind ? or #; leave that out, and name the environment variable that holds the key instead"
    )]
    Query,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<String, ServerUrlError> {
        ServerUrl::parse(text).map(|url| url.to_string())
    }

    #[test]
    fn an_address_is_taken_with_and_without_scheme_and_v1() {
        for text in
            ["http://Host:8000", "http://host:8000/", "http://host:8000/v1", " host:8000/v1/ ", "HTTP://host:8000"]
        {
            assert_eq!(url(text).as_deref(), Ok("http://host:8000"), "{text}");
        }
        assert_eq!(url("localhost").as_deref(), Ok("http://localhost"));
        assert_eq!(url("http://host/models/qwen/v1").as_deref(), Ok("http://host/models/qwen"));
        assert_eq!(url("http://[::1]:8000/v1").as_deref(), Ok("http://[::1]:8000"));
        assert_eq!(ServerUrl::parse("host:80/a/v1").unwrap().join("/v1/models"), "http://host:80/a/v1/models");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for text in ["", "http://", "http://:8000", "a b", "http://host:99999", "http://host:x"] {
            assert_eq!(url(text), Err(ServerUrlError::NoAddress), "{text}");
        }
        assert_eq!(url("ftp://host"), Err(ServerUrlError::Scheme));
        for text in ["http://me:hunter2@host", "me@host:80", "http://me:hunter2@host/v1?x"] {
            let refused = url(text).unwrap_err();
            assert_eq!(refused, ServerUrlError::Password, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        for text in ["http://host/v1?api_key=hunter2", "http://host/#hunter2"] {
            assert_eq!(url(text), Err(ServerUrlError::Query), "{text}");
        }
    }

    #[test]
    fn an_encrypted_address_needs_the_feature() {
        let expected = if cfg!(feature = "tls") { Ok("https://host") } else { Err(ServerUrlError::NoTls) };
        assert_eq!(url("https://host/v1").as_deref().map_err(|error| *error), expected);
    }

    #[test]
    fn loopback_is_told_from_other_hosts() {
        for text in ["localhost:80", "127.0.0.1:9", "127.1.2.3", "[::1]:80", "[::1]"] {
            assert!(ServerUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in ["host:80", "10.0.0.1", "[2001:db8::1]:80", "localhost.example.org"] {
            assert!(!ServerUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
    }
}
