//! Q1_0, GGUF type 41: one bit a weight, so no zero. For the binary weights of BitNet
//! (arXiv 2310.11453).
//!
//! ```text
//!   byte    0 1    | 2 ......... 17
//!           d (f16)| weights 0-127        bit i of byte 2 + j: weight 8j + i, set for +1, clear for -1
//! ```

use super::layout::Layout;

/// Weights of a block.
pub const BLOCK: usize = 128;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 18;

/// Where the bits start.
const BITS_AT: usize = 2;

pub(super) struct Q1_0;

impl Layout<BLOCK, BLOCK_BYTES> for Q1_0 {
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn pack(codes: &[i8; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
        let codes = codes.as_chunks::<8>().0;
        for (byte, codes) in block[BITS_AT..].iter_mut().zip(codes) {
            // Bit 1 of a code is set in -1 only. One bit in each byte of a word, at 8i; the product
            // brings it to 56 + i, and no two terms meet.
            let word = u64::from_le_bytes(codes.map(|code| code as u8));
            let bits = !word >> 1 & 0x0101_0101_0101_0101;
            *byte = (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
        }
    }

    #[inline(always)]
    fn unpack(block: &[u8; BLOCK_BYTES], codes: &mut [i8; BLOCK]) -> bool {
        for (codes, &byte) in codes.as_chunks_mut::<8>().0.iter_mut().zip(&block[BITS_AT..]) {
            for (i, code) in codes.iter_mut().enumerate() {
                *code = if byte & 1 << i == 0 { -1 } else { 1 };
            }
        }
        true
    }

    fn is_valid(_: usize, _: u8) -> bool {
        true
    }
}
