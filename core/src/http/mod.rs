//! What it takes to speak HTTP with a host that a person named, whatever is said there: its address, connections that wait
//! for no longer than they should, what failures mean, trying again, and a key that is shown to nobody else.

mod address;
mod attended;
mod failure;
mod retry;
mod secret;

use std::time::Duration;

#[cfg(feature = "tls")]
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

pub use address::{ServerUrl, ServerUrlError};
pub(crate) use attended::{Unattended, attended};
pub(crate) use failure::{Again, Failure, unreached};
pub(crate) use retry::{GaveUp, PATIENCE, Retry};
pub(crate) use secret::{Secret, clean, shown};

/// As much as is read of a page that says what went wrong, in bytes.
pub(crate) const MAX_ERROR_BYTES: u64 = 64 << 10;

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub idle: Duration,
}

/// Connections to the host at `url`. A status that is no success is an answer like any other, and no redirect is followed: it
/// would take the key to an address that nobody gave.
pub(crate) fn agent(url: &ServerUrl, limits: Limits) -> Agent {
    let config = Agent::config_builder();
    // Servers of models are often certified by an authority of their own, which the system knows.
    #[cfg(feature = "tls")]
    let config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    let config = config
        .http_status_as_error(false)
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
