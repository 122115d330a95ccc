//! GSM8K's calculator annotations, `<<48/2=24>>`, worked out again with other numbers (arXiv 2110.14168).
//!
//! A worked answer says how its label follows from the question only where it is certain what each of its numbers is: one of
//! the question, the result of an earlier step, or a constant that the question's words explain. Wherever two of these are
//! possible, or none, nothing is changed. What is not seen is a question whose numbers say the same thing twice and whose worked
//! answer calculates with all of them.

use std::sync::LazyLock;

use regex::Regex;

use super::expression::Expression;
use super::literal::{self, Literal};
use super::numbers::ATTEMPTS;
use super::rational::Rational;
use crate::evaluate::questions::draw::Draw;

/// Most steps of a worked answer.
const MAX_STEPS: usize = 64;

#[expect(clippy::expect_used, reason = "the pattern is a constant, and a test uses it")]
static ANNOTATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<<([^<>=]{1,200})=([^<>=]{1,60})>>").expect("a valid pattern"));

/// Constants, and the words of a question that explain them.
const CONSTANTS: [(&str, &str); 33] = [
    ("0.5", "half 半分"),
    ("0.25", "quarter"),
    ("2", "two half halves halved twice double doubled doubles couple pair both 半分 二 両方 倍"),
    ("3", "three third triple tripled triples thrice 三"),
    ("4", "four quarter fourth quadruple quadrupled 四"),
    ("5", "five fifth weekday workday 五"),
    ("6", "six sixth 六"),
    ("7", "seven seventh week weekly daily 七 週"),
    ("8", "eight eighth 八"),
    ("9", "nine ninth 九"),
    ("10", "ten tenth dime 十"),
    ("11", "eleven eleventh"),
    ("12", "twelve twelfth dozen year yearly annual annually month monthly foot feet inch inche ダース 年 月"),
    ("13", "thirteen"),
    ("14", "fourteen week"),
    ("15", "fifteen quarter"),
    ("16", "sixteen pound ounce"),
    ("20", "twenty score"),
    ("24", "day daily hour hourly dozen 日 時間"),
    ("25", "quarter"),
    ("28", "month february"),
    ("30", "thirty month monthly half 月"),
    ("31", "month"),
    ("36", "yard inch inche"),
    ("40", "forty"),
    ("50", "fifty half"),
    ("52", "week weekly year yearly 週 年"),
    ("60", "sixty hour hourly minute 時間 分"),
    ("90", "ninety"),
    ("100", "hundred percent percentage cent meter centimeter dollar 百 割 パーセント"),
    ("360", "circle degree"),
    ("365", "year yearly day daily 年 日"),
    ("1000", "thousand kilogram kilometer kg km gram meter liter ml ton 千 キロ"),
];

/// A calculation of a worked answer, and what its numbers are.
struct Step {
    expression: Expression,
    sources: Vec<Source>,
    result: Rational,
}

/// What a number of a calculation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// That number of the question.
    Question(usize),
    /// That number of the question, a percentage, as a fraction.
    Percent(usize),
    /// The result of that step.
    Result(usize),
    /// Nothing that changes.
    Constant,
}

/// Draws other numbers for a question: its text with them, and the label that they lead to.
pub(super) fn replay(
    question: &str,
    worked: &str,
    label: Rational,
    draw: &mut Draw,
) -> Result<(String, Rational), String> {
    let literals = literal::find(question)?;
    for (i, literal) in literals.iter().enumerate() {
        if literals[..i].iter().any(|other| other.value == literal.value) {
            return Err("one of its numbers stands in it twice".to_owned());
        }
    }
    let steps = steps(question, worked, &literals)?;
    check(&literals, &steps, label)?;
    for _ in 0..ATTEMPTS {
        let values: Vec<Rational> = literals.iter().map(|literal| literal.redrawn(draw)).collect();
        let Some(changed) = run(&steps, &values).filter(|changed| *changed != label) else { continue };
        let same_kind = changed.to_decimal().is_some();
        if let Some(text) = literal::replaced(question, &literals, &values).filter(|_| same_kind) {
            return Ok((text, changed));
        }
    }
    Err("no other numbers were found whose results are positive and as whole as they were".to_owned())
}

