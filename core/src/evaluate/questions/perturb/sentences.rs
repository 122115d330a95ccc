//! Where the sentences of a question begin and end.

use std::sync::LazyLock;

use regex::Regex;

use crate::evaluate::questions::draw::Draw;
use crate::evaluate::questions::options;

/// What may stand before a question: `Question:`, `Q:`, `問題:`.
#[expect(clippy::expect_used, reason = "the pattern is a constant, and a test uses it")]
static LEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^\s*(?:(?:question|problem|q|問題|問|質問)\s*[:：]\s*)?").expect("a valid pattern")
});

/// Words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 19] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "no", "e.g", "i.e", "etc", "approx", "fig", "a.m", "p.m",
    "u.s", "ft",
];

/// A question taken apart; its parts in order are the question again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentences<'a> {
    /// What stands before the first sentence.
    pub(super) lead: &'a str,
    /// Each sentence with the space after it.
    pub(super) sentences: Vec<(&'a str, &'a str)>,
    /// Options to choose from, which are no sentences.
    pub(super) tail: &'a str,
}

impl<'a> Sentences<'a> {
    /// Takes a question apart. Where it is not certain that a sentence ends, it goes on.
    pub(super) fn of(text: &'a str) -> Self {
        let (body, tail) = text.split_at(options::start(text).unwrap_or(text.len()));
        let lead = LEAD.find(body).map_or(0, |lead| lead.end());
        let mut sentences = Vec::new();
        let (mut from, mut depth) = (lead, 0_usize);
        for (at, letter) in body[lead..].char_indices().map(|(at, letter)| (lead + at, letter)) {
            match letter {
                '「' | '『' | '（' | '(' | '[' | '“' => depth += 1,
                '」' | '』' | '）' | ')' | ']' | '”' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let end = at + letter.len_utf8();
            let rest = &body[end..];
            if depth > 0 || at < from || !ends_sentence(&body[from..end], rest) {
                continue;
            }
            let gap = rest.len() - rest.trim_start().len();
            sentences.push((&body[from..end], &rest[..gap]));
            from = end + gap;
        }
        if from < body.len() {
            let last = body[from..].trim_end();
            sentences.push((last, &body[from + last.len()..]));
        }
        Self { lead: &body[..lead], sentences, tail }
    }

    /// The question with its sentences in another order, the last one still last; none where there are no two different ones
    /// before it.
    pub(super) fn shuffled(&self, draw: &mut Draw) -> Option<String> {
        let texts: Vec<&str> = self.sentences.iter().map(|(text, _)| *text).collect();
        let (last, free) = texts.split_last()?;
        if free.windows(2).all(|pair| pair[0] == pair[1]) {
            return None;
        }
        let mut order = free.to_vec();
        draw.shuffle(&mut order);
        // Of sentences that are not all the same the next rotation reads differently.
        if order == free {
            order.rotate_left(1);
        }
        order.push(last);
        // Spaces stay where they are: a line break belongs to its place.
        Some(self.joined(order.into_iter().zip(self.sentences.iter().map(|(_, gap)| *gap))))
    }

    /// The question with those sentences and spaces for its own.
    pub(super) fn joined<'b>(&self, parts: impl Iterator<Item = (&'b str, &'b str)>) -> String {
        let mut text = self.lead.to_owned();
        for (sentence, gap) in parts {
            text.push_str(sentence);
            text.push_str(gap);
        }
        text.push_str(self.tail);
        text
    }
}

