//! Rotary position embedding.
//!
//! ```text
//!   pair i of D/2, at position p:  angle = p * theta^(-2i/D)
//!
//!   out[i]       = a cos - b sin          a, b = x[i], x[i + D/2]   half-split
//!   out[i + D/2] = b cos + a sin          a, b = x[2i], x[2i + 1]   interleaved
//! ```
//!
//! Su et al. (arXiv 2104.09864), equation 34, in the half-split order of transformers. A GGUF file of
//! architecture `llama` stores the rows of q and k so that pairs lie side by side; reading pairs
//! from there and writing them half-split gives the same bits as the unpermuted rows. The table is
//! computed as transformers does: inverse frequency and angle are f32, cos and sin of that angle are
//! correctly computed in f64 and rounded to f32.

use crate::{
    Isa, parallel,
    simd::{Op, Simd},
};

/// Which elements of an input head are a pair. The output is half-split always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopePairs {
    /// Elements i and i + D/2.
    HalfSplit,
    /// Elements 2i and 2i + 1.
    Interleaved,
}

/// The inverse frequencies theta^(-2i/D) of plain rotary embedding, one for each pair i of D/2.
///
/// # Panics
/// `head_dim` is odd or zero.
pub fn inverse_frequencies(head_dim: usize, theta: f64) -> Vec<f32> {
    assert!(head_dim > 0 && head_dim.is_multiple_of(2), "a head of {head_dim} has no pairs");
    let frequency = |i| (1.0 / libm::pow(theta, (2 * i) as f64 / head_dim as f64)) as f32;
    (0..head_dim / 2).map(frequency).collect()
}

/// cos and sin of every position.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `[positions, head_dim / 2]`
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl RopeTable {
    /// The table for positions `0..positions` of heads with that inverse frequency for each pair; 4
    /// bytes per position and element of a head.
    ///
    /// # Panics
    /// There are no frequencies.
    pub fn new(frequencies: &[f32], positions: usize) -> Self {
        assert!(!frequencies.is_empty(), "a head has at least one pair");
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin) = angles.map(|a| (libm::cos(a) as f32, libm::sin(a) as f32)).unzip();
        Self { cos, sin, half: frequencies.len() }
    }

    /// Positions of the table.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }

    /// Rotates the heads of one token, `x` `[heads, head_dim]`, in place.
    ///
    /// # Panics
    /// `position` is outside the table, or `x` has no whole number of heads.
    pub fn apply(&self, isa: Isa, position: usize, x: &mut [f32], pairs: RopePairs) {
        self.apply_tokens(isa, position, 1, x, pairs);
    }

    /// Rotates the heads of consecutive tokens, the first one at `position`: `x` `[tokens, heads, head_dim]`,
    /// in place, many tokens on all threads of the current pool.
    ///
    /// # Panics
    /// A position is outside the table, or `x` has no whole number of heads for each token.
    pub fn apply_tokens(&self, isa: Isa, position: usize, tokens: usize, x: &mut [f32], pairs: RopePairs) {
        if tokens == 0 {
            return assert!(x.is_empty(), "no heads without tokens");
        }
        let last = position.checked_add(tokens - 1).expect("a position");
        assert!(last < self.positions(), "position {last} of {}", self.positions());
        let width = x.len() / tokens;
        assert!(
            x.len().is_multiple_of(tokens) && width.is_multiple_of(2 * self.half),
            "whole heads for each token"
        );
        if width == 0 {
            return;
        }
        parallel::for_each_rows(x.len(), x, width, |first, x| {
            let mut halves = vec![0.0; if pairs == RopePairs::Interleaved { 2 * self.half } else { 0 }];
            for (t, x) in x.chunks_exact_mut(width).enumerate() {
                if pairs == RopePairs::Interleaved {
                    split(x, &mut halves);
                }
                let at = (position + first + t) * self.half;
                let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
                isa.run(Rotate { cos, sin, x });
            }
        });
    }
}

/// Puts the first elements of the pairs of each head before the second ones. `halves` has room for a head.
fn split(x: &mut [f32], halves: &mut [f32]) {
    for head in x.chunks_exact_mut(halves.len()) {
        let (firsts, seconds) = halves.split_at_mut(head.len() / 2);
        for ((&[a, b], first), second) in head.as_chunks().0.iter().zip(firsts).zip(seconds) {
            (*first, *second) = (a, b);
        }
        head.copy_from_slice(halves);
    }
}

