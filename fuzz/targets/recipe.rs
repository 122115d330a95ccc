//! Any bytes as a recipe.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mergescope_core::fuzzing::recipe(bytes));
