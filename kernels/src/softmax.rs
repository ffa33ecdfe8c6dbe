//! Softmax and log-probabilities of one row.
//!
//! ```text
//!   p[i] = e^(x[i] - max) / sum            ln p[i] = (x[i] - max) - ln sum
//!   sum  = sum over j of e^(x[j] - max)
//! ```

use crate::{
    Isa,
    exp::exp,
    simd::{LANES, Op, Simd},
};

/// Turns a row into probabilities, in place. A row with a NaN or without a finite maximum becomes NaN.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    isa.run(Softmax(x));
}

struct Softmax<'a>(&'a mut [f32]);

impl Op for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        softmax_in(s, self.0);
    }
}

/// [`softmax`] inside another operation.
#[inline(always)]
pub(crate) fn softmax_in<S: Simd>(s: S, x: &mut [f32]) {
    let max = s.splat(max_in(s, x));
    let (whole, tail) = x.as_chunks_mut();
    let mut sum = s.splat(0.0);
    for x in &mut *whole {
        let e = exp(s, s.sub(s.load(x), max));
        sum = s.add(sum, e);
        s.store(e, x);
    }
    if !tail.is_empty() {
        s.store_tail(exp(s, s.sub(s.load_tail(tail), max)), tail);
        // Loaded again, so that the lanes after the last element are zeros.
        sum = s.add(sum, s.load_tail(tail));
    }
    let sum = s.splat(s.sum(sum));
    for x in whole {
        s.store(s.div(s.load(x), sum), x);
    }
    if !tail.is_empty() {
        s.store_tail(s.div(s.load_tail(tail), sum), tail);
    }
}

/// The largest element, -inf for an empty row.
#[inline(always)]
fn max_in<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut max = s.splat(f32::NEG_INFINITY);
    let (whole, tail) = x.as_chunks();
    for x in whole {
        max = s.max(max, s.load(x));
    }
    let mut lanes = [f32::NEG_INFINITY; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    s.max_lane(s.max(max, s.load(&lanes)))
}

/// ln of the sum of e^x over a row, within 1e-6.
///
/// The exponentials are f32, each within 1 ulp; they are summed in f64 by the rule of the crate page.
pub fn log_sum_exp(isa: Isa, x: &[f32]) -> f64 {
    let (max, sum) = isa.run(SumExp(x));
    f64::from(max) + libm::log(sum)
}

/// ln of the probability that softmax gives to element `i` of a row, within 1e-6.
///
/// # Panics
/// `i` is outside the row.
pub fn log_probability(isa: Isa, x: &[f32], i: usize) -> f64 {
    let (max, sum) = isa.run(SumExp(x));
    (f64::from(x[i]) - f64::from(max)) - libm::log(sum)
}

struct SumExp<'a>(&'a [f32]);

impl Op for SumExp<'_> {
    /// The maximum, and the sum of e^(x - max).
    type Output = (f32, f64);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f64) {
        let max = max_in(s, self.0);
        let mut sums = [0.0; LANES];
        let (whole, tail) = self.0.as_chunks();
        let mut lanes = [0.0; LANES];
        for x in whole {
            s.store(exp(s, s.sub(s.load(x), s.splat(max))), &mut lanes);
            for j in 0..LANES {
                sums[j] += f64::from(lanes[j]);
            }
        }
        if !tail.is_empty() {
            s.store(exp(s, s.sub(s.load_tail(tail), s.splat(max))), &mut lanes);
            for j in 0..tail.len() {
                sums[j] += f64::from(lanes[j]);
            }
        }
        for step in [8, 4, 2, 1] {
            for j in 0..step {
                sums[j] += sums[j + step];
            }
        }
        (max, sums[0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Random;

    fn exact_log_sum_exp(x: &[f32]) -> f64 {
        let max = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        max + libm::log(x.iter().map(|x| libm::exp(f64::from(*x) - max)).sum())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn equals_f64_and_itself(n in 1..400usize, scale in 0.0f32..60.0, seed: u64) {
            let x = Random::new(seed).floats(n, scale);
            let exact = exact_log_sum_exp(&x);
            let mut reference = x.clone();
            softmax(Isa::SCALAR, &mut reference);
            for (x, p) in x.iter().zip(&reference) {
                let exact = libm::exp(f64::from(*x) - exact);
                // x - max is rounded: 6e-8 * |x - max|, at most 120; the sum and the rest add 1e-6.
                prop_assert!((f64::from(*p) - exact).abs() <= 1e-5 * exact + 1e-37, "{} for {}", p, exact);
            }
            for isa in Isa::available() {
                let mut p = x.clone();
                softmax(isa, &mut p);
                prop_assert!(p.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", isa);
                let found = log_sum_exp(isa, &x);
                prop_assert!((found - exact).abs() < 1e-6, "{} for {}", found, exact);
                prop_assert_eq!(found.to_bits(), log_sum_exp(Isa::SCALAR, &x).to_bits());
                let last = log_probability(isa, &x, n - 1);
                prop_assert!((last - (f64::from(x[n - 1]) - exact)).abs() < 1e-6);
                prop_assert_eq!(last.to_bits(), log_probability(Isa::SCALAR, &x, n - 1).to_bits());
            }
        }
    }

    #[test]
    fn a_large_vocabulary_stays_within_1e_6() {
        let mut random = Random::new(3);
        let mut x = random.floats(128_256, 12.0);
        x[77] = 14.0;
        assert!((log_sum_exp(Isa::best(), &x) - exact_log_sum_exp(&x)).abs() < 1e-6);
        x.fill(-3.25);
        assert!((log_sum_exp(Isa::best(), &x) - exact_log_sum_exp(&x)).abs() < 1e-6);
    }

    #[test]
    fn infinities() {
        for isa in Isa::available() {
            let mut x = [0.0, f32::NEG_INFINITY, 0.0];
            assert_eq!(log_probability(isa, &x, 1), f64::NEG_INFINITY);
            softmax(isa, &mut x);
            assert_eq!(x, [0.5, 0.0, 0.5], "{isa}");
            let mut x = [1.0, f32::NAN];
            softmax(isa, &mut x);
            assert!(x.iter().all(|x| x.is_nan()), "{isa}: {x:?}");
            assert_eq!(log_sum_exp(isa, &[]), f64::NEG_INFINITY);
        }
    }
}
