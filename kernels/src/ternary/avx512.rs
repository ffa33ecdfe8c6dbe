//! AVX-512 (F, BW): 64 bytes or 32 words in a register; with VBMI also a table of 128 bytes.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use super::{
    four_russians::{self, Indices, Lanes, Partial, Place, Sums, TABLES, TOKENS, Table, WordLanes},
    kernels::{Kernels, compile, compile_lookups},
    layout::{Layout, Line},
    lookup::{self, ByteLanes, TileSums, each_tile},
};
use crate::{
    quantize::Chunk,
    simd::{Avx2, Avx512},
};

/// Evaluates intrinsics inside a method of the token.
macro_rules! on {
    ($token:ident, $e:expr) => {{
        let _: Avx512 = $token;
        // SAFETY: a token exists only where AVX-512 F and BW were detected, and intrinsics on values ask
        // for nothing else; those on memory say more where they are used.
        unsafe { $e }
    }};
}

impl ByteLanes for Avx512 {
    type V = __m512i;

    const PARTS: usize = 1;

    #[inline(always)]
    fn load(self, line: &Line, _: usize) -> __m512i {
        // Memory: a line has 64 bytes and is aligned to as many.
        on!(self, _mm512_load_si512(line.0.as_ptr().cast()))
    }

    #[inline(always)]
    fn table(self, table: &[u8; 16]) -> __m512i {
        // Memory: 16 bytes, unaligned.
        on!(self, _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())))
    }

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // Memory: a hint does not access it.
        on!(self, _mm_prefetch::<_MM_HINT_T1>(p.cast()));
    }

    #[inline(always)]
    fn splat(self, byte: u8) -> __m512i {
        on!(self, _mm512_set1_epi8(byte as i8))
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        on!(self, _mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        on!(self, _mm512_add_epi8(a, b))
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, v: __m512i) -> __m512i {
        // The immediate form, which the compiler makes of this, has another type of constant.
        on!(self, _mm512_srl_epi16(v, _mm_cvtsi32_si128(N)))
    }

    #[inline(always)]
    fn lookup(self, table: __m512i, index: __m512i) -> __m512i {
        on!(self, _mm512_shuffle_epi8(table, index))
    }

    #[inline(always)]
    fn select_above(self, v: __m512i, limit: __m512i, a: __m512i, b: __m512i) -> __m512i {
        on!(self, _mm512_mask_blend_epi8(_mm512_cmpgt_epi8_mask(v, limit), b, a))
    }

    #[inline(always)]
    fn negate(self, v: __m512i, sign: __m512i) -> __m512i {
        on!(self, _mm512_mask_sub_epi8(v, _mm512_movepi8_mask(sign), _mm512_setzero_si512(), v))
    }

    #[inline(always)]
    fn splat_words(self, word: i16) -> __m512i {
        on!(self, _mm512_set1_epi16(word))
    }

    #[inline(always)]
    fn add_words<const SIGNED: bool, const HIGH: bool>(
        self,
        [even, odd]: [__m512i; 2],
        v: __m512i,
    ) -> [__m512i; 2] {
        on!(self, {
            let upper = _mm512_set1_epi16(0xff00_u16 as i16);
            let (low, high);
            match (SIGNED, HIGH) {
                (false, false) => {
                    low = _mm512_and_si512(v, _mm512_set1_epi16(0xff));
                    high = _mm512_srli_epi16::<8>(v);
                }
                (false, true) => {
                    low = _mm512_srli_epi16::<3>(_mm512_slli_epi16::<8>(v));
                    high = _mm512_srli_epi16::<3>(_mm512_and_si512(v, upper));
                }
                (true, false) => {
                    low = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(v));
                    high = _mm512_srai_epi16::<8>(v);
                }
                (true, true) => {
                    low = _mm512_srai_epi16::<3>(_mm512_slli_epi16::<8>(v));
                    high = _mm512_srai_epi16::<3>(_mm512_and_si512(v, upper));
                }
            }
            [_mm512_add_epi16(even, low), _mm512_add_epi16(odd, high)]
        })
    }

    #[inline(always)]
    fn flush(self, [even, odd]: [__m512i; 2], _: usize, sums: &mut TileSums) {
        // Memory: the 16 sums of each of the four residues of a byte's position.
        on!(self, {
            let quarters = [
                _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(even)),
                _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(odd)),
                _mm512_srai_epi32::<16>(even),
                _mm512_srai_epi32::<16>(odd),
            ];
            for (sums, quarter) in sums.as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
                let p = sums.as_mut_ptr().cast();
                _mm512_storeu_si512(p, _mm512_add_epi32(_mm512_loadu_si512(p), quarter));
            }
        });
    }
}

impl WordLanes for Avx512 {
    type R = __m512i;

    const LANES: usize = 32;

    #[inline(always)]
    fn zero(self) -> __m512i {
        on!(self, _mm512_setzero_si512())
    }

    #[inline(always)]
    fn load(self, x: &[i16]) -> __m512i {
        // Memory: 32 words of a slice that is checked.
        on!(self, _mm512_loadu_si512(x[..32].as_ptr().cast()))
    }

    #[inline(always)]
    fn store(self, r: __m512i, out: &mut [i16]) {
        // Memory: 32 words of a slice that is checked.
        on!(self, _mm512_storeu_si512(out[..32].as_mut_ptr().cast(), r));
    }

    #[inline(always)]
    fn widen(self, x: &[i8]) -> __m512i {
        // Memory: 32 bytes of a slice that is checked.
        on!(self, _mm512_cvtepi8_epi16(_mm256_loadu_si256(x[..32].as_ptr().cast())))
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        on!(self, _mm512_add_epi16(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        on!(self, _mm512_sub_epi16(a, b))
    }

    #[inline(always)]
    fn add_to_sums(self, r: __m512i, sums: &mut [i32]) {
        // Memory: two times 16 sums of a slice that is checked.
        on!(self, {
            let halves = [_mm512_castsi512_si256(r), _mm512_extracti64x4_epi64::<1>(r)];
            for (sums, half) in sums[..32].as_chunks_mut::<16>().0.iter_mut().zip(halves) {
                let p = sums.as_mut_ptr().cast();
                let sum = _mm512_add_epi32(_mm512_loadu_si512(p), _mm512_cvtepi16_epi32(half));
                _mm512_storeu_si512(p, sum);
            }
        });
    }
}

compile_lookups!(Avx512, "avx512f,avx512bw", tiles 4);
compile!(Avx512, feature "avx512f,avx512bw", half Avx2, |token| token.avx2());
