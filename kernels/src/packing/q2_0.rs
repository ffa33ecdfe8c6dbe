//! Q2_0, GGUF type 42: two bits a trit, in order.
//!
//! ```text
//!   byte    0 1    | 2 ......... 17
//!           d (f16)| weights 0-63
//!
//!   byte 2 + j:  | 4j + 3 | 4j + 2 | 4j + 1 |  4j  |
//!          bits    7    6   5    4   3    2   1  0
//! ```
//!
//! A field of 3 means +2 to llama.cpp, whose quantizer never writes it: no trit, so an error here.

use super::{
    layout::Layout,
    two_bits::{has_three, threes, trit},
};

/// Weights of a block.
pub const BLOCK: usize = 64;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 18;

/// Where the trits start, and their bytes.
const TRITS_AT: usize = 2;
const TRIT_BYTES: usize = 16;

pub(super) struct Q2_0;

impl Layout<BLOCK, BLOCK_BYTES> for Q2_0 {
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn pack(codes: &[i8; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
        let codes = codes.as_chunks::<4>().0;
        for (byte, codes) in block[TRITS_AT..].iter_mut().zip(codes) {
            // One trit in each byte of a word, at bits 0, 8, 16, 24, moved to bits 0, 2, 4, 6.
            let word = u32::from_le_bytes(codes.map(trit));
            *byte = (word | word >> 6 | word >> 12 | word >> 18) as u8;
        }
    }

    #[inline(always)]
    fn unpack(block: &[u8; BLOCK_BYTES], codes: &mut [i8; BLOCK]) -> bool {
        let bytes = &block[TRITS_AT..];
        let mut words = [0u32; TRIT_BYTES];
        for (word, &byte) in words.iter_mut().zip(bytes) {
            let byte = u32::from(byte);
            *word = (byte | byte << 6 | byte << 12 | byte << 18) & 0x0303_0303;
        }
        let trits: &[u8] = bytemuck::cast_slice(&words);
        for (code, &trit) in codes.iter_mut().zip(trits) {
            *code = trit as i8 - 1;
        }
        bytes.iter().fold(0, |seen, &byte| seen | threes(byte)) == 0
    }

    fn is_valid(_: usize, byte: u8) -> bool {
        !has_three(byte)
    }
}
