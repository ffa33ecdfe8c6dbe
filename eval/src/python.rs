//! The few Python string rules that lm-eval's prompts depend on and that differ from Rust's.

/// `str.isspace` of one character: Unicode white space and the four ASCII separators 0x1c to 0x1f.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.rstrip()`.
pub(crate) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.lstrip()`.
pub(crate) fn lstrip(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// `str.capitalize()`: the first character in title case, **the rest in lower case**.
pub(crate) fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    // The whole is lowered, so that a final sigma sees the first character.
    let lowered = text.to_lowercase();
    let of_first: usize = first.to_lowercase().map(char::len_utf8).sum();
    title(first) + &lowered[of_first..]
}

/// `str.title()` of one character, which the standard library of Rust lacks.
fn title(c: char) -> String {
    let upper = || c.to_uppercase();
    match c {
        // In title case already: Greek with iota beside. Georgian has capitals, but no sentence begins with one.
        '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}' | '\u{10d0}'..='\u{10ff}' => c.into(),
        // Digraphs: DŽ, Dž, dž and their like stand in threes, the title case in the middle.
        'Ǆ'..='ǆ' => 'ǅ'.into(),
        'Ǉ'..='ǉ' => 'ǈ'.into(),
        'Ǌ'..='ǌ' => 'ǋ'.into(),
        'Ǳ'..='ǳ' => 'ǲ'.into(),
        'ŉ' => upper().collect(),
        // Greek with iota below, which title case keeps there: letters of their own ...
        '\u{1f80}'..='\u{1faf}' => char::from_u32(c as u32 | 8).map_or_else(String::new, String::from),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => {
            char::from_u32(c as u32 + 9).map_or_else(String::new, String::from)
        }
        // ... or a mark.
        '\u{1fb2}' | '\u{1fb4}' | '\u{1fb7}' | '\u{1fc2}' | '\u{1fc4}' | '\u{1fc7}' | '\u{1ff2}'
        | '\u{1ff4}' | '\u{1ff7}' => upper().map(|u| if u == 'Ι' { '\u{345}' } else { u }).collect(),
        // Ligatures and the sharp s become several letters, of which the first is a capital.
        _ => {
            let mut letters = upper();
            let first = letters.next().into_iter();
            first.chain(letters.flat_map(char::to_lowercase)).collect()
        }
    }
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
        assert_eq!((lstrip("\u{1c} a "), strip("\u{a0}a\u{1d}")), ("a ", "a"));
    }

    #[test]
    fn sentences_begin_with_a_capital() {
        // Values of Python 3.11's capitalize().
        for (text, capitalized) in [
            ("", ""),
            ("he Picks UP the Box.", "He picks up the box."),
            ("2 CUPS", "2 cups"),
            ("éCOLE", "École"),
            ("ßA", "Ssa"),
            ("ﬃX", "Ffix"),
            ("ǆA", "ǅa"),
            ("ŉA", "ʼNa"),
            ("ΑΣ", "Ας"),
            ("Σ", "Σ"),
            ("ΣΑΣ Σ", "Σας σ"),
            ("აბ", "აბ"),
            ("ᾳα", "ᾼα"),
            ("ᾀ", "ᾈ"),
            ("\u{1fb7}", "\u{391}\u{342}\u{345}"),
            ("İI", "İi"),
            ("aİ", "Ai\u{307}"),
        ] {
            assert_eq!(capitalize(text), capitalized, "{text:?}");
        }
    }
}
