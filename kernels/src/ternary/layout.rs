//! Where a code lies.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

#[cfg(target_arch = "x86_64")]
use crate::isa::Set;
use crate::{Isa, quantize::CHUNK_COLS};

/// Rows of a tile: the bytes of a [`Line`].
pub(super) const TILE_ROWS: usize = 64;

/// One byte for each row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; TILE_ROWS]);

// SAFETY: 64 bytes without padding, of which every pattern is valid.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

/// How many bits a [`TernaryMatrix`](super::TernaryMatrix) spends on a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Two bits: four codes a byte.
    TwoBits,
    /// 1.6 bits: five codes a byte.
    FiveTrits,
}

impl Layout {
    /// Both.
    pub const ALL: [Self; 2] = [Self::TwoBits, Self::FiveTrits];

    /// The layout that is fastest for decoding on an instruction set: five trits where VBMI looks them up at
    /// once, two bits elsewhere.
    pub fn best(isa: Isa) -> Self {
        match isa.set() {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) if avx512.vbmi() => Self::FiveTrits,
            _ => Self::TwoBits,
        }
    }

    /// Codes of a byte.
    pub fn codes_per_byte(self) -> usize {
        match self {
            Self::TwoBits => 4,
            Self::FiveTrits => 5,
        }
    }

    /// Lines of a tile's chunk, if it is not the last one.
    pub(super) const fn chunk_lines(self) -> usize {
        match self {
            Self::TwoBits => CHUNK_COLS / 4,
            Self::FiveTrits => CHUNK_COLS / 5,
        }
    }

    /// What the lines of a last chunk are a multiple of, so that kernels need no tails: 32 or 20 columns.
    const fn granularity(self) -> usize {
        match self {
            Self::TwoBits => 8,
            Self::FiveTrits => 4,
        }
    }

    /// The byte of the codes in the low bytes of a word, as many as it holds.
    fn encode_word(self, codes: u64) -> u8 {
        match self {
            Self::TwoBits => two_bits::encode_word(codes),
            Self::FiveTrits => five_trits::encode_word(codes),
        }
    }

    /// The byte of codes, as many as it holds.
    #[cfg(test)]
    pub(super) fn encode(self, codes: &[i8]) -> u8 {
        assert_eq!(codes.len(), self.codes_per_byte());
        // What is above the codes does not matter.
        let mut word = [1, -1, 1, -1, 1, -1, 1, -1];
        word[..codes.len()].copy_from_slice(codes);
        self.encode_word(u64::from_le_bytes(word.map(|code| code as u8)))
    }

    /// The codes of a byte.
    pub(super) fn decode(self, byte: u8) -> &'static [i8] {
        match self {
            Self::TwoBits => &two_bits::DECODE[usize::from(byte)],
            Self::FiveTrits => &five_trits::DECODE[usize::from(byte)],
        }
    }

    /// The byte of zeros.
    pub(super) fn zero(self) -> Line {
        Line([self.encode_word(0); TILE_ROWS])
    }
}

/// The byte of a [`Line`] that belongs to row `r` of its tile.
///
/// Widening bytes to i32 takes every fourth one at a time; in this order the results are consecutive
/// rows, however many bytes a register has.
pub(super) const fn byte_of_row(r: usize) -> usize {
    4 * (r % 16) + r / 16
}

/// Tiles whose lines alternate: together they are read as one stream.
pub(super) const GROUP_TILES: usize = 4;
/// Rows of a group.
pub(super) const GROUP_ROWS: usize = GROUP_TILES * TILE_ROWS;

/// Offsets of the parts of a matrix, in lines: `[group][chunk][line of the chunk][tile of the group]`.
///
/// So the rows of a task are one stream from memory, which prefetchers follow; where it broke off every few
/// kB, one token took twice as long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) layout: Layout,
}

