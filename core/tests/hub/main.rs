//! Models downloaded from a Hub: what lies in the cache afterwards, and what is made of all that can go wrong on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod at_once;
mod cuts;
mod fixture;
mod layout;
mod refusals;
mod secrets;
