//! AVX2: 32 bytes or 16 words in a register.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use super::{
    four_russians::{self, Indices, Lanes, Partial, Place, Sums, TABLES, TOKENS, Table, WordLanes},
    kernels::{Kernels, compile, compile_lookups},
    layout::{Layout, Line},
    lookup::{self, ByteLanes, TileSums, each_tile},
};
use crate::{quantize::Chunk, simd::Avx2};

/// Evaluates intrinsics inside a method of the token.
macro_rules! on {
    ($token:ident, $e:expr) => {{
        let _: Avx2 = $token;
        // SAFETY: a token exists only where AVX2 was detected, and intrinsics on values ask for nothing
        // else; those on memory say more where they are used.
        unsafe { $e }
    }};
}

impl ByteLanes for Avx2 {
    type V = __m256i;

    const PARTS: usize = 2;

    #[inline(always)]
    fn load(self, line: &Line, part: usize) -> __m256i {
        // Memory: 32 bytes of a slice that is checked; aligned, as lines and their halves are.
        on!(self, _mm256_load_si256(line.0[32 * part..][..32].as_ptr().cast()))
    }

    #[inline(always)]
    fn table(self, table: &[u8; 16]) -> __m256i {
        // Memory: 16 bytes, unaligned.
        on!(self, _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())))
    }

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // Memory: a hint does not access it.
        on!(self, _mm_prefetch::<_MM_HINT_T1>(p.cast()));
    }

    #[inline(always)]
    fn prefetch_soon(self, p: *const u8) {
        // Memory: a hint does not access it.
        on!(self, _mm_prefetch::<_MM_HINT_T0>(p.cast()));
    }

    #[inline(always)]
    fn splat(self, byte: u8) -> __m256i {
        on!(self, _mm256_set1_epi8(byte as i8))
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        on!(self, _mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        on!(self, _mm256_add_epi8(a, b))
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, v: __m256i) -> __m256i {
        on!(self, _mm256_srli_epi16::<N>(v))
    }

    #[inline(always)]
    fn lookup(self, table: __m256i, index: __m256i) -> __m256i {
        on!(self, _mm256_shuffle_epi8(table, index))
    }

    #[inline(always)]
    fn select_above(self, v: __m256i, limit: __m256i, a: __m256i, b: __m256i) -> __m256i {
        on!(self, _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi8(v, limit)))
    }

    #[inline(always)]
    fn negate(self, v: __m256i, sign: __m256i) -> __m256i {
        // Where `sign` is zero this gives zero, as v is by contract.
        on!(self, _mm256_sign_epi8(v, sign))
    }

    #[inline(always)]
    fn splat_words(self, word: i16) -> __m256i {
        on!(self, _mm256_set1_epi16(word))
    }

    #[inline(always)]
    fn add_words<const SIGNED: bool, const HIGH: bool>(
        self,
        [even, odd]: [__m256i; 2],
        v: __m256i,
    ) -> [__m256i; 2] {
        on!(self, {
            let (low, high);
            match (SIGNED, HIGH) {
                (false, false) => {
                    low = _mm256_and_si256(v, _mm256_set1_epi16(0xff));
                    high = _mm256_srli_epi16::<8>(v);
                }
                (false, true) => {
                    low = _mm256_srli_epi16::<3>(_mm256_slli_epi16::<8>(v));
                    high = _mm256_srli_epi16::<3>(_mm256_and_si256(v, _mm256_set1_epi16(0xff00_u16 as i16)));
                }
                (true, false) => {
                    low = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(v));
                    high = _mm256_srai_epi16::<8>(v);
                }
                (true, true) => {
                    low = _mm256_srai_epi16::<3>(_mm256_slli_epi16::<8>(v));
                    high = _mm256_srai_epi16::<3>(_mm256_and_si256(v, _mm256_set1_epi16(0xff00_u16 as i16)));
                }
            }
            [_mm256_add_epi16(even, low), _mm256_add_epi16(odd, high)]
        })
    }

    #[inline(always)]
    fn flush(self, [even, odd]: [__m256i; 2], part: usize, sums: &mut TileSums) {
        // Memory: eight of the 16 sums of each of the four residues of a byte's position.
        on!(self, {
            let quarters = [
                _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(even)),
                _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(odd)),
                _mm256_srai_epi32::<16>(even),
                _mm256_srai_epi32::<16>(odd),
            ];
            for (sums, quarter) in sums.as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
                let p = sums[8 * part..][..8].as_mut_ptr().cast();
                _mm256_storeu_si256(p, _mm256_add_epi32(_mm256_loadu_si256(p), quarter));
            }
        });
    }
}

impl WordLanes for Avx2 {
    type R = __m256i;

    const LANES: usize = 16;

    #[inline(always)]
    fn zero(self) -> __m256i {
        on!(self, _mm256_setzero_si256())
    }

    #[inline(always)]
    fn load(self, x: &[i16]) -> __m256i {
        // Memory: 16 words of a slice that is checked.
        on!(self, _mm256_loadu_si256(x[..16].as_ptr().cast()))
    }

    #[inline(always)]
    fn store(self, r: __m256i, out: &mut [i16]) {
        // Memory: 16 words of a slice that is checked.
        on!(self, _mm256_storeu_si256(out[..16].as_mut_ptr().cast(), r));
    }

    #[inline(always)]
    fn widen(self, x: &[i8]) -> __m256i {
        // Memory: 16 bytes of a slice that is checked.
        on!(self, _mm256_cvtepi8_epi16(_mm_loadu_si128(x[..16].as_ptr().cast())))
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        on!(self, _mm256_add_epi16(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        on!(self, _mm256_sub_epi16(a, b))
    }

    #[inline(always)]
    fn add_to_sums(self, r: __m256i, sums: &mut [i32]) {
        // Memory: two times eight sums of a slice that is checked.
        on!(self, {
            let halves = [_mm256_castsi256_si128(r), _mm256_extracti128_si256::<1>(r)];
            for (sums, half) in sums[..16].as_chunks_mut::<8>().0.iter_mut().zip(halves) {
                let p = sums.as_mut_ptr().cast();
                let sum = _mm256_add_epi32(_mm256_loadu_si256(p), _mm256_cvtepi16_epi32(half));
                _mm256_storeu_si256(p, sum);
            }
        });
    }
}

// A tile is two registers. Two tiles fill the sixteen with sums and tables, and are faster than one.
compile_lookups!(Avx2, "avx2", tiles 2);
compile!(Avx2, feature "avx2", half Avx2, |token| token);
