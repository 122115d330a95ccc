//! Small files that claim to be large take no memory for what they claim.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]

use std::fs;
use std::path::Path;

use mergescope_core::checkpoint::Checkpoint;
use mergescope_core::error::chain;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// More than any of these files needs, and far less than each of them claims.
const MOST_BYTES: usize = 1 << 20;

/// A golden in which the bytes behind the first (or last) `mark` are replaced.
fn spoilt(golden: &str, mark: &[u8], last: bool, bytes: &[u8]) -> Vec<u8> {
    let mut file = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(golden)).unwrap();
    let mut found = file.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at);
    let at = if last { found.next_back() } else { found.next() }.expect("the mark is there") + mark.len();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn what_a_file_claims_is_not_what_it_is_given() {
    let pickle = "pickles/refused/not_contiguous.bin";
    let gguf = "gguf/llama-f16.gguf";
    let far = u64::MAX.to_le_bytes();
    // The directory of an archive ends with `PK\5\6`, and counts, sizes and its start follow.
    let end = b"PK\x05\x06\0\0\0\0";
    let cases = [
        ("header.safetensors", [&99_000_000_u64.to_le_bytes()[..], b"{}"].concat(), "the file is truncated"),
        ("text.bin", spoilt(pickle, b"(X", false, &[0xff; 4]), "makes no sense at byte"),
        ("entries.bin", spoilt(pickle, end, true, &[0xfe, 0xff, 0xfe, 0xff]), "its directory ends too early"),
        ("directory.bin", spoilt(pickle, end, true, &[1, 0, 1, 0, 0xff, 0xff, 0xff, 3]), "its directory lies outside"),
        ("tensors.gguf", spoilt(gguf, b"GGUF\x03\0\0\0", false, &far), "its header makes no sense"),
        ("settings.gguf", spoilt(gguf, b"GGUF\x03\0\0\0", false, &[far, far].concat()), "its header makes no sense"),
        ("key.gguf", spoilt(gguf, b"llama.block_count", false, &far), "its header"),
        // A list of texts, by its type and the type of its items.
        (
            "list.gguf",
            spoilt(gguf, b"ggml.tokens\x09\0\0\0\x08\0\0\0", false, &far),
            "its header does not end where it should",
        ),
        ("long.gguf", spoilt(gguf, b"general.name\x08\0\0\0", false, &far), "its header does not end where it should"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, words) in cases {
        let path = dir.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let error = Checkpoint::open(&path).expect_err("it is refused");
        let most = ALLOCATOR.peak_usage().saturating_sub(before);
        assert!(most < MOST_BYTES, "{name} of {} bytes takes {most}", bytes.len());
        let message = chain(&error);
        assert!(message.contains(words), "`{words}` in: {message}");
    }
}
