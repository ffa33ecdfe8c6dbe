//! How well ternary codes stand for the weights.

use rayon::prelude::*;

use super::{CHUNK, add, fold, round};
use crate::{
    Isa,
    dense::{DenseSlice, with_slice},
    simd::{LANES, Lane, Op, Simd},
};

/// What ternarizing loses. Weights that were trained for it lose little or nothing; a normal
/// distribution ternarized by its absolute mean loses half of its norm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// `||w - scale * code|| / ||w||`, Frobenius norms; 0 for a tensor of zeros.
    pub relative_error: f64,
    /// `||w||^2`.
    pub squared_norm: f64,
    /// Weights with the codes -1, 0 and 1.
    pub counts: [u64; 3],
}

/// Ternarizes with a scale, as [`ternarize`](super::ternarize), and measures the loss.
///
/// Sums are f64 in chunks of fixed length, added in order. Weights that are not finite make the error
/// NaN.
pub fn fit(isa: Isa, w: DenseSlice, scale: f32) -> Fit {
    let parts: Vec<Part> =
        with_slice!(w, w => w.par_chunks(CHUNK).map(|w| isa.run(Measure { w, scale })).collect());
    let (mut error, mut norm, mut counts) = (0.0, 0.0, [0; 3]);
    for part in parts {
        error += part.error;
        norm += part.norm;
        for (count, n) in counts.iter_mut().zip(part.counts) {
            *count += n;
        }
    }
    let relative_error = if error == 0.0 { 0.0 } else { (error / norm).sqrt() };
    Fit { relative_error, squared_norm: norm, counts }
}

/// Squared norms of the error and of the weights, and the codes.
struct Part {
    error: f64,
    norm: f64,
    counts: [u64; 3],
}

struct Measure<'a, T> {
    w: &'a [T],
    scale: f32,
}

impl<T: Lane> Op for Measure<'_, T> {
    type Output = Part;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Part {
        let (scale, inverse) = (s.splat(self.scale), 1.0 / self.scale);
        let (mut errors, mut norms) = ([0.0; LANES], [0.0; LANES]);
        // A chunk is 4096 vectors: integers that f32 holds exactly.
        let (mut sum, mut nonzero) = (s.splat(0.0), s.splat(0.0));
        let (whole, tail) = self.w.as_chunks::<LANES>();
        for i in 0..whole.len() + usize::from(!tail.is_empty()) {
            // The zeros after a tail add nothing to any of the sums.
            let w = if i < whole.len() { T::load(s, &whole[i]) } else { s.load_tail(tail) };
            let codes = s.load_i8(&round(s, w, inverse));
            add(s, s.sub(w, s.mul(scale, codes)), &mut errors, |e| e * e);
            add(s, w, &mut norms, |w| w * w);
            sum = s.add(sum, codes);
            nonzero = s.add(nonzero, s.abs(codes));
        }
        let (sum, nonzero) = (s.sum(sum) as i64, s.sum(nonzero) as i64);
        let positive = i64::midpoint(nonzero, sum);
        let counts = [nonzero - positive, self.w.len() as i64 - nonzero, positive].map(|n| n as u64);
        Part { error: fold(errors), norm: fold(norms), counts }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ternarize::{absmean, ternarize},
        testing::Random,
    };

    fn check(w: &[f32]) {
        let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
        let brains: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        for slice in [DenseSlice::F32(w), DenseSlice::F16(&halves), DenseSlice::Bf16(&brains)] {
            let mut wide = vec![0.0; w.len()];
            slice.to_f32(&mut wide);
            let scale = absmean(Isa::best(), slice).unwrap();
            let mut codes = vec![9; w.len()];
            ternarize(Isa::best(), slice, scale, &mut codes);
            let square = |x: f64| x * x;
            let norm: f64 = wide.iter().map(|&w| square(f64::from(w))).sum();
            let error: f64 = wide
                .iter()
                .zip(&codes)
                .map(|(&w, &c)| square(f64::from(w) - f64::from(scale) * f64::from(c)))
                .sum();
            let counts = [-1, 0, 1].map(|code| codes.iter().filter(|&&c| c == code).count() as u64);
            let reference = fit(Isa::SCALAR, slice, scale);
            assert_eq!(reference.counts, counts);
            // Each difference is rounded to f32.
            assert!((reference.relative_error - (error / norm).sqrt()).abs() <= 1e-7, "{reference:?}");
            for isa in Isa::available() {
                assert_eq!(fit(isa, slice, scale), reference, "{isa}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_formula(n in 1..2000usize, exponent in -10..9i32, seed: u64) {
            check(&Random::new(seed).floats(n, libm::exp2f(exponent as f32)));
        }
    }

    #[test]
    fn several_chunks() {
        check(&Random::new(1).floats(2 * CHUNK + 77, 0.05));
    }

    #[test]
    fn ternary_weights_lose_nothing() {
        let codes = Random::new(2).codes(CHUNK + 5);
        let w: Vec<f32> = codes.iter().map(|&c| f32::from(c) * 0.37).collect();
        let found = fit(Isa::best(), DenseSlice::F32(&w), 0.37);
        assert_eq!(found.relative_error, 0.0);
        assert_eq!(found.counts.iter().sum::<u64>(), w.len() as u64);
        let zeros = fit(Isa::best(), DenseSlice::F32(&[0.0; 9]), 1e-5);
        assert_eq!(zeros, Fit { relative_error: 0.0, squared_norm: 0.0, counts: [0, 9, 0] });
        assert_eq!(fit(Isa::best(), DenseSlice::F32(&[]), 1.0), Fit::default());
        assert!(fit(Isa::best(), DenseSlice::F32(&[f32::NAN, 1.0]), 1.0).relative_error.is_nan());
    }

    #[test]
    fn normal_weights_lose_half_of_their_norm() {
        let mut random = Random::new(3);
        let w: Vec<f32> = (0..1 << 17).map(|_| random.floats(12, 0.5).iter().sum()).collect();
        let scale = absmean(Isa::best(), DenseSlice::F32(&w)).unwrap();
        let found = fit(Isa::best(), DenseSlice::F32(&w), scale);
        // E[(w - s c)^2] over the normal distribution with s = sqrt(2 / pi) and |c| = 1 beyond s / 2.
        assert!((found.relative_error - 0.5132).abs() < 0.005, "{found:?}");
    }
}
