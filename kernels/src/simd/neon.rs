//! NEON, which every aarch64 CPU has: four registers of four lanes.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::aarch64::*;
use std::array::from_fn;

use half::{bf16, f16};

use super::{LANES, Op, Simd};

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

/// Lanes 0 to 3, 4 to 7, 8 to 11 and 12 to 15.
#[derive(Clone, Copy)]
pub(crate) struct Vector([float32x4_t; 4]);

impl Neon {
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

#[target_feature(enable = "neon")]
fn run<O: Op>(token: Neon, op: O) -> O::Output {
    op.run(token)
}

/// Evaluates intrinsics on values inside a method of the token.
macro_rules! on {
    ($token:ident, $e:expr) => {{
        let Neon(()) = $token;
        // SAFETY: a token exists only where NEON was detected, and intrinsics on values ask for nothing
        // else; those on memory say more where they are used.
        unsafe { $e }
    }};
}

impl Simd for Neon {
    type V = Vector;
    const SUMS: usize = 6;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        on!(self, run(self, op))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Vector {
        on!(self, Vector([vdupq_n_f32(x); 4]))
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Vector {
        // Memory: the array has 16 elements, load i takes elements 4 i to 4 i + 3.
        on!(self, Vector(from_fn(|i| vld1q_f32(x.as_ptr().add(4 * i)))))
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> Vector {
        let p: *const u16 = x.as_ptr().cast();
        // Memory: the array has 16 elements of two bytes, load i takes elements 4 i to 4 i + 3.
        on!(self, Vector(from_fn(|i| vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.add(4 * i)))))))
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> Vector {
        let p: *const u16 = x.as_ptr().cast();
        // Memory: the array has 16 elements of two bytes, load i takes elements 4 i to 4 i + 3.
        on!(self, Vector(from_fn(|i| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.add(4 * i)))))))
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Vector {
        // Memory: 16 elements of one byte are one load of 16 bytes.
        on!(self, {
            let bytes = vld1q_s8(x.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            Vector([
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ])
        })
    }

    #[inline(always)]
    fn store(self, v: Vector, out: &mut [f32; LANES]) {
        for (v, out) in v.0.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // Memory: four elements.
            on!(self, vst1q_f32(out.as_mut_ptr(), v));
        }
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vaddq_f32(a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vsubq_f32(a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vmulq_f32(a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vdivq_f32(a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vfmaq_f32(c.0[i], a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vfmsq_f32(c.0[i], a.0[i], b.0[i]))))
    }

    // NEON's own minimum and maximum treat NaN and zeros by another rule.
    #[inline(always)]
    fn min(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vbslq_f32(vcltq_f32(a.0[i], b.0[i]), a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(from_fn(|i| vbslq_f32(vcgtq_f32(a.0[i], b.0[i]), a.0[i], b.0[i]))))
    }

    #[inline(always)]
    fn abs(self, a: Vector) -> Vector {
        on!(self, Vector(a.0.map(|a| vabsq_f32(a))))
    }

    #[inline(always)]
    fn exp2_integer(self, n: Vector) -> Vector {
        on!(self, {
            // The exponent field of 2^n is n + 127.
            let bias = vdupq_n_s32(127);
            let power = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(n), bias)));
            Vector(n.0.map(power))
        })
    }

    #[inline(always)]
    fn round_to_i8(self, v: Vector) -> [i8; LANES] {
        let mut out = [0; LANES];
        // Memory: the array has 16 bytes, one store of 16 bytes.
        on!(self, {
            let [a, b, c, d] = v.0.map(|v| vmovn_s32(vcvtnq_s32_f32(v)));
            let bytes = vcombine_s8(vmovn_s16(vcombine_s16(a, b)), vmovn_s16(vcombine_s16(c, d)));
            vst1q_s8(out.as_mut_ptr(), bytes);
        });
        out
    }

    #[inline(always)]
    fn sum(self, v: Vector) -> f32 {
        let [a, b, c, d] = v.0;
        on!(self, {
            let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        })
    }
}
