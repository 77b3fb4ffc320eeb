//! Which word may have been meant.

/// Returns the nearest of `words` that is at most two typing errors, and less than half of it, from `unknown`.
pub(in crate::cli) fn nearest<'a>(
    unknown: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |word: &str| strsim::damerau_levenshtein(word, unknown);
    let near = words
        .into_iter()
        .map(|word| (distance(word), word))
        .filter(|(distance, word)| *distance <= 2 && distance * 2 < word.len());
    near.min().map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_nearest() {
        let words = ["threshold", "keys", "key", "b"];
        for (unknown, expected) in [
            ("treshold", Some("threshold")),
            ("thresholds", Some("threshold")),
            ("kyes", Some("keys")),
            ("ke", Some("key")),
            ("a", None),
            ("limit", None),
        ] {
            assert_eq!(nearest(unknown, words), expected, "{unknown}");
        }
    }
}
