//! Weights as files hold them.
//!
//! Ternary codes: a weight is `scale * code`; a stored trit is `code + 1`, so 0, 1 or 2.
//!
//! ```text
//!                 weights a block   bytes   f16 scale   bits a weight
//!   TQ1_0               256           54     at the end      1.6875
//!   TQ2_0               256           66     at the end      2.0625
//!   Q2_0                 64           18     first           2.25
//!   Q1_0                128           18     first           1.125    no zero
//!   I2_S, x86           128           32     none            2
//!   I2_S, ARM            64           16     none            2
//! ```
//!
//! The layouts are those of llama.cpp (`ggml-common.h`, `ggml-quants.c`) and, for I2_S, of bitnet.cpp
//! (`ggml-bitnet-mad.cpp`); blocks lie along a row. transformers' checkpoints pack whole matrices:
//! [`hf`].
//!
//! Full-precision weights in blocks are [`BlockFormat`]: [`q8_0`] and [`q6_k`].

mod blocks;
pub mod hf;
pub mod i2_s;
mod layout;
pub mod q1_0;
pub mod q2_0;
pub mod q6_k;
pub mod q8_0;
pub mod tq1_0;
pub mod tq2_0;
mod two_bits;

pub use blocks::BlockFormat;
pub(crate) use blocks::{OpenBlock, dequantize};
use half::f16;

/// The ternary block types of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TernaryFormat {
    /// GGUF type 34: five trits a byte, 1.6875 bits a weight.
    Tq1_0,
    /// GGUF type 35: four trits a byte, 2.0625 bits a weight.
    Tq2_0,
    /// GGUF type 42: four trits a byte, 2.25 bits a weight. The one whose blocks fit the 8640 columns of
    /// the papers' 3B.
    Q2_0,
    /// GGUF type 41: one bit a weight, 1.125 bits with the scale. Codes -1 and 1 only.
    Q1_0,
    /// GGUF type 36 of bitnet.cpp in the order for x86: four trits a byte, 2 bits a weight, no scale.
    I2sX86,
    /// GGUF type 36 of bitnet.cpp in the order for ARM: four trits a byte, 2 bits a weight, no scale.
    I2sArm,
}

/// Packed bytes that no packer writes.
///
/// A field of two bits that holds 3 (what Q2_0 reads as +2), or a byte of TQ1_0 that is no fraction of
/// five trits. Every byte of Q1_0 is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {block}, byte {byte} ({value:#04x}) is not made of trits\nhint: the tensor is damaged or of another type"
)]
pub struct InvalidTrit {
    /// The block, counted from the start of the bytes given.
    pub block: usize,
    /// The byte within the block.
    pub byte: usize,
    /// What it holds.
    pub value: u8,
}

/// Calls a function generic over the layout of a format.
macro_rules! with_layout {
    ($format:expr, $f:ident($($arg:expr),*)) => {
        match $format {
            TernaryFormat::Tq1_0 => layout::$f::<tq1_0::Tq1_0, _, _>($($arg),*),
            TernaryFormat::Tq2_0 => layout::$f::<tq2_0::Tq2_0, _, _>($($arg),*),
            TernaryFormat::Q2_0 => layout::$f::<q2_0::Q2_0, _, _>($($arg),*),
            TernaryFormat::Q1_0 => layout::$f::<q1_0::Q1_0, _, _>($($arg),*),
            TernaryFormat::I2sX86 => layout::$f::<i2_s::X86, _, _>($($arg),*),
            TernaryFormat::I2sArm => layout::$f::<i2_s::Arm, _, _>($($arg),*),
        }
    };
}

impl TernaryFormat {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Tq1_0, Self::Tq2_0, Self::Q2_0, Self::Q1_0, Self::I2sX86, Self::I2sArm];

    /// Codes of a block.
    pub fn block(self) -> usize {
        match self {
            Self::Tq1_0 => tq1_0::BLOCK,
            Self::Tq2_0 => tq2_0::BLOCK,
            Self::Q2_0 => q2_0::BLOCK,
            Self::Q1_0 => q1_0::BLOCK,
            Self::I2sX86 => i2_s::BLOCK_X86,
            Self::I2sArm => i2_s::BLOCK_ARM,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Tq1_0 => tq1_0::BLOCK_BYTES,
            Self::Tq2_0 => tq2_0::BLOCK_BYTES,
            Self::Q2_0 => q2_0::BLOCK_BYTES,
            Self::Q1_0 => q1_0::BLOCK_BYTES,
            Self::I2sX86 => i2_s::BLOCK_BYTES_X86,
            Self::I2sArm => i2_s::BLOCK_BYTES_ARM,
        }
    }

    /// Bytes of a row of `cols` codes; None if that is no whole number of blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        // Fewer bytes than codes: no overflow.
        cols.is_multiple_of(self.block()).then(|| cols / self.block() * self.block_bytes())
    }

    /// Whether a block holds a scale.
    pub fn block_scales(self) -> bool {
        !matches!(self, Self::I2sX86 | Self::I2sArm)
    }

    /// Whether a code may be 0.
    pub fn holds_zero(self) -> bool {
        self != Self::Q1_0
    }

    /// Packs whole blocks of codes -1, 0 and 1, all with the scale `d` if blocks have one.
    ///
    /// # Panics
    /// `codes` is no whole number of blocks, `out` does not have their size, or a code is 0 in a format
    /// that [holds no zero](Self::holds_zero).
    pub fn pack(self, codes: &[i8], d: f16, out: &mut [u8]) {
        assert!(self.holds_zero() || !codes.contains(&0), "{self:?} holds no zero");
        with_layout!(self, pack(codes, d, out));
    }

    /// Unpacks whole blocks into their codes and one scale per block; `scales` is empty for a format
    /// whose blocks have none.
    ///
    /// # Errors
    /// The first byte that is not made of trits.
    ///
    /// # Panics
    /// `bytes` is no whole number of blocks, or an output does not have their size.
    pub fn unpack(self, bytes: &[u8], codes: &mut [i8], scales: &mut [f16]) -> Result<(), InvalidTrit> {
        with_layout!(self, unpack(bytes, codes, scales))
    }
}

#[cfg(test)]
mod tests;
