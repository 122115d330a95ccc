//! Numbers as they are written in a text: found, drawn anew and written back.

use std::ops::Range;

use super::rational::Rational;
use crate::evaluate::questions::draw::Draw;

/// Most numbers of a question that is changed.
const MAX_NUMBERS: usize = 200;

/// A number in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// Where it stands.
    pub(super) range: Range<usize>,
    /// What it says.
    pub(super) value: Rational,
    /// Digits after its point.
    pub(super) decimals: u32,
    /// Whether thousands have commas.
    grouped: bool,
    /// Whether it is a percentage.
    pub(super) is_percent: bool,
}

/// Bytes of the unsigned number that a text begins with: `12`, `1,200`, `3.5`, `.5`.
pub(super) fn length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    // Only groups of three after at most three digits: `3,8,5` is a list.
    while (1..=3).contains(&end) || end > 4 && bytes[end - 4] == b',' {
        if bytes.get(end) == Some(&b',') && digits(end + 1) == 3 { end += 4 } else { break }
    }
    let decimals = if bytes.get(end) == Some(&b'.') { digits(end + 1) } else { 0 };
    match (end, decimals) {
        (0, 0) => None,
        (end, 0) => Some(end),
        (end, decimals) => Some(end + 1 + decimals),
    }
}

/// The numbers of a text, or what about them cannot be told for certain.
pub(super) fn find(text: &str) -> Result<Vec<Literal>, &'static str> {
    if text.chars().any(|letter| letter.is_numeric() && !letter.is_ascii()) {
        return Err("it has numbers in other characters than 0 to 9");
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(|letter: char| letter.is_ascii_digit()).map(|start| at + start) {
        // `.5`, but not the 5 of `A.5`.
        let start = match text[..start].strip_suffix('.') {
            Some(before) if !before.ends_with(char::is_alphanumeric) => start - 1,
            _ => start,
        };
        let Some(length) = length(&text[start..]) else { break };
        let range = start..start + length;
        let (before, after) = (&text[..range.start], &text[range.end..]);
        let is_joined = |letter: char| matches!(letter, '/' | '^' | '_' | '\\');
        let ordinal = ["st", "nd", "rd", "th"].iter().any(|ending| after.starts_with(ending));
        let part_of_name = before.ends_with(|letter: char| letter.is_ascii_alphabetic() || is_joined(letter));
        let digit = |letter: char| letter.is_ascii_digit();
        let spans = after.strip_prefix(['-', '–', '~', '〜', '～', ':']).is_some_and(|rest| rest.starts_with(digit));
        let goes_on = before.strip_suffix(['.', ':']).is_some_and(|before| before.ends_with(digit));
        if ordinal || part_of_name || spans || goes_on || after.starts_with(is_joined) {
            return Err("it has numbers that are parts of fractions, times, ordinals or names");
        }
        let written = &text[range.clone()];
        let value = Rational::parse(written).ok_or("it has a number with very many digits")?;
        found.extend(Literal::at(text, range.clone(), value));
        if found.len() > MAX_NUMBERS {
            return Err("it has very many numbers");
        }
        at = range.end;
    }
    Ok(found)
}

impl Literal {
    /// The number that stands there; none for a range outside the text.
    pub(super) fn at(text: &str, range: Range<usize>, value: Rational) -> Option<Self> {
        let written = text.get(range.clone())?;
        let decimals = written.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let after = text[range.end..].trim_start();
        Some(Self {
            value,
            decimals: u32::try_from(decimals).ok()?,
            grouped: written.contains(','),
            is_percent: after.starts_with(['%', '％']) || after.starts_with("percent"),
            range,
        })
    }

    /// A number of the same scale: from half of it to its double, as round as it is, below 100 % where it is. 0 and 1 stay.
    pub(super) fn redrawn(&self, draw: &mut Draw) -> Rational {
        let Some(number) = self.value.in_steps(self.decimals).filter(|number| (2..1_000_000_000_000).contains(number))
        else {
            return self.value;
        };
        let step =
            [10_000, 1_000, 100, 10, 5].into_iter().find(|step| number % step == 0 && number / step >= 4).unwrap_or(1);
        let scale = 10_i64.saturating_pow(self.decimals);
        let most = if self.is_percent && number < 100 * scale { (2 * number).min(99 * scale) } else { 2 * number };
        let least = ((number + 1) / 2).max(2);
        let drawn = step * draw.between((least + step - 1) / step, most / step);
        Rational::new(i128::from(drawn), i128::from(scale)).unwrap_or(self.value)
    }

    /// How `value` is written in its place.
    fn written(&self, value: Rational) -> Option<String> {
        let steps = value.in_steps(self.decimals)?;
        let places = self.decimals as usize;
        let digits = format!("{:0>width$}", steps.unsigned_abs(), width = places + 1);
        let (whole, decimals) = digits.split_at(digits.len() - places);
        let mut text = String::from(if steps < 0 { "-" } else { "" });
        for (i, digit) in whole.chars().enumerate() {
            if self.grouped && i > 0 && (whole.len() - i) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        if places > 0 {
            text.push('.');
            text.push_str(decimals);
        }
        Some(text)
    }
}

/// The text with other numbers in the places of its own.
pub(super) fn replaced(text: &str, literals: &[Literal], values: &[Rational]) -> Option<String> {
    let mut changed = String::new();
    let mut at = 0;
    for (literal, value) in literals.iter().zip(values) {
        changed.push_str(&text[at..literal.range.start]);
        changed.push_str(&literal.written(*value)?);
        at = literal.range.end;
    }
    changed.push_str(&text[at..]);
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text).unwrap().into_iter().map(|literal| &text[literal.range]).collect()
    }

    #[test]
    fn numbers_are_found_as_they_are_written() {
        assert_eq!(
            found("She pays $1,250.50 for 3 of 1000. Then .5 more, 20%."),
            ["1,250.50", "3", "1000", ".5", "20"]
        );
        assert_eq!(found("sum of 3, 8,5 and 1,2345?"), ["3", "8", "5", "1", "2345"]);
        assert_eq!(found("29と5の合計は?"), ["29", "5"]);
        assert!(find("a 5-year-old").is_ok());
        for text in ["1/2 of it", "at 5:30", "the 3rd", "A4 paper", "3-4 of them", "２９と５", "x_1", "½ of 3"] {
            assert!(find(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_drawn_anew_are_of_the_same_scale_and_as_round() {
        let mut draw = Draw::new(3, "test", "a");
        for (text, least, most, step) in [
            ("48", 24, 96, 1),
            ("600", 300, 1200, 100),
            ("1", 1, 1, 1),
            ("60%", 30, 99, 10),
            ("3", 2, 6, 1),
            ("80,000", 40_000, 160_000, 10_000),
        ] {
            let literal = &find(text).unwrap()[0];
            for _ in 0..100 {
                let value = literal.redrawn(&mut draw).in_steps(0).unwrap();
                assert!((least..=most).contains(&value) && value % step == 0, "{text}: {value}");
            }
        }
    }

    #[test]
    fn new_numbers_are_written_like_the_old() {
        let text = "$1,250.50 and 3";
        let values = [Rational::parse("12345.6").unwrap(), Rational::whole(-7)];
        assert_eq!(replaced(text, &find(text).unwrap(), &values).unwrap(), "$12,345.60 and -7");
        assert_eq!(replaced("3", &find("3").unwrap(), &[Rational::parse("0.5").unwrap()]), None);
    }
}