impl Shape {
    pub(super) fn tiles(self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    pub(super) fn groups(self) -> usize {
        self.tiles().div_ceil(GROUP_TILES)
    }

    /// Tiles of a group: four, but for the last one, which has 1, 2 or 4 and may be padded.
    pub(super) fn width(self, group: usize) -> usize {
        GROUP_TILES.min((self.tiles() - group * GROUP_TILES).next_power_of_two())
    }

    pub(super) fn chunks(self) -> usize {
        self.cols.div_ceil(CHUNK_COLS)
    }

    /// Lines of one tile's part of a chunk.
    pub(super) fn lines(self, chunk: usize) -> usize {
        let cols = self.cols - chunk * CHUNK_COLS;
        if cols >= CHUNK_COLS {
            return self.layout.chunk_lines();
        }
        cols.div_ceil(self.layout.codes_per_byte()).next_multiple_of(self.layout.granularity())
    }

    /// The lines of a group's part of a chunk.
    pub(super) fn part(self, chunk: usize, group: usize) -> Range<usize> {
        let start =
            group * GROUP_TILES * self.tile_lines() + self.width(group) * chunk * self.layout.chunk_lines();
        start..start + self.width(group) * self.lines(chunk)
    }

    /// The lines of a group.
    pub(super) fn group(self, group: usize) -> Range<usize> {
        self.part(0, group).start..self.part(self.chunks() - 1, group).end
    }

    /// Lines of one tile.
    fn tile_lines(self) -> usize {
        let last = self.chunks() - 1;
        last * self.layout.chunk_lines() + self.lines(last)
    }

    /// Lines of the matrix.
    pub(super) fn total(self) -> usize {
        match self.groups().checked_sub(1) {
            Some(last) => self.part(self.chunks() - 1, last).end,
            None => 0,
        }
    }
}

/// code + 1 of every byte of a word of codes, without carries: -1, 0 and 1 are 3, 0 and 1 in two bits.
#[inline]
fn trits(codes: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    ((codes & (3 * ONES)) + ONES) & (3 * ONES)
}

/// Two pairs of codes, a nibble each: `(c0 + 1) + 3 * (c1 + 1)`, 0 to 8.
pub(super) mod two_bits {
    /// The nibble of the pair (0, 0).
    const ZERO: u8 = 4;

    /// Of the codes in the four low bytes.
    #[inline]
    pub(in crate::ternary) fn encode_word(codes: u64) -> u8 {
        // Bytes 0 and 2 hold the pairs.
        let trits = super::trits(codes);
        let pairs = trits + 3 * (trits >> 8);
        (pairs | pairs >> 12) as u8
    }

    /// Nibbles above 8, which are never written, read as (0, 0).
    pub(in crate::ternary) static DECODE: [[i8; 4]; 256] = {
        let mut all = [[0; 4]; 256];
        let mut byte = 0;
        while byte < 256 {
            let [c0, c1] = pair(byte as u8 & 15);
            let [c2, c3] = pair(byte as u8 >> 4);
            all[byte] = [c0, c1, c2, c3];
            byte += 1;
        }
        all
    };

    /// The codes of a nibble.
    pub(in crate::ternary) const fn pair(nibble: u8) -> [i8; 2] {
        let nibble = if nibble > 8 { ZERO } else { nibble };
        [(nibble % 3) as i8 - 1, (nibble / 3) as i8 - 1]
    }
}

/// A sign and a triple and a pair of codes, such that each fits a table of 16.
///
/// ```text
///   v = c0 + 3 c1 + 9 c2    p = c3 + 3 c4          of the codes, all negated if v < 0
///   f = v, 0 to 13          g = p mod 9, 0 to 8
///
///   byte:  sign | f . . . | g . .     if g < 8        f from 0 to 13: up to 111
///          sign |    112 + f          if g = 8
/// ```
///
/// The byte 0 is five zeros.
pub(super) mod five_trits {
    /// From this value of the low seven bits on, the pair is 8.
    pub(in crate::ternary) const LAST_PAIR: u8 = 14 * 8;

    /// The powers of 3 from byte 4 down to byte 0.
    const POWERS: u64 = u64::from_le_bytes([81, 27, 9, 3, 1, 0, 0, 0]);

    /// Of the codes in the five low bytes.
    #[inline]
    pub(in crate::ternary) fn encode_word(codes: u64) -> u8 {
        // Byte 4 of the product is the number whose base-3 digits are the trits, that is v + 27 p + 121. No byte
        // below has a carry: they are parts of that sum, which is 242 at most.
        let number = super::trits(codes).wrapping_mul(POWERS) >> 32;
        ENCODE[usize::from(number as u8)]
    }

