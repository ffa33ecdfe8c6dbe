//! Weights to ternary codes by their absolute mean.
//!
//! ```text
//!   mean = max(sum |w| / n, 1e-5)        code = clamp(round(w * (1 / mean)), -1, 1)
//! ```
//!
//! "The Era of 1-bit LLMs" (arXiv 2402.17764), equations 1 to 3, over the whole tensor; a weight is
//! about `code * mean`. As in the reference code, the weight is multiplied by the rounded reciprocal
//! and ties round to even. The mean is summed in f64 in chunks of fixed length, added in order, and
//! rounded to f32 once.
//!
//! Other schemes: [`absmedian`] gives another scale for the same codes, [`binary`] two codes about the
//! mean. [`fit`] measures what ternarizing loses.

mod binary;
mod fit;
mod median;

use rayon::prelude::*;

use crate::{
    Isa,
    dense::{DenseSlice, with_slice},
    simd::{LANES, Lane, Op, Simd},
};

pub use self::{
    binary::binary,
    fit::{Fit, fit},
    median::absmedian,
};

/// Weights that are summed or rounded by one task. Fixed, so that the sum does not depend on the
/// number of threads; 256 kB of f32.
const CHUNK: usize = 1 << 16;

/// The smallest mean, so that a tensor of zeros has a finite reciprocal.
const MIN_MEAN: f32 = 1e-5;

/// A weight that has no code.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("weight {index} is not finite")]
pub struct NonFinite {
    /// The first such element.
    pub index: usize,
}

/// The scale of a tensor: `mean |w|`, at least 1e-5. 1e-5 for an empty one.
///
/// # Errors
/// The first NaN or infinity.
pub fn absmean(isa: Isa, w: DenseSlice) -> Result<f32, NonFinite> {
    let sums: Vec<f64> = with_slice!(w, w => w.par_chunks(CHUNK).map(|w| isa.run(SumAbs(w))).collect());
    let sum: f64 = sums.iter().sum();
    // A sum of finite f32 magnitudes cannot overflow f64, so only one of them can spoil it.
    if !sum.is_finite()
        && let Some(index) = first_non_finite(w)
    {
        return Err(NonFinite { index });
    }
    let mean = if w.is_empty() { 0.0 } else { sum / w.len() as f64 };
    Ok((mean as f32).max(MIN_MEAN))
}

/// The scale of a tensor, whatever it is stored as: the magnitude of weights that are ternary already
/// (0 and one magnitude, as a dequantized file has them), otherwise [`absmean`], the scale of a master.
///
/// The mean of weights that are ternary already is smaller than their scale by the share of zeros.
///
/// # Errors
/// The first NaN or infinity.
pub fn scale(isa: Isa, w: DenseSlice) -> Result<f32, NonFinite> {
    match magnitude(w) {
        Some(magnitude) => Ok(magnitude),
        None => absmean(isa, w),
    }
}

/// The magnitude that all weights but zeros have, if there is one: the scale of weights that are ternary
/// already. Few weights of a master are enough to tell. None for a magnitude without a finite reciprocal.
pub fn magnitude(w: DenseSlice) -> Option<f32> {
    let chunks = w.len().div_ceil(CHUNK);
    let magnitudes = |chunk: usize| {
        let range = chunk * CHUNK..w.len().min((chunk + 1) * CHUNK);
        let mut wide = vec![0.0; range.len()];
        w.range(range).to_f32(&mut wide);
        wide.into_iter().map(f32::abs).filter(|&m| m != 0.0)
    };
    let magnitude = (0..chunks).find_map(|chunk| magnitudes(chunk).next())?;
    let same = |chunk: usize| {
        let range = chunk * CHUNK..w.len().min((chunk + 1) * CHUNK);
        !with_slice!(w.range(range), w => Isa::best().run(AnyOther { w, magnitude }))
    };
    let ternary = magnitude.is_normal() && same(0) && (1..chunks).into_par_iter().all(same);
    ternary.then_some(magnitude)
}

/// The first NaN or infinity.
pub fn first_non_finite(w: DenseSlice) -> Option<usize> {
    with_slice!(w, w => w.par_chunks(CHUNK).enumerate().find_map_first(|(i, chunk)| {
        let bad = Isa::best().run(FirstNonFinite(chunk))?;
        Some(i * CHUNK + bad)
    }))
}

