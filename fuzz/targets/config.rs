//! Any bytes as a `config.json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::config(bytes));
