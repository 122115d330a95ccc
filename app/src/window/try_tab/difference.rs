//! What an answer says that another does not, in words; in Japanese and Chinese, in characters.

use std::ops::Range;

/// Most pairs of words that are compared. Beyond it everything between the common beginning and end counts as different.
const MAX_PAIRS: usize = 1 << 19;

/// Stretches of `text`, in bytes, that `other` does not have in that place.
///
/// The longest common subsequence of words, with the common beginning and end taken off first. A full stop or a single word
/// between two stretches is taken in too: what is left alone there is the same by chance and only makes the marks patchy.
pub fn difference(other: &str, text: &str) -> Vec<Range<usize>> {
    let (theirs, ours) = (words(other), words(text));
    let same = |i: usize, j: usize| other[theirs[i].clone()] == text[ours[j].clone()];
    let most = theirs.len().min(ours.len());
    let head = (0..most).take_while(|&k| same(k, k)).count();
    let tail = (0..most - head).take_while(|&k| same(theirs.len() - 1 - k, ours.len() - 1 - k)).count();
    let (rows, columns) = (theirs.len() - head - tail, ours.len() - head - tail);
    let mut differs = vec![false; ours.len()];
    differs[head..head + columns].fill(true);
    if rows.saturating_mul(columns) <= MAX_PAIRS {
        for column in common(rows, columns, |row, column| same(head + row, head + column)) {
            differs[head + column] = false;
        }
    }
    smooth(&mut differs, |index| text[ours[index].clone()].chars().any(char::is_alphanumeric));
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (word, _) in ours.iter().zip(&differs).filter(|(_, differs)| **differs) {
        match stretches.last_mut() {
            Some(last) if last.end == word.start => last.end = word.end,
            _ => stretches.push(word.clone()),
        }
    }
    stretches
}

/// Takes in what stands between two stretches or behind the last and is no more than one word.
fn smooth(differs: &mut [bool], is_word: impl Fn(usize) -> bool) {
    let mut start = 0;
    while let Some(from) = (start..differs.len()).find(|&index| !differs[index]) {
        let end = (from..differs.len()).find(|&index| differs[index]).unwrap_or(differs.len());
        let words = (from..end).filter(|&index| is_word(index)).count();
        let (is_behind, is_last) = (from > 0, end == differs.len());
        // Behind the last only what is no word: the stop of its sentence.
        if is_behind && words <= usize::from(!is_last) {
            differs[from..end].fill(true);
        }
        start = end;
    }
}

/// Columns of the longest common subsequence of `rows` and `columns`.
fn common(rows: usize, columns: usize, same: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    // lengths[row][column]: of the longest common subsequence of what begins there.
    let width = columns + 1;
    let mut lengths = vec![0_u32; (rows + 1) * width];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let (right, below) = (row * width + column + 1, (row + 1) * width + column);
            lengths[row * width + column] =
                if same(row, column) { lengths[below + 1] + 1 } else { lengths[right].max(lengths[below]) };
        }
    }
    let (mut row, mut column, mut found) = (0, 0, Vec::new());
    while row < rows && column < columns {
        if same(row, column) {
            found.push(column);
            (row, column) = (row + 1, column + 1);
        } else if lengths[(row + 1) * width + column] >= lengths[row * width + column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    found
}

/// Words, runs of spaces, and single characters of scripts that put no spaces between words, or that are no letters.
fn words(text: &str) -> Vec<Range<usize>> {
    #[derive(PartialEq)]
    enum Kind {
        Word,
        Space,
        Single,
    }
    let kind = |letter: char| match letter {
        letter if letter.is_whitespace() => Kind::Space,
        letter if is_unspaced(letter) || !letter.is_alphanumeric() => Kind::Single,
        _ => Kind::Word,
    };
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut last = Kind::Single;
    for (start, letter) in text.char_indices() {
        let end = start + letter.len_utf8();
        let this = kind(letter);
        match words.last_mut() {
            Some(word) if this == last && this != Kind::Single => word.end = end,
            _ => words.push(start..end),
        }
        last = this;
    }
    words
}

/// Kana, han characters and their full-width company: Japanese and Chinese are written without spaces.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked<'a>(other: &str, text: &'a str) -> Vec<&'a str> {
        difference(other, text).into_iter().map(|stretch| &text[stretch]).collect()
    }

    #[test]
    fn equal_answers_differ_nowhere() {
        assert_eq!(marked("15+38=53", "15+38=53"), [""; 0]);
        assert_eq!(marked("", ""), [""; 0]);
    }

    #[test]
    fn another_word_is_marked_and_what_is_around_it_is_not() {
        assert_eq!(marked("The answer is 82, I think so.", "The answer is 84, I think so."), ["84"]);
        assert_eq!(marked("It is so.", "It is so. Or is it?"), [" Or is it?"]);
        assert_eq!(marked("合計は八十二です。", "合計は八十四です。"), ["四"], "Japanese by characters");
    }

    #[test]
    fn words_that_are_the_same_by_chance_do_not_break_a_mark() {
        assert_eq!(marked("82です。", "15+38=53、53+7=60、60+24=84。"), ["15+38=53、53+7=60、60+24=84。"]);
        assert_eq!(marked("a b c", "x b y"), ["x b y"]);
    }

    #[test]
    fn all_of_an_answer_is_new_where_there_was_none() {
        assert_eq!(marked("", "84"), ["84"]);
        assert_eq!(marked("84", ""), [""; 0]);
    }

    #[test]
    fn long_answers_are_compared_at_their_ends_alone() {
        let long = |middle: char| format!("begin {} end", format!("{middle} x ").repeat(3000));
        let (other, text) = (long('a'), long('b'));
        let stretches = difference(&other, &text);
        assert_eq!(stretches.len(), 1);
        assert!(text[..stretches[0].start].starts_with("begin") && text[stretches[0].end..].ends_with("end"));
    }

    #[test]
    fn a_stretch_never_cuts_a_character() {
        let text = "答え: 𠮷野家で84円。😀";
        for stretch in difference("答え: 82円です", text) {
            assert!(text.is_char_boundary(stretch.start) && text.is_char_boundary(stretch.end));
        }
    }
}
