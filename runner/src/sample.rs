//! Choosing the next token.

use std::{cmp::Ordering, ops::RangeInclusive};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{Error, score::argmax};

/// Repetition penalties. Useful ones are close to 1; extreme ones would make logits infinite.
const PENALTIES: RangeInclusive<f64> = 1e-3..=1e3;

/// How to choose the next token. The default is greedy.
///
/// The filters apply in the order of the fields, which is that of transformers' `generate`: penalty,
/// temperature, top-k, top-p, min-p. (llama.cpp's default order has the temperature last; top-p and min-p
/// then see other probabilities.) So a call that is taken over from there means the same here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Makes tokens of the last `repeat_last_n` less likely: their logits are divided by it where they are
    /// positive, and multiplied where they are negative. 1 changes nothing; from 0.001 to 1000. Applies
    /// to greedy choice too.
    pub repeat_penalty: f64,
    /// How many of the last tokens, prompt included, count as repeated.
    pub repeat_last_n: usize,
    /// Divides the logits; 0 chooses the highest logit.
    pub temperature: f64,
    /// Keeps only the `top_k` highest logits; 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of most probable tokens whose probabilities add up to `top_p`; 1 keeps all.
    pub top_p: f64,
    /// Keeps the tokens whose probability is at least `min_p` times that of the most probable one; 0 keeps
    /// all.
    pub min_p: f64,
    /// Same seed, same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

/// Draws tokens. The stream of a seed is the same on every machine: ChaCha8 for the bits, IEEE f64
/// and a portable exponential for the probabilities, ties broken by the lower id.
pub struct Sampler {
    options: Sampling,
    rng: ChaCha8Rng,
    candidates: Vec<Candidate>, // kept from token to token
}

/// A token, ordered by its logit; among equals the lower id comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    logit: f64, // after the penalty
    id: u32,
}

impl Candidate {
    fn before(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

impl Sampler {
    /// A sampler at the start of its seed's stream.
    ///
    /// # Errors
    /// A temperature that is negative or not finite, a `top_p` outside (0, 1], a `min_p` outside [0, 1], or a
    /// `repeat_penalty` outside [0.001, 1000].
    pub fn new(options: Sampling) -> Result<Self, Error> {
        let error = |option, value, valid| Err(Error::Sampling { option, value, valid });
        let Sampling { temperature, top_p, min_p, repeat_penalty, .. } = options;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return error("temperature", temperature, "the temperature is 0 (greedy) or a positive number");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return error("top-p", top_p, "top-p is above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&min_p) {
            return error("min-p", min_p, "min-p is between 0 and 1");
        }
        if !PENALTIES.contains(&repeat_penalty) {
            let valid = "the repetition penalty is between 0.001 and 1000; 1 changes nothing";
            return error("repeat-penalty", repeat_penalty, valid);
        }
        let rng = ChaCha8Rng::seed_from_u64(options.seed);
        Ok(Self { options, rng, candidates: Vec::new() })
    }

    /// The next token after `logits` `[vocab]`; `history` is the text so far, for the repetition penalty.
    pub fn next(&mut self, logits: &[f32], history: &[u32]) -> u32 {
        let Sampling { repeat_penalty, repeat_last_n, temperature, .. } = self.options;
        let mut repeated = Vec::new();
        if repeat_penalty != 1.0 {
            repeated.extend_from_slice(&history[history.len().saturating_sub(repeat_last_n)..]);
            repeated.sort_unstable();
            repeated.dedup();
            repeated.retain(|&id| (id as usize) < logits.len());
        }
        if logits.is_empty() || (temperature == 0.0 && repeated.is_empty()) {
            return argmax(logits) as u32;
        }
        self.candidates.clear();
        let candidate = |(id, &logit): (usize, &f32)| Candidate { logit: f64::from(logit), id: id as u32 };
        self.candidates.extend(logits.iter().enumerate().map(candidate));
        for id in repeated {
            let logit = &mut self.candidates[id as usize].logit;
            *logit = if *logit > 0.0 { *logit / repeat_penalty } else { *logit * repeat_penalty };
        }
        if temperature == 0.0 {
            let best = self.candidates.iter().copied().min_by(Candidate::before);
            return best.map_or(0, |best| best.id);
        }
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64; // 53 random bits, in [0, 1)
        self.draw(uniform)
    }

    /// The token at `uniform` of the kept candidates' weight, the most probable ones first.
    ///
    /// Sums run in the order of ids, whatever the selections before left, so that their bits are the same
    /// everywhere.
    fn draw(&mut self, uniform: f64) -> u32 {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.options;
        let all = &mut self.candidates;
        if top_k > 0 && top_k < all.len() {
            all.select_nth_unstable_by(top_k - 1, Candidate::before);
            all.truncate(top_k);
            all.sort_unstable_by_key(|c| c.id);
        }
        let best = all.iter().map(|c| c.logit).fold(f64::NEG_INFINITY, f64::max);
        // The best has the weight 1, and so has an infinite one, whose difference from itself is no number.
        let weight = |c: &Candidate| {
            if c.logit == best { 1.0 } else { libm::exp((c.logit - best) / temperature) }
        };
        let sum = |candidates: &[Candidate]| candidates.iter().map(weight).sum::<f64>();
        if top_p < 1.0 {
            let wanted = top_p * sum(all);
            let mut reached = 0.0;
            let keep = sort_until(all, |c| {
                reached += weight(c);
                reached >= wanted
            });
            all.truncate(keep);
            all.sort_unstable_by_key(|c| c.id);
        }
        if min_p > 0.0 {
            // Relative to the best, whatever the weights add up to. What does not compare stays: a choice among
            // logits that are no numbers is a bad one, but there is one.
            all.retain(|c| weight(c).partial_cmp(&min_p) != Some(Ordering::Less));
        }
        let mut left = uniform * sum(all);
        let drawn = sort_until(all, |c| {
            left -= weight(c);
            left < 0.0
        });
        all[drawn - 1].id
    }
}

/// Sorts candidates from the front, most probable first, until `enough` says so; returns how many it saw.
///
/// The head is found in parts of growing size: of 128k words a few hundred mostly hold nearly all the
/// probability, and the others need no order.
fn sort_until(candidates: &mut [Candidate], mut enough: impl FnMut(&Candidate) -> bool) -> usize {
    let mut sorted = 0;
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let part = (sorted * 3).max(256).min(rest.len());
        if part < rest.len() {
            rest.select_nth_unstable_by(part - 1, Candidate::before);
        }
        rest[..part].sort_unstable_by(Candidate::before);
        if let Some(last) = rest[..part].iter().position(&mut enough) {
            return sorted + last + 1;
        }
        sorted += part;
    }
    sorted
}

#[cfg(test)]
mod tests;
