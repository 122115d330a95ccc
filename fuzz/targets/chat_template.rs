//! Any bytes as a chat template.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::chat_template(bytes));
