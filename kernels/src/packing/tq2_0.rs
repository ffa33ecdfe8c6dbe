//! TQ2_0, GGUF type 35: two bits a trit.
//!
//! ```text
//!   byte    0 ........ 31 | 32 ........ 63 | 64 65
//!           weights 0-127 | weights 128-255| d (f16)
//!
//!   byte m of a run of 128:  | m + 96 | m + 64 | m + 32 |   m   |
//!                      bits    7    6   5    4   3    2   1   0
//! ```

use super::{
    layout::Layout,
    two_bits::{LOW_FIRST, has_three, pack_four, unpack_four},
};

/// Weights of a block.
pub const BLOCK: usize = 256;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 66;

/// Bytes that hold trits, and those of a run of 128 weights.
const TRIT_BYTES: usize = 64;
const RUN: usize = 32;

pub(super) struct Tq2_0;

impl Layout<BLOCK, BLOCK_BYTES> for Tq2_0 {
    const SCALE_AT: Option<usize> = Some(TRIT_BYTES);

    #[inline(always)]
    fn pack(codes: &[i8; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
        let runs = codes.as_chunks::<{ 4 * RUN }>().0;
        for (codes, bytes) in runs.iter().zip(block.as_chunks_mut::<RUN>().0) {
            pack_four(codes, LOW_FIRST, bytes);
        }
    }

    #[inline(always)]
    fn unpack(block: &[u8; BLOCK_BYTES], codes: &mut [i8; BLOCK]) -> bool {
        let runs = codes.as_chunks_mut::<{ 4 * RUN }>().0;
        let mut valid = true;
        for (bytes, codes) in block.as_chunks::<RUN>().0.iter().zip(runs) {
            valid &= unpack_four(bytes, LOW_FIRST, codes);
        }
        valid
    }

    fn is_valid(_: usize, byte: u8) -> bool {
        !has_three(byte)
    }
}
