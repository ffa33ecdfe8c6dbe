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
//!
//! With e < 243 the amount by which the ceiling rounded up, byte * 243 = q * 256 + e. So after five
//! steps e is what stays, and a byte that no packer writes is one that leaves 243 or more.

use super::{layout::Layout, two_bits::trit};

/// Weights of a block.
pub const BLOCK: usize = 256;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 54;

/// Where the second and the third run start in bytes and in weights, and where the trits end.
const SECOND: (usize, usize) = (32, 160);
const THIRD: (usize, usize) = (48, 240);
const TRIT_BYTES: usize = 52;

/// What a packer leaves after five steps is less.
const LEFT: u8 = 243;

pub(super) struct Tq1_0;

impl Layout<BLOCK, BLOCK_BYTES> for Tq1_0 {
    const SCALE_AT: Option<usize> = Some(TRIT_BYTES);

    #[inline(always)]
    fn pack(codes: &[i8; BLOCK], block: &mut [u8; BLOCK_BYTES]) {
        pack_run::<32, 5>(&codes[..SECOND.1], &mut block[..SECOND.0]);
        pack_run::<16, 5>(&codes[SECOND.1..THIRD.1], &mut block[SECOND.0..THIRD.0]);
        pack_run::<4, 4>(&codes[THIRD.1..], &mut block[THIRD.0..TRIT_BYTES]);
    }

    #[inline(always)]
    fn unpack(block: &[u8; BLOCK_BYTES], codes: &mut [i8; BLOCK]) -> bool {
        let first = unpack_run::<32, 5>(&block[..SECOND.0], &mut codes[..SECOND.1]);
        let second = unpack_run::<16, 5>(&block[SECOND.0..THIRD.0], &mut codes[SECOND.1..THIRD.1]);
        let third = unpack_run::<4, 4>(&block[THIRD.0..TRIT_BYTES], &mut codes[THIRD.1..]);
        first & second & third
    }

    fn is_valid(at: usize, byte: u8) -> bool {
        let left = byte.wrapping_mul(81);
        left.wrapping_mul(3) < LEFT && (at < THIRD.0 || carry(left) == 0)
    }
}

/// The trit that leaves the byte when the fraction is tripled: 3 * 86 and 3 * 171 are the first
/// products beyond 256 and 512.
#[inline(always)]
fn carry(fraction: u8) -> u8 {
    u8::from(fraction >= 86) + u8::from(fraction >= 171)
}

#[inline(always)]
fn pack_run<const WIDTH: usize, const TRITS: usize>(codes: &[i8], bytes: &mut [u8]) {
    let mut numbers = [0u8; WIDTH];
    for codes in codes.as_chunks::<WIDTH>().0 {
        for (q, &code) in numbers.iter_mut().zip(codes) {
            *q = q.wrapping_mul(3).wrapping_add(trit(code));
        }
    }
    for (byte, q) in bytes.iter_mut().zip(numbers) {
        let q = if TRITS == 4 { q.wrapping_mul(3) } else { q };
        *byte = (u16::from(q) * 256).div_ceil(243) as u8;
    }
}

#[inline(always)]
fn unpack_run<const WIDTH: usize, const TRITS: usize>(bytes: &[u8], codes: &mut [i8]) -> bool {
    let mut fractions = [0u8; WIDTH];
    fractions.copy_from_slice(bytes);
    for codes in codes.as_chunks_mut::<WIDTH>().0 {
        for (code, fraction) in codes.iter_mut().zip(&mut fractions) {
            *code = carry(*fraction) as i8 - 1;
            *fraction = fraction.wrapping_mul(3);
        }
    }
    let mut bad = false;
    for fraction in fractions {
        bad |= if TRITS == 4 {
            carry(fraction) > 0 || fraction.wrapping_mul(3) >= LEFT
        } else {
            fraction >= LEFT
        };
    }
    !bad
}
