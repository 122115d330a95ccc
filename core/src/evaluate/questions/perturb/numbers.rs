//! Other numbers in a question, and the label that they lead to.

use std::sync::LazyLock;

use regex::Regex;

use super::expression::Expression;
use super::literal::{self, Literal};
use super::rational::Rational;
use super::sentences::Sentences;
use super::{Change, annotations};
use crate::evaluate::questions::draw::Draw;
use crate::evaluate::questions::set::Question;

/// Numbers are drawn so often before a question is given up.
pub(super) const ATTEMPTS: usize = 400;

/// Lists of numbers to add up, as the demo's problems have them.
#[expect(clippy::expect_used, reason = "the pattern is a constant, and a test uses it")]
static SUM: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"\d+(?:\.\d+)?";
    let pattern = format!(
        r"(?i)\bsum of {number}(?:(?:, (?:and )?| and | \+ ){number})+|{number}(?:(?:と|、|，|,|\+){number})+の(?:合計|総和|和)"
    );
    Regex::new(&pattern).expect("a valid pattern")
});

/// Changes the numbers of a question, or says why the label could not be known for certain.
pub(super) fn change(question: &Question, draw: &mut Draw) -> Result<Change, String> {
    if question.correct.is_some() {
        return Err("its choices hold numbers of their own".to_owned());
    }
    let label = label_of(&question.answer).ok_or("its label is not a number")?;
    let text = question.question.as_str();
    let steps = question.solution.as_deref().filter(|solution| solution.contains("<<"));
    let (text, label) = if let Some(steps) = steps {
        annotations::replay(text, steps, label, draw)?
    } else if let Some(list) = SUM.find(text) {
        sum(text, list.range(), label, draw)?
    } else {
        arithmetic(text, label, draw)?
    };
    let answer = label.to_decimal().ok_or("its label would have digits without end")?;
    Ok(Change { question: text, answer: Some(answer) })
}

/// A label as a number: `1,200`, `$5`, `20%`.
fn label_of(label: &str) -> Option<Rational> {
    let bare = label.trim().trim_start_matches('$').trim_end_matches(['%', '.']);
    Rational::parse(bare)
}

/// A question that asks for the sum of a list of numbers, and has no others.
fn sum(
    text: &str,
    list: std::ops::Range<usize>,
    label: Rational,
    draw: &mut Draw,
) -> Result<(String, Rational), String> {
    let literals = literal::find(text)?;
    if literals.iter().any(|literal| literal.range.start < list.start || literal.range.end > list.end) {
        return Err("it has numbers beside those of its sum".to_owned());
    }
    let add_up = |values: &[Rational]| values.iter().try_fold(Rational::whole(0), |sum, value| sum.add(*value));
    redraw(text, &literals, label, draw, add_up)
}

/// A question that is one arithmetic expression.
fn arithmetic(text: &str, label: Rational, draw: &mut Draw) -> Result<(String, Rational), String> {
    let none = "it is no sum, no arithmetic expression, and has no worked answer with <<calculations>>";
    let start = Sentences::of(text).lead.len();
    let words = ["what is ", "calculate ", "compute ", "evaluate "];
    let lead =
        words.iter().find(|word| text.get(start..start + word.len()).is_some_and(|own| own.eq_ignore_ascii_case(word)));
    let start = start + lead.map_or(0, |word| word.len());
    let body = text[start..].trim_end().trim_end_matches(['=', '?', '？', '.', ' ', 'は']);
    let expression = Expression::parse(body).filter(Expression::has_operation).ok_or(none)?;
    // Its own reading of numbers is exact where a text's is cautious.
    let literals: Vec<Literal> = expression
        .numbers
        .iter()
        .filter_map(|(range, value)| Literal::at(text, start + range.start..start + range.end, *value))
        .collect();
    redraw(text, &literals, label, draw, |values| expression.evaluate(values))
}

