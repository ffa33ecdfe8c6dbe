//! Undoes the marks that data sets carry, as lm-eval's `wikitext/preprocess_wikitext.py` and `hellaswag/utils.py` do.
//!
//! ```text
//!   wikitext    " built in 1 @,@ 872 ( low tide ) . \n"     --> " built in 1,872 (low tide).\n"
//!   hellaswag   "Tie a knot [title] Take [step] a rope. "   --> "Tie a knot. Take a rope."
//! ```
//!
//! The steps and their order are part of the protocol: every reported number depends on them.

use std::sync::LazyLock;

use regex::Regex;

use crate::python;

/// Number separators and punctuation, before the brackets.
const BEFORE: [(&str, &str); 10] = [
    ("s '", "s'"),
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    (" : ", ": "),
    (" ; ", "; "),
    (" . ", ". "),
    (" ! ", "! "),
    (" ? ", "? "),
    (" , ", ", "),
];

/// Headings, blanks at line ends and the rest, after the brackets.
const AFTER: [(&str, &str); 8] = [
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" \u{b0} ", "\u{b0}"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
];

/// Bracket and quote pairs whose inner blanks go; the text between may span lines. The first pattern of the
/// original, `/' [0-9]/`, is written with slashes that Python takes literally, and is kept that way.
static BETWEEN: LazyLock<[(Regex, &str); 6]> = LazyLock::new(|| {
    // `\s` of Python includes the separators 0x1c to 0x1f.
    let pair = |open: &str, close: &str| {
        let pattern = format!(r"{open}[\s\x1c-\x1f]*([^{close}]*?)[\s\x1c-\x1f]*{close}");
        Regex::new(&pattern).expect("the patterns are constants")
    };
    [
        (Regex::new("/' [0-9]/").expect("the patterns are constants"), "/'[0-9]/"),
        (pair(r"\(", r"\)"), "(${1})"),
        (pair(r"\[", r"\]"), "[${1}]"),
        (pair(r"\{", r"\}"), "{${1}}"),
        (pair("\"", "\""), "\"${1}\""),
        (pair("'", "'"), "'${1}'"),
    ]
});

/// The page as running text.
pub fn wikitext(page: &str) -> String {
    let [contraction, rest @ ..] = &BEFORE;
    let [literal, pairs @ ..] = &*BETWEEN;
    let mut text = page.replace(contraction.0, contraction.1);
    text = literal.0.replace_all(&text, literal.1).into_owned();
    for (from, to) in rest {
        text = text.replace(from, to);
    }
    for (pattern, to) in pairs {
        text = pattern.replace_all(&text, *to).into_owned();
    }
    for (from, to) in AFTER {
        text = text.replace(from, to);
    }
    text
}

/// Section titles of WikiHow become sentences, other marks in square brackets go (within a line), and each pair of
/// blanks becomes one, once.
pub fn hellaswag(text: &str) -> String {
    static MARK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[.*?\]").expect("the pattern is a constant"));
    let text = python::strip(text).replace(" [title]", ". ");
    MARK.replace_all(&text, "").replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellaswag_as_the_original() {
        // Outputs of the original in Python 3.11.
        for (text, clean) in [
            ("", ""),
            ("Tie a knot [title] Take [step] a rope. ", "Tie a knot. Take a rope."),
            ("\u{1c}[header] How to swim [title] Breathe.", " How to swim. Breathe."),
            ("a   b    c", "a  b  c"),
            ("[a [b] c] [d\ne]", " c] [d\ne]"),
        ] {
            assert_eq!(hellaswag(text), clean, "{text:?}");
        }
    }

    #[test]
    fn every_step_of_the_original() {
        // Outputs of the original's steps in Python 3.11.
        for (page, text) in [
            (" = Light =  \n \n Built in 1 @,@ 872 .  \n", " = Light = \n\nBuilt in 1,872. \n"),
            ("the keepers ' x ' s", "the keepers'x' s"),
            ("( a \n b ) [ c ] { d } \" e \" ' f '", "(a\nb) [c] {d} \"e\" 'f'"),
            ("= = = = H = = = =", "==== H ===="),
            ("47 \u{b0} N . , it 's", "47\u{b0}N., it's"),
            ("a/' 5/b : c ; d . e ! f ? g , h @-@ i", "a/'[0-9]/b: c; d. e! f? g, h-i"),
        ] {
            assert_eq!(wikitext(page), text, "{page:?}");
        }
    }
}