/// Reads the calculations of a worked answer and says what each number in them is.
fn steps(question: &str, worked: &str, literals: &[Literal]) -> Result<Vec<Step>, String> {
    let constants = explained(question);
    let mut steps: Vec<Step> = Vec::new();
    let mut count = 0;
    for found in ANNOTATION.captures_iter(worked) {
        count += 1;
        let expression = Expression::parse(&found[1]).ok_or_else(|| format!("`{}` cannot be worked out", &found[1]))?;
        let stated = Rational::parse(found[2].trim().trim_start_matches('$'));
        let result = expression.value().filter(|result| Some(*result) == stated);
        let result = result.ok_or_else(|| format!("`{}` is not exactly `{}`", &found[1], &found[2]))?;
        let sources = expression.numbers.iter().map(|(_, value)| source(*value, literals, &steps, &constants));
        steps.push(Step { sources: sources.collect::<Result<_, _>>()?, expression, result });
        if steps.len() > MAX_STEPS {
            return Err("its worked answer has very many steps".to_owned());
        }
    }
    if count == 0 || count != worked.matches("<<").count() {
        return Err("its worked answer has calculations that cannot be read".to_owned());
    }
    Ok(steps)
}

/// What a number is: exactly one thing, or it is not certain.
fn source(value: Rational, literals: &[Literal], steps: &[Step], constants: &[Rational]) -> Result<Source, String> {
    let shown = || value.to_decimal().unwrap_or_default();
    let as_percent = value.multiply(Rational::whole(100));
    let of_question = literals.iter().enumerate().filter_map(|(i, literal)| {
        let as_fraction = literal.is_percent && Some(literal.value) == as_percent;
        let source = if literal.value == value { Some(Source::Question(i)) } else { None };
        source.or(as_fraction.then_some(Source::Percent(i)))
    });
    let of_steps = steps.iter().enumerate().filter(|(_, step)| step.result == value).map(|(i, _)| Source::Result(i));
    let constant = constants.contains(&value).then_some(Source::Constant);
    let mut all = of_question.chain(of_steps).chain(constant);
    match (all.next(), all.next()) {
        (Some(source), None) => Ok(source),
        (None, _) => Err(format!("it is not certain where the {} of its worked answer comes from", shown())),
        (Some(_), Some(_)) => Err(format!("the {} of its worked answer may be either of two numbers", shown())),
    }
}

/// Whether the steps take in all numbers of the question and lead, each used by a later one, to the label.
fn check(literals: &[Literal], steps: &[Step], label: Rational) -> Result<(), String> {
    let uses =
        |wanted: &dyn Fn(Source) -> bool| steps.iter().flat_map(|step| &step.sources).any(|source| wanted(*source));
    let unused =
        (0..literals.len()).find(|i| !uses(&|source| source == Source::Question(*i) || source == Source::Percent(*i)));
    if unused.is_some() || literals.is_empty() {
        return Err("its worked answer does not calculate with all of its numbers".to_owned());
    }
    let Some((last, earlier)) = steps.split_last() else {
        return Err("its worked answer has no calculations".to_owned());
    };
    if (0..earlier.len()).any(|i| !uses(&|source| source == Source::Result(i))) {
        return Err("its worked answer has a result that no later calculation uses".to_owned());
    }
    if last.result != label {
        return Err("the last calculation of its worked answer is not its label".to_owned());
    }
    if steps.iter().any(|step| !step.result.is_positive()) {
        return Err("its worked answer has a result that is not positive".to_owned());
    }
    Ok(())
}

/// Works the steps out with the question's numbers: the last result, if all are positive and as whole as they were.
fn run(steps: &[Step], values: &[Rational]) -> Option<Rational> {
    let mut results: Vec<Rational> = Vec::new();
    for step in steps {
        let numbers = step.sources.iter().zip(&step.expression.numbers).map(|(source, (_, own))| match *source {
            Source::Question(i) => values.get(i).copied(),
            Source::Percent(i) => values.get(i)?.divide(Rational::whole(100)),
            Source::Result(i) => results.get(i).copied(),
            Source::Constant => Some(*own),
        });
        let result = step.expression.evaluate(&numbers.collect::<Option<Vec<_>>>()?)?;
        if !result.is_positive() || step.result.is_whole() && !result.is_whole() {
            return None;
        }
        results.push(result);
    }
    results.pop()
}

/// The constants that the words of a question explain; 1 needs no words.
fn explained(question: &str) -> Vec<Rational> {
    let lower = question.to_lowercase();
    let words: Vec<&str> =
        lower.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let has = |wanted: &str| match wanted.is_ascii() {
        true => words.iter().any(|word| *word == wanted || word.strip_suffix('s') == Some(wanted)),
        // Japanese has no spaces between words.
        false => lower.contains(wanted),
    };
    let said = CONSTANTS
        .iter()
        .filter(|(number, wanted)| wanted.split(' ').any(has) || *number == "100" && lower.contains(['%', '％']));
    said.map(|(number, _)| *number).chain(["1"]).filter_map(Rational::parse).collect()
}
