//! Any bytes as a question file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::questions(bytes));
