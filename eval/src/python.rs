//! The few Python string rules that lm-eval's prompts depend on and that differ from Rust's.

/// `str.isspace` of one character: Unicode white space and the four ASCII separators 0x1c to 0x1f.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.rstrip()`.
pub(crate) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `len(re.split(r"\s+", text))`: a run of blanks at either end adds an empty word.
pub(crate) fn count_words(text: &str) -> u64 {
    let mut words = 1;
    let mut in_space = false;
    for c in text.chars() {
        let space = is_space(c);
        words += u64::from(space && !in_space);
        in_space = space;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_between_runs_of_blanks() {
        // Values of Python 3.11's len(re.split(r"\s+", text)).
        for (text, words) in [
            ("", 1),
            (" ", 2),
            ("a", 1),
            ("a b", 2),
            (" a  b\n", 4),
            ("a\u{1c}b\u{a0}c\u{2003}\nd", 4),
            ("a\u{200b}b", 1),
        ] {
            assert_eq!(count_words(text), words, "{text:?}");
        }
        assert_eq!(rstrip("a b \u{1f}\n"), "a b");
    }
}
