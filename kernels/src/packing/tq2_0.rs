//! TQ2_0, GGUF type 35: two bits a trit.
//!
//! ```text
//!   byte    0 ........ 31 | 32 ........ 63 | 64 65
//!           weights 0-127 | weights 128-255| d (f16)
//!
//!   byte m of a run of 128:  | m + 96 | m + 64 | m + 32 |   m   |
//!                      bits    7    6   5    4   3    2   1   0
//! ```

use half::f16;

use super::{InvalidTrit, check_lengths};

/// Weights of a block.
pub const BLOCK: usize = 256;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 66;

/// Bytes that hold trits, and those of a run of 128 weights.
const TRIT_BYTES: usize = 64;
const RUN: usize = 32;

/// Packs whole blocks of codes -1, 0 and 1, all with the scale `d`.
///
/// # Panics
/// `codes` is no whole number of blocks, or `out` does not have their size.
pub fn pack(codes: &[i8], d: f16, out: &mut [u8]) {
    check_lengths(codes.len(), out.len(), BLOCK, BLOCK_BYTES);
    for (codes, out) in codes.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<BLOCK_BYTES>().0) {
        for (codes, out) in codes.as_chunks::<{ 4 * RUN }>().0.iter().zip(out.as_chunks_mut::<RUN>().0) {
            for m in 0..RUN {
                let trit = |i: usize| (codes[m + i * RUN] + 1) as u8;
                out[m] = trit(0) | trit(1) << 2 | trit(2) << 4 | trit(3) << 6;
            }
        }
        out[TRIT_BYTES..].copy_from_slice(&d.to_le_bytes());
    }
}

/// Unpacks whole blocks into their codes and one scale per block.
///
/// # Errors
/// The first byte with a field of 3.
///
/// # Panics
/// `bytes` is no whole number of blocks, or an output does not have their size.
pub fn unpack(bytes: &[u8], codes: &mut [i8], scales: &mut [f16]) -> Result<(), InvalidTrit> {
    check_lengths(codes.len(), bytes.len(), BLOCK, BLOCK_BYTES);
    assert_eq!(scales.len(), codes.len() / BLOCK, "one scale per block");
    let blocks = bytes.as_chunks::<BLOCK_BYTES>().0.iter().zip(codes.as_chunks_mut::<BLOCK>().0);
    for (block, ((bytes, codes), scale)) in blocks.zip(scales).enumerate() {
        // A field is 3 where both of its bits are set.
        let threes = bytes[..TRIT_BYTES].iter().fold(0, |seen, b| seen | (b & b >> 1));
        if threes & 0x55 != 0 {
            let byte = bytes.iter().position(|b| (b & b >> 1) & 0x55 != 0).expect("seen above");
            return Err(InvalidTrit { block, byte, value: bytes[byte] });
        }
        let (runs, d) = bytes.as_chunks::<RUN>();
        for (run, codes) in runs.iter().zip(codes.as_chunks_mut::<{ 4 * RUN }>().0) {
            for (i, codes) in codes.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
                for m in 0..RUN {
                    codes[m] = (run[m] >> (2 * i) & 3) as i8 - 1;
                }
            }
        }
        *scale = f16::from_le_bytes([d[0], d[1]]);
    }
    Ok(())
}
