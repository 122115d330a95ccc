//! Which of several choices an answer names: by its letter or by its text.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

use super::boxed::last_boxed;
use super::folded::fold;
use super::pattern::known;

/// Most memory that the compiled texts of one question's choices may take, in bytes; beyond it only letters count.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// What announces an answer. What follows it is the choice.
static CUE: LazyLock<Regex> =
    LazyLock::new(|| known(r"(?i)\b(?:answer|choice)(?:\s+is\b|\s*[:=])|(?:答え|正解|正答|解答|回答)(?:は|:)|答:"));
/// What may stand between an announcement and the choice, or around a choice that stands alone.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    known(r#"^(?i:\s|[*_"'`「『(\[{:$<]|\\boxed|\\text|\\mathrm|(?:option|choice|the|an?)\s+|選択肢|、)*"#)
});
/// A choice's letter at the start of a line, set off by punctuation.
static AT_LINE_START: LazyLock<Regex> = LazyLock::new(|| known(r"(?m)^[ \t*]*([A-Z])[).\]:][)\s*]"));
/// The same, in brackets or not, as in a list of the choices.
static LISTED: LazyLock<Regex> = LazyLock::new(|| known(r"(?m)^[ \t*]*[(\[]?([A-Z])[)\].:][)\s*]"));
/// A choice's letter in brackets.
static IN_BRACKETS: LazyLock<Regex> = LazyLock::new(|| known(r"\(([A-Z])\)"));

/// The choices of a question, ready to be looked for.
struct Choices {
    texts: Vec<String>,
    /// The choices in the order of their groups in the patterns: those with long texts first.
    by_length: Vec<usize>,
    /// Each text as a group of its own; at the start, and anywhere.
    patterns: Option<(Regex, Regex)>,
}

/// A choice by its position, and where in the text it is named.
type Named = (usize, Range<usize>);

/// Which choice a label means: a letter, alone or as in `(B)`, or a choice's text.
pub(super) fn index_of_label(label: &str, choices: &[String]) -> Option<usize> {
    let choices = Choices { texts: folded(choices), by_length: Vec::new(), patterns: None };
    let label = fold(label);
    let by_text = choices.texts.iter().position(|text| alike(text, label.trim()));
    by_text.or_else(|| choices.letter(label.trim_matches(|c: char| c.is_whitespace() || "().:[]".contains(c))))
}

/// The choice that a folded answer names, `None` where it names none or leaves open which.
///
/// In this order: what stands after the last "answer is", "Answer:", 答えは and the like; the last `\boxed{…}`; an answer,
/// a last or a first line that is nothing but a letter or a choice's text; the one letter that lines begin with, as in `B.`;
/// the one letter in brackets, in the last line or else anywhere; the one choice whose text occurs, likewise.
pub(super) fn find(text: &str, choices: &[String]) -> Option<Named> {
    let choices = Choices::new(choices);
    let announced = || CUE.find_iter(text).filter_map(|cue| choices.at(text, cue.end())).last();
    let boxed = || last_boxed(text).and_then(|range| choices.alone(text, range));
    let whole = trimmed(text, 0..text.len());
    let last_line = trimmed(text, text[..whole.end].rfind('\n').map_or(0, |at| at + 1)..whole.end);
    let first_line =
        trimmed(text, whole.start..text[whole.clone()].find('\n').map_or(whole.end, |at| whole.start + at));
    // A line of a list that repeats the choices answers nothing.
    let is_list = LISTED.is_match(&text[whole.clone()]) && choices.only_letter(text, whole.clone(), &LISTED).is_none();
    let is_listed = |range: &Range<usize>| is_list && LISTED.is_match(&text[range.clone()]);
    let says_something = |range: Range<usize>| (!is_listed(&range)).then_some(range);
    let (first_line, last_line) = (says_something(first_line), says_something(last_line));
    announced()
        .or_else(boxed)
        .or_else(|| choices.alone(text, whole.clone()))
        .or_else(|| choices.alone(text, last_line.clone()?))
        .or_else(|| choices.alone(text, first_line?))
        .or_else(|| choices.only_letter(text, whole.clone(), &AT_LINE_START))
        .or_else(|| choices.only_letter(text, last_line.clone()?, &IN_BRACKETS))
        .or_else(|| choices.only_letter(text, whole.clone(), &IN_BRACKETS))
        .or_else(|| choices.only_text(text, last_line?))
        .or_else(|| choices.only_text(text, whole))
}

