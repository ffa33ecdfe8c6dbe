//! e^x, one polynomial for every instruction set.
//!
//! ```text
//!   x = n ln 2 + r,  |r| <= ln 2 / 2      e^x = 2^n e^r
//! ```
//!
//! n ln 2 is subtracted in two parts (Cody and Waite, "Software Manual for the Elementary Functions",
//! 1980): the first has nine bits, so that its product with n is exact. e^r is the Taylor polynomial
//! of degree 7, whose remainder is below r^8/8! < 5.3e-9, a tenth of an ulp. 2^n is applied as two
//! factors: where e^x is subnormal or overflows, only the second of them rounds.

use std::f32::consts::LOG2_E;

use crate::simd::Simd;

/// Above this e^x overflows, which clamping keeps true.
const MAX: f32 = 89.0;
/// Below this e^x is less than half of the smallest subnormal.
const MIN: f32 = -104.0;
/// The leading nine bits of ln 2, and the rest.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// 1/7!, 1/6!, ... 1/2!
const INVERSE_FACTORIALS: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// e^x in each lane, within 1 ulp. 0 for -inf, inf for inf, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Constants first: the second operand wins if it is NaN.
    let x = s.min(s.splat(MAX), s.max(s.splat(MIN), x));
    let round = s.splat(ROUND);
    let n = s.sub(s.mul_add(x, s.splat(LOG2_E), round), round);
    let r = s.neg_mul_add(n, s.splat(LN2_HIGH), x);
    let r = s.neg_mul_add(n, s.splat(LN2_LOW), r);
    let one = s.splat(1.0);
    let mut p = s.splat(INVERSE_FACTORIALS[0]);
    for &c in &INVERSE_FACTORIALS[1..] {
        p = s.mul_add(p, r, s.splat(c));
    }
    p = s.mul_add(p, r, one);
    p = s.mul_add(p, r, one);
    let half = s.sub(s.mul_add(n, s.splat(0.5), round), round);
    s.mul(s.mul(p, s.exp2_integer(half)), s.exp2_integer(s.sub(n, half)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Isa,
        simd::{LANES, Op},
    };

    struct Exp([f32; LANES]);

    impl Op for Exp {
        type Output = [f32; LANES];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            s.store(exp(s, s.load(&self.0)), &mut out);
            out
        }
    }

    /// The distance in units of the last place of the f32 nearest to `exact`.
    fn ulps(found: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        let ulp = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(found) - exact).abs() / ulp
    }

    #[test]
    fn within_one_ulp_of_the_f64_exponential() {
        // A prime stride over the bit patterns of both signs visits every binade densely: 1.3 million
        // of the arguments whose result is neither 0 nor infinite.
        let stride = 1699;
        let negative = (0x8000_0000..=(-103.9f32).to_bits()).step_by(stride);
        let positive = (0..88.722_83f32.to_bits()).step_by(stride);
        let arguments: Vec<f32> = negative.chain(positive).map(f32::from_bits).collect();
        for isa in Isa::available() {
            let mut worst = (0.0, 0.0);
            for chunk in arguments.chunks(LANES) {
                let mut x = [0.0; LANES];
                x[..chunk.len()].copy_from_slice(chunk);
                for (&y, &x) in isa.run(Exp(x)).iter().zip(&x) {
                    let error = ulps(y, libm::exp(f64::from(x)));
                    if error > worst.0 {
                        worst = (error, x);
                    }
                }
            }
            println!("{isa}: {:.3} ulp at {}", worst.0, worst.1);
            assert!(worst.0 <= 1.0, "{isa}: {} ulp at {}", worst.0, worst.1);
        }
    }

    #[test]
    fn ends_of_the_range() {
        let mut x = [0.0; LANES];
        x[..8].copy_from_slice(&[
            f32::NEG_INFINITY,
            f32::INFINITY,
            -104.0,
            88.722_84,
            88.722_83,
            -103.972_08,
            -0.0,
            -1e30,
        ]);
        x[8] = f32::NAN;
        for isa in Isa::available() {
            let y = isa.run(Exp(x));
            assert_eq!(y[0], 0.0, "{isa}");
            assert_eq!(y[1], f32::INFINITY, "{isa}");
            assert_eq!(y[2], 0.0, "{isa}");
            assert_eq!(y[3], f32::INFINITY, "{isa}");
            assert!(y[4].is_finite() && y[4] > 3.402e38, "{isa}: {}", y[4]);
            assert_eq!(y[5].to_bits(), 1, "{isa}: the smallest subnormal");
            assert_eq!(y[6], 1.0, "{isa}");
            assert_eq!(y[7], 0.0, "{isa}");
            assert!(y[8].is_nan(), "{isa}");
        }
    }
}
