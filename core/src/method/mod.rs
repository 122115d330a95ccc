//! How vectors enter the target: the arithmetic on one stretch of elements, without any I/O.

pub(crate) mod mix;
mod sums;
mod task_arithmetic;

pub use sums::ChangeSums;
pub(crate) use sums::{LEAF, Leaf};
pub(crate) use task_arithmetic::{Stretch, add_vector, combine};
