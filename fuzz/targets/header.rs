//! Any bytes as the header of a safetensors file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::header(bytes));
