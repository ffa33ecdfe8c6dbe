//! I2_S, GGUF type 36 of bitnet.cpp: two bits a trit, no scale in the blocks.
//!
//! ```text
//!   x86: 128 weights in 32 bytes           ARM: 64 weights in 16 bytes
//!
//!   byte p:  |   p   | p + 32 | p + 64 | p + 96 |      |   p   | p + 16 | p + 32 | p + 48 |
//!      bits    7   6   5    4   3    2   1    0          7   6   5    4   3    2   1    0
//! ```
//!
//! bitnet.cpp packs with the block of the machine that it was compiled for (`QK_I2_S` in
//! `ggml-bitnet-mad.cpp`), and the file does not say which. One f32 scale of the whole tensor follows
//! its last block, in 32 bytes; that is the container's, these are the blocks alone.
//!
//! Its readers differ over a field of 3, which no packer writes (0 in one, +2 in another): an error here.

use super::{
    layout::Layout,
    two_bits::{HIGH_FIRST, has_three, pack_four, unpack_four},
};

/// Weights of a block in the order for x86.
pub const BLOCK_X86: usize = 128;
/// Bytes of a block in the order for x86.
pub const BLOCK_BYTES_X86: usize = 32;
/// Weights of a block in the order for ARM.
pub const BLOCK_ARM: usize = 64;
/// Bytes of a block in the order for ARM.
pub const BLOCK_BYTES_ARM: usize = 16;

pub(super) struct X86;

impl Layout<BLOCK_X86, BLOCK_BYTES_X86> for X86 {
    const SCALE_AT: Option<usize> = None;

    #[inline(always)]
    fn pack(codes: &[i8; BLOCK_X86], block: &mut [u8; BLOCK_BYTES_X86]) {
        pack_four(codes, HIGH_FIRST, block);
    }

    #[inline(always)]
    fn unpack(block: &[u8; BLOCK_BYTES_X86], codes: &mut [i8; BLOCK_X86]) -> bool {
        unpack_four(block, HIGH_FIRST, codes)
    }

    fn is_valid(_: usize, byte: u8) -> bool {
        !has_three(byte)
    }
}

pub(super) struct Arm;

impl Layout<BLOCK_ARM, BLOCK_BYTES_ARM> for Arm {
    const SCALE_AT: Option<usize> = None;

    #[inline(always)]
    fn pack(codes: &[i8; BLOCK_ARM], block: &mut [u8; BLOCK_BYTES_ARM]) {
        pack_four(codes, HIGH_FIRST, block);
    }

    #[inline(always)]
    fn unpack(block: &[u8; BLOCK_BYTES_ARM], codes: &mut [i8; BLOCK_ARM]) -> bool {
        unpack_four(block, HIGH_FIRST, codes)
    }

    fn is_valid(_: usize, byte: u8) -> bool {
        !has_three(byte)
    }
}
