//! Arithmetic expressions: read, and worked out again with other numbers.

use std::ops::Range;

use super::literal;
use super::rational::Rational;

/// Longest expression that is read, in bytes.
const MAX_BYTES: usize = 4096;
/// Most brackets and signs inside one another.
const MAX_DEPTH: usize = 64;

/// Numbers, `+ - * /` (also `× ÷ −`) and brackets; no names, no function calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    /// The numbers and where they stand, from left to right. A sign is not part of a number.
    pub(super) numbers: Vec<(Range<usize>, Rational)>,
    /// The steps in the order in which a stack works them out.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Number(usize),
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Expression {
    /// Reads all of `text`; none where anything in it is not arithmetic.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let mut parser = Parser { text, at: 0, expression: Self { numbers: Vec::new(), steps: Vec::new() } };
        parser.sum(0)?;
        parser.skip_spaces();
        (parser.at == text.len()).then_some(parser.expression)
    }

    /// Whether there is anything to work out.
    pub(super) fn has_operation(&self) -> bool {
        self.numbers.len() > 1
    }

    /// What it comes to with those numbers in the places of its own; none on a division by 0 or an overflow.
    pub(super) fn evaluate(&self, numbers: &[Rational]) -> Option<Rational> {
        let mut stack: Vec<Rational> = Vec::new();
        for step in &self.steps {
            let value = match step {
                Step::Number(number) => *numbers.get(*number)?,
                Step::Negate => stack.pop()?.negated(),
                operation => {
                    let (right, left) = (stack.pop()?, stack.pop()?);
                    match operation {
                        Step::Add => left.add(right)?,
                        Step::Subtract => left.add(right.negated())?,
                        Step::Multiply => left.multiply(right)?,
                        _ => left.divide(right)?,
                    }
                }
            };
            stack.push(value);
        }
        stack.pop()
    }

    /// What it comes to as it stands.
    pub(super) fn value(&self) -> Option<Rational> {
        self.evaluate(&self.numbers.iter().map(|(_, value)| *value).collect::<Vec<_>>())
    }
}

/// Reads by descent: a sum of products of signed numbers and brackets.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    expression: Expression,
}

impl Parser<'_> {
    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes the next character if it is one of those.
    fn take(&mut self, wanted: &[char]) -> Option<char> {
        self.skip_spaces();
        let next = self.text[self.at..].chars().next().filter(|next| wanted.contains(next))?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn sum(&mut self, depth: usize) -> Option<()> {
        self.product(depth)?;
        while let Some(sign) = self.take(&['+', '-', '−']) {
            self.product(depth)?;
            self.expression.steps.push(if sign == '+' { Step::Add } else { Step::Subtract });
        }
        Some(())
    }

    fn product(&mut self, depth: usize) -> Option<()> {
        self.factor(depth)?;
        while let Some(sign) = self.take(&['*', '×', '/', '÷']) {
            self.factor(depth)?;
            self.expression.steps.push(if matches!(sign, '*' | '×') { Step::Multiply } else { Step::Divide });
        }
        Some(())
    }

    fn factor(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take(&['-', '−']).is_some() {
            self.factor(depth + 1)?;
            self.expression.steps.push(Step::Negate);
            return Some(());
        }
        if self.take(&['(']).is_some() {
            self.sum(depth + 1)?;
            return self.take(&[')']).map(|_| ());
        }
        self.skip_spaces();
        let length = literal::length(&self.text[self.at..])?;
        let range = self.at..self.at + length;
        let value = Rational::parse(&self.text[range.clone()])?;
        self.at = range.end;
        self.expression.steps.push(Step::Number(self.expression.numbers.len()));
        self.expression.numbers.push((range, value));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<String> {
        Expression::parse(text)?.value()?.to_decimal()
    }

    #[test]
    fn arithmetic_is_worked_out_by_its_rules() {
        for (text, expected) in [
            ("((-1 + 2 + 9 * 5) - (-2 + -4 + -4 * -7))", "24"),
            ("48/2", "24"),
            ("10-4-3", "3"),
            ("100/10/2", "5"),
            ("2*3+4*5", "26"),
            (".5*1,200 − 1", "599"),
            ("--3", "3"),
            ("-2 * -(1 + 2) ÷ 4", "1.5"),
            ("7 × 8", "56"),
        ] {
            assert_eq!(value(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_numbers_go_in_the_places_of_its_own() {
        let expression = Expression::parse("(8 - 2) / 3").unwrap();
        let numbers = [20, 5, 5].map(Rational::whole);
        assert_eq!(expression.evaluate(&numbers).unwrap(), Rational::whole(3));
        assert_eq!(expression.evaluate(&[1, 2, 0].map(Rational::whole)), None);
        assert_eq!(expression.evaluate(&numbers[..2]), None);
    }

    #[test]
    fn what_is_not_arithmetic_is_none() {
        for text in ["", "1 +", "(1", "1)", "1 2", "x + 1", "2^3", "20%", "1 + + 2", "()", "1..2"] {
            assert_eq!(value(text), None, "{text}");
        }
        for deep in ["(", "-"] {
            assert_eq!(Expression::parse(&deep.repeat(4000)), None);
        }
        assert_eq!(Expression::parse(&"1+".repeat(4000)), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9+*/().,× -]{0,60}") {
            if let Some(expression) = Expression::parse(&text) {
                expression.value();
            }
        }
    }
}
