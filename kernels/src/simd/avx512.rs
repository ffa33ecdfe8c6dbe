//! AVX-512: one register of sixteen lanes.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Avx2, LANES, Op, Simd};

/// Proof that the CPU has the AVX-512 subsets of every server since 2017 (F, BW, VL and DQ), and what
/// [`Avx2`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512 {
    avx2: Avx2,
    vbmi: bool,
}

/// Lanes 0 to 15.
#[derive(Clone, Copy)]
pub(crate) struct Vector(__m512);

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        let avx2 = Avx2::detect()?;
        has.then(|| Self { avx2, vbmi: is_x86_feature_detected!("avx512vbmi") })
    }

    /// The token of the set that this one includes.
    pub(crate) fn avx2(self) -> Avx2 {
        self.avx2
    }

    /// Whether bytes can be permuted across a whole register (VBMI; Ice Lake, Zen 4).
    pub(crate) fn vbmi(self) -> bool {
        self.vbmi
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
fn run<O: Op>(token: Avx512, op: O) -> O::Output {
    op.run(token)
}

/// Evaluates intrinsics on values inside a method of the token.
macro_rules! on {
    ($token:ident, $e:expr) => {{
        let Avx512 { .. } = $token;
        // SAFETY: a token exists only where F, BW, VL, DQ, AVX2, FMA and F16C were detected, and
        // intrinsics on values ask for nothing else; those on memory say more where they are used.
        unsafe { $e }
    }};
}

impl Simd for Avx512 {
    type V = Vector;
    const SUMS: usize = 24;

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
        on!(self, Vector(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    fn splat_f16(self, x: f16) -> Vector {
        // Broadcast before widening, which loads can do; after it, it is a shuffle.
        on!(self, Vector(_mm512_cvtph_ps(_mm256_set1_epi16(x.to_bits().cast_signed()))))
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Vector {
        // Memory: the array has 16 elements, the load takes them all.
        on!(self, Vector(_mm512_loadu_ps(x.as_ptr())))
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> Vector {
        // Memory: 16 elements of two bytes are one unaligned load of 32 bytes.
        on!(self, Vector(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast()))))
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> Vector {
        // Memory: 16 elements of two bytes are one unaligned load of 32 bytes.
        on!(self, {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            Vector(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        })
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Vector {
        // Memory: 16 elements of one byte are one unaligned load of 16 bytes.
        on!(self, {
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            Vector(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
        })
    }

    #[inline(always)]
    fn store(self, v: Vector, out: &mut [f32; LANES]) {
        // Memory: the array has 16 elements, the store fills them all.
        on!(self, _mm512_storeu_ps(out.as_mut_ptr(), v.0));
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm512_add_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm512_sub_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm512_mul_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm512_div_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        on!(self, Vector(_mm512_fmadd_ps(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        on!(self, Vector(_mm512_fnmadd_ps(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn min(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm512_min_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        on!(self, Vector(_mm512_max_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn abs(self, a: Vector) -> Vector {
        on!(self, Vector(_mm512_andnot_ps(_mm512_set1_ps(-0.0), a.0)))
    }

    #[inline(always)]
    fn exp2_integer(self, n: Vector) -> Vector {
        on!(self, {
            // The exponent field of 2^n is n + 127.
            let field = _mm512_add_epi32(_mm512_cvtps_epi32(n.0), _mm512_set1_epi32(127));
            Vector(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(field)))
        })
    }

    #[inline(always)]
    fn round_to_i8(self, v: Vector) -> [i8; LANES] {
        let mut out = [0; LANES];
        // Memory: the array has 16 bytes, one unaligned store of 16 bytes.
        on!(self, {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v.0));
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        });
        out
    }

    #[inline(always)]
    fn sum(self, v: Vector) -> f32 {
        on!(self, {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v.0), _mm512_extractf32x8_ps::<1>(v.0));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<0b01>(two, two)))
        })
    }
}
