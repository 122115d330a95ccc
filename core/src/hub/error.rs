//! Why nothing could be learned from the Hub, or downloaded.

use std::io;
use std::path::PathBuf;

use super::name::{HubName, HubNameError};
use crate::progress::Cancelled;

/// Why nothing could be learned from the Hub, or downloaded. Holds no token.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The person stopped it. What was downloaded so far is gone on from the next time.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// What was asked for is no name of a model.
    #[error(transparent)]
    Name(#[from] HubNameError),
    /// The environment says that nothing may be asked.
    #[error("HF_HUB_OFFLINE is set, so that nothing is downloaded; take it out of the environment to download {name}")]
    Offline {
        /// The model.
        name: HubName,
    },
    /// The address of the Hub is none.
    #[error(
        "HF_ENDPOINT is not the address of a Hub; it should be like https://huggingface.co, with no user, password or query"
    )]
    Endpoint,
    /// The Hub is reached by https, which this program was built without.
    #[error(
        "{host} is reached by https, which this program was built without: build it with `--features tls`, or fill the same cache with `hf download {name}`"
    )]
    NoTls {
        /// The host.
        host: String,
        /// The model.
        name: HubName,
    },
    /// The token holds characters that none may have.
    #[error("the token from {place} holds characters that no token may have; copy it again from the Hub's settings")]
    Token {
        /// Where the token stands.
        place: &'static str,
    },
    /// Nobody says where the cache is.
    #[error("there is no home folder for the Hugging Face cache; say in HF_HOME where it is")]
    NoCache,
    /// The model is there for those who accepted its terms.
    #[error("{name} is gated: accept its terms on {page}{then}")]
    Gated {
        /// The model.
        name: HubName,
        /// Where they are accepted.
        page: String,
        /// What comes then.
        then: &'static str,
    },
    /// The token is none of the Hub's.
    #[error(
        "{host} does not accept the token from {place}; make a new one in the Hub's settings, or take it away for public models"
    )]
    Unauthorised {
        /// The host.
        host: String,
        /// Where the token stands.
        place: &'static str,
    },
    /// The token may not read this model.
    #[error("{host} does not let this token read {name} ({said}); give the token that right in the Hub's settings")]
    Forbidden {
        /// The host.
        host: String,
        /// The model.
        name: HubName,
        /// What the host said.
        said: String,
    },
    /// There is no such model, or none that may be seen.
    #[error("{host} has no model {id} that {who} may see; check the name{hint}")]
    NoModel {
        /// The host.
        host: String,
        /// `org/name`.
        id: String,
        /// Who asked.
        who: &'static str,
        /// What else may help.
        hint: &'static str,
    },
    /// The model has no such branch, tag or commit.
    #[error("{id} has no revision `{revision}`; name a branch, a tag or a whole commit, or none for main")]
    NoRevision {
        /// `org/name`.
        id: String,
        /// What was asked for.
        revision: String,
    },
    /// An exchange failed, perhaps after several tries.
    #[error("{message}{}", tried(*tries))]
    Exchange {
        /// What went wrong.
        message: String,
        /// How often it was tried; 1 where another try would not help.
        tries: u32,
    },
    /// The Hub's list of files makes no sense.
    #[error("the list of files that {host} has for {name} is not what was expected: {reason}")]
    Listing {
        /// The host.
        host: String,
        /// The model.
        name: HubName,
        /// What is wrong with it.
        reason: String,
    },
    /// A file's path leads out of the model's folder.
    #[error(
        "{name} has a file whose path leads out of its folder, or cannot be a path: {path:?}; nothing of it is taken"
    )]
    Path {
        /// The model.
        name: HubName,
        /// The path.
        path: String,
    },
    /// There is nothing that could be opened.
    #[error(
        "{name} has no weights in safetensors or PyTorch's format among its {files} files; look for the original model it was made from"
    )]
    NoWeights {
        /// The model.
        name: HubName,
        /// Files that it has.
        files: usize,
    },
    /// The disk is too full.
    #[error("the download needs {needed_bytes} bytes in {}, where {available_bytes} are free; make room, or say in HF_HOME where there is some", path.display())]
    DiskFull {
        /// The cache.
        path: PathBuf,
        /// What is needed.
        needed_bytes: u64,
        /// What is free.
        available_bytes: u64,
    },
    /// A file came with other bytes than the Hub says it has.
    #[error(
        "{file} came with the wrong bytes: its {algorithm} is {found}, and the Hub says {expected}; what came was deleted, download it again"
    )]
    WrongHash {
        /// The file's path in the repository.
        file: String,
        /// The kind of hash.
        algorithm: &'static str,
        /// What the Hub says.
        expected: String,
        /// What came.
        found: String,
    },
    /// A file has another size than the Hub says.
    #[error(
        "{file} came with {found_bytes} bytes, and the Hub says {expected_bytes}; what came was deleted, download it again"
    )]
    WrongSize {
        /// The file's path in the repository.
        file: String,
        /// What the Hub says.
        expected_bytes: u64,
        /// What came, or was announced.
        found_bytes: u64,
    },
    /// The file system refused.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread, or one ended early.
    #[error("{0}")]
    Thread(String),
}

impl HubError {
    /// Whether the person stopped it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// What would fail again.
    pub(super) fn exchange(message: impl Into<String>) -> Self {
        Self::Exchange { message: message.into(), tries: 1 }
    }
}

fn tried(tries: u32) -> String {
    if tries > 1 { format!(" (tried {tries} times)") } else { String::new() }
}
