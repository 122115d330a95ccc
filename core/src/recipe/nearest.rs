//! What somebody may have meant.

/// `; did you mean `density`?` for `densty`, or nothing where no known name is near.
///
/// Near by Damerau and Levenshtein's distance: a third of the word's letters may be wrong, swapped or missing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // The distance takes time in the product of both lengths, and no name is that long.
    if word.chars().count() > 64 {
        return String::new();
    }
    let lower = word.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, name);
    let nearest = known.into_iter().map(|name| (distance(name), name)).min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, name)) if distance <= (word.chars().count().max(3)).div_ceil(3) => {
            format!("; did you mean `{name}`?")
        }
        _ => String::new(),
    }
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
        for word in ["banana", "x", &"w".repeat(10_000)] {
            assert_eq!(did_you_mean(word, known), "");
        }
    }
}
