//! Text as windows of tokens, and which of them each step reads.
//!
//! ```text
//!   document 1 ── begin a b c end ─┐
//!   document 2 ── begin d e f end ─┼─ begin a b c end begin d e | f end ...      a window: context + 1 tokens
//! ```
//!
//! Windows begin with documents, as prompts do. What a full window cuts off a document is dropped if it is less than
//! half a window; else it begins the next one, so that most of a long document is read.

use rayon::prelude::*;

use crate::{Error, random::Random, tokenizer::Vocabulary};

/// Windows of equal length.
pub struct Windows {
    ids: Vec<u32>,
    length: usize,
}

impl Windows {
    /// The windows of documents, of `context` tokens and the one that follows.
    ///
    /// # Errors
    /// [`Error::TooLittleText`] if they do not fill one window; `origin` is where they are from.
    pub fn new(
        documents: &[String],
        vocabulary: &Vocabulary,
        context: usize,
        origin: &str,
    ) -> Result<Self, Error> {
        let encode = |document: &String| vocabulary.tokenizer.encode(document, false);
        let documents: Vec<Vec<u32>> = documents.par_iter().map(encode).collect::<Result<_, _>>()?;
        let length = context + 1;
        let mut ids = Vec::new();
        let mut window = Vec::with_capacity(2 * length);
        let mut tokens = 0;
        for document in documents {
            window.extend(vocabulary.begin);
            window.extend(document);
            window.extend(vocabulary.end);
            while window.len() >= length {
                ids.extend_from_slice(&window[..length]);
                window.drain(..length);
                if window.len() < length / 2 {
                    window.clear();
                }
            }
            tokens = tokens.max(window.len());
        }
        if ids.is_empty() {
            return Err(Error::TooLittleText { origin: origin.to_owned(), tokens, window: length });
        }
        Ok(Self { ids, length })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len() / self.length
    }

    /// Whether there are none, which [`Windows::new`] refuses.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One of them, `[context + 1]`.
    pub fn get(&self, index: usize) -> &[u32] {
        &self.ids[index * self.length..][..self.length]
    }
}

/// Which windows each step reads: all in random order, then all in another order, and so on.
///
/// A step's windows follow from the seed and the step alone, so an interrupted run goes on as it would have.
pub struct Order {
    seed: u64,
    windows: usize,
    epoch: Option<(usize, Vec<u32>)>,
}

impl Order {
    /// The order of so many windows under a seed.
    pub fn new(seed: u64, windows: usize) -> Self {
        Self { seed, windows, epoch: None }
    }

    /// The windows of a step, from 0.
    pub fn step(&mut self, step: usize, sequences: usize) -> Vec<usize> {
        let range = step * sequences..(step + 1) * sequences;
        range.map(|position| self.at(position)).collect()
    }

    fn at(&mut self, position: usize) -> usize {
        let epoch = position / self.windows;
        if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
            // Far from the streams of the first weights.
            let mut random = Random::new(self.seed, (1 << 40) + epoch as u64);
            self.epoch = Some((epoch, random.permutation(self.windows)));
        }
        let (_, order) = self.epoch.as_ref().expect("made above");
        order[position % self.windows] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_is_read_once_before_any_is_read_again() {
        let mut order = Order::new(3, 10);
        let read: Vec<usize> = (0..5).flat_map(|step| order.step(step, 4)).collect();
        for epoch in read.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..10));
        }
        assert_ne!(read[..10], read[10..]);
        // A step alone, as after an interruption.
        assert_eq!(Order::new(3, 10).step(3, 4), read[12..16]);
    }
}