impl Choices {
    fn new(choices: &[String]) -> Self {
        let texts = folded(choices);
        let mut by_length: Vec<usize> = (0..texts.len()).filter(|index| !texts[*index].is_empty()).collect();
        by_length.sort_by_key(|index| std::cmp::Reverse(texts[*index].len()));
        let mut pattern = String::new();
        for index in &by_length {
            let text = &texts[*index];
            // "cat" does not stand in "category", but "猫" stands in "猫です".
            let edge =
                |byte: Option<u8>| if byte.is_some_and(|b| b.is_ascii_alphanumeric()) { r"(?-u:\b)" } else { "" };
            let (before, after) = (edge(text.bytes().next()), edge(text.bytes().last()));
            let or = if pattern.is_empty() { "" } else { "|" };
            // Writing to a string does not fail.
            let _ = write!(pattern, "{or}({before}{}{after})", regex::escape(text));
        }
        let build = |pattern: &str| {
            RegexBuilder::new(pattern).case_insensitive(true).size_limit(MAX_COMPILED_BYTES).build().ok()
        };
        let patterns = match pattern.is_empty() {
            true => None,
            false => build(&format!("^(?:{pattern})")).zip(build(&pattern)),
        };
        Self { texts, by_length, patterns }
    }

    /// The choice with that letter. Where the choices stand in the question's text alone, any letter is one.
    fn letter(&self, text: &str) -> Option<usize> {
        let [byte] = text.as_bytes() else { return None };
        let index = usize::from(byte.to_ascii_uppercase().checked_sub(b'A')?);
        let count = if self.texts.is_empty() { 26 } else { self.texts.len().min(26) };
        (index < count).then_some(index)
    }

    /// The choice that is named right after `at`.
    fn at(&self, text: &str, at: usize) -> Option<Named> {
        let rest = &text[at..];
        // An article may be part of a choice, so the texts are tried with it and without.
        let plain = rest.len() - rest.trim_start().len();
        let opened = OPENING.find(rest).map_or(0, |opening| opening.end());
        let letter = || {
            // "The answer is a" opens with an article that is a letter.
            [opened, plain].into_iter().find_map(|start| {
                let named = self.letter(rest.get(start..=start)?)?;
                is_letter_alone(&rest[start..]).then_some((named, at + start..at + start + 1))
            })
        };
        [plain, opened].into_iter().find_map(|start| self.text_at(text, at + start)).or_else(letter)
    }

    fn text_at(&self, text: &str, at: usize) -> Option<Named> {
        let found = self.patterns.as_ref()?.0.captures(&text[at..])?;
        let range = at..at + found.get(0)?.end();
        (!cuts_a_number(text, &range)).then_some((self.group(&found)?, range))
    }

    fn group(&self, found: &regex::Captures<'_>) -> Option<usize> {
        self.by_length.get(found.iter().skip(1).position(|group| group.is_some())?).copied()
    }

    /// The choice that a stretch of text is, and nothing else: `B`, `(B)`, `**B**`, `B. cat`, `cat.`
    fn alone(&self, text: &str, range: Range<usize>) -> Option<Named> {
        let is_around = |c: char| c.is_whitespace() || "*_\"'`「」『』()[]{}.。:$".contains(c);
        let stretch = &text[range.clone()];
        let start = range.start + (stretch.len() - stretch.trim_start_matches(is_around).len());
        let inner = text[start..range.end].trim_end_matches(is_around);
        if let Some(index) = self.texts.iter().position(|choice| alike(choice, inner)) {
            return Some((index, start..start + inner.len()));
        }
        let letter = self.letter(inner.get(..1)?)?;
        // The rest, if any, is the text of that choice.
        let rest = inner[1..].trim_start_matches(|c: char| c.is_whitespace() || ").:]*".contains(c));
        let is_named = rest.is_empty() || self.texts.get(letter).is_some_and(|choice| alike(choice, rest));
        is_named.then_some((letter, start..start + 1))
    }

    /// The last place of the only letter that a pattern finds.
    fn only_letter(&self, text: &str, range: Range<usize>, pattern: &Regex) -> Option<Named> {
        let found = pattern.captures_iter(&text[range.clone()]).filter_map(|found| {
            let group = found.get(1)?;
            Some((self.letter(group.as_str())?, range.start + group.start()..range.start + group.end()))
        });
        only(found)
    }

    /// The last place of the only choice whose text occurs.
    fn only_text(&self, text: &str, range: Range<usize>) -> Option<Named> {
        let (_, anywhere) = self.patterns.as_ref()?;
        let found = anywhere.captures_iter(&text[range.clone()]).filter_map(|found| {
            let place = found.get(0)?.range();
            let place = range.start + place.start..range.start + place.end;
            (!cuts_a_number(text, &place)).then_some((self.group(&found)?, place))
        });
        only(found)
    }
}

/// The last of several that all name one choice.
fn only(named: impl Iterator<Item = Named>) -> Option<Named> {
    let mut only: Option<Named> = None;
    for (index, range) in named {
        if only.as_ref().is_some_and(|(other, _)| *other != index) {
            return None;
        }
        only = Some((index, range));
    }
    only
}

/// Whether the letter that a text begins with is a choice's, and not a word or the beginning of one.
fn is_letter_alone(text: &str) -> bool {
    let mut rest = text.chars();
    let letter = rest.next();
    let (next, after) = (rest.next(), rest.next());
    match next {
        None => true,
        Some(next) if next.is_ascii_alphanumeric() || next == '\'' || next == '_' => false,
        // "is a cat", "is I think" name no choice; "is B because" does.
        Some(' ') => match letter {
            Some('I') => false,
            Some(letter) if letter.is_ascii_lowercase() => after.is_none_or(|after| !after.is_alphanumeric()),
            _ => true,
        },
        Some(_) => true,
    }
}

