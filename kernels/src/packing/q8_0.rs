//! Q8_0, GGUF type 8: int8 with one scale for 32 weights.
//!
//! ```text
//!   byte    0 1    | 2 ......... 33
//!           d (f16)| q of weights 0-31 (i8)        w = q * d
//!
//!   d = max |w| / 127        q = round(w * (1 / d)), ties away from zero
//! ```
//!
//! The codes come from d before it is rounded to f16, as in ggml.

use half::f16;

use super::blocks::{OpenBlock, ROUND, ROUND_POSITIVE};
use crate::simd::{LANES, Simd};

/// Weights of a block.
pub const BLOCK: usize = 32;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 34;

#[inline(always)]
pub(super) fn quantize(w: &[f32; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
    // Magnitudes of floats are ordered as their bits are.
    let max = w.iter().fold(0, |max: u32, w| max.max(w.abs().to_bits()));
    let d = f32::from_bits(max) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (scale, codes) = block.split_at_mut(2);
    scale.copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (code, w) in codes.iter_mut().zip(w) {
        let scaled = w * inverse;
        let even = (scaled.abs() + ROUND_POSITIVE) - ROUND_POSITIVE;
        // A tie that went down to the even neighbour.
        let down = scaled.abs() - even == 0.5;
        let away = if down { even + 1.0 } else { even };
        *code = (away.copysign(scaled) + ROUND).to_bits() as u8;
    }
}

/// A block that is being dequantized.
pub(crate) struct Open<'a, S: Simd> {
    d: S::V,
    codes: &'a [[i8; LANES]],
}

impl<'a, S: Simd> OpenBlock<'a, S, BLOCK_BYTES> for Open<'a, S> {
    const VECTORS: usize = BLOCK / LANES;

    #[inline(always)]
    fn open(s: S, block: &'a [u8; BLOCK_BYTES]) -> Self {
        let (d, codes) = block.split_at(2);
        let codes: &[i8] = bytemuck::cast_slice(codes);
        Self { d: s.splat_f16(f16::from_le_bytes([d[0], d[1]])), codes: codes.as_chunks().0 }
    }

    #[inline(always)]
    fn lanes(&self, s: S, i: usize) -> S::V {
        s.mul(s.load_i8(&self.codes[i]), self.d)
    }
}