struct Rotate<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    x: &'a mut [f32],
}

impl Op for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cos, cos_tail) = self.cos.as_chunks();
        let (sin, sin_tail) = self.sin.as_chunks();
        for head in self.x.chunks_exact_mut(2 * self.cos.len()) {
            let (low, high) = head.split_at_mut(self.cos.len());
            let (low, low_tail) = low.as_chunks_mut();
            let (high, high_tail) = high.as_chunks_mut();
            for i in 0..cos.len() {
                let (a, b) = rotate(s, s.load(&cos[i]), s.load(&sin[i]), s.load(&low[i]), s.load(&high[i]));
                s.store(a, &mut low[i]);
                s.store(b, &mut high[i]);
            }
            let (a, b) = (s.load_tail(low_tail), s.load_tail(high_tail));
            let (a, b) = rotate(s, s.load_tail(cos_tail), s.load_tail(sin_tail), a, b);
            s.store_tail(a, low_tail);
            s.store_tail(b, high_tail);
        }
    }
}

#[inline(always)]
fn rotate<S: Simd>(s: S, cos: S::V, sin: S::V, a: S::V, b: S::V) -> (S::V, S::V) {
    (s.neg_mul_add(b, sin, s.mul(a, cos)), s.mul_add(a, sin, s.mul(b, cos)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_f64_and_itself(heads in 1..4usize, half in 1..70usize, position in 0..50usize, seed: u64) {
            let head_dim = 2 * half;
            let table = RopeTable::new(&inverse_frequencies(head_dim, 10_000.0), 50);
            let x = Random::new(seed).floats(heads * head_dim, 4.0);
            let mut reference = x.clone();
            table.apply(Isa::SCALAR, position, &mut reference, RopePairs::HalfSplit);
            for (x, y) in x.chunks(head_dim).zip(reference.chunks(head_dim)) {
                for i in 0..half {
                    let angle = position as f64 * libm::pow(10_000.0, -2.0 * i as f64 / head_dim as f64);
                    let (cos, sin) = (libm::cos(angle), libm::sin(angle));
                    let (a, b) = (f64::from(x[i]), f64::from(x[i + half]));
                    // The f32 angle, below 50, is off by at most 6e-6, the rest by far less; |x| <= 4.
                    prop_assert!((f64::from(y[i]) - (a * cos - b * sin)).abs() < 6e-5);
                    prop_assert!((f64::from(y[i + half]) - (b * cos + a * sin)).abs() < 6e-5);
                }
            }
            let mut interleaved = vec![0.0; x.len()];
            for (x, y) in x.chunks(head_dim).zip(interleaved.chunks_mut(head_dim)) {
                for i in 0..half {
                    (y[2 * i], y[2 * i + 1]) = (x[i], x[i + half]);
                }
            }
            for isa in Isa::available() {
                let (mut split, mut pairs) = (x.clone(), interleaved.clone());
                table.apply(isa, position, &mut split, RopePairs::HalfSplit);
                table.apply(isa, position, &mut pairs, RopePairs::Interleaved);
                for i in 0..x.len() {
                    prop_assert_eq!(split[i].to_bits(), reference[i].to_bits(), "{}", isa);
                    prop_assert_eq!(pairs[i].to_bits(), reference[i].to_bits(), "{}", isa);
                }
            }
        }
    }

    #[test]
    fn position_zero_is_the_identity() {
        let mut x = [1.0, 2.0, 3.0, 4.0];
        RopeTable::new(&inverse_frequencies(4, 1e4), 1).apply(Isa::best(), 0, &mut x, RopePairs::HalfSplit);
        assert_eq!(x, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn many_tokens_equal_single_ones() {
        let (tokens, width, first) = (600, 256, 40);
        let table = RopeTable::new(&inverse_frequencies(64, 1e4), first + tokens);
        for pairs in [RopePairs::HalfSplit, RopePairs::Interleaved] {
            let mut all = Random::new(3).floats(tokens * width, 4.0);
            let mut single = all.clone();
            table.apply_tokens(Isa::best(), first, tokens, &mut all, pairs);
            for (t, x) in single.chunks_mut(width).enumerate() {
                table.apply(Isa::best(), first + t, x, pairs);
            }
            assert_eq!(all, single);
        }
        table.apply_tokens(Isa::best(), 0, 0, &mut [], RopePairs::HalfSplit);
    }
}
