//! Slips of the fingers in the words of a question.

use super::sentences::Sentences;
use crate::evaluate::questions::draw::Draw;
use crate::evaluate::questions::language::{is_japanese, is_kanji};

/// Words that are numbers, or change one.
const NUMBER_WORDS: &str = " zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
     sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand \
     thousands million billion half halves third thirds quarter quarters fourth fifth sixth seventh eighth ninth tenth \
     twice thrice double triple dozen dozens percent ";

/// Kanji that are numbers, or change one.
const NUMBER_KANJI: &str = "〇一二三四五六七八九十百千万億兆半倍割分厘和差積商";

/// Letters around a word that are looked at, and the longest formula.
const NEAR: usize = 64;
const LONGEST_FORMULA: usize = 1024;

/// Shortest word that a slip is made in, in letters; its first letter stays.
const SHORTEST: usize = 3;

/// The question with slips at that share of the letters of its words, at least one; none where it has no word for one.
pub(super) fn add(question: &str, rate: f64, draw: &mut Draw) -> Option<String> {
    let parts = Sentences::of(question);
    let end = question.len() - parts.tail.len();
    let letters: Vec<char> = question[parts.lead.len()..end].chars().collect();
    let open = open_to_slips(&letters);
    let places: Vec<usize> = (0..letters.len()).filter(|at| open[*at]).collect();
    let mut slips: Vec<usize> = places.iter().copied().filter(|_| draw.uniform() < rate).collect();
    if slips.is_empty() {
        slips.push(*places.get(draw.below(places.len()))?);
    }
    let mut slips = slips.into_iter().peekable();
    let mut noisy = parts.lead.to_owned();
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        at += 1;
        while slips.next_if(|slip| *slip + 1 < at).is_some() {}
        if slips.next_if_eq(&(at - 1)).is_none() {
            noisy.push(letter);
            continue;
        }
        let next = letters.get(at).copied().filter(|next| open[at] && *next != letter);
        match (draw.below(3), next) {
            (0, Some(next)) => {
                noisy.push(next);
                noisy.push(letter);
                at += 1;
            }
            // A kanji left out would take the meaning with it.
            (1, _) if !is_kanji(letter) => {}
            _ => noisy.extend([letter, letter]),
        }
    }
    noisy.push_str(parts.tail);
    Some(noisy)
}

/// Which letters a slip may be made at: those of words after their first, outside formulas and numbers.
fn open_to_slips(letters: &[char]) -> Vec<bool> {
    let mut open = vec![false; letters.len()];
    let in_formula = formulas(letters);
    let mut at = 0;
    while at < letters.len() {
        let class = Class::of(letters[at]);
        let end = at + letters[at..].iter().take_while(|letter| Class::of(**letter) == class).count();
        let is_word = match class {
            Class::Japanese => true,
            Class::Latin => !is_technical(letters, at, end) && !is_number_word(&letters[at..end]),
            Class::Other => false,
        };
        if is_word && end - at >= SHORTEST && !in_formula[at] {
            open[at + 1..end].fill(true);
        }
        at = end;
    }
    open
}

/// Kinds of characters that words are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Japanese,
    Latin,
    Other,
}

impl Class {
    fn of(letter: char) -> Self {
        if is_japanese(letter) && !NUMBER_KANJI.contains(letter) {
            Self::Japanese
        } else if letter.is_alphabetic() && !is_japanese(letter) {
            Self::Latin
        } else {
            Self::Other
        }
    }
}

fn is_number_word(word: &[char]) -> bool {
    let word: String = word.iter().flat_map(|letter| letter.to_lowercase()).collect();
    NUMBER_WORDS.contains(&format!(" {word} "))
}

/// Whether a word is joined to a digit or to a sign of formulas, as `km2`, `x_max` and `\frac` are.
fn is_technical(letters: &[char], start: usize, end: usize) -> bool {
    let joined = |letter: &&char| !letter.is_whitespace() && !is_japanese(**letter) && !"、。「」・".contains(**letter);
    let before = letters[..start].iter().rev().take(NEAR).take_while(joined);
    let after = letters[end..].iter().take(NEAR).take_while(joined);
    before.chain(after).any(|letter| letter.is_numeric() || r"\$^_=<>+*/{}|~#@&%".contains(*letter))
}

