//! How the Hub is reached, and with what token: `HF_ENDPOINT`, `HF_TOKEN` or the file `token` in `HF_HOME`, `HF_HUB_OFFLINE`.

use std::ffi::OsString;
use std::fmt;

use super::cache::read_short;
use super::environment::Environment;
use super::error::HubError;
use super::name::HubName;
use crate::http::{Secret, ServerUrl, ServerUrlError};

/// The Hub, where nothing else is said.
const HUB: &str = "https://huggingface.co";

/// Where a token may stand.
pub(super) const VARIABLE: &str = "HF_TOKEN";
const FILE: &str = "the file `token` in HF_HOME";

/// How the Hub is reached. Shows no token, whatever is asked of it.
#[derive(Clone, Default)]
pub struct Access {
    /// Whether nothing may be asked: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// `HF_ENDPOINT`; `None` for huggingface.co. What was said may hold a password.
    endpoint: Option<String>,
    /// A token, with where it stands.
    token: Option<(Secret, &'static str)>,
    /// Where a token stands that is none.
    broken: Option<&'static str>,
}

impl Access {
    /// That of this process. The token file is looked for in `environment`.
    pub fn of_process(environment: &Environment) -> Self {
        Self::of(environment, |name| std::env::var_os(name))
    }

    fn of(environment: &Environment, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name| variable(name)?.into_string().ok().map(|text| text.trim().to_owned());
        let said = |name| text(name).filter(|text| !text.is_empty());
        let is_on = |text: String| matches!(text.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true");
        let access = Self {
            endpoint: said("HF_ENDPOINT"),
            offline: said("HF_HUB_OFFLINE").is_some_and(is_on),
            ..Self::default()
        };
        let in_file = || read_short(&environment.hf_home_dir()?.join("token")).filter(|text| !text.trim().is_empty());
        match said(VARIABLE) {
            Some(token) => access.with(&token, VARIABLE),
            None => match in_file() {
                Some(token) => access.with(&token, FILE),
                None => access,
            },
        }
    }

    /// A Hub at another address than huggingface.co, asked without a token.
    pub fn to(endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..Self::default() }
    }

    /// The same with a token.
    pub fn with_token(self, token: &str) -> Self {
        self.with(token, VARIABLE)
    }

    fn with(self, token: &str, place: &'static str) -> Self {
        match Secret::new(token) {
            Some(secret) => Self { token: Some((secret, place)), broken: None, ..self },
            None => Self { token: None, broken: Some(place), ..self },
        }
    }

    /// Where the Hub is, if it may be asked for `name`.
    pub(super) fn url(&self, name: &HubName) -> Result<ServerUrl, HubError> {
        if self.offline {
            return Err(HubError::Offline { name: name.clone() });
        }
        if let Some(place) = self.broken {
            return Err(HubError::Token { place });
        }
        let endpoint = self.endpoint.as_deref().unwrap_or(HUB);
        ServerUrl::parse(endpoint).map_err(|error| match error {
            ServerUrlError::NoTls => HubError::NoTls { host: host_of(endpoint), name: name.clone() },
            _ => HubError::Endpoint,
        })
    }

    /// The token, with where it stands.
    pub(super) fn token(&self) -> Option<(&Secret, &'static str)> {
        self.token.as_ref().map(|(secret, place)| (secret, *place))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_token = self.token.is_some();
        formatter
            .debug_struct("Access")
            .field("offline", &self.offline)
            .field("has_token", &has_token)
            .finish_non_exhaustive()
    }
}

/// The host of an address that begins with https and is known to hold no password.
fn host_of(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn access(environment: &Environment, variables: &[(&str, &str)]) -> Access {
        let variables = variables.to_vec();
        Access::of(environment, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    fn place(access: &Access) -> Option<(&str, &'static str)> {
        access.token().map(|(secret, place)| (secret.header().to_str().unwrap(), place))
    }

    #[test]
    fn the_variable_comes_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment { hf_home: Some(home.path().to_owned()), ..Environment::default() };
        assert_eq!(place(&access(&environment, &[])), None);
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(place(&access(&environment, &[])), Some(("Bearer hf_file", FILE)));
        assert_eq!(place(&access(&environment, &[("HF_TOKEN", " ")])), Some(("Bearer hf_file", FILE)));
        assert_eq!(place(&access(&environment, &[("HF_TOKEN", "hf_x")])), Some(("Bearer hf_x", "HF_TOKEN")));
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let name = HubName::parse("org/name").unwrap();
        let access = Access::default().with_token("hf_secret");
        assert!(!format!("{access:?}").contains("hf_secret"));
        let broken = Access::to("http://localhost:1").with_token("hf_\nx");
        let error = broken.url(&name).unwrap_err().to_string();
        assert!(error.starts_with("the token from HF_TOKEN holds characters") && !error.contains("hf_"), "{error}");
    }

    #[test]
    fn offline_is_said_in_the_words_that_the_hub_takes() {
        let name = HubName::parse("org/name").unwrap();
        for (text, offline) in [("1", true), ("True", true), ("on", true), ("0", false), ("", false)] {
            assert_eq!(access(&Environment::default(), &[("HF_HUB_OFFLINE", text)]).offline, offline, "{text}");
        }
        let error = Access { offline: true, ..Access::default() }.url(&name).unwrap_err().to_string();
        assert!(error.starts_with("HF_HUB_OFFLINE is set") && error.contains("org/name"), "{error}");
    }

    #[test]
    fn an_endpoint_is_an_address_without_a_password() {
        let name = HubName::parse("org/name").unwrap();
        let url = |endpoint: &str| Access::to(endpoint).url(&name);
        assert_eq!(url("http://localhost:8000/hub/").unwrap().to_string(), "http://localhost:8000/hub");
        let refused = url("http://me:hunter2@host").unwrap_err().to_string();
        assert!(refused.starts_with("HF_ENDPOINT is not the address") && !refused.contains("hunter2"), "{refused}");
        let needs_tls = HubError::NoTls { host: "huggingface.co".to_owned(), name: name.clone() }.to_string();
        for words in ["huggingface.co is reached by https", "--features tls", "hf download org/name"] {
            assert!(needs_tls.contains(words), "{needs_tls}");
        }
        let hub = Access::default().url(&name).map(|url| url.to_string()).map_err(|error| error.to_string());
        assert_eq!(hub, if cfg!(feature = "tls") { Ok(HUB.to_owned()) } else { Err(needs_tls) });
    }
}
