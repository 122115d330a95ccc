//! Numbers and how people read them.

use crate::format;

/// A number of some kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Something counted.
    Count(u64),
    /// A share of one.
    Share(f64),
    /// One length against another: a share that may be many times the whole.
    Relative(f64),
    /// A number between −1 and 1, with so many decimals.
    Fixed(f64, usize),
    /// Any other number.
    Number(f64),
}

impl Figure {
    /// A cosine of two models, which are nearly the same as a rule: three decimals would all be nines.
    pub fn cosine(value: f64) -> Self {
        Self::Fixed(value, 5)
    }

    /// The number, NaN where there is none.
    pub fn value(self) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Share(value) | Self::Relative(value) | Self::Fixed(value, _) | Self::Number(value) => value,
        }
    }

    /// As people read it: `2.9 %`, `−0.12`, `–` for none.
    pub fn text(self) -> String {
        match self {
            Self::Count(count) => format::count(count),
            Self::Share(value) => format::percent(value),
            Self::Relative(value) => format::relative(value),
            Self::Fixed(value, decimals) => format::fixed(value, decimals),
            Self::Number(value) => format::norm(value),
        }
    }
}
