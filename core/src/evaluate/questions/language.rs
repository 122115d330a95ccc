//! English or Japanese?

/// The languages in which there are templates and sentences to insert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// And whatever is not Japanese.
    #[default]
    English,
    /// Told by its script.
    Japanese,
}

impl Language {
    /// Japanese where kana and kanji are at least a fifth of the letters: formulas and names in Latin letters leave it so.
    pub fn of(text: &str) -> Self {
        let letters = text.chars().filter(|letter| letter.is_alphabetic());
        let (all, japanese) = letters
            .fold((0_usize, 0), |(all, japanese), letter| (all + 1, japanese + usize::from(is_japanese(letter))));
        if japanese > 0 && japanese * 5 >= all { Self::Japanese } else { Self::English }
    }

    /// That of most of the texts; English where there is none.
    pub(super) fn of_most<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let balance: i64 = texts.map(|text| if Self::of(text) == Self::Japanese { 1 } else { -1 }).sum();
        if balance > 0 { Self::Japanese } else { Self::English }
    }
}

/// Hiragana or katakana, with their marks for length and repetition.
pub(super) fn is_kana(letter: char) -> bool {
    matches!(letter, '\u{3041}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}')
}

/// A Chinese character of the usual planes.
pub(super) fn is_kanji(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{3005}')
}

/// Kana or kanji.
pub(super) fn is_japanese(letter: char) -> bool {
    is_kana(letter) || is_kanji(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_tells_the_language() {
        assert_eq!(Language::of("問題:29と5と17の合計は?"), Language::Japanese);
        assert_eq!(Language::of(r"三角形 $\triangle ABC$ において $AB = 5$ である。"), Language::Japanese);
        assert_eq!(Language::of("How many clips did Natalia sell?"), Language::English);
        assert_eq!(Language::of("What does the Japanese word 犬 mean in English?"), Language::English);
        assert_eq!(Language::of("((-1 + 2) * 3) ="), Language::English);
        assert_eq!(Language::of_most(["3+4", "合計は", "はい"].into_iter()), Language::Japanese);
    }
}