/// Whether a stretch of text ends or begins within a number: 3 does not stand in 3.7, in 13 or in −3.
fn cuts_a_number(text: &str, range: &Range<usize>) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let is_mark = |byte: Option<&u8>| matches!(byte, Some(b'.' | b','));
    let stretch = &text.as_bytes()[range.clone()];
    let (before, after) = (&text.as_bytes()[..range.start], &text.as_bytes()[range.end..]);
    let goes_on = is_digit(after.first()) || is_mark(after.first()) && is_digit(after.get(1));
    let began = is_digit(before.last())
        || before.last() == Some(&b'-')
        || is_mark(before.last()) && is_digit(before.len().checked_sub(2).and_then(|at| before.get(at)));
    is_digit(stretch.last()) && goes_on || is_digit(stretch.first()) && began
}

fn folded(choices: &[String]) -> Vec<String> {
    choices.iter().map(|choice| fold(choice).trim().to_owned()).collect()
}

/// Whether two texts are the same but for the case of letters.
fn alike(a: &str, b: &str) -> bool {
    !a.is_empty() && a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let stretch = &text[range.clone()];
    let start = range.start + (stretch.len() - stretch.trim_start().len());
    start..start + stretch.trim().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pets() -> Vec<String> {
        ["dog", "cat", "red fox", "fox", "猫"].map(str::to_owned).to_vec()
    }

    fn letter(text: &str) -> Option<char> {
        find(&fold(text), &pets()).map(|(index, _)| char::from(b'A' + u8::try_from(index).unwrap()))
    }

    #[test]
    fn a_choice_is_named_by_its_letter() {
        for text in [
            "B",
            "b",
            "(B)",
            "B.",
            "B)",
            "**B**",
            "B. cat",
            "(B) cat",
            "The answer is B.",
            "the answer is (B).",
            "Answer: B",
            "The correct answer is option B because",
            "The answer is b.",
            "答えはBです。",
            "正解は「B」です。",
            "答え:Ｂ",
            "（Ｂ）",
            r"so $\boxed{B}$",
            r"\boxed{\text{(B)}}",
            "The answer is: **B**",
            "A is wrong.\n(B)",
            "Dogs bark.\nB. cats do not",
            "It must be (B), as I said.",
            "A. dog\nB. cat\n\nB",
            "B\n\nQuestion: another one",
        ] {
            assert_eq!(letter(text), Some('B'), "{text}");
        }
    }

    #[test]
    fn a_choice_is_named_by_its_text() {
        for (text, expected) in [
            ("cat", 'B'),
            ("The answer is Cat.", 'B'),
            ("The answer is a cat", 'B'),
            ("答えは猫です。", 'E'),
            ("I think it is the cat", 'B'),
            ("red fox", 'C'),
            ("It is the red fox.", 'C'),
            ("It is the fox.", 'D'),
            ("dog or cat?\nIt is the cat.", 'B'),
            ("The answer is the fox", 'D'),
        ] {
            assert_eq!(letter(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_choice_that_is_a_number_does_not_stand_in_another_number() {
        let numbers = ["3", "3.5", "-3", "1,300"].map(str::to_owned);
        let named = |text: &str| find(text, &numbers).map(|(index, _)| index);
        for (text, expected) in
            [("3", 0), ("The answer is 3.", 0), ("It is 3.5, I think", 1), ("so -3", 2), ("all 1,300 of them", 3)]
        {
            assert_eq!(named(text), Some(expected), "{text}");
        }
        for text in ["The answer is 3.7", "It is 13", "about 2.3", "3,000 of them", "300"] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_announcement_counts() {
        assert_eq!(letter("The answer is A. No: the answer is C."), Some('C'));
        assert_eq!(letter("The answer is A. The answer is unclear."), Some('A'));
    }

    #[test]
    fn what_names_none_or_several_is_no_answer() {
        for text in [
            "",
            "  ",
            "dog and cat",
            "A. dog\nB. cat\nC. red fox",
            "(A) dog\n(B) cat",
            "(A) or (B)",
            "category",
            "The answer is Z.",
            "The answer is a mystery",
            "Because I like them",
            "1",
            "2.",
        ] {
            assert_eq!(letter(text), None, "{text}");
        }
    }

    #[test]
    fn a_label_is_a_letter_or_a_text() {
        for label in ["B", "b", "(B)", "cat", " Cat ", "Ｂ"] {
            assert_eq!(index_of_label(label, &pets()), Some(1), "{label}");
        }
        for label in ["", "F", "cow", "1"] {
            assert_eq!(index_of_label(label, &pets()), None, "{label}");
        }
        assert_eq!(index_of_label("(K)", &[]), Some(10));
    }

    #[test]
    fn choices_within_the_question_are_named_by_letter() {
        assert_eq!(find("So the answer is (F).", &[]).map(|(index, _)| index), Some(5));
        assert_eq!(find("The answer is I think unknown.", &[]), None);
    }
}
