//! What merging and measuring cost on this machine, against the floor that reading and writing the same bytes sets.
//!
//! A synthetic triple in the shape of a real model (`triple`) is gone through in turns. Each step (`step`) runs in a process
//! of its own, so that its memory can be watched from outside (`child`), with the files in the page cache or not (`cache`). All
//! of it lies in one folder (`workplace`).
//! Only ratios of one turn mean something: the numbers themselves are this machine's at this moment.

pub mod cache;
pub mod child;
pub mod outcome;
mod read;
pub mod shape;
pub mod step;
pub mod triple;
pub mod workplace;
