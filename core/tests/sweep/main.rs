//! Sweeps, by capability: what is asked of whom, what a stopped run goes on from, what the answers come to, what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod arms;
mod choices;
mod demo;
mod fixture;
mod imported;
mod refusals;
mod resume;
mod statistics;
#[path = "../support/mod.rs"]
mod support;
