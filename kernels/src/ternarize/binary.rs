//! Weights to binary codes about their mean.
//!
//! ```text
//!   alpha = sum w / n        code = w > alpha ? 1 : -1        beta = sum |w| / n
//! ```
//!
//! "BitNet: Scaling 1-bit Transformers" (arXiv 2310.11453), equations 1 to 3 and 12: a weight is about
//! `beta * code`. As in the paper a weight that equals alpha becomes -1, where a `sign` of a library
//! gives 0. Both means are summed in f64 in chunks of fixed length, added in order, and rounded to f32
//! once.

use rayon::prelude::*;

use super::{CHUNK, NonFinite, add, add_abs, first_non_finite, fold};
use crate::{
    Isa,
    dense::{DenseSlice, with_slice},
    simd::{LANES, Lane, Op, Simd},
};

/// Writes the codes -1 and 1 and returns beta, their scale: `mean |w|`, 0 for an empty tensor or one of
/// zeros.
///
/// # Errors
/// The first NaN or infinity; `codes` then holds nothing of use.
///
/// # Panics
/// `codes` has another length than `w`.
pub fn binary(isa: Isa, w: DenseSlice, codes: &mut [i8]) -> Result<f32, NonFinite> {
    assert_eq!(w.len(), codes.len(), "one code per weight");
    if w.is_empty() {
        return Ok(0.0);
    }
    let sums: Vec<[f64; 2]> = with_slice!(w, w => w.par_chunks(CHUNK).map(|w| isa.run(Sums(w))).collect());
    let [sum, sum_abs] = sums.into_iter().fold([0.0; 2], |[a, b], [x, y]| [a + x, b + y]);
    // As in `absmean`: only a weight can spoil the sum.
    if !sum_abs.is_finite()
        && let Some(index) = first_non_finite(w)
    {
        return Err(NonFinite { index });
    }
    let n = w.len() as f64;
    let alpha = (sum / n) as f32;
    with_slice!(w, w => w
        .par_chunks(CHUNK)
        .zip(codes.par_chunks_mut(CHUNK))
        .for_each(|(w, codes)| isa.run(Above { w, alpha, codes })));
    Ok((sum_abs / n) as f32)
}

struct Sums<'a, T>(&'a [T]);

impl<T: Lane> Op for Sums<'_, T> {
    /// The sum and the sum of magnitudes.
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; 2] {
        let (mut sums, mut sums_abs) = ([0.0; LANES], [0.0; LANES]);
        let (whole, tail) = self.0.as_chunks();
        for w in whole {
            let w = T::load(s, w);
            add(s, w, &mut sums, |w| w);
            add_abs(s, w, &mut sums_abs);
        }
        if !tail.is_empty() {
            let w = s.load_tail(tail);
            add(s, w, &mut sums, |w| w);
            add_abs(s, w, &mut sums_abs);
        }
        [fold(sums), fold(sums_abs)]
    }
}

struct Above<'a, T> {
    w: &'a [T],
    alpha: f32,
    codes: &'a mut [i8],
}

impl<T: Lane> Op for Above<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (whole, tail) = self.w.as_chunks();
        let (codes, codes_tail) = self.codes.as_chunks_mut::<LANES>();
        for (w, codes) in whole.iter().zip(codes) {
            *codes = above(s, T::load(s, w), self.alpha);
        }
        if !tail.is_empty() {
            let codes = above(s, s.load_tail(tail), self.alpha);
            codes_tail.copy_from_slice(&codes[..tail.len()]);
        }
    }
}

#[inline(always)]
fn above<S: Simd>(s: S, w: S::V, alpha: f32) -> [i8; LANES] {
    let mut lanes = [0.0; LANES];
    s.store(w, &mut lanes);
    lanes.map(|w| if w > alpha { 1 } else { -1 })
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn run(isa: Isa, w: DenseSlice) -> (f32, Vec<i8>) {
        let mut codes = vec![9; w.len()];
        (binary(isa, w, &mut codes).unwrap(), codes)
    }

    fn check(w: &[f32]) {
        let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
        for slice in [DenseSlice::F32(w), DenseSlice::F16(&halves)] {
            let mut wide = vec![0.0; w.len()];
            slice.to_f32(&mut wide);
            let mean =
                |f: fn(f64) -> f64| wide.iter().map(|&w| f(f64::from(w))).sum::<f64>() / w.len() as f64;
            let (alpha, beta) = (mean(|w| w), mean(f64::abs));
            let reference = run(Isa::SCALAR, slice);
            // One rounding to f32; the f64 sums are far better than that.
            assert!((f64::from(reference.0) - beta).abs() <= 1.2e-7 * beta);
            for isa in Isa::available() {
                let (found, codes) = run(isa, slice);
                assert_eq!(found.to_bits(), reference.0.to_bits(), "{isa}");
                assert_eq!(codes, reference.1, "{isa}");
                for (&code, &w) in codes.iter().zip(&wide) {
                    assert_eq!(code, if w > alpha as f32 { 1 } else { -1 }, "{w} about {alpha}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_formula(n in 1..2000usize, exponent in -14..9i32, shift in -1.0f32..1.0, seed: u64) {
            let scale = libm::exp2f(exponent as f32);
            let w: Vec<f32> = Random::new(seed).floats(n, scale).iter().map(|w| w + shift * scale).collect();
            check(&w);
        }
    }

    #[test]
    fn several_chunks() {
        check(&Random::new(1).floats(2 * CHUNK + 77, 0.05));
    }

    #[test]
    fn the_mean_itself_is_below() {
        for w in [[0.0f32; 20], [0.3; 20], [-0.7; 20]] {
            let (beta, codes) = run(Isa::best(), DenseSlice::F32(&w));
            assert_eq!((beta, codes), (w[0].abs(), vec![-1; 20]));
        }
        assert_eq!(run(Isa::best(), DenseSlice::F32(&[1.0, 0.0, -1.0])).1, [1, -1, -1]);
        assert_eq!(run(Isa::best(), DenseSlice::F32(&[])), (0.0, vec![]));
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let mut w = vec![1.0; CHUNK + 40];
        (w[CHUNK + 21], w[CHUNK + 22]) = (f32::INFINITY, f32::NEG_INFINITY);
        let found = binary(Isa::best(), DenseSlice::F32(&w), &mut vec![0; w.len()]);
        assert_eq!(found, Err(NonFinite { index: CHUNK + 21 }));
    }

    #[test]
    fn threads_change_nothing() {
        let w = Random::new(5).floats(5 * CHUNK + 3, 1.0);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(Isa::best(), DenseSlice::F32(&w)))
        };
        assert_eq!(run(1), run(2));
    }
}
