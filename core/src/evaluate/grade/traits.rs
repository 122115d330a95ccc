//! How an answer is written, whether or not it is right: does it think, does it work in steps, in which language?

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::folded::fold;
use super::pattern::known;
use super::think::Thinking;

/// Of fewer letters than these no language is told.
const MIN_LETTERS: usize = 4;

/// From this share of kana and kanji among all letters on, a text is Japanese: terms and names in Latin letters leave it so.
const JAPANESE_FROM: f64 = 0.7;

/// Up to this share it is English: a Japanese word that is quoted leaves it so. Between the two it is mixed. A sentence has
/// three to five times as many letters in English as in Japanese, so the middle lies below one half.
const ENGLISH_UP_TO: f64 = 0.1;

/// Of this many kanji and no kana a text is not Japanese: no Japanese sentence goes without.
const CHINESE_FROM: usize = 12;

/// How an output is written.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerTraits {
    /// Whether it thinks before it answers.
    pub thinking: Thinking,
    /// Characters between the marks of its thinking; `None` without a closed block.
    pub thinking_chars: Option<usize>,
    /// Whether it shows at least one equation like `29+5=34`, its thinking included.
    pub in_steps: bool,
    /// The language it is written in, its thinking included; `None` where there are too few letters to tell.
    pub language: Option<AnswerLanguage>,
}

/// The language of an output, by its letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerLanguage {
    /// Kana and kanji are at least 70 % of the letters.
    Japanese,
    /// Latin letters are at least 90 %. A Japanese question answered so is the usual sign of a vector that is too strong.
    English,
    /// Something between.
    Mixed,
    /// Kanji without any kana.
    Chinese,
}

/// `a op b = c`, where a and b may end a longer sum, and numbers may have units of a few characters: `3 apples + 4 = 7`.
static EQUATION: LazyLock<Regex> = LazyLock::new(|| {
    known(
        r"[0-9][)\]}%]*[^\n=0-9]{0,12}?(?:[-+*/×÷·^]|\\times|\\div|\\cdot|\bx\b)[^\n=0-9]{0,12}[0-9][0-9.,]*[^\n=0-9]{0,16}=[^\n=0-9]{0,8}[0-9]",
    )
});

/// What opens and closes code and formulas, whose letters belong to no language, and whether they may run over lines; longer
/// marks before those that they begin with.
const NO_PROSE: [(&str, &str, bool); 6] = [
    ("```", "```", true),
    ("`", "`", false),
    ("$$", "$$", true),
    ("$", "$", false),
    (r"\[", r"\]", true),
    (r"\(", r"\)", true),
];

/// Commands of LaTeX and marks of reasoning models.
static COMMAND: LazyLock<Regex> = LazyLock::new(|| known(r"^(?:\\[A-Za-z]+|</?think>|<\|[a-z_]+\|>)"));

/// Calls `each` with the characters of a text outside code, formulas and commands. An opening mark that is never closed opens
/// nothing. Each kind of mark is looked for in vain at most once, so that the time grows with the length alone.
fn for_each_of_prose(text: &str, mut each: impl FnMut(char)) {
    let mut is_closed_later = NO_PROSE.map(|_| true);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut skipped = 0;
        if matches!(first, '`' | '$' | '\\') {
            for ((open, close, over_lines), is_closed_later) in NO_PROSE.iter().zip(&mut is_closed_later) {
                let Some(inner) = rest.strip_prefix(open).filter(|_| *is_closed_later) else { continue };
                let end = match over_lines {
                    true => inner.find(close),
                    false => {
                        inner.find(|c| c == '\n' || close.starts_with(c)).filter(|at| !inner[*at..].starts_with('\n'))
                    }
                };
                if let Some(at) = end {
                    skipped = open.len() + at + close.len();
                    break;
                }
                *is_closed_later &= !over_lines;
            }
        }
        if skipped == 0 && matches!(first, '\\' | '<') {
            skipped = COMMAND.find(rest).map_or(0, |command| command.end());
        }
        if skipped == 0 {
            each(first);
            skipped = first.len_utf8();
        }
        rest = &rest[skipped..];
    }
}

