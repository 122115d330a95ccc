//! What goes wrong around a merge while it works: the disk fills, files vanish, volumes are unplugged. It ends with words, and
//! leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot do its work has failed")]

mod inputs;
mod large;
mod names;
mod outputs;
mod scene;
#[path = "../support/mod.rs"]
mod support;
#[cfg(target_os = "linux")]
mod volume;