/// Draws numbers between the least and the greatest of a question until its result is another of the same kind.
fn redraw(
    text: &str,
    literals: &[Literal],
    label: Rational,
    draw: &mut Draw,
    result: impl Fn(&[Rational]) -> Option<Rational>,
) -> Result<(String, Rational), String> {
    let old: Vec<Rational> = literals.iter().map(|literal| literal.value).collect();
    if result(&old) != Some(label) {
        return Err("its numbers do not come to its label".to_owned());
    }
    let steps: Option<Vec<i64>> = literals.iter().map(|literal| literal.value.in_steps(0)).collect();
    let range = steps.filter(|steps| steps.iter().all(|step| *step < 1_000_000_000_000)).map(|steps| {
        let (least, most) = steps.iter().fold((i64::MAX, 0), |(least, most), step| (least.min(*step), most.max(*step)));
        let (least, most) = (least.max(1), most.max(1));
        // Numbers that are all alike leave nothing between them.
        if most - least < 4 { ((least / 2).max(1), 2 * most + 2) } else { (least, most) }
    });
    for _ in 0..ATTEMPTS {
        let new: Vec<Rational> = literals
            .iter()
            .map(|literal| match range {
                Some((least, most)) => Rational::whole(draw.between(least, most)),
                None => literal.redrawn(draw),
            })
            .collect();
        let Some(changed) = result(&new) else { continue };
        if changed == label || label.is_whole() && !changed.is_whole() || changed.to_decimal().is_none() {
            continue;
        }
        if let Some(text) = literal::replaced(text, literals, &new) {
            return Ok((text, changed));
        }
    }
    Err("no other numbers were found that come to a result of the same kind".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    fn question(text: &str, answer: &str, solution: Option<&str>) -> Question {
        Question {
            id: "a".to_owned(),
            question: text.to_owned(),
            answer: answer.to_owned(),
            choices: vec![],
            correct: None,
            solution: solution.map(str::to_owned),
            record: Arc::new(Value::Null),
        }
    }

    fn changed(text: &str, answer: &str, solution: Option<&str>, seed: u64) -> Result<Change, String> {
        change(&question(text, answer, solution), &mut Draw::new(seed, "test", "a"))
    }

    fn numbers(text: &str) -> Vec<i64> {
        let found = text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        found.collect()
    }

    #[test]
    fn a_sum_is_added_up_again() {
        for (text, label) in [
            ("問題:29と5と17と11と29の合計は?", "91"),
            ("Question: sum of 3, 8, 5?", "16"),
            ("What is the sum of 10, 20, and 31?", "61"),
            ("3、4、5の和を求めよ。", "12"),
        ] {
            for seed in 0..20 {
                let change = changed(text, label, None, seed).unwrap();
                let sum: i64 = numbers(&change.question).iter().sum();
                assert_eq!(change.answer.as_deref(), Some(sum.to_string().as_str()), "{}", change.question);
                assert_ne!(change.answer.as_deref(), Some(label));
                assert_eq!(numbers(&change.question).len(), numbers(text).len());
                let range = numbers(text).into_iter().min().unwrap()..=numbers(text).into_iter().max().unwrap();
                // Numbers that are all but alike leave their range.
                assert!(label == "12" || numbers(&change.question).iter().all(|number| range.contains(number)));
            }
        }
    }

    #[test]
    fn an_expression_is_worked_out_again() {
        let text = "((-1 + 2 + 9 * 5) - (-2 + -4 + -4 * -7)) =";
        for seed in 0..20 {
            let change = changed(text, "24", None, seed).unwrap();
            let expression = Expression::parse(change.question.trim_end_matches([' ', '='])).unwrap();
            assert_eq!(change.answer, expression.value().unwrap().to_decimal());
            let shape = |text: &str| text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>();
            assert_eq!(shape(&change.question), shape(text));
        }
        let change = changed("Question: What is 12 / 4 + 1?", "4", None, 1).unwrap();
        assert!(change.question.starts_with("Question: What is ") && change.question.ends_with('?'));
        assert!(change.answer.unwrap().parse::<i64>().is_ok());
    }

    const NATALIA: (&str, &str, &str) = (
        "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did Natalia sell altogether in April and May?",
        "72",
        "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72",
    );

    #[test]
    fn calculations_of_a_worked_answer_are_replayed() {
        let (text, label, worked) = NATALIA;
        for seed in 0..20 {
            let change = changed(text, label, Some(worked), seed).unwrap();
            let [april] = numbers(&change.question)[..] else { panic!("{}", change.question) };
            assert!(april % 2 == 0 && (24..=96).contains(&april) && april != 48);
            assert_eq!(change.answer, Some((april + april / 2).to_string()));
        }
        let weng = "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. How much did she earn?";
        let worked = "Weng earns 12/60 = $<<12/60=0.2>>0.2 per minute.\nWorking 50 minutes, she earned 0.2 x 50 = $<<0.2*50=10>>10.\n#### 10";
        let change = changed(weng, "10", Some(worked), 1).unwrap();
        let [wage, minutes] = numbers(&change.question)[..] else { panic!("{}", change.question) };
        assert_eq!(wage * minutes % 60, 0);
        assert_eq!(change.answer, Some((wage * minutes / 60).to_string()));
    }

    #[test]
    fn words_for_numbers_stay_beside_numbers_that_change() {
        let ducks = "Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in dollars does she make every day at the farmers' market?";
        let worked = "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\nShe makes 9 * 2 = $<<9*2=18>>18 every day at the farmer’s market.\n#### 18";
        for seed in 0..20 {
            let change = changed(ducks, "18", Some(worked), seed).unwrap();
            let [eggs, price] = numbers(&change.question)[..] else { panic!("{}", change.question) };
            assert_eq!(change.answer, Some(((eggs - 7) * price).to_string()));
        }
        // `second` says nothing about where the 2 comes from.
        let glasses = "One glass costs $5, but every second glass costs only 60% of the price. Kylar wants to buy 16 glasses. How much does he need to pay for them?";
        let worked = "<<60/100*5=3>> <<16/2=8>> <<8*3=24>> <<8*5=40>> <<24+40=64>>";
        assert!(changed(glasses, "64", Some(worked), 1).unwrap_err().contains("where the 2"));
    }

    #[test]
    fn a_percentage_is_replayed_as_the_fraction_it_was() {
        let change = changed(
            "A coat costs $1,200. It gets 20% cheaper. What does it cost?",
            "960",
            Some("It gets 1200*.2=$<<1200*.2=240>>240 cheaper. It costs 1200-240=$<<1200-240=960>>960.\n#### 960"),
            3,
        );
        let change = change.unwrap();
        let [percent] = numbers(change.question.split_once("gets").unwrap().1)[..] else {
            panic!("{}", change.question)
        };
        let price: i64 = change.question[14..].split('.').next().unwrap().replace(',', "").parse().unwrap();
        assert!((1..100).contains(&percent));
        assert_eq!(change.answer, Some((price - price * percent / 100).to_string()));
    }

    #[test]
    fn what_is_not_certain_is_not_changed() {
        let refused = |text: &str, label: &str, worked: Option<&str>, why: &str| {
            let said = changed(text, label, worked, 1).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        };
        // The 2 may be that of the apples or the half.
        refused(
            "He has 2 pears and 10 figs, and eats half of the figs. How many has he?",
            "7",
            Some("<<10/2=5>> <<5+2=7>>"),
            "either of two numbers",
        );
        refused("He has 5 pears and 5 figs. How many?", "10", Some("<<5+5=10>>"), "stands in it twice");
        refused("He has 5 pears and 8 figs. How many pears?", "15", Some("<<5*3=15>>"), "where the 3");
        refused(
            "He has 5 pears and 8 figs, three times. How many pears?",
            "15",
            Some("<<5*3=15>>"),
            "with all of its numbers",
        );
        refused("He has 5 pears and 8 figs. How many?", "14", Some("<<5+8=14>>"), "is not exactly");
        refused("He has 5 pears and 8 figs. How many?", "12", Some("<<5+8=13>>"), "not its label");
        refused("He has 5 pears and 8 figs. How many?", "40", Some("<<5+8=13>> <<5*8=40>>"), "no later calculation");
        refused("He had 8 pears and ate 9 figs. How many?", "-1", Some("<<8-9=-1>>"), "not positive");
        refused("He has 5 pears and 8 figs. How many?", "13", Some("<<5+x=13>>"), "cannot be worked out");
        refused("He has 5 pears and 8 figs. How many?", "13", Some("<<5+8>>"), "cannot be read");
        refused("He eats 1/2 of 8 figs. How many?", "4", Some("<<1/2*8=4>>"), "parts of fractions");
        refused("He has 5 pears and 8 figs. How many?", "13", None, "no sum, no arithmetic expression");
        refused("A box of 9: sum of 3, 8?", "11", None, "beside those");
        refused("sum of 3, 8?", "12", None, "do not come to its label");
        refused("3 + 8 =", "eleven", None, "not a number");
        refused("0 * 0 =", "1", None, "do not come to");
        refused("sum of 1, 1?", "two", None, "not a number");
    }

    #[test]
    fn whole_results_stay_whole() {
        for seed in 0..50 {
            let worked = "<<90/6=15>> <<15*2=30>>";
            let text = "She packs 90 eggs into boxes of 6. Each box is sold for twice its eggs. How many?";
            // The 6 is explained by no word, the 2 by `twice`.
            let change = changed(text, "30", Some(worked), seed).unwrap();
            let [eggs, boxes] = numbers(&change.question)[..] else { panic!("{}", change.question) };
            assert_eq!(eggs % boxes, 0);
            assert_eq!(change.answer, Some((eggs / boxes * 2).to_string()));
        }
    }
}
