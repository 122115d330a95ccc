//! Numbers as they stand in answers, compared exactly.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern::known;

/// Most digits of what is compared with a fraction: products then fit in 128 bits.
const MAX_FRACTION_DIGITS: usize = 18;

/// `a/b`, `\frac{a}{b}` and its kin, and `\frac12`; with a sign before any of it.
static FRACTION: LazyLock<Regex> = LazyLock::new(|| {
    known(concat!(
        r"^(?<sign>[+-]?)(?:",
        r"\\[dtc]?frac(?:\{(?<n1>[^{}]+)\}\{(?<d1>[^{}]+)\}|(?<n2>[0-9])(?<d2>[0-9]))",
        r"|(?<n3>[^/\\{}]+)[/\x{2044}](?<d3>[^/\\{}]+)",
        r")$"
    ))
});

/// A number as it stands in an answer or a label.
#[derive(Clone, Debug)]
pub(super) enum Number {
    /// A decimal number.
    Decimal(Decimal),
    /// One over another; the denominator is not 0.
    Fraction(Decimal, Decimal),
}

impl Number {
    /// Reads what has been folded: a decimal number, or a simple fraction.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(decimal) = Decimal::parse(text) {
            return Some(Self::Decimal(decimal));
        }
        let found = FRACTION.captures(text)?;
        let group = |names: [&str; 3]| names.iter().find_map(|name| found.name(name)).map(|group| group.as_str());
        let mut above = Decimal::parse(group(["n1", "n2", "n3"])?)?;
        let below = Decimal::parse(group(["d1", "d2", "d3"])?)?;
        above.negative ^= &found["sign"] == "-" && !above.is_zero();
        (!below.is_zero()).then_some(Self::Fraction(above, below))
    }
}

impl PartialEq for Number {
    /// Whether they are the same number. Decimal numbers are compared to the last digit, whatever their length; a fraction
    /// of more than 18 digits equals only one that is written alike.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::Fraction(a, b), Self::Fraction(c, d)) if a == c && b == d => true,
            _ => self.cross(other).is_some_and(|(left, right)| left == right),
        }
    }
}

impl Number {
    /// a·d and c·b of a/b and c/d.
    fn cross(&self, other: &Self) -> Option<(i128, i128)> {
        let ((a, b), (c, d)) = (self.ratio()?, other.ratio()?);
        Some((a.checked_mul(d)?, c.checked_mul(b)?))
    }

    /// As one whole number over another.
    fn ratio(&self) -> Option<(i128, i128)> {
        match self {
            Self::Decimal(decimal) => decimal.ratio(),
            Self::Fraction(above, below) => {
                let ((a, b), (c, d)) = (above.ratio()?, below.ratio()?);
                Some((a.checked_mul(d)?, c.checked_mul(b)?))
            }
        }
    }
}

/// A decimal number of any length in its shortest form: no zeros that could be left out, and no −0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Digits before the point; none for 0.
    whole: String,
    /// Digits after the point.
    part: String,
}

impl Decimal {
    /// Reads `-1,234.50`, `$29`, `¥300`, `7.`, `.5` and `50%` (which is 50: a share is compared as it is written).
    ///
    /// Commas, `$` and `¥` are dropped wherever they stand, as lm-eval drops the first two, and full stops at the end.
    fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|character| !matches!(character, ',' | '$' | '¥')).collect();
        let text = text.trim().trim_end_matches(['.', '。']).trim_end();
        let text = text.strip_suffix(r"\%").or_else(|| text.strip_suffix('%')).unwrap_or(text).trim_end();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if digits.bytes().all(|byte| byte == b'.') || !all_digits(whole) || !all_digits(part) {
            return None;
        }
        let (whole, part) = (whole.trim_start_matches('0').to_owned(), part.trim_end_matches('0').to_owned());
        Some(Self { negative: negative && !(whole.is_empty() && part.is_empty()), whole, part })
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.part.is_empty()
    }

    /// As a whole number over a power of ten, if it is short.
    fn ratio(&self) -> Option<(i128, i128)> {
        if self.whole.len() + self.part.len() > MAX_FRACTION_DIGITS {
            return None;
        }
        if self.is_zero() {
            return Some((0, 1));
        }
        let digits: i128 = format!("{}{}", self.whole, self.part).parse().ok()?;
        let below = 10_i128.checked_pow(u32::try_from(self.part.len()).ok()?)?;
        Some((if self.negative { -digits } else { digits }, below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Number::parse(a).unwrap() == Number::parse(b).unwrap()
    }

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        for (a, b) in [
            ("29.00", "29"),
            ("1,234", "1234"),
            ("$18", "18"),
            ("¥300", "300"),
            ("7.", "7"),
            (".5", "0.50"),
            ("-0", "0"),
            ("007", "7"),
            ("50%", "50"),
            (r"50\%", "50"),
            ("+3", "3"),
            ("29。", "29"),
        ] {
            assert!(same(a, b), "{a} and {b}");
        }
        for (a, b) in [("17", "7"), ("-7", "7"), ("7.1", "7"), ("70", "7"), ("0.07", "0.7")] {
            assert!(!same(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn the_last_of_many_digits_counts() {
        let (a, b) = ("9".repeat(5_000), format!("{}8", "9".repeat(4_999)));
        assert!(same(&a, &format!("{a}.0")) && !same(&a, &b));
        // These two are one number in f64.
        assert!(!same("9007199254740993", "9007199254740992"));
    }

    #[test]
    fn fractions_are_compared_by_value() {
        for (a, b) in [
            (r"\frac{1}{2}", "1/2"),
            (r"\dfrac{2}{4}", "0.5"),
            (r"\frac12", "0.5"),
            (r"-\frac{3}{4}", "-3/4"),
            (r"\frac{-3}{4}", "-0.75"),
            ("1,000/2", "500"),
            ("1\u{2044}2", ".5"),
        ] {
            assert!(same(a, b), "{a} and {b}");
        }
        assert!(!same("1/3", "0.3333333333"));
        assert!(!same("1/2", "-1/2"));
        let long = format!("1/{}", "3".repeat(40));
        assert!(same(&long, &long) && !same(&long, "1/3"));
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", ".", "-", "$", "1.2.3", "1e5", "x", "1/0", "1/2/3", r"\frac{1}{}", "--5", "5-", "%", "12 13"] {
            assert!(Number::parse(text).is_none(), "{text:?}");
        }
    }
}
