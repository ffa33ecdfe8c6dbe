//! One query head over the keys and values of earlier positions.
//!
//! ```text
//!   p = softmax(q . k[j] / sqrt(D))        out = sum over j of p[j] * v[j]
//! ```
//!
//! Vaswani et al. (arXiv 1706.03762), equation 1, for one query: memory grows with the number of
//! positions, never with its square. The sum over positions goes in their order, element by element,
//! by fused multiply-add.

use crate::{
    Isa,
    dense::dot_rows,
    simd::{LANES, Op, Simd},
    softmax::softmax_in,
};

/// Vectors of the output that one pass over the values accumulates in registers.
const PASS: usize = 4;

/// Attends from `q` `[head_dim]` to `keys` and `values`, both `[positions, head_dim]`, into `out`
/// `[head_dim]`. `scores` is scratch; it holds the probabilities afterwards.
///
/// # Panics
/// No positions, or a length does not fit.
pub fn attend(isa: Isa, q: &[f32], keys: &[f32], values: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
    let head_dim = q.len();
    assert!(
        head_dim > 0 && !keys.is_empty() && keys.len().is_multiple_of(head_dim),
        "keys are [positions, head_dim]"
    );
    assert_eq!(keys.len(), values.len(), "values are [positions, head_dim]");
    assert_eq!(out.len(), head_dim, "the output is [head_dim]");
    scores.clear();
    scores.resize(keys.len() / head_dim, 0.0);
    isa.run(Attend { q, keys, values, scores, out });
}

struct Attend<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl Op for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { q, keys, values, scores, out } = self;
        dot_rows(s, keys, q, scores);
        let scale = 1.0 / (q.len() as f32).sqrt();
        for score in &mut *scores {
            *score *= scale;
        }
        softmax_in(s, scores);

        let head_dim = out.len();
        let mut at = 0;
        while at + PASS * LANES <= head_dim {
            mix::<S, PASS>(s, scores, values, head_dim, at, &mut out[at..at + PASS * LANES]);
            at += PASS * LANES;
        }
        while at < head_dim {
            let end = head_dim.min(at + LANES);
            mix::<S, 1>(s, scores, values, head_dim, at, &mut out[at..end]);
            at = end;
        }
    }
}

/// The part of the output from element `at`, `N` vectors, of which the last may be incomplete.
#[inline(always)]
fn mix<S: Simd, const N: usize>(
    s: S,
    p: &[f32],
    values: &[f32],
    head_dim: usize,
    at: usize,
    out: &mut [f32],
) {
    let mut sums = [s.splat(0.0); N];
    for (p, value) in p.iter().zip(values.chunks_exact(head_dim)) {
        let p = s.splat(*p);
        for (sum, value) in sums.iter_mut().zip(value[at..at + out.len()].chunks(LANES)) {
            let value = match value.try_into() {
                Ok(whole) => s.load(whole),
                Err(_) => s.load_tail(value),
            };
            *sum = s.mul_add(p, value, *sum);
        }
    }
    for (sum, out) in sums.into_iter().zip(out.chunks_mut(LANES)) {
        s.store_tail(sum, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn exact(q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let d = q.len();
        let scores: Vec<f64> = keys
            .chunks(d)
            .map(|k| {
                q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / (d as f64).sqrt()
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|x| libm::exp(x - max)).collect();
        let sum: f64 = weights.iter().sum();
        (0..d)
            .map(|i| weights.iter().zip(values.chunks(d)).map(|(p, v)| p / sum * f64::from(v[i])).sum())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_f64_and_itself(head_dim in 1..140usize, positions in 1..60usize, seed: u64) {
            let mut random = Random::new(seed);
            let q = random.floats(head_dim, 2.0);
            let (keys, values) =
                (random.floats(positions * head_dim, 2.0), random.floats(positions * head_dim, 1.0));
            let (mut scores, mut reference) = (Vec::new(), vec![0.0; head_dim]);
            attend(Isa::SCALAR, &q, &keys, &values, &mut scores, &mut reference);
            prop_assert_eq!(scores.len(), positions);
            for (found, exact) in reference.iter().zip(exact(&q, &keys, &values)) {
                // Scores below 50 are off by 1e-5 at most, probabilities by that factor, |v| <= 1.
                prop_assert!((f64::from(*found) - exact).abs() < 3e-5, "{} for {}", found, exact);
            }
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; head_dim];
                attend(isa, &q, &keys, &values, &mut scores, &mut out);
                prop_assert!(out.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", isa);
            }
        }
    }
}
