//! Models on the Hugging Face Hub: found in the local cache, and downloaded into it when a person says so.
//!
//! A name is `org/name[@revision]`. `cache` finds what is there, `spec` says what the words of a person or a file stand for;
//! neither contacts anybody. [`Hub`] asks what a model is made of, downloads it and verifies every byte; layout, partial files
//! and locks are those of `huggingface_hub`, so that both fill the same cache, also at the same time.
//!
//! Nothing of what the Hub says is trusted: names and paths become parts of paths only where they are plain, what it lists is
//! bounded, and bytes count when their hash does. The token is shown to the Hub's own address and to nobody else.

mod access;
mod blob;
mod cache;
mod choice;
mod client;
mod digest;
mod download;
mod environment;
mod error;
mod listing;
mod lock;
mod name;
mod snapshot;
mod spec;

use std::path::PathBuf;

pub use access::Access;
pub use cache::{CachedModel, cached_models};
pub(crate) use cache::{Snapshot, snapshot};
pub use download::{Download, Hub, RemoteFile};
pub use environment::Environment;
pub use error::HubError;
pub use name::{HubName, HubNameError, MAIN, is_hub_id};
pub(crate) use spec::how_to_get;
pub use spec::{absent, beside, lasting, named_from, resolve};

/// The cache folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
/// `~/.cache/huggingface/hub`.
pub fn cache_dir() -> Option<PathBuf> {
    Environment::of_process().cache_dir()
}
