//! What the Hub says a model is made of.

use serde::Deserialize;

use super::choice;
use super::client::Client;
use super::digest::BlobHash;
use super::download::RemoteFile;
use super::error::HubError;
use super::name::{HubName, is_commit};
use crate::http::Failure;

/// Most files of a model that are taken: more than any has shards.
const MAX_FILES: usize = 10_000;

/// Most bytes of a model that are taken: 64 TiB.
const MAX_BYTES: u64 = 64 << 40;

/// `GET /api/models/ORG/NAME/revision/REVISION?blobs=true`.
#[derive(Deserialize)]
struct Answer {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// A commit, and its files that a model needs.
pub(super) struct Listing {
    pub commit: String,
    pub files: Vec<RemoteFile>,
}

/// Reads the answer of the Hub about `name`.
pub(super) fn read(json: &str, name: &HubName, client: &Client) -> Result<Listing, HubError> {
    let nonsense = |reason: String| {
        let Failure { error, .. } = client.nonsense(reason);
        error
    };
    let answer: Answer = serde_json::from_str(json).map_err(|error| nonsense(error.to_string()))?;
    let commit = answer.sha.filter(|sha| is_commit(sha)).ok_or_else(|| nonsense("it names no commit".to_owned()))?;
    let paths: Vec<&str> = answer.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    // Whoever sends such a path means no good, whether that file is needed or not.
    if let Some(path) = paths.iter().find(|path| leads_out(path)) {
        return Err(HubError::Path { name: name.clone(), path: path.chars().take(200).collect() });
    }
    let mut needed = choice::needed(&paths);
    if !choice::has_weights(&needed) {
        return Err(HubError::NoWeights { name: name.clone(), files: paths.len() });
    }
    if needed.len() > MAX_FILES {
        return Err(nonsense(format!("it has {} files for one model, more than {MAX_FILES}", needed.len())));
    }
    let mut files: Vec<RemoteFile> = Vec::with_capacity(needed.len());
    let mut total = 0_u64;
    // A path that is listed twice counts once.
    for sibling in answer.siblings.iter().filter(|sibling| needed.remove(sibling.rfilename.as_str())) {
        let path = sibling.rfilename.clone();
        if !choice::is_safe(&path) {
            return Err(HubError::Path { name: name.clone(), path: path.chars().take(200).collect() });
        }
        let (bytes, hash) = match &sibling.lfs {
            Some(lfs) => (lfs.size.or(sibling.size), lfs.sha256.as_deref().and_then(BlobHash::sha256)),
            None => (sibling.size, sibling.blob.as_deref().and_then(BlobHash::git)),
        };
        let (Some(bytes), Some(hash)) = (bytes, hash) else {
            return Err(nonsense(format!("it tells no size or no hash of {path}")));
        };
        total = total.saturating_add(bytes);
        if total > MAX_BYTES {
            return Err(nonsense(format!("its files have more than {MAX_BYTES} bytes")));
        }
        files.push(RemoteFile { path, bytes, present_bytes: 0, hash });
    }
    Ok(Listing { commit, files })
}

/// Whether a path was made to lead elsewhere; others may have names that only some systems can write.
fn leads_out(path: &str) -> bool {
    path.is_empty() || path.starts_with(['/', '\\']) || path.split(['/', '\\']).any(|part| part == "..")
}
