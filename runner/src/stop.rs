//! Texts that end a generation.

/// Finds stop strings in text that comes in pieces, and holds back what may be the beginning of one.
///
/// ```
/// use b158_runner::StopStrings;
///
/// let mut stops = StopStrings::new(["\nUser:"]);
/// assert_eq!(stops.push("Yes.\nUs"), ("Yes.".to_owned(), false));
/// assert_eq!(stops.push("er: and"), (String::new(), true));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    found: bool,
}

impl StopStrings {
    /// Looks for any of `stops`; empty ones are left out.
    pub fn new<S: Into<String>>(stops: impl IntoIterator<Item = S>) -> Self {
        let stops = stops.into_iter().map(Into::into).filter(|stop: &String| !stop.is_empty()).collect();
        Self { stops, held: String::new(), found: false }
    }

    /// The text that is certain to be before every stop string, and whether one was found. Of stop strings
    /// that end with the same piece the one that begins first counts. After it nothing comes any more.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        if self.found {
            return (String::new(), true);
        }
        let seen = self.held.len();
        self.held.push_str(piece);
        let text = self.held.as_str();
        // What was held before ends in no stop string: one that ends in it would have been found.
        let first = self.stops.iter().filter_map(|stop| {
            let mut from = seen.saturating_sub(stop.len());
            while !text.is_char_boundary(from) {
                from -= 1;
            }
            text[from..].find(stop).map(|at| from + at)
        });
        self.found = false;
        let certain = match first.min() {
            Some(start) => {
                self.found = true;
                start
            }
            None => text.len() - self.longest_beginning(text),
        };
        let rest = self.held.split_off(certain);
        let out = std::mem::replace(&mut self.held, rest);
        if self.found {
            self.held.clear();
        }
        (out, self.found)
    }

    /// What is held back when no more text comes.
    pub fn finish(self) -> String {
        self.held
    }

    /// Length of the longest end of `text` with which a stop string begins.
    fn longest_beginning(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let most = text.len().min(stop.len() - 1);
            // Where both are cut inside a character, the bytes cannot agree: one would begin with a
            // continuation byte.
            (1..=most).rev().find(|&n| text.as_bytes().ends_with(&stop.as_bytes()[..n])).unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All pieces together, and whether a stop string ended them.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut matcher = StopStrings::new(stops.iter().copied());
        let mut out = Vec::new();
        for piece in pieces {
            let (text, found) = matcher.push(piece);
            out.push(text);
            if found {
                return (out, true);
            }
        }
        out.push(matcher.finish());
        (out, false)
    }

    #[test]
    fn text_is_held_back_no_longer_than_it_must() {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(run(&[], &["a", "b"]), (strings(&["a", "b", ""]), false));
        assert_eq!(run(&[""], &["a"]), (strings(&["a", ""]), false));
        assert_eq!(run(&["end"], &["the e", "nd"]), (strings(&["the ", ""]), true));
        assert_eq!(
            run(&["end"], &["the e", "vening", " en"]),
            (strings(&["the ", "evening", " ", "en"]), false)
        );
        // The beginning of a stop string inside a beginning of it.
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), (strings(&["", "", "a", ""]), true));
        assert_eq!(run(&["xy", "x"], &["ax"]), (strings(&["a"]), true));
        // Multi-byte characters that share bytes.
        assert_eq!(run(&["éà"], &["é", "è"]), (strings(&["", "éè", ""]), false));
        assert_eq!(run(&["é"], &["\u{e8}\u{e9}"]), (strings(&["\u{e8}"]), true));
    }

    proptest! {
        /// Against the whole text: the first piece after which it contains a stop string ends it, at the
        /// earliest beginning of one.
        #[test]
        fn pieces_give_what_the_whole_text_does(
            stops in proptest::collection::vec("[abé]{0,4}|[ab€éà]{1,3}", 0..4),
            pieces in proptest::collection::vec("[abéà€]{0,5}", 0..12),
        ) {
            let mut expected = (String::new(), false);
            for piece in &pieces {
                expected.0.push_str(piece);
                let first = stops.iter().filter(|s| !s.is_empty()).filter_map(|s| expected.0.find(s.as_str())).min();
                if let Some(start) = first {
                    expected.0.truncate(start);
                    expected.1 = true;
                    break;
                }
            }
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, found) = run(&stops, &pieces);
            prop_assert_eq!((out.concat(), found), expected);
        }
    }
}