impl AnswerTraits {
    /// Those of an output as the model gave it.
    pub fn of(output: &str) -> Self {
        let thinking = Thinking::of(output);
        let thinking_chars = match &thinking {
            Thinking::Closed { block } => Some(output[block.clone()].trim().chars().count()),
            _ => None,
        };
        Self {
            thinking,
            thinking_chars,
            in_steps: EQUATION.is_match(&fold(output)),
            language: AnswerLanguage::of(output),
        }
    }
}

impl AnswerLanguage {
    /// The language of a text by the share of kana and kanji among its kana, kanji and Latin letters. Digits, code and LaTeX
    /// do not count.
    pub fn of(text: &str) -> Option<Self> {
        let (mut kana, mut kanji, mut latin) = (0_usize, 0_usize, 0_usize);
        for_each_of_prose(text, |character| match character {
            '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}' | '\u{ff66}'..='\u{ff9d}' => kana += 1,
            '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '々' => kanji += 1,
            'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{24f}' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => latin += 1,
            _ => {}
        });
        let letters = kana + kanji + latin;
        if letters < MIN_LETTERS {
            return None;
        }
        let share = (kana + kanji) as f64 / letters as f64;
        Some(match share {
            _ if kana == 0 && kanji >= CHINESE_FROM && kanji > latin => Self::Chinese,
            share if share >= JAPANESE_FROM => Self::Japanese,
            share if share <= ENGLISH_UP_TO => Self::English,
            _ => Self::Mixed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_steps_shows_an_equation() {
        for text in [
            "29+5=34, 34+17=51, 51+11=62",
            "２９＋５＝３４",
            "3 × 4 = 12",
            r"$3 \times 4 = 12$",
            "16 - 3 - 4 = 9 eggs",
            "48/2 = <<48/2=24>>24",
            "(3 + 4) * 2 = 14",
            "$12 + $30 = $42",
            "3個 + 4個 = 7個",
        ] {
            assert!(AnswerTraits::of(text).in_steps, "{text}");
        }
        for text in ["", "96", "x = 5", "The answer is 29.", "a = b", "5 = 5", "答えは96です。", "3-4", "2020-01-02"]
        {
            assert!(!AnswerTraits::of(text).in_steps, "{text}");
        }
    }

    #[test]
    fn the_language_is_told_by_letters_outside_formulas_and_code() {
        let of = AnswerLanguage::of;
        assert_eq!(of("29と5を足すと34になります。"), Some(AnswerLanguage::Japanese));
        assert_eq!(of("First, add 29 and 5."), Some(AnswerLanguage::English));
        assert_eq!(of(r"三角形ABCの面積は $\frac{1}{2} absinC$ です。"), Some(AnswerLanguage::Japanese));
        assert_eq!(of("まず足します。Then we multiply by two."), Some(AnswerLanguage::Mixed));
        assert_eq!(of("The word 犬 means dog in English."), Some(AnswerLanguage::English));
        assert_eq!(of("首先我们计算两个数字的总和然后相乘"), Some(AnswerLanguage::Chinese));
        assert_eq!(of("```python\nprint('hello world')\n```\n答えです。"), Some(AnswerLanguage::Japanese));
        for none in ["", "96", "1+2=3", r"\boxed{96}", "$abcdef$", "B"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn marks_that_are_never_closed_open_nothing() {
        let prose = |text: &str| {
            let mut out = String::new();
            for_each_of_prose(text, |character| out.push(character));
            out
        };
        assert_eq!(prose(r"a \(b\) c \[d\] e $f$ g $$h$$ i `j` k"), "a  c  e  g  i  k");
        assert_eq!(prose("a ```b\nc``` d"), "a  d");
        assert_eq!(prose("a `b\nc` d $e"), "a `b\nc` d $e");
        assert_eq!(prose(r"a \(b \[c \alpha <think>d</think>"), r"a \(b \[c  d");
    }

    #[test]
    fn thinking_is_measured_in_characters() {
        let traits = AnswerTraits::of("<think>\n足すと34\n</think>\n34");
        assert_eq!(traits.thinking_chars, Some(5));
        assert_eq!(AnswerTraits::of("34").thinking_chars, None);
        assert_eq!(AnswerTraits::of("<think>34").thinking_chars, None);
    }
}
