//! SentencePiece's BPE as llama.cpp runs it, written plainly from its definition: of all neighbours
//! whose joined text is a token, the pair of the highest score merges, the leftmost among equals.

use std::collections::{BTreeSet, HashMap};

/// A vocabulary of scores.
pub struct Scored {
    ids: HashMap<String, (u32, f32)>,
}

/// Scores as whole numbers in the same order, so that a set can sort them.
fn ordered(score: f32) -> i64 {
    // -0 and 0 are one score.
    let bits = i64::from((score + 0.0).to_bits() as i32);
    if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
}

impl Scored {
    pub fn new(tokens: impl IntoIterator<Item = (String, f32)>) -> Self {
        let ids = tokens.into_iter().enumerate().map(|(id, (text, score))| (text, (id as u32, score)));
        Self { ids: ids.collect() }
    }

    /// The ids of a text without added tokens in it.
    pub fn encode(&self, text: &str, add_space_prefix: bool) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let text = format!("{}{text}", if add_space_prefix { " " } else { "" }).replace(' ', "\u{2581}");
        // Symbols as ranges of the text; an absorbed symbol is empty.
        let mut ends: Vec<usize> = text.char_indices().map(|(i, c)| i + c.len_utf8()).collect();
        let starts: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
        let count = starts.len();
        let mut next: Vec<usize> = (1..=count).collect();
        let mut previous: Vec<usize> = (0..count).map(|i| i.wrapping_sub(1)).collect();
        // The best pair comes first: highest score, then the place of its left symbol.
        let mut queue: BTreeSet<(i64, usize)> = BTreeSet::new();
        let score =
            |start: usize, end: usize| self.ids.get(&text[start..end]).map(|&(_, score)| -ordered(score));
        for i in 0..count.saturating_sub(1) {
            queue.extend(score(starts[i], ends[i + 1]).map(|score| (score, i)));
        }
        while let Some((_, left)) = queue.pop_first() {
            let right = next[left];
            let around = [previous[left], left, right];
            for &i in &around {
                // What was said of the old neighbours is no longer true.
                if i < count
                    && next[i] < count
                    && let Some(old) = score(starts[i], ends[next[i]])
                {
                    queue.remove(&(old, i));
                }
            }
            ends[left] = ends[right];
            next[left] = next[right];
            if next[left] < count {
                previous[next[left]] = left;
            }
            for i in [previous[left], left] {
                if i < count && next[i] < count {
                    queue.extend(score(starts[i], ends[next[i]]).map(|score| (score, i)));
                }
            }
        }
        let mut ids = Vec::new();
        let mut i = 0;
        while i < count {
            let symbol = &text[starts[i]..ends[i]];
            match self.ids.get(symbol) {
                Some(&(id, _)) => ids.push(id),
                None => ids.extend(symbol.bytes().map(|b| self.ids[&format!("<0x{b:02X}>")].0)),
            }
            i = next[i];
        }
        ids
    }
}