/// Whether a sentence ends here, before `rest`.
fn ends_sentence(sentence: &str, rest: &str) -> bool {
    // Closing quotes and brackets belong to the sentence before them.
    let inner = sentence.trim_end_matches(['"', '\'', '”', '’', '」', '』', '）', ')', ']']);
    if rest.starts_with(['"', '”', '’', '」', '』', '）', ')', ']', '。', '！', '？', '!', '?']) {
        return false;
    }
    match inner.chars().next_back() {
        Some('。' | '！' | '？') => !rest.starts_with(['と', 'っ', 'の']),
        Some(mark @ ('.' | '!' | '?')) => {
            let next = rest.trim_start().chars().next();
            let spaced = rest.is_empty() || rest.starts_with(char::is_whitespace);
            let word = inner[..inner.len() - 1].rsplit([' ', '\n', '(', '"']).next().unwrap_or_default();
            let is_initial = word.len() == 1 && word.starts_with(|letter: char| letter.is_ascii_uppercase());
            let shortened = mark == '.' && (is_initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str()));
            spaced && !shortened && !next.is_some_and(char::is_lowercase)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        Sentences::of(text).sentences.into_iter().map(|(sentence, _)| sentence).collect()
    }

    #[test]
    fn english_sentences_end_at_a_mark_before_a_space() {
        assert_eq!(
            sentences("Mr. Lee pays $3.50 (it was 4. Now less.) for tea.  \"Is it hot?\" She asks. How many?"),
            ["Mr. Lee pays $3.50 (it was 4. Now less.) for tea.", "\"Is it hot?\"", "She asks.", "How many?"]
        );
        assert_eq!(sentences("J. R. Smith has e.g. 3 cows\nand a dog").len(), 1);
    }

    #[test]
    fn japanese_sentences_end_at_a_full_stop() {
        assert_eq!(
            sentences("太郎は「行く。」と言った。花子は3個買った！合計はいくつですか？"),
            ["太郎は「行く。」と言った。", "花子は3個買った！", "合計はいくつですか？"]
        );
    }

    #[test]
    fn leads_and_options_are_no_sentences() {
        let parts = Sentences::of("問題:29と5の合計は?");
        assert_eq!((parts.lead, parts.sentences[0].0), ("問題:", "29と5の合計は?"));
        let parts = Sentences::of("Who won? Say it.\nOptions:\n(A) Ada. She ran.\n(B) Bob");
        assert_eq!((parts.sentences.len(), parts.tail), (2, "Options:\n(A) Ada. She ran.\n(B) Bob"));
        assert_eq!(Sentences::of("Question: sum of 3, 8?").lead, "Question: ");
    }

    #[test]
    fn shuffling_moves_all_but_the_last() {
        let text = "One is 1. Two is 2.\nThree is 3. How many?\nOptions:\n(A) x\n(B) y";
        for id in ["a", "b", "c", "d"] {
            let shuffled = Sentences::of(text).shuffled(&mut Draw::new(0, "test", id)).unwrap();
            assert_ne!(shuffled, text);
            assert!(shuffled.ends_with("How many?\nOptions:\n(A) x\n(B) y"), "{shuffled}");
            for sentence in ["One is 1.", "Two is 2.", "Three is 3."] {
                assert!(shuffled.contains(sentence), "{shuffled}");
            }
        }
        let two = Sentences::of("One is 1. Two is 2. How many?").shuffled(&mut Draw::new(0, "test", "a"));
        assert_eq!(two.unwrap(), "Two is 2. One is 1. How many?");
        for same in ["One is 1. How many?", "One is 1. One is 1. How many?"] {
            assert_eq!(Sentences::of(same).shuffled(&mut Draw::new(0, "test", "a")), None);
        }
    }

    #[test]
    fn a_sentence_said_twice_does_not_leave_the_question_as_it_was() {
        let text = "It rains. It rains. One is 1. How many?";
        for id in 0..32 {
            assert_ne!(Sentences::of(text).shuffled(&mut Draw::new(0, "test", &id.to_string())).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn the_parts_are_the_question_again(text in "(Q: |問題:)?([a-cA-C1.?!。？「」()\"'\n と]|Options:\n|\\(A\\) ){0,40}") {
            let parts = Sentences::of(&text);
            prop_assert_eq!(parts.joined(parts.sentences.iter().copied()), text);
        }
    }
}
