//! What somebody may have meant.

/// `; did you mean `density`?` for `densty`, or nothing where no known name is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The known name that a word may stand for.
///
/// Near by Damerau and Levenshtein's distance: a third of the word's letters may be wrong, swapped or missing. Where none is, a
/// name that the word shortens, as `params` does `parameters`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time in the product of both lengths, and no name is that long.
    if word.chars().count() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let known: Vec<&str> = known.into_iter().collect();
    let distances = known.iter().map(|name| (strsim::damerau_levenshtein(&lower, name), *name));
    match distances.min_by_key(|(distance, _)| *distance) {
        Some((distance, name)) if distance <= (word.chars().count().max(3)).div_ceil(3) => Some(name),
        _ => known.into_iter().find(|name| shortens(&lower, name)),
    }
}

/// Whether a word is a name with letters left out, from the same letter on.
fn shortens(word: &str, name: &str) -> bool {
    let mut letters = name.chars();
    word.chars().count() >= 3
        && name.chars().next() == word.chars().next()
        && word.chars().all(|letter| letters.any(|other| other == letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_none() {
        let known = ["density", "gamma", "weight", "dtype"];
        for (word, meant) in [("densty", "density"), ("wieght", "weight"), ("dtpye", "dtype"), ("Gamma", "gamma")] {
            assert_eq!(did_you_mean(word, known), format!("; did you mean `{meant}`?"));
        }
        assert_eq!(did_you_mean("params", ["model", "parameters"]), "; did you mean `parameters`?");
        for word in ["banana", "x", &"w".repeat(10_000)] {
            assert_eq!(did_you_mean(word, known), "");
        }
    }
}
