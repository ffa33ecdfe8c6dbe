//! Choosing the next token.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{Error, score::argmax};

/// How to choose the next token. The default is greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 chooses the highest logit.
    pub temperature: f64,
    /// Keeps only the `top_k` highest logits; 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of most probable tokens whose probabilities add up to `top_p`; 1 keeps all.
    pub top_p: f64,
    /// Same seed, same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

/// Draws tokens. The stream of a seed is the same on every machine: ChaCha8 for the bits, IEEE f64
/// and a portable exponential for the probabilities, ties broken by the lower id.
pub struct Sampler {
    options: Sampling,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the start of its seed's stream.
    ///
    /// # Errors
    /// A negative or NaN temperature, or a `top_p` outside (0, 1].
    pub fn new(options: Sampling) -> Result<Self, Error> {
        if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
            let valid = "the temperature is 0 (greedy) or a positive number";
            return Err(Error::Sampling { option: "temperature", value: options.temperature, valid });
        }
        if !(options.top_p > 0.0 && options.top_p <= 1.0) {
            let valid = "top-p is above 0 and at most 1";
            return Err(Error::Sampling { option: "top-p", value: options.top_p, valid });
        }
        Ok(Self { options, rng: ChaCha8Rng::seed_from_u64(options.seed) })
    }

    /// The next token after `logits` `[vocab]`.
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        let Sampling { temperature, top_k, top_p, .. } = self.options;
        if temperature == 0.0 {
            return argmax(logits) as u32;
        }
        let mut candidates: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, by_logit);
            candidates.truncate(top_k);
        }
        candidates.sort_unstable_by(by_logit);
        let max = f64::from(logits[candidates[0] as usize]);
        let mut weights: Vec<f64> = candidates
            .iter()
            .map(|&id| libm::exp((f64::from(logits[id as usize]) - max) / temperature))
            .collect();
        if top_p < 1.0 {
            let wanted = top_p * weights.iter().sum::<f64>();
            let mut reached = 0.0;
            let keep = weights.iter().position(|w| {
                reached += w;
                reached >= wanted
            });
            weights.truncate(keep.map_or(weights.len(), |last| last + 1));
        }
        // 53 random bits: a uniform number in [0, 1).
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = uniform * weights.iter().sum::<f64>();
        for (weight, &id) in weights.iter().zip(&candidates) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        candidates[weights.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(options: Sampling, logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(options).unwrap();
        (0..n).map(|_| sampler.next(logits)).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(draws(Sampling::default(), &[0.5, 2.0, 2.0], 1), [1]);
    }

    #[test]
    fn top_k_and_top_p_restrict_the_choice() {
        let logits = [1.0, 3.0, 2.0, 0.0];
        let hot = Sampling { temperature: 100.0, ..Sampling::default() };
        assert!(draws(Sampling { top_k: 2, ..hot }, &logits, 200).iter().all(|id| [1, 2].contains(id)));
        assert!(draws(Sampling { top_p: 0.1, ..hot }, &logits, 200).iter().all(|&id| id == 1));
        let all = draws(hot, &logits, 200);
        assert!((0..4).all(|id| all.contains(&id)), "a high temperature reaches every token");
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        // p = softmax([0, ln 3]) = [1/4, 3/4]; 4000 draws have a standard error of 0.007.
        let options = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
        let ones = draws(options, &[0.0, 3f32.ln()], 4000).iter().sum::<u32>();
        assert!((f64::from(ones) / 4000.0 - 0.75).abs() < 0.03, "{ones}");
    }

    #[test]
    fn a_seed_is_a_stream() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.3).collect();
        let options = |seed| Sampling { temperature: 1.0, seed, ..Sampling::default() };
        assert_eq!(draws(options(1), &logits, 20), draws(options(1), &logits, 20));
        assert_ne!(draws(options(1), &logits, 20), draws(options(2), &logits, 20));
        // The stream is part of the contract: the same on every machine and release.
        assert_eq!(draws(options(42), &logits, 8), [3, 0, 33, 39, 48, 27, 5, 9]);
    }

    #[test]
    fn options_outside_their_range_are_errors() {
        for options in [
            Sampling { temperature: -1.0, ..Sampling::default() },
            Sampling { temperature: f64::NAN, ..Sampling::default() },
            Sampling { top_p: 0.0, ..Sampling::default() },
            Sampling { top_p: 1.5, ..Sampling::default() },
        ] {
            assert!(Sampler::new(options).is_err(), "{options:?}");
        }
    }
}
