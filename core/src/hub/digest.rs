//! What tells that a file's bytes are those that the Hub has: the hash that names its blob.

use std::fmt::Write as _;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::name::is_lower_hex;

/// The hash of a file as the Hub tells it, in hexadecimal; also its etag and the name of its blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BlobHash {
    /// Of a large file: SHA-256 of its bytes.
    Sha256(String),
    /// Of a small one: SHA-1 of `blob LENGTH`, a zero byte and its bytes, as git names it.
    GitSha1(String),
}

impl BlobHash {
    /// Takes a SHA-256.
    pub(super) fn sha256(hex: &str) -> Option<Self> {
        (hex.len() == 64 && is_lower_hex(hex)).then(|| Self::Sha256(hex.to_owned()))
    }

    /// Takes git's name of a blob.
    pub(super) fn git(hex: &str) -> Option<Self> {
        (hex.len() == 40 && is_lower_hex(hex)).then(|| Self::GitSha1(hex.to_owned()))
    }

    /// The name of the blob.
    pub(super) fn etag(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitSha1(hex) => hex,
        }
    }

    /// What kind of hash it is, for people.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitSha1(_) => "git hash",
        }
    }

    /// A hasher of the same kind, for a file of `bytes`.
    pub(super) fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::GitSha1(_) => Hasher::GitSha1(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
        }
    }
}

/// A hash in the making.
pub(super) enum Hasher {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl Hasher {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
        }
    }

    /// The hash of all bytes so far, in hexadecimal.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::GitSha1(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_of_large_files() {
        let hashed = |hash: BlobHash, bytes: &[u8]| {
            let mut hasher = hash.hasher(bytes.len() as u64);
            bytes.chunks(3).for_each(|chunk| hasher.update(chunk));
            hasher.finish()
        };
        // `printf 'what is up, doc?' | git hash-object --stdin`, from the book Pro Git.
        let git = "bd9dbf5aae1a3862dd1526723246b20206e5fc37";
        assert_eq!(hashed(BlobHash::git(git).unwrap(), b"what is up, doc?"), git);
        // FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hashed(BlobHash::sha256(sha256).unwrap(), b"abc"), sha256);
    }

    #[test]
    fn what_is_no_hash_names_no_blob() {
        for text in ["", "../../x", &"A".repeat(64), &"a".repeat(63), &"g".repeat(40)] {
            assert_eq!((BlobHash::sha256(text), BlobHash::git(text)), (None, None), "{text}");
        }
    }
}
