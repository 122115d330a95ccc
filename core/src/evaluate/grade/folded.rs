//! A text in one form of its characters, with the way back to where each stood.

use std::iter;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};
use unicode_normalization::{IsNormalized, is_nfkc_quick};

/// A text after NFKC, so that `１２` is `12`, `（Ａ）` is `(A)` and `：` is `:`, and with U+2212 as a hyphen.
///
/// Exponents, indices and characters that NFKC would give a new digit stay as they are: `5 m²` must not become `5 m2`, whose last number is 2, and
/// `2½` not `21⁄2`. A circled digit, which stands alone, becomes a digit.
pub(super) struct Folded {
    text: String,
    /// In order; each says where a stretch of the folded text comes from.
    runs: Vec<Run>,
    original_len: usize,
}

/// A stretch of folded text, up to the next run.
struct Run {
    folded: usize,
    original: usize,
    /// Whether it stands byte by byte as in the original. Else all of it comes from all of the original's stretch.
    verbatim: bool,
}

impl Folded {
    /// Folds a text. Time and memory grow with its length alone.
    pub(super) fn new(original: &str) -> Self {
        let mut folded =
            Self { text: String::with_capacity(original.len()), runs: Vec::new(), original_len: original.len() };
        let mut rest = original;
        while !rest.is_empty() {
            let at = original.len() - rest.len();
            let segment = match rest.bytes().position(|byte| !byte.is_ascii()) {
                None => rest,
                // The last of the plain characters may carry an accent that follows it.
                Some(plain) if plain > 1 => &rest[..plain - 1],
                Some(_) => first_segment(rest),
            };
            folded.push(at, segment);
            rest = &rest[segment.len()..];
        }
        folded
    }

    fn push(&mut self, original: usize, segment: &str) {
        let start = self.text.len();
        match segment {
            plain if plain.is_ascii() => self.text.push_str(plain),
            "\u{2212}" => self.text.push('-'),
            kept if kept.chars().any(is_kept) => self.text.push_str(kept),
            other => self.text.extend(other.nfkc()),
        }
        let verbatim = self.text[start..] == *segment;
        let goes_on = verbatim && self.runs.last().is_some_and(|last| last.verbatim);
        if !goes_on {
            self.runs.push(Run { folded: start, original, verbatim });
        }
    }

    /// The folded text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the original that a range of the folded text comes from: the smallest range of whole characters.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        let start = self.run_at(range.start).map_or(self.original_len, |(run, _)| match run.verbatim {
            true => run.original + (range.start - run.folded),
            false => run.original,
        });
        if range.is_empty() {
            return start..start;
        }
        let end = self.run_at(range.end - 1).map_or(self.original_len, |(run, next)| match run.verbatim {
            true => run.original + (range.end - run.folded),
            false => next,
        });
        start..end
    }

    /// The run that a byte of the folded text lies in, and where the next one begins in the original.
    fn run_at(&self, at: usize) -> Option<(&Run, usize)> {
        if at >= self.text.len() {
            return None;
        }
        let after = self.runs.partition_point(|run| run.folded <= at);
        let run = self.runs.get(after.checked_sub(1)?)?;
        Some((run, self.runs.get(after).map_or(self.original_len, |next| next.original)))
    }
}

/// A text folded, where nothing needs the way back.
pub(super) fn fold(text: &str) -> String {
    Folded::new(text).text
}

/// The first character with all that may combine with it.
fn first_segment(text: &str) -> &str {
    let end = text.char_indices().skip(1).find(|(_, next)| stands_alone(*next)).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Whether nothing before a character can change what becomes of it.
fn stands_alone(character: char) -> bool {
    let mut first = None;
    decompose_compatible(character, |part| {
        first.get_or_insert(part);
    });
    let first = first.unwrap_or(character);
    canonical_combining_class(first) == 0 && is_nfkc_quick(iter::once(first)) != IsNormalized::Maybe
}

/// Whether NFKC would put a digit or a sign where a reader sees an exponent, an index, a fraction or a unit.
fn is_kept(character: char) -> bool {
    if character.is_ascii() {
        return false;
    }
    let is_raised = matches!(character, '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{2070}'..='\u{209f}');
    let (mut count, mut digits) = (0, 0);
    decompose_compatible(character, |part| {
        count += 1;
        digits += usize::from(part.is_ascii_digit());
    });
    is_raised || digits > 0 && count > 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn original_of<'a>(text: &'a str, needle: &str) -> &'a str {
        let folded = Folded::new(text);
        let at = folded.text().find(needle).unwrap();
        &text[folded.original(at..at + needle.len())]
    }

    #[test]
    fn full_width_characters_become_plain_ones_and_are_found_again() {
        let text = "答えは１，２３４です。（Ａ）";
        assert_eq!(fold(text), "答えは1,234です。(A)");
        assert_eq!(original_of(text, "1,234"), "１，２３４");
        assert_eq!(original_of(text, "34で"), "３４で");
        assert_eq!(original_of(text, "(A)"), "（Ａ）");
        assert_eq!(original_of("abc １ def", "c 1 d"), "c １ d");
    }

    #[test]
    fn half_width_kana_combine_with_their_marks() {
        assert_eq!(fold("ｶﾞ"), "ガ");
        assert_eq!(original_of("xｶﾞy", "ガ"), "ｶﾞ");
        assert_eq!(original_of("e\u{301}5", "5"), "5");
        assert_eq!(original_of("e\u{301}5", "é"), "e\u{301}");
    }

    #[test]
    fn one_character_that_becomes_several_is_found_whole() {
        assert_eq!(fold("㈱7"), "(株)7");
        assert_eq!(original_of("㈱7", "株"), "㈱");
        assert_eq!(original_of("㈱7", "7"), "7");
    }

    #[test]
    fn no_digit_appears_that_a_reader_would_not_see_as_one() {
        for text in ["5 m²", "2½", "x₁", "5㎡", "10⁻³"] {
            assert_eq!(fold(text), text);
        }
        assert_eq!(fold("①"), "1");
        assert_eq!(fold("\u{2212}5"), "-5");
        assert_eq!(fold("－５"), "-5");
    }

    #[test]
    fn an_empty_range_stays_empty() {
        assert_eq!(Folded::new("").original(0..0), 0..0);
        assert_eq!(Folded::new("１２").original(1..1), 3..3);
        assert_eq!(Folded::new("１２").original(2..2), 6..6);
    }

    proptest! {
        #[test]
        fn ranges_are_those_of_whole_characters_and_texts_without_exceptions_are_nfkc(text in "\\PC*", from in 0_usize..50, count in 0_usize..50) {
            let folded = Folded::new(&text);
            let ends: Vec<usize> = folded.text().char_indices().map(|(at, _)| at).chain([folded.text().len()]).collect();
            let start = ends[from.min(ends.len() - 1)];
            let end = ends[(from + count).min(ends.len() - 1)];
            let original = folded.original(start..end);
            prop_assert!(text.get(original.clone()).is_some(), "{original:?} of {text:?}");
            prop_assert!(fold(&text[original]).contains(&folded.text()[start..end]));
            if !text.chars().any(|character| is_kept(character) || character == '\u{2212}') {
                prop_assert_eq!(folded.text(), text.nfkc().collect::<String>());
            }
        }
    }
}
