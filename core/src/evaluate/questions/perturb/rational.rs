//! Exact numbers: fractions of whole numbers, which refuse to overflow.

/// A fraction in lowest terms with a positive denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rational {
    numerator: i128,
    denominator: i128,
}

/// Digits after the point of a written number; more of them are no number of a question.
const MAX_DECIMALS: usize = 9;

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Rational {
    /// The fraction of two numbers; none with a denominator of 0.
    pub(super) fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 || numerator == i128::MIN || denominator == i128::MIN {
            return None;
        }
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()? * denominator.signum();
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    pub(super) fn whole(number: i64) -> Self {
        Self { numerator: i128::from(number), denominator: 1 }
    }

    /// `12`, `1,200`, `0.5` or `.5`, with a sign or without.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (text, sign) = match text.strip_prefix('-') {
            Some(rest) => (rest, -1),
            None => (text, 1),
        };
        let bare: String = text.chars().filter(|letter| *letter != ',').collect();
        let (whole, decimals) = bare.split_once('.').unwrap_or((&bare, ""));
        let digits = format!("{whole}{decimals}");
        if digits.is_empty() || digits.len() > 30 || decimals.len() > MAX_DECIMALS {
            return None;
        }
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let scale = 10_i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        Self::new(sign * digits.parse::<i128>().ok()?, scale)
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    pub(super) fn negated(self) -> Self {
        // No numerator is the one number without a counterpart: `new` refuses it.
        Self { numerator: -self.numerator, ..self }
    }

    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        let numerator = self.numerator.checked_mul(other.numerator)?;
        Self::new(numerator, self.denominator.checked_mul(other.denominator)?)
    }

    /// None where the divisor is 0.
    pub(super) fn divide(self, other: Self) -> Option<Self> {
        let numerator = self.numerator.checked_mul(other.denominator)?;
        Self::new(numerator, self.denominator.checked_mul(other.numerator)?)
    }

    pub(super) fn is_whole(self) -> bool {
        self.denominator == 1
    }

    pub(super) fn is_positive(self) -> bool {
        self.numerator > 0
    }

    /// The whole number of steps of 10^-`decimals` that it is.
    pub(super) fn in_steps(self, decimals: u32) -> Option<i64> {
        let scaled = self.multiply(Self::new(10_i128.checked_pow(decimals)?, 1)?)?;
        if scaled.is_whole() { i64::try_from(scaled.numerator).ok() } else { None }
    }

    /// Its digits; none where the digits after the point do not end soon.
    pub(super) fn to_decimal(self) -> Option<String> {
        let (mut scaled, mut decimals) = (self, 0);
        while !scaled.is_whole() {
            scaled = scaled.multiply(Self::whole(10))?;
            decimals += 1;
            if decimals > MAX_DECIMALS {
                return None;
            }
        }
        let digits = format!("{:0>width$}", scaled.numerator.unsigned_abs(), width = decimals + 1);
        let (whole, rest) = digits.split_at(digits.len() - decimals);
        let sign = if scaled.numerator < 0 { "-" } else { "" };
        let point = if rest.is_empty() { "" } else { "." };
        Some(format!("{sign}{whole}{point}{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Rational {
        Rational::parse(text).unwrap()
    }

    #[test]
    fn decimals_are_exact() {
        let sum = number("0.1").add(number("0.2")).unwrap();
        assert_eq!(sum, number(".3"));
        assert_eq!(sum.to_decimal().unwrap(), "0.3");
        assert_eq!(number("12").divide(number("60")).unwrap().to_decimal().unwrap(), "0.2");
        assert_eq!(number("1").divide(number("3")).unwrap().to_decimal(), None);
        assert_eq!(number("-1,234.50").to_decimal().unwrap(), "-1234.5");
        assert_eq!(number("1.25").in_steps(2), Some(125));
        assert_eq!(number("1.25").in_steps(1), None);
    }

    #[test]
    fn what_is_no_number_or_too_large_is_none() {
        for text in ["", "-", ".", "1.2.3", "1e5", "１", "1/2", &"9".repeat(31), "0.1234567890"] {
            assert_eq!(Rational::parse(text), None, "{text}");
        }
        let large = number(&"9".repeat(30));
        assert_eq!(large.multiply(large), None);
        assert_eq!(number("1").divide(number("0")), None);
    }
}
