//! Root-mean-square normalization.
//!
//! ```text
//!   y = weight * (x * r)        r = 1 / sqrt(mean(x^2) + eps)
//! ```
//!
//! Zhang and Sennrich (arXiv 1910.07467), equation 4, in the order of operations of transformers'
//! `LlamaRMSNorm`.

use crate::{
    Isa, parallel,
    simd::{Op, Simd},
};

/// Normalizes each row of `x` `[rows, weight.len()]` into `out`, many rows on all threads of the current pool.
///
/// # Panics
/// `weight` is empty, or a length does not fit.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "rows of the weight's length");
    assert_eq!(x.len(), out.len(), "output length");
    let cols = weight.len();
    parallel::for_each_rows(x.len(), out, cols, |first, out| {
        let x = &x[first * cols..first * cols + out.len()];
        isa.run(RmsNorm { x, weight, eps, out });
    });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Op for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.weight.len();
        let (weight, weight_tail) = self.weight.as_chunks();
        for (x, out) in self.x.chunks_exact(cols).zip(self.out.chunks_exact_mut(cols)) {
            let (x, x_tail) = x.as_chunks();
            let mut squares = s.splat(0.0);
            for x in x {
                let x = s.load(x);
                squares = s.mul_add(x, x, squares);
            }
            let tail = s.load_tail(x_tail);
            squares = s.mul_add(tail, tail, squares);
            let r = s.splat(1.0 / (s.sum(squares) / cols as f32 + self.eps).sqrt());

            let (out, out_tail) = out.as_chunks_mut();
            for ((x, weight), out) in x.iter().zip(weight).zip(out) {
                s.store(s.mul(s.load(weight), s.mul(s.load(x), r)), out);
            }
            s.store_tail(s.mul(s.load_tail(weight_tail), s.mul(tail, r)), out_tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_f64_and_itself(rows in 1..4usize, cols in 1..200usize, scale in 1e-3f32..1e3, seed: u64) {
            let mut random = Random::new(seed);
            let (x, weight) = (random.floats(rows * cols, scale), random.floats(cols, 2.0));
            let mut reference = vec![0.0; x.len()];
            rms_norm(Isa::SCALAR, &x, &weight, 1e-5, &mut reference);
            for (x, y) in x.chunks(cols).zip(reference.chunks(cols)) {
                let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / cols as f64;
                let r = 1.0 / (mean + f64::from(1e-5f32)).sqrt();
                for ((x, w), y) in x.iter().zip(&weight).zip(y) {
                    let exact = f64::from(*x) * r * f64::from(*w);
                    // A dozen additions per lane and five roundings, each 6e-8 relative.
                    prop_assert!((f64::from(*y) - exact).abs() <= 1e-6 * exact.abs() + 1e-30);
                }
            }
            for isa in Isa::available() {
                let mut out = vec![0.0; x.len()];
                rms_norm(isa, &x, &weight, 1e-5, &mut out);
                prop_assert!(out.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", isa);
            }
        }
    }

    #[test]
    fn many_rows_equal_single_ones() {
        let (rows, cols) = (300, 777);
        let mut random = Random::new(2);
        let (x, weight) = (random.floats(rows * cols, 3.0), random.floats(cols, 2.0));
        let (mut all, mut one) = (vec![0.0; x.len()], vec![0.0; cols]);
        rms_norm(Isa::best(), &x, &weight, 1e-5, &mut all);
        for (x, all) in x.chunks(cols).zip(all.chunks(cols)) {
            rms_norm(Isa::best(), x, &weight, 1e-5, &mut one);
            assert_eq!(all, one);
        }
    }
}
