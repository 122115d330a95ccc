//! Any bytes as a PyTorch checkpoint.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::pickle(bytes));
