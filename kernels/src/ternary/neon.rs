//! NEON: 16 bytes or 8 words in a register. Its dot products (`sdot`, `smmla`) multiply and are not used.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::aarch64::*;

use super::{
    four_russians::{self, Indices, Lanes, Partial, Place, Sums, TABLES, TOKENS, Table, WordLanes},
    kernels::{Kernels, compile, compile_lookups},
    layout::{Layout, Line},
    lookup::{self, ByteLanes, TileSums, each_tile},
};
use crate::{quantize::Chunk, simd::Neon};

/// Evaluates intrinsics inside a method of the token.
macro_rules! on {
    ($token:ident, $e:expr) => {{
        let _: Neon = $token;
        // SAFETY: a token exists only where NEON was detected, and intrinsics on values ask for nothing
        // else; those on memory say more where they are used.
        unsafe { $e }
    }};
}

impl ByteLanes for Neon {
    type V = uint8x16_t;

    const PARTS: usize = 4;

    #[inline(always)]
    fn load(self, line: &Line, part: usize) -> uint8x16_t {
        // Memory: 16 bytes of a slice that is checked.
        on!(self, vld1q_u8(line.0[16 * part..][..16].as_ptr()))
    }

    #[inline(always)]
    fn table(self, table: &[u8; 16]) -> uint8x16_t {
        // Memory: 16 bytes.
        on!(self, vld1q_u8(table.as_ptr()))
    }

    #[inline(always)]
    fn splat(self, byte: u8) -> uint8x16_t {
        on!(self, vdupq_n_u8(byte))
    }

    #[inline(always)]
    fn and(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        on!(self, vandq_u8(a, b))
    }

    #[inline(always)]
    fn add(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        on!(self, vaddq_u8(a, b))
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self, v: uint8x16_t) -> uint8x16_t {
        on!(self, vshrq_n_u8::<N>(v))
    }

    #[inline(always)]
    fn lookup(self, table: uint8x16_t, index: uint8x16_t) -> uint8x16_t {
        on!(self, vqtbl1q_u8(table, index))
    }

    #[inline(always)]
    fn select_above(self, v: uint8x16_t, limit: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        on!(self, vbslq_u8(vcgtq_s8(vreinterpretq_s8_u8(v), vreinterpretq_s8_u8(limit)), a, b))
    }

    #[inline(always)]
    fn negate(self, v: uint8x16_t, sign: uint8x16_t) -> uint8x16_t {
        on!(self, {
            // All ones where negative: (v ^ -1) - (-1) = -v.
            let mask = vcltzq_s8(vreinterpretq_s8_u8(sign));
            vsubq_u8(veorq_u8(v, mask), mask)
        })
    }

    #[inline(always)]
    fn splat_words(self, word: i16) -> uint8x16_t {
        on!(self, vreinterpretq_u8_s16(vdupq_n_s16(word)))
    }

    #[inline(always)]
    fn add_words<const SIGNED: bool, const HIGH: bool>(
        self,
        [even, odd]: [uint8x16_t; 2],
        v: uint8x16_t,
    ) -> [uint8x16_t; 2] {
        on!(self, {
            let words = vreinterpretq_s16_u8(v);
            let bits = vreinterpretq_u16_u8(v);
            let upper = vandq_s16(words, vdupq_n_s16(0xff00_u16 as i16));
            let (low, high) = match (SIGNED, HIGH) {
                (false, false) => (
                    vreinterpretq_s16_u16(vandq_u16(bits, vdupq_n_u16(0xff))),
                    vreinterpretq_s16_u16(vshrq_n_u16::<8>(bits)),
                ),
                (false, true) => (
                    vreinterpretq_s16_u16(vshrq_n_u16::<3>(vshlq_n_u16::<8>(bits))),
                    vreinterpretq_s16_u16(vshrq_n_u16::<3>(vreinterpretq_u16_s16(upper))),
                ),
                (true, false) => (vshrq_n_s16::<8>(vshlq_n_s16::<8>(words)), vshrq_n_s16::<8>(words)),
                (true, true) => (vshrq_n_s16::<3>(vshlq_n_s16::<8>(words)), vshrq_n_s16::<3>(upper)),
            };
            let sum = |a, b| vreinterpretq_u8_s16(vaddq_s16(vreinterpretq_s16_u8(a), b));
            [sum(even, low), sum(odd, high)]
        })
    }

    #[inline(always)]
    fn flush(self, [even, odd]: [uint8x16_t; 2], part: usize, sums: &mut TileSums) {
        // Memory: four of the 16 sums of each of the four residues of a byte's position.
        on!(self, {
            let (even, odd) = (vreinterpretq_s32_u8(even), vreinterpretq_s32_u8(odd));
            let quarters = [
                vshrq_n_s32::<16>(vshlq_n_s32::<16>(even)),
                vshrq_n_s32::<16>(vshlq_n_s32::<16>(odd)),
                vshrq_n_s32::<16>(even),
                vshrq_n_s32::<16>(odd),
            ];
            for (sums, quarter) in sums.as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
                let p = sums[4 * part..][..4].as_mut_ptr();
                vst1q_s32(p, vaddq_s32(vld1q_s32(p), quarter));
            }
        });
    }
}

impl WordLanes for Neon {
    type R = int16x8_t;

    const LANES: usize = 8;

    #[inline(always)]
    fn zero(self) -> int16x8_t {
        on!(self, vdupq_n_s16(0))
    }

    #[inline(always)]
    fn load(self, x: &[i16]) -> int16x8_t {
        // Memory: 8 words of a slice that is checked.
        on!(self, vld1q_s16(x[..8].as_ptr()))
    }

    #[inline(always)]
    fn store(self, r: int16x8_t, out: &mut [i16]) {
        // Memory: 8 words of a slice that is checked.
        on!(self, vst1q_s16(out[..8].as_mut_ptr(), r));
    }

    #[inline(always)]
    fn widen(self, x: &[i8]) -> int16x8_t {
        // Memory: 8 bytes of a slice that is checked.
        on!(self, vmovl_s8(vld1_s8(x[..8].as_ptr())))
    }

    #[inline(always)]
    fn add(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        on!(self, vaddq_s16(a, b))
    }

    #[inline(always)]
    fn sub(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        on!(self, vsubq_s16(a, b))
    }

    #[inline(always)]
    fn add_to_sums(self, r: int16x8_t, sums: &mut [i32]) {
        // Memory: two times four sums of a slice that is checked.
        on!(self, {
            let p = sums[..8].as_mut_ptr();
            vst1q_s32(p, vaddw_s16(vld1q_s32(p), vget_low_s16(r)));
            vst1q_s32(p.add(4), vaddw_high_s16(vld1q_s32(p.add(4)), r));
        });
    }
}

// A tile is four registers; two would not leave enough of the 32 for 16-bit sums.
compile_lookups!(Neon, "neon", tiles 1);
compile!(Neon, feature "neon", half Neon, |token| token);