/// The codes -1, 0 and 1 of finite weights under a scale from [`absmean`] or [`absmedian`].
///
/// # Panics
/// `codes` has another length than `w`.
pub fn ternarize(isa: Isa, w: DenseSlice, mean: f32, codes: &mut [i8]) {
    assert_eq!(w.len(), codes.len(), "one code per weight");
    let scale = 1.0 / mean;
    with_slice!(w, w => w
        .par_chunks(CHUNK)
        .zip(codes.par_chunks_mut(CHUNK))
        .for_each(|(w, codes)| isa.run(Ternarize { w, scale, codes })));
}

/// Whether a weight is neither 0 nor of that magnitude.
struct AnyOther<'a, T> {
    w: &'a [T],
    magnitude: f32,
}

impl<T: Lane> Op for AnyOther<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let (whole, tail) = self.w.as_chunks();
        let mut others = [0; LANES];
        for w in whole {
            count_others(s, T::load(s, w), self.magnitude, &mut others);
        }
        if !tail.is_empty() {
            count_others(s, s.load_tail(tail), self.magnitude, &mut others);
        }
        others.iter().any(|&n| n > 0)
    }
}

/// Counts in each lane; there is no way out of the loop, so that it runs in wide registers.
#[inline(always)]
fn count_others<S: Simd>(s: S, w: S::V, magnitude: f32, others: &mut [u32; LANES]) {
    let mut lanes = [0.0; LANES];
    s.store(s.abs(w), &mut lanes);
    for j in 0..LANES {
        others[j] += u32::from(lanes[j] != 0.0) & u32::from(lanes[j] != magnitude);
    }
}

struct SumAbs<'a, T>(&'a [T]);

impl<T: Lane> Op for SumAbs<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        // The rule of the crate page, in f64.
        let mut sums = [0.0; LANES];
        let (whole, tail) = self.0.as_chunks();
        for w in whole {
            add_abs(s, T::load(s, w), &mut sums);
        }
        if !tail.is_empty() {
            add_abs(s, s.load_tail(tail), &mut sums);
        }
        fold(sums)
    }
}

/// The tree of the crate page, in f64.
#[inline(always)]
fn fold(mut sums: [f64; LANES]) -> f64 {
    for step in [8, 4, 2, 1] {
        for j in 0..step {
            sums[j] += sums[j + step];
        }
    }
    sums[0]
}

#[inline(always)]
fn add_abs<S: Simd>(s: S, w: S::V, sums: &mut [f64; LANES]) {
    add(s, s.abs(w), sums, |w| w);
}

/// Adds `f` of each lane to its sum.
#[inline(always)]
fn add<S: Simd>(s: S, w: S::V, sums: &mut [f64; LANES], f: impl Fn(f64) -> f64) {
    let mut lanes = [0.0; LANES];
    s.store(w, &mut lanes);
    for j in 0..LANES {
        sums[j] += f(f64::from(lanes[j]));
    }
}

struct FirstNonFinite<'a, T>(&'a [T]);

impl<T: Lane> Op for FirstNonFinite<'_, T> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Option<usize> {
        if crate::quantize::absmax(s, self.0).is_some() {
            return None;
        }
        self.0.chunks(LANES).enumerate().find_map(|(i, w)| {
            let mut lanes = [0.0; LANES];
            s.store(s.load_tail(w), &mut lanes);
            Some(i * LANES + lanes.iter().position(|w| !w.is_finite())?)
        })
    }
}

struct Ternarize<'a, T> {
    w: &'a [T],
    scale: f32,
    codes: &'a mut [i8],
}

impl<T: Lane> Op for Ternarize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (whole, tail) = self.w.as_chunks();
        let (codes, codes_tail) = self.codes.as_chunks_mut();
        for (w, codes) in whole.iter().zip(codes) {
            *codes = round(s, T::load(s, w), self.scale);
        }
        if !tail.is_empty() {
            let codes = round(s, s.load_tail(tail), self.scale);
            codes_tail.copy_from_slice(&codes[..tail.len()]);
        }
    }
}

