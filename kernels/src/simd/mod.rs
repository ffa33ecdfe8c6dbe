//! Vectors of 16 f32 lanes: one trait, one thin file per instruction set.
//!
//! ```text
//!   lane      0   1   2  ...  7 | 8  ...  15
//!   portable  [f32; 16]
//!   avx2      __m256            | __m256
//!   avx512    __m512
//!   neon      4 float32x4_t
//! ```
//!
//! A type that implements [`Simd`] is a token: a value of it proves that the CPU has the set, which
//! is what makes its methods safe. An algorithm is an [`Op`], generic over the token;
//! [`Simd::vectorize`] compiles it with the set switched on. Adding a set is adding a file here and
//! an arm in `isa.rs`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
use half::{bf16, f16};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::{Portable, f16_to_f32};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// An algorithm that runs on any instruction set.
pub(crate) trait Op {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The operations of an instruction set. Each is one IEEE 754 operation per lane, so that all sets
/// give the same bits; the crate page states the rules for NaN and zeros.
pub(crate) trait Simd: Copy + Send + Sync {
    /// 16 lanes.
    type V: Copy;
    /// Vectors that fit the registers as sums, beside the operands of their products.
    const SUMS: usize;

    /// Runs `op` compiled for this set.
    fn vectorize<O: Op>(self, op: O) -> O::Output;

    /// Asks for the line of `p` to come into the second-level cache; only a hint, for any address.
    #[inline(always)]
    fn prefetch(self, _p: *const u8) {}

    fn splat(self, x: f32) -> Self::V;
    #[inline(always)]
    fn splat_f16(self, x: f16) -> Self::V {
        self.splat(f16_to_f32(x))
    }
    fn load(self, x: &[f32; LANES]) -> Self::V;
    fn load_f16(self, x: &[f16; LANES]) -> Self::V;
    fn load_bf16(self, x: &[bf16; LANES]) -> Self::V;
    fn load_i8(self, x: &[i8; LANES]) -> Self::V;
    fn store(self, v: Self::V, out: &mut [f32; LANES]);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once.
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a < b ? a : b`
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a > b ? a : b`
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// `2^n` for lanes that hold integers from -126 to 127.
    fn exp2_integer(self, n: Self::V) -> Self::V;
    /// To the nearest integer, ties to even, for lanes from -128 to 127.
    fn round_to_i8(self, v: Self::V) -> [i8; LANES];

    /// The sum of the lanes, as the tree of the crate page.
    fn sum(self, v: Self::V) -> f32;

    /// The largest lane.
    #[inline(always)]
    fn max_lane(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        fold(lanes, |a, b| if a > b { a } else { b })
    }

    /// Fewer than 16 elements, the other lanes zero.
    #[inline(always)]
    fn load_tail<T: Lane>(self, x: &[T]) -> Self::V {
        let mut lanes = [T::ZERO; LANES];
        lanes[..x.len()].copy_from_slice(x);
        T::load(self, &lanes)
    }

    /// The first lanes of `v`, as many as `out` takes.
    #[inline(always)]
    fn store_tail(self, v: Self::V, out: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        out.copy_from_slice(&lanes[..out.len()]);
    }
}

/// Lane `j` takes lane `j + 8`, then `j + 4`, `j + 2`, `j + 1`.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    for step in [8, 4, 2, 1] {
        for j in 0..step {
            lanes[j] = f(lanes[j], lanes[j + step]);
        }
    }
    lanes[0]
}

/// A weight's type: what memory holds, widened exactly to f32 when loaded.
pub(crate) trait Lane: Copy + Send + Sync {
    const ZERO: Self;
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::V;
}

impl Lane for f32 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::V {
        simd.load(x)
    }
}

impl Lane for f16 {
    const ZERO: Self = f16::ZERO;
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::V {
        simd.load_f16(x)
    }
}

impl Lane for bf16 {
    const ZERO: Self = bf16::ZERO;
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::V {
        simd.load_bf16(x)
    }
}

impl Lane for i8 {
    const ZERO: Self = 0;
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::V {
        simd.load_i8(x)
    }
}

#[cfg(test)]
mod tests;
