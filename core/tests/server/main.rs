//! Engines behind an API: what is sent to a server, and what is made of all that can come back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod delivery;
mod failures;
mod fixture;
mod llama_cpp;
mod runs;
mod secrets;
mod streaming;
