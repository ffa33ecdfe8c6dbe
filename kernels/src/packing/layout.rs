//! What the block formats share: a loop over blocks, compiled for the best instruction set.

use std::marker::PhantomData;

use half::f16;

use super::InvalidTrit;
use crate::{
    Isa,
    simd::{Op, Simd},
};

/// How a block of `CODES` codes lies in `BYTES` bytes.
///
/// The loops inside are plain Rust of fixed length; where they run, they may use wide registers.
pub(super) trait Layout<const CODES: usize, const BYTES: usize> {
    /// Where a block holds its f16 scale, if it has one.
    const SCALE_AT: Option<usize>;

    /// Writes all of a block but its scale.
    fn pack(codes: &[i8; CODES], block: &mut [u8; BYTES]);

    /// Reads the codes of a block. False if a byte is not made of trits.
    fn unpack(block: &[u8; BYTES], codes: &mut [i8; CODES]) -> bool;

    /// Whether byte `at` of a block, not one of its scale, is made of trits.
    fn is_valid(at: usize, byte: u8) -> bool;
}

/// Packs whole blocks, all with the scale `d` if they have one.
pub(super) fn pack<L: Layout<CODES, BYTES>, const CODES: usize, const BYTES: usize>(
    codes: &[i8],
    d: f16,
    out: &mut [u8],
) {
    check_lengths(codes.len(), out.len(), CODES, BYTES);
    debug_assert!(codes.iter().all(|code| (-1..=1).contains(code)), "codes are -1, 0 or 1");
    let (blocks, out) = (codes.as_chunks::<CODES>().0, out.as_chunks_mut::<BYTES>().0);
    Isa::best().run(Pack { blocks, out: &mut *out, layout: PhantomData::<L> });
    if let Some(at) = L::SCALE_AT {
        for block in out {
            block[at..at + 2].copy_from_slice(&d.to_le_bytes());
        }
    }
}

/// Unpacks whole blocks into codes and one scale per block, if they have one.
pub(super) fn unpack<L: Layout<CODES, BYTES>, const CODES: usize, const BYTES: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f16],
) -> Result<(), InvalidTrit> {
    check_lengths(codes.len(), bytes.len(), CODES, BYTES);
    let blocks = bytes.as_chunks::<BYTES>().0;
    let expected = if L::SCALE_AT.is_some() { blocks.len() } else { 0 };
    assert_eq!(scales.len(), expected, "one scale for each block that has one");
    let codes = codes.as_chunks_mut::<CODES>().0;
    let bad = Isa::best().run(Unpack { blocks, codes, layout: PhantomData::<L> });
    if let Some(block) = bad {
        let of_scale = |at| L::SCALE_AT.is_some_and(|scale| (scale..scale + 2).contains(&at));
        let (byte, value) = (0..BYTES)
            .filter(|&at| !of_scale(at))
            .map(|at| (at, blocks[block][at]))
            .find(|&(at, value)| !L::is_valid(at, value))
            .expect("the block was refused for one of its bytes");
        return Err(InvalidTrit { block, byte, value });
    }
    if let Some(at) = L::SCALE_AT {
        for (block, scale) in blocks.iter().zip(scales) {
            *scale = f16::from_le_bytes([block[at], block[at + 1]]);
        }
    }
    Ok(())
}

/// The blocks of equal number in packed bytes and weights.
pub(super) fn check_lengths(weights: usize, bytes: usize, block: usize, block_bytes: usize) {
    assert!(weights.is_multiple_of(block), "{weights} weights are no whole number of blocks of {block}");
    assert_eq!(bytes, weights / block * block_bytes, "packed bytes");
}

struct Pack<'a, L, const CODES: usize, const BYTES: usize> {
    blocks: &'a [[i8; CODES]],
    out: &'a mut [[u8; BYTES]],
    layout: PhantomData<L>,
}

impl<L: Layout<CODES, BYTES>, const CODES: usize, const BYTES: usize> Op for Pack<'_, L, CODES, BYTES> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (codes, block) in self.blocks.iter().zip(self.out) {
            L::pack(codes, block);
        }
    }
}

struct Unpack<'a, L, const CODES: usize, const BYTES: usize> {
    blocks: &'a [[u8; BYTES]],
    codes: &'a mut [[i8; CODES]],
    layout: PhantomData<L>,
}

impl<L: Layout<CODES, BYTES>, const CODES: usize, const BYTES: usize> Op for Unpack<'_, L, CODES, BYTES> {
    /// The first block with a byte that is not made of trits.
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Option<usize> {
        for (i, (block, codes)) in self.blocks.iter().zip(self.codes).enumerate() {
            if !L::unpack(block, codes) {
                return Some(i);
            }
        }
        None
    }
}
