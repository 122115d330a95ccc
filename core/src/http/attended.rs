//! Work that waits for another host, on a thread of its own, so that it can be cancelled while it waits.

use std::io;
use std::thread;

use crossbeam_channel::{RecvTimeoutError, bounded};
use ureq::Agent;

use super::PATIENCE;
use crate::progress::{Cancelled, Control};

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unattended {
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The system gave no thread.
    #[error("no thread could be started to ask the server")]
    Thread(#[source] io::Error),
    /// The thread panicked.
    #[error("a thread that asked the server ended early; this is a fault of the program")]
    Ended,
}

/// Does `work`, whose connections are those of `agent`. When it is cancelled they are closed under it, which ends it soon;
/// nobody waits for that.
pub(crate) fn attended<T: Send + 'static>(
    agent: &Agent,
    control: &Control,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unattended> {
    let (sender, result) = bounded(1);
    thread::Builder::new()
        .name("server question".to_owned())
        // Nobody waits for the result of work that was cancelled.
        .spawn(move || drop(sender.send(work())))
        .map_err(Unattended::Thread)?;
    loop {
        if control.is_cancelled() {
            agent.clone().shutdown();
            return Err(Cancelled.into());
        }
        match result.recv_timeout(PATIENCE) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Unattended::Ended),
        }
    }
}
