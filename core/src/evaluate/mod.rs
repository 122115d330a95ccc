//! Does a merged model answer better than its target, and is that more than luck?

pub mod questions;

pub mod grade;

pub mod statistics;

pub mod log;

pub mod sweep;