#[inline(always)]
fn round<S: Simd>(s: S, w: S::V, scale: f32) -> [i8; LANES] {
    // Clamping to integers before rounding is the same as after it, and keeps the conversion in range.
    let scaled = s.mul(w, s.splat(scale));
    s.round_to_i8(s.min(s.splat(1.0), s.max(s.splat(-1.0), scaled)))
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn check(w: &[f32]) {
        let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
        let brains: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        for slice in [DenseSlice::F32(w), DenseSlice::F16(&halves), DenseSlice::Bf16(&brains)] {
            let mut wide = vec![0.0; w.len()];
            slice.to_f32(&mut wide);
            let exact = wide.iter().map(|w| f64::from(w.abs())).sum::<f64>() / w.len() as f64;
            let reference = absmean(Isa::SCALAR, slice).unwrap();
            // One rounding to f32; the f64 sum is far better than that.
            assert!((f64::from(reference) / exact.max(1e-5) - 1.0).abs() < 1.2e-7);
            for isa in Isa::available() {
                let mean = absmean(isa, slice).unwrap();
                assert_eq!(mean.to_bits(), reference.to_bits(), "{isa}");
                let mut codes = vec![9; w.len()];
                ternarize(isa, slice, mean, &mut codes);
                let inverse = 1.0 / mean;
                for (i, (&code, &w)) in codes.iter().zip(&wide).enumerate() {
                    assert_eq!(
                        f32::from(code),
                        (w * inverse).round_ties_even().clamp(-1.0, 1.0),
                        "{isa} {i}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_the_formula(n in 1..2000usize, exponent in -14..9i32, seed: u64) {
            check(&Random::new(seed).floats(n, libm::exp2f(exponent as f32)));
        }
    }

    #[test]
    fn several_chunks_and_extremes() {
        check(&Random::new(1).floats(2 * CHUNK + 77, 0.05));
        check(&[0.0; 33]);
        check(&[0.25; 20]);
        check(&[1.0, -1.0, 0.5, -0.5, 1.5, 1e-30, -6e4]);
    }

    #[test]
    fn weights_that_are_ternary_already_keep_their_scale() {
        let mut random = Random::new(7);
        for magnitude in [0.25f32, 1.0, 0.017] {
            let magnitude = f16::from_f32(magnitude);
            let codes = random.codes(CHUNK + 100);
            let w: Vec<f16> =
                codes.iter().map(|&c| f16::from_f32(f32::from(c) * magnitude.to_f32())).collect();
            for isa in Isa::available() {
                let found = scale(isa, DenseSlice::F16(&w)).unwrap();
                assert_eq!(found, magnitude.to_f32());
                let mut again = vec![9; codes.len()];
                ternarize(isa, DenseSlice::F16(&w), found, &mut again);
                assert_eq!(again, codes);
            }
        }
        // One other magnitude, at the very end, makes a master.
        let mut w = vec![0.5f32; CHUNK + 100];
        *w.last_mut().unwrap() = 0.25;
        let w = DenseSlice::F32(&w);
        assert_eq!(scale(Isa::best(), w), absmean(Isa::best(), w));
        // A magnitude without a finite reciprocal is none.
        for w in [&[][..], &[0.0; 5], &[1e-40; 5]] {
            let w = DenseSlice::F32(w);
            assert_eq!(scale(Isa::best(), w), absmean(Isa::best(), w));
        }
        assert_eq!(scale(Isa::best(), DenseSlice::F32(&[f32::NAN; 3])), Err(NonFinite { index: 0 }));
        assert_eq!(scale(Isa::best(), DenseSlice::F32(&[f32::INFINITY; 3])), Err(NonFinite { index: 0 }));
    }

    #[test]
    fn ties_round_to_even() {
        // mean 1: a weight of 0.5 is a tie and becomes 0.
        let w = [0.5, -0.5, 1.5, -1.5, 1.0, 1.0, 1.0, 1.0];
        let mean = absmean(Isa::best(), DenseSlice::F32(&w)).unwrap();
        assert_eq!(mean, 1.0);
        let mut codes = [9; 8];
        ternarize(Isa::best(), DenseSlice::F32(&w), mean, &mut codes);
        assert_eq!(codes, [0, 0, 1, -1, 1, 1, 1, 1]);
    }

    #[test]
    fn the_first_non_finite_weight_is_named() {
        let mut w = vec![1.0; 2 * CHUNK];
        w[CHUNK + 21] = f32::NEG_INFINITY;
        w[CHUNK + 22] = f32::NAN;
        let index = CHUNK + 21;
        for isa in Isa::available() {
            assert_eq!(absmean(isa, DenseSlice::F32(&w)), Err(NonFinite { index }));
        }
        assert_eq!(first_non_finite(DenseSlice::F32(&w)), Some(index));
        assert_eq!(first_non_finite(DenseSlice::F32(&w[..CHUNK])), None);
        assert_eq!(NonFinite { index: 3 }.to_string(), "weight 3 is not finite");
    }

    #[test]
    fn threads_change_nothing() {
        let w = Random::new(5).floats(5 * CHUNK + 3, 1.0);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| absmean(Isa::best(), DenseSlice::F32(&w)).unwrap().to_bits())
        };
        assert_eq!(run(1), run(2));
    }
}
