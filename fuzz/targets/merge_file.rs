//! Any bytes as a merge file of mergekit.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::merge_file(bytes));
