//! Choices: their letters, and those that stand inside a question.

/// The letter of a choice: A for 0. Past Z there is none.
pub(super) fn letter(choice: usize) -> Option<char> {
    u8::try_from(choice).ok().filter(|choice| *choice < 26).map(|choice| char::from(b'A' + choice))
}

/// The choice that a letter stands for, as `B`, `b`, `(B)`, `B.` or `B)`.
pub(super) fn choice_of(label: &str) -> Option<usize> {
    let bare = label.trim().trim_start_matches('(').trim_end_matches([')', '.', ':']);
    let mut letters = bare.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii_alphabetic() => {
            Some(usize::from(letter.to_ascii_uppercase() as u8 - b'A'))
        }
        _ => None,
    }
}

/// Where the options inside a question begin: at a line `Options:`, else at its first line that begins with `(A)`.
pub(super) fn start(question: &str) -> Option<usize> {
    let mut lettered = None;
    let mut at = 0;
    for line in question.split_inclusive('\n') {
        let bare = line.trim();
        if bare.eq_ignore_ascii_case("options:") || bare == "選択肢:" || bare == "選択肢：" {
            return Some(at);
        }
        if lettered.is_none() && at > 0 && ["(A)", "A.", "A)", "A:"].iter().any(|mark| bare.starts_with(mark)) {
            lettered = Some(at);
        }
        at += line.len();
    }
    lettered
}

/// The options inside a question as BBH writes them: lines `(A) text`, `(B) text` and so on, at least two.
pub(super) fn inside(question: &str) -> Option<Vec<String>> {
    let options = &question[start(question)?..];
    let mut found: Vec<String> = Vec::new();
    for line in options.lines() {
        let next = letter(found.len())?;
        let text = line.trim().strip_prefix('(').and_then(|rest| rest.strip_prefix(next));
        if let Some(text) = text.and_then(|rest| rest.strip_prefix(')')) {
            found.push(text.trim().to_owned());
        }
    }
    (found.len() >= 2).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_choices_are_each_others_inverse() {
        for choice in 0..26 {
            assert_eq!(choice_of(&letter(choice).unwrap().to_string()), Some(choice));
        }
        assert_eq!(letter(26), None);
        for label in ["(B)", "b", "B.", " B) ", "B"] {
            assert_eq!(choice_of(label), Some(1), "{label}");
        }
        for label in ["", "Both", "1", "()", "あ"] {
            assert_eq!(choice_of(label), None, "{label}");
        }
    }

    #[test]
    fn options_are_found_inside_a_question() {
        let question = "Which one is last?\nOptions:\n(A) The falcon\n(B) The crow\n(C) The owl";
        assert_eq!(inside(question).unwrap(), ["The falcon", "The crow", "The owl"]);
        assert_eq!(&question[start(question).unwrap()..][..8], "Options:");
        assert_eq!(inside("Is this so?\nOptions:\n- Yes\n- No"), None);
        assert_eq!(start("Compare them.\nA. one\nB. two"), Some("Compare them.\n".len()));
        assert_eq!(inside("Is (A) before (B)?"), None);
    }
}
