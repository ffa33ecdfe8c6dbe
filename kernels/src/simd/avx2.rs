//! AVX2 with FMA and F16C: two registers of eight lanes.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{LANES, Op, Simd};

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// Lanes 0 to 7 and lanes 8 to 15.
#[derive(Clone, Copy)]
pub(crate) struct Vector(__m256, __m256);

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Self(()))
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn run<O: Op>(token: Avx2, op: O) -> O::Output {
    op.run(token)
}

/// Evaluates intrinsics on values inside a method of the token.
macro_rules! on {
    ($token:ident, $e:expr) => {{
        let Avx2(()) = $token;
        // SAFETY: a token exists only where AVX2, FMA and F16C were detected, and intrinsics on values
        // ask for nothing else; those on memory say more where they are used.
        unsafe { $e }
    }};
}

impl Simd for Avx2 {
    type V = Vector;
    const SUMS: usize = 6;

    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        on!(self, run(self, op))
    }

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // Memory: a hint does not access it.
        on!(self, _mm_prefetch::<_MM_HINT_T1>(p.cast()));
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Vector {
        on!(self, Vector(_mm256_set1_ps(x), _mm256_set1_ps(x)))
    }

    #[inline(always)]
    fn splat_f16(self, x: f16) -> Vector {
        on!(self, {
            // Broadcast before widening, which loads can do; after it, it is a shuffle.
            let wide = _mm256_cvtph_ps(_mm_set1_epi16(x.to_bits().cast_signed()));
            Vector(wide, wide)
        })
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Vector {
        // Memory: the array has 16 elements, the two loads take elements 0 to 7 and 8 to 15.
        on!(self, Vector(_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))))
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> Vector {
        let p: *const __m128i = x.as_ptr().cast();
        // Memory: 16 elements of two bytes are two unaligned loads of 16 bytes.
        on!(self, Vector(_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))))
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> Vector {
        let p: *const __m128i = x.as_ptr().cast();
        // Memory: 16 elements of two bytes are two unaligned loads of 16 bytes.
        on!(self, {
            let widen = |half| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
            Vector(widen(_mm_loadu_si128(p)), widen(_mm_loadu_si128(p.add(1))))
        })
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Vector {
        // Memory: 16 elements of one byte are one unaligned load of 16 bytes.
        on!(self, {
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            let widen = |low| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
            Vector(widen(bytes), widen(_mm_unpackhi_epi64(bytes, bytes)))
        })
    }

    #[inline(always)]
    fn store(self, v: Vector, out: &mut [f32; LANES]) {
        let p = out.as_mut_ptr();
        // Memory: the array has 16 elements, the two stores fill elements 0 to 7 and 8 to 15.
        on!(self, {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        });
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        on!(self, Vector(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        on!(self, Vector(_mm256_fnmadd_ps(a.0, b.0, c.0), _mm256_fnmadd_ps(a.1, b.1, c.1)))
    }

    #[inline(always)]
    fn min(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn abs(self, a: Vector) -> Vector {
        on!(self, {
            let sign = _mm256_set1_ps(-0.0);
            Vector(_mm256_andnot_ps(sign, a.0), _mm256_andnot_ps(sign, a.1))
        })
    }

    #[inline(always)]
    fn exp2_integer(self, n: Vector) -> Vector {
        on!(self, {
            // The exponent field of 2^n is n + 127.
            let bias = _mm256_set1_epi32(127);
            let power = |n| {
                let field = _mm256_add_epi32(_mm256_cvtps_epi32(n), bias);
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(field))
            };
            Vector(power(n.0), power(n.1))
        })
    }

    #[inline(always)]
    fn round_to_i8(self, v: Vector) -> [i8; LANES] {
        let mut out = [0; LANES];
        // Memory: the array has 16 bytes, one unaligned store of 16 bytes.
        on!(self, {
            // Packing works within 128-bit halves: (0-3, 8-11, 4-7, 12-15), put in order as i16.
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.0), _mm256_cvtps_epi32(v.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        });
        out
    }

    #[inline(always)]
    fn sum(self, v: Vector) -> f32 {
        on!(self, {
            let eight = _mm256_add_ps(v.0, v.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<0b01>(two, two)))
        })
    }
}
