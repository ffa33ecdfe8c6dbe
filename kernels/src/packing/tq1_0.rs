//! TQ1_0, GGUF type 34: five trits a byte.
//!
//! ```text
//!   byte    0 ........ 31 | 32 ........ 47 | 48 ...... 51 | 52 53
//!           weights 0-159 | 160-239        | 240-255      | d (f16)
//!
//!   byte m of a run of width w holds weights m, m + w, m + 2w, m + 3w, m + 4w of the run
//!   (w = 32, 16); the last run (w = 4) has four weights and a zero.
//! ```
//!
//! The five trits are the base-3 number q = t0 t1 t2 t3 t4 < 243, stored as the fraction
//! ceil(q * 256 / 243): times three, the carry out of the byte is t0, what stays is the fraction of
//! t1 t2 t3 t4, and so on.

use half::f16;

use super::{InvalidTrit, check_lengths};

/// Weights of a block.
pub const BLOCK: usize = 256;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 54;

/// Where each run starts in bytes and in weights, its width, and its trits a byte.
const RUNS: [(usize, usize, usize, usize); 3] = [(0, 0, 32, 5), (32, 160, 16, 5), (48, 240, 4, 4)];
/// Bytes that hold trits.
const TRIT_BYTES: usize = 52;

/// What a byte holds: its five trits minus one, most significant first.
const CODES: [[i8; 5]; 256] = codes_table();
/// Whether a packer writes the byte, for five trits and for four and a zero.
const VALID: [[bool; 2]; 256] = valid_table();

const fn codes_table() -> [[i8; 5]; 256] {
    let mut table = [[0; 5]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut fraction, mut i) = (byte, 0);
        while i < 5 {
            fraction *= 3;
            table[byte][i] = (fraction >> 8) as i8 - 1;
            fraction &= 0xff;
            i += 1;
        }
        byte += 1;
    }
    table
}

const fn valid_table() -> [[bool; 2]; 256] {
    let mut table = [[false; 2]; 256];
    let mut q = 0;
    while q < 243 {
        let byte = (q * 256usize).div_ceil(243);
        table[byte] = [true, q % 3 == 0];
        q += 1;
    }
    table
}

/// Packs whole blocks of codes -1, 0 and 1, all with the scale `d`.
///
/// # Panics
/// `codes` is no whole number of blocks, or `out` does not have their size.
pub fn pack(codes: &[i8], d: f16, out: &mut [u8]) {
    check_lengths(codes.len(), out.len(), BLOCK, BLOCK_BYTES);
    for (codes, out) in codes.as_chunks::<BLOCK>().0.iter().zip(out.as_chunks_mut::<BLOCK_BYTES>().0) {
        for (byte, weight, width, trits) in RUNS {
            for m in 0..width {
                let trit = |i| if i < trits { (codes[weight + m + i * width] + 1) as u16 } else { 0 };
                let q = (0..5).fold(0, |q, i| 3 * q + trit(i));
                out[byte + m] = (q * 256).div_ceil(243) as u8;
            }
        }
        out[TRIT_BYTES..].copy_from_slice(&d.to_le_bytes());
    }
}

/// Unpacks whole blocks into their codes and one scale per block.
///
/// # Errors
/// The first byte that is not the fraction of a base-3 number, or whose unused trit is not zero.
///
/// # Panics
/// `bytes` is no whole number of blocks, or an output does not have their size.
pub fn unpack(bytes: &[u8], codes: &mut [i8], scales: &mut [f16]) -> Result<(), InvalidTrit> {
    check_lengths(codes.len(), bytes.len(), BLOCK, BLOCK_BYTES);
    assert_eq!(scales.len(), codes.len() / BLOCK, "one scale per block");
    let blocks = bytes.as_chunks::<BLOCK_BYTES>().0.iter().zip(codes.as_chunks_mut::<BLOCK>().0);
    for (block, ((bytes, codes), scale)) in blocks.zip(scales).enumerate() {
        for (byte, weight, width, trits) in RUNS {
            for m in 0..width {
                let value = bytes[byte + m];
                if !VALID[value as usize][5 - trits] {
                    return Err(InvalidTrit { block, byte: byte + m, value });
                }
                for (i, &code) in CODES[value as usize][..trits].iter().enumerate() {
                    codes[weight + m + i * width] = code;
                }
            }
        }
        *scale = f16::from_le_bytes([bytes[TRIT_BYTES], bytes[TRIT_BYTES + 1]]);
    }
    Ok(())
}