/// What lies between dollar signs, `\(` and `\)`, `\[` and `\]`, or backquotes.
fn formulas(letters: &[char]) -> Vec<bool> {
    let mut inside = vec![false; letters.len()];
    let mut at = 0;
    while at < letters.len() {
        match end_of_formula(letters, at) {
            Some(end) => {
                inside[at..end].fill(true);
                at = end;
            }
            None => at += 1,
        }
    }
    inside
}

/// Where the formula that begins at `at` ends, if one does.
fn end_of_formula(letters: &[char], at: usize) -> Option<usize> {
    let rest = &letters[at + 1..letters.len().min(at + LONGEST_FORMULA)];
    let end = match letters[at] {
        '`' => rest.iter().position(|letter| *letter == '`')? + 1,
        '\\' => {
            let close = match rest.first()? {
                '(' => ')',
                '[' => ']',
                _ => return None,
            };
            rest.windows(2).position(|pair| pair == ['\\', close])? + 2
        }
        // As pandoc tells formulas from prices: no space inside the signs, and no digit after the second.
        '$' if rest.first().is_some_and(|next| !next.is_whitespace()) => {
            let closes = |i: &usize| {
                rest[*i] == '$' && !rest[i - 1].is_whitespace() && !rest.get(i + 1).is_some_and(char::is_ascii_digit)
            };
            (1..rest.len()).find(closes)? + 1
        }
        _ => return None,
    };
    Some(at + 1 + end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noisy(text: &str, rate: f64) -> Option<String> {
        add(text, rate, &mut Draw::new(5, "test", "a"))
    }

    /// What of a text may not change.
    fn without_words(text: &str) -> String {
        text.chars().filter(|letter| !letter.is_alphabetic()).collect()
    }

    #[test]
    fn slips_are_made_in_words_alone() {
        let text = "Natalia sold clips to forty-eight of her friends for $48.50 each, that is 12km and $x + y_{max} = 3$, \\(ab cd\\) or x_max.";
        let other = noisy(text, 0.5).unwrap();
        assert_ne!(other, text);
        assert_eq!(without_words(&other), without_words(text));
        for kept in ["forty-eight", "$48.50", "12km", "$x + y_{max} = 3$", "\\(ab cd\\)", "x_max.", "N"] {
            assert!(other.contains(kept), "{kept} is not in {other}");
        }
    }

    #[test]
    fn the_rate_is_a_share_of_letters_and_one_slip_is_the_least() {
        let text = "friend ".repeat(400);
        let changed =
            |rate| noisy(&text, rate).unwrap().split(' ').filter(|word| !matches!(*word, "friend" | "")).count();
        // Five of six letters are open: at rate 0.02 about a tenth of the words.
        assert!((20..60).contains(&changed(0.02)), "{}", changed(0.02));
        assert!(changed(1.0) > 390);
        assert_ne!(noisy("friend of 3", 1e-9).unwrap(), "friend of 3");
        assert_eq!(noisy("3 + 4 = ?", 0.5), None);
        assert_eq!(noisy("two of 12 or so", 1.0), None);
    }

    #[test]
    fn japanese_words_get_slips_too_and_their_numbers_none() {
        let text = "問題:りんごが三百二十個とみかんが29個あります。合計はいくつですか?";
        let other = noisy(text, 1.0).unwrap();
        assert!(other.starts_with("問題:り") && other.contains("三百二十個") && other.contains("29個"), "{other}");
        assert_ne!(other, text);
        assert_eq!(noisy("29と5の和は?", 1.0), None);
    }

    #[test]
    fn prices_do_not_make_formulas() {
        let other = noisy("It costs $5 and afterwards another $3 remains.", 1.0).unwrap();
        assert!(!other.contains("afterwards") && other.contains("$5") && other.contains("$3"), "{other}");
    }

    #[test]
    fn options_stay_as_they_are() {
        let text = "Which animal wins?\nOptions:\n(A) falcon\n(B) crow";
        assert!(noisy(text, 1.0).unwrap().ends_with("\nOptions:\n(A) falcon\n(B) crow"));
    }

    proptest! {
        #[test]
        fn no_digit_ever_changes(text in "[a-z0-9$\\\\()` .,三あ漢è]{0,60}", rate in 0.01..1.0_f64, id in "[a-c]") {
            let other = add(&text, rate, &mut Draw::new(1, "test", &id));
            let digits = |text: &str| text.chars().filter(|letter| letter.is_numeric()).collect::<String>();
            prop_assert_eq!(digits(other.as_deref().unwrap_or(&text)), digits(&text));
            prop_assert_eq!(&other, &add(&text, rate, &mut Draw::new(1, "test", &id)));
        }
    }
}
