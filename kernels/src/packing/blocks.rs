//! Full-precision weights quantized in blocks: Q8_0 and Q6_K, what llama.cpp uses for embeddings and
//! output heads.

use super::{layout::check_lengths, q6_k, q8_0};
use crate::{
    Isa,
    simd::{LANES, Op, Simd},
};

/// The block types of GGUF for weights that are not ternary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// GGUF type 8: int8 in blocks of 32, 8.5 bits a weight.
    Q8_0,
    /// GGUF type 14: six bits in blocks of 256, 6.5625 bits a weight.
    Q6K,
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Q8_0, Self::Q6K];

    /// Weights of a block.
    pub fn block(self) -> usize {
        match self {
            Self::Q8_0 => q8_0::BLOCK,
            Self::Q6K => q6_k::BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => q8_0::BLOCK_BYTES,
            Self::Q6K => q6_k::BLOCK_BYTES,
        }
    }

    /// Bytes of a row of `cols` weights; None if that is no whole number of blocks, or too many.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let blocks = cols.is_multiple_of(self.block()).then_some(cols / self.block())?;
        blocks.checked_mul(self.block_bytes())
    }

    /// Quantizes whole blocks. The same bytes on every instruction set.
    ///
    /// Weights must be finite and below 8 million in magnitude for Q8_0, 250 million for Q6_K: beyond,
    /// a block's f16 scale overflows and the block is lost.
    ///
    /// # Panics
    /// `w` is no whole number of blocks, or `out` does not have their size.
    pub fn quantize(self, w: &[f32], out: &mut [u8]) {
        check_lengths(w.len(), out.len(), self.block(), self.block_bytes());
        Isa::best().run(Quantize { format: self, w, out });
    }

    /// The values of whole blocks, as ggml defines them, bit for bit.
    ///
    /// # Panics
    /// `bytes` is no whole number of blocks, or `out` does not have their size.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        check_lengths(out.len(), bytes.len(), self.block(), self.block_bytes());
        Isa::best().run(Dequantize { format: self, bytes, out });
    }
}

struct Quantize<'a> {
    format: BlockFormat,
    w: &'a [f32],
    out: &'a mut [u8],
}

impl Op for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.format {
            BlockFormat::Q8_0 => {
                for (w, block) in self.w.as_chunks().0.iter().zip(self.out.as_chunks_mut().0) {
                    q8_0::quantize(w, block);
                }
            }
            BlockFormat::Q6K => {
                for (w, block) in self.w.as_chunks().0.iter().zip(self.out.as_chunks_mut().0) {
                    q6_k::quantize(w, block);
                }
            }
        }
    }
}

struct Dequantize<'a> {
    format: BlockFormat,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Op for Dequantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        dequantize(s, self.format, self.bytes, self.out.as_chunks_mut().0.iter_mut());
    }
}

/// A block that is being dequantized, 16 weights at a time.
pub(crate) trait OpenBlock<'a, S: Simd, const BYTES: usize> {
    /// Vectors of a block.
    const VECTORS: usize;
    fn open(s: S, block: &'a [u8; BYTES]) -> Self;
    /// Weights 16 i to 16 i + 15.
    fn lanes(&self, s: S, i: usize) -> S::V;
}

/// [`BlockFormat::dequantize`] for code that is being compiled for an instruction set, into vectors.
#[inline(always)]
pub(crate) fn dequantize<'a, S: Simd>(
    s: S,
    format: BlockFormat,
    bytes: &[u8],
    out: impl Iterator<Item = &'a mut [f32; LANES]>,
) {
    match format {
        BlockFormat::Q8_0 => dequantize_blocks::<S, q8_0::Open<S>, { q8_0::BLOCK_BYTES }>(s, bytes, out),
        BlockFormat::Q6K => dequantize_blocks::<S, q6_k::Open, { q6_k::BLOCK_BYTES }>(s, bytes, out),
    }
}

#[inline(always)]
fn dequantize_blocks<'a, 'b, S: Simd, B: OpenBlock<'a, S, N>, const N: usize>(
    s: S,
    bytes: &'a [u8],
    mut out: impl Iterator<Item = &'b mut [f32; LANES]>,
) {
    for block in bytes.as_chunks().0 {
        let block = B::open(s, block);
        for (i, out) in out.by_ref().take(B::VECTORS).enumerate() {
            s.store(block.lanes(s, i), out);
        }
    }
}

/// 2^23 and 1.5 * 2^23: floats from 2^23 to 2^24 are the integers, so adding one of these rounds a
/// small number to the nearest integer, ties to even, and leaves it in the low bits.
pub(super) const ROUND_POSITIVE: f32 = 8_388_608.0;
pub(super) const ROUND: f32 = 12_582_912.0;

#[cfg(test)]
mod tests;
