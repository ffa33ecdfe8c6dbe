//! The reference: plain Rust, what every other set must equal bit for bit.

use std::array::from_fn;

use half::{bf16, f16};

use super::{LANES, Op, Simd, fold};

/// The token of plain Rust; needs no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

/// 1.5 * 2^23. Between 2^23 and 2^24 floats are the integers, so adding this rounds a small number
/// to the nearest one, ties to even, and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;

impl Simd for Portable {
    type V = [f32; LANES];
    const SUMS: usize = 6;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        *x
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> Self::V {
        from_fn(|i| f16_to_f32(x[i]))
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> Self::V {
        from_fn(|i| f32::from_bits(u32::from(x[i].to_bits()) << 16))
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::V {
        x.map(f32::from)
    }

    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32; LANES]) {
        *out = v;
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| fused_mul_add(a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| fused_mul_add(-a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        a.map(f32::abs)
    }

    #[inline(always)]
    fn exp2_integer(self, n: Self::V) -> Self::V {
        // The exponent field of 2^n is n + 127.
        from_fn(|i| f32::from_bits(((n[i] + ROUND).to_bits().wrapping_add(127)) << 23))
    }

    #[inline(always)]
    fn round_to_i8(self, v: Self::V) -> [i8; LANES] {
        from_fn(|i| (v[i] + ROUND).to_bits() as i8)
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        fold(v, |a, b| a + b)
    }
}

/// The f32 of the same value. Both branches are cheap, so that the loop over lanes vectorizes.
#[inline(always)]
pub(crate) fn f16_to_f32(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
    // The f16's exponent and fraction moved into place; 2^112 corrects the bias (127 - 15), also for
    // subnormals, exactly.
    let finite = f32::from_bits(magnitude << 13) * f32::from_bits((112 + 127) << 23);
    let special = f32::from_bits(magnitude << 13 | 0x7f80_0000);
    f32::from_bits(if magnitude < 0x7c00 { finite } else { special }.to_bits() | sign)
}

/// `a * b + c`, rounded once.
#[cfg(any(target_arch = "aarch64", target_feature = "fma"))]
#[inline(always)]
pub(super) fn fused_mul_add(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// `a * b + c`, rounded once, without the instruction and without the C library, whose `fmaf` is slow
/// and not correct everywhere.
///
/// In f64 the product is exact (24 + 24 bits) and the sum is rounded to odd: if bits were lost, the
/// last one kept is set. Rounding that to f32 is then the same as rounding the exact sum (Boldo and
/// Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
/// odd", 2008; it takes 24 + 2 bits, f64 has 53).
#[cfg(not(any(target_arch = "aarch64", target_feature = "fma")))]
#[inline(always)]
pub(super) fn fused_mul_add(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // Knuth's two-sum: the exact error of the addition; NaN if the sum is not finite.
    let c_part = sum - product;
    let lost = (product - (sum - c_part)) + (c - c_part);
    // The exact sum lies between `sum` and its neighbour on the side of `lost`. One of the two is
    // odd: if it is not `sum`, it is the neighbour.
    let bits = sum.to_bits();
    let inexact = lost.abs() > 0.0;
    let step = u64::from(inexact) & !bits & 1;
    let outward = (lost > 0.0) == (sum > 0.0);
    f64::from_bits(if outward { bits.wrapping_add(step) } else { bits.wrapping_sub(step) }) as f32
}