    /// Indexed by v + 27 p + 121, which is from 0 to 242.
    static ENCODE: [u8; 256] = {
        let mut all = [0; 256];
        let mut i = 0;
        while i < 243 {
            let (v, p) = ((i % 27) as i8 - 13, (i / 27) as i8 - 4);
            let sign = if v < 0 { -1 } else { 1 };
            let (f, g) = ((sign * v) as u8, (sign * p).rem_euclid(9) as u8);
            let index = if g < 8 { f << 3 | g } else { LAST_PAIR + f };
            all[i] = index | if v < 0 { 0x80 } else { 0 };
            i += 1;
        }
        all
    };

    /// Bytes that are never written read as some codes.
    pub(in crate::ternary) static DECODE: [[i8; 5]; 256] = {
        let mut all = [[0; 5]; 256];
        let mut byte = 0;
        while byte < 256 {
            let index = byte as u8 & 0x7f;
            let (f, g) = if index < LAST_PAIR { (index >> 3, index & 7) } else { (index & 15, 8) };
            let sign = if byte < 128 { 1 } else { -1 };
            let ([c0, c1, c2], [c3, c4]) = (triple(f), pair(g));
            all[byte] = [sign * c0, sign * c1, sign * c2, sign * c3, sign * c4];
            byte += 1;
        }
        all
    };

    /// The codes of f: balanced ternary digits.
    pub(in crate::ternary) const fn triple(f: u8) -> [i8; 3] {
        let f = if f > 13 { 13 } else { f as i8 };
        // v + 13 has the digits c + 1.
        let v = f + 13;
        [v % 3 - 1, v / 3 % 3 - 1, v / 9 - 1]
    }

    /// The codes of g.
    pub(in crate::ternary) const fn pair(g: u8) -> [i8; 2] {
        let p = if g > 8 {
            0
        } else if g > 4 {
            g as i8 - 9
        } else {
            g as i8
        };
        [(p + 4) % 3 - 1, (p + 4) / 3 - 1]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn bytes_and_codes_correspond() {
        for layout in Layout::ALL {
            let n = layout.codes_per_byte();
            let mut bytes = BTreeSet::new();
            for i in 0..3usize.pow(n as u32) {
                let codes: Vec<i8> = (0..n).map(|k| (i / 3usize.pow(k as u32) % 3) as i8 - 1).collect();
                let byte = layout.encode(&codes);
                assert_eq!(layout.decode(byte), codes, "{layout:?} {byte:#04x}");
                bytes.insert(byte);
            }
            assert_eq!(bytes.len(), 3usize.pow(n as u32), "{layout:?}");
        }
        assert_eq!(Layout::FiveTrits.zero().0, [0; TILE_ROWS]);
        assert_eq!(Layout::TwoBits.zero().0, [0x44; TILE_ROWS]);
    }

    #[test]
    fn rows_have_one_byte_each() {
        let bytes: BTreeSet<usize> = (0..TILE_ROWS).map(byte_of_row).collect();
        assert_eq!(bytes, (0..TILE_ROWS).collect());
    }

    #[test]
    fn parts_follow_each_other() {
        for layout in Layout::ALL {
            for (rows, cols) in [1, 64, 130, 256, 300, 520].into_iter().zip([1, 20, 159, 161, 333, 2560]) {
                let shape = Shape { rows, cols, layout };
                let mut next = 0;
                for group in 0..shape.groups() {
                    for chunk in 0..shape.chunks() {
                        let codes = shape.lines(chunk) * layout.codes_per_byte();
                        assert!(codes >= (cols - chunk * CHUNK_COLS).min(CHUNK_COLS));
                        assert!(codes <= CHUNK_COLS, "activations are padded to whole chunks only");
                        let part = shape.part(chunk, group);
                        assert_eq!(part.start, next);
                        next = part.end;
                    }
                }
                assert_eq!(shape.total(), next);
            }
        }
    }
}
