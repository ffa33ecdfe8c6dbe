//! A merge list out of scores.
//!
//! SentencePiece, llama.cpp's `llama` vocabularies and tiktoken keep no merge list: of all pairs of
//! neighbours whose joined text is a token, they merge the one whose token has the highest score,
//! the leftmost among equals. A tokenizer.json wants a list, so every token lists every way to split
//! it into two tokens, and tokens come in the order of their scores:
//!
//! ```text
//! score   token    splits            list
//!  -1     th       t h               t h
//!  -2     the      th e   t he       th e    t he
//!  -3     he       h e               h e
//! ```
//!
//! Where one occurrence of a token ends inside the next, "leftmost" decides between its splits:
//! the neighbours x, y, z with xy = yz are the same token twice, of which xy is on the left. Then
//! |x| is a period of the token, so the splits at periods come first. A list cannot say more: tokens
//! of equal scores merge in order of their ids, not of their places.

use std::{cmp::Ordering, path::Path};

use crate::Error;

/// A token that can be merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'v> {
    pub(super) id: u32,
    pub(super) text: &'v str,
    pub(super) score: f32,
}

/// Merges of a text of n bytes cost up to n^2 bytes: real vocabularies stay below 20 times their own
/// size, hostile ones need not.
const MAX_BYTES_PER_BYTE: usize = 64;
const FREE_BYTES: usize = 1 << 20;
/// What a merge costs beside its text.
const BYTES_PER_MERGE: usize = 8;

/// The merge list that does what the scores say.
///
/// # Errors
/// [`Error::Malformed`] if the tokens nest so deeply that the list would dwarf them.
pub(super) fn from_scores<'v>(file: &Path, pieces: &[Piece<'v>]) -> Result<Vec<(&'v str, &'v str)>, Error> {
    let prefixes = longest_prefixes(&pieces.iter().map(|p| p.text.as_bytes()).collect::<Vec<_>>());
    let reversed: Vec<Vec<u8>> = pieces.iter().map(|p| p.text.bytes().rev().collect()).collect();
    let suffixes = longest_prefixes(&reversed.iter().map(Vec::as_slice).collect::<Vec<_>>());

    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&pieces[a], &pieces[b]);
        // A number compares with any other; -0 and 0 are equal.
        b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
    });
    let total: usize = pieces.iter().map(|p| p.text.len()).sum();
    let mut budget = FREE_BYTES + total.saturating_mul(MAX_BYTES_PER_BYTE);
    let mut merges = Vec::new();
    for index in order {
        let text = pieces[index].text;
        for split in splits(pieces, &prefixes, &suffixes, index) {
            budget = budget.checked_sub(text.len() + BYTES_PER_MERGE).ok_or_else(|| {
                Error::malformed(file, "the tokens contain each other too often to be a vocabulary of text")
            })?;
            merges.push(text.split_at(split));
        }
    }
    Ok(merges)
}

/// The places at which a piece splits into two pieces, periods first.
fn splits(
    pieces: &[Piece],
    prefixes: &[Option<usize>],
    suffixes: &[Option<usize>],
    index: usize,
) -> Vec<usize> {
    let len = |index: usize| pieces[index].text.len();
    let chain = |links: &[Option<usize>]| -> Vec<usize> {
        std::iter::successors(links[index], |&i| links[i]).map(len).collect()
    };
    let text = pieces[index].text.as_bytes();
    // Both from long to short.
    let (left, right) = (chain(prefixes), chain(suffixes));
    let fits = |split: &usize| left.binary_search_by(|l| split.cmp(l)).is_ok();
    let mut splits: Vec<usize> = right.iter().map(|l| text.len() - l).filter(fits).collect();
    splits.sort_by_key(|&split| (text[split..] != text[..text.len() - split], split));
    splits
}

/// For each text the longest other text that it begins with. Texts are distinct.
///
/// In sorted order, whatever begins with a text follows it directly: a stack holds the texts that
/// the current one may begin with.
fn longest_prefixes(texts: &[&[u8]]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_unstable_by_key(|&i| texts[i]);
    let mut links = vec![None; texts.len()];
    let mut stack: Vec<usize> = Vec::new();
    for index in order {
        while stack.last().is_some_and(|&top| !texts[index].starts_with(texts[top])) {
            stack.pop();
        }
        // The empty text is no part of a merge.
        if texts[index].is_empty() {
            continue;
        }
        links[index] = stack.last().copied();
        stack.push(index);
    }
    links
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces<'v>(texts: &[&'v str]) -> Vec<Piece<'v>> {
        let piece = |(i, &text): (usize, &&'v str)| Piece { id: i as u32, text, score: -(i as f32) };
        texts.iter().enumerate().map(piece).collect()
    }

    #[test]
    fn tokens_in_order_of_scores_list_all_their_splits() {
        let pieces = pieces(&["t", "h", "e", "th", "the", "he", "x"]);
        let merges = from_scores(Path::new("m"), &pieces).unwrap();
        assert_eq!(merges, [("t", "h"), ("t", "he"), ("th", "e"), ("h", "e")]);
    }

    #[test]
    fn the_left_one_of_two_overlapping_tokens_comes_first() {
        // ab|a|ba: `aba` twice; the left one is (ab, a).
        let pieces = pieces(&["a", "b", "ab", "ba", "aba"]);
        let merges = from_scores(Path::new("m"), &pieces).unwrap();
        assert_eq!(merges, [("a", "b"), ("b", "a"), ("ab", "a"), ("a", "ba")]);
    }

    #[test]
    fn tokens_that_nest_without_end_are_refused() {
        let texts: Vec<String> = (1..2000).map(|n| "a".repeat(n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert!(from_scores(Path::new("m"), &pieces(&texts)).is_err());
    }

    proptest! {
        #[test]
        fn every_split_is_found(texts in prop::collection::btree_set("[ab\u{e9}]{1,6}", 1..40)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let merges = from_scores(Path::new("m"), &pieces(&texts)).unwrap();
            for text in &texts {
                let expected = (1..text.len()).filter(|&i| text.is_char_boundary(i)).filter(|&i| {
                    texts.contains(&&text[..i]) && texts.contains(&&text[i..])
                });
                let mut found: Vec<_> = merges.iter().filter(|(a, b)| [*a, *b].concat() == *text).map(|m| m.0.len()).collect();
                found.sort_unstable();
                prop_assert_eq!(found, expected.collect::<Vec<_>>());
            }
        }
    }
}
