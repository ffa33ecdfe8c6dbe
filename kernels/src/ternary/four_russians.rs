//! Many tokens: the method of the Four Russians (Arlazarov, Dinic, Kronrod and Faradzhev, 1970), with
//! tokens in the lanes.
//!
//! Four activations of a token have 81 signed sums. A table holds them for 32 tokens, one cache line an
//! entry; four codes of a row are the index of one:
//!
//! ```text
//!   index = sum over i of (code[i] + 1) * 3^i, 0 to 80       table[index] = i16 x 32 tokens
//!
//!   row's sums += table0[index0] + ... + table7[index7]      one pass: 32 columns
//! ```
//!
//! The tables depend on the activations only, so all rows share them: 117 additions build one. Eight
//! are 41 kB; that is more than the first-level cache of some machines, and was still the fastest
//! number of them on one with 32 kB, since fewer passes over the sums weigh more.
//!
//! A chunk is five passes: |sum| <= 160 * 127 = 20320 fits i16. The last pass adds to i32 sums.

use super::layout::{Layout, Line, TILE_ROWS, byte_of_row, five_trits};
use crate::quantize::CHUNK_COLS;

/// Tokens in the lanes of a table's entry.
pub(super) const TOKENS: usize = 32;
/// Tables of a pass.
pub(super) const TABLES: usize = 8;
/// Passes of a chunk, if it is not the last one.
pub(super) const PASSES: usize = CHUNK_COLS / 4 / TABLES;
/// Entries of a table.
const ENTRIES: usize = 81;
/// The index of four zeros.
const ZERO: u8 = 40;

/// The activations of 32 tokens over a chunk.
pub(super) type Lanes = [[i8; TOKENS]; CHUNK_COLS];

/// The signed sums of four activations.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Table {
    /// Seven bits of index need no check of bounds; the entries from 81 on are never touched.
    sums: [[i16; TOKENS]; 128],
    /// 145 lines are 17 more than two rounds through the 64 sets of a first-level cache, as 81 are 17
    /// more than one: the used lines of all tables spread over all sets.
    spread: [[i16; TOKENS]; 17],
}

impl Table {
    pub(super) const EMPTY: Self = Self { sums: [[0; TOKENS]; 128], spread: [[0; TOKENS]; 17] };
}

/// The indices of a tile's rows into the eight tables of a pass, a byte each, in the order of
/// [`index_of_row`].
pub(super) type Indices = [u64; TILE_ROWS];
/// The 16-bit sums of a tile.
pub(super) type Partial = [[i16; TOKENS]; TILE_ROWS];
/// The sums of a tile.
pub(super) type Sums = [[i32; TOKENS]; TILE_ROWS];

/// Where the indices of a tile's row `r` stand: eight lines of 64 bytes are transposed as eight blocks of
/// 8 x 8.
pub(super) const fn index_of_row(r: usize) -> usize {
    let byte = byte_of_row(r);
    byte % 8 * 8 + byte / 8
}

/// Passes that a tile's part of a chunk takes, of so many lines.
pub(super) fn passes(layout: Layout, lines: usize) -> usize {
    match layout {
        Layout::TwoBits => lines.div_ceil(TABLES),
        Layout::FiveTrits => (lines / 4 * 5).div_ceil(TABLES),
    }
}

/// The four columns of a chunk that index `i` stands for.
///
/// A table, since the compiler divides by multiplying.
fn columns(layout: Layout, i: usize) -> [u8; 4] {
    static TWO_BITS: [[u8; 4]; TABLES * PASSES] = {
        let mut all = [[0; 4]; TABLES * PASSES];
        let mut i = 0;
        while i < all.len() {
            let first = 4 * i as u8;
            all[i] = [first, first + 1, first + 2, first + 3];
            i += 1;
        }
        all
    };
    // Of four bytes: the first four codes of each, then the fifth codes of all.
    static FIVE_TRITS: [[u8; 4]; TABLES * PASSES] = {
        let mut all = [[0; 4]; TABLES * PASSES];
        let mut i = 0;
        while i < all.len() {
            let (first, k) = ((i / 5 * 20) as u8, (i % 5) as u8);
            let (start, step) = if k < 4 { (first + 5 * k, 1) } else { (first + 4, 5) };
            all[i] = [start, start + step, start + 2 * step, start + 3 * step];
            i += 1;
        }
        all
    };
    match layout {
        Layout::TwoBits => TWO_BITS[i],
        Layout::FiveTrits => FIVE_TRITS[i],
    }
}

/// Registers of 16-bit lanes, one token each.
pub(super) trait WordLanes: Copy {
    /// A register.
    type R: Copy;
    /// Lanes of a register.
    const LANES: usize;

    fn zero(self) -> Self::R;
    /// The first lanes of a slice.
    fn load(self, x: &[i16]) -> Self::R;
    fn store(self, r: Self::R, out: &mut [i16]);
    fn widen(self, x: &[i8]) -> Self::R;
    fn add(self, a: Self::R, b: Self::R) -> Self::R;
    fn sub(self, a: Self::R, b: Self::R) -> Self::R;
    fn add_to_sums(self, r: Self::R, sums: &mut [i32]);
}

/// Builds the tables of a pass for `N` registers of tokens.
#[inline(always)]
pub(super) fn build<W: WordLanes, const N: usize>(
    w: W,
    layout: Layout,
    pass: usize,
    x: &Lanes,
    tables: &mut [Table; TABLES],
) {
    for (i, table) in tables.iter_mut().enumerate() {
        let columns = columns(layout, pass * TABLES + i);
        for n in 0..N {
            let at = n * W::LANES;
            // What each of the four adds for its codes -1, 0 and 1.
            let mut terms = [[w.zero(); 3]; 4];
            for (terms, column) in terms.iter_mut().zip(columns) {
                terms[2] = w.widen(&x[usize::from(column)][at..]);
                terms[0] = w.sub(terms[1], terms[2]);
            }
            let mut entries = table.sums[..ENTRIES].iter_mut();
            for third in terms[3] {
                for second in terms[2] {
                    let high = w.add(third, second);
                    for first in terms[1] {
                        let three = w.add(high, first);
                        for zeroth in terms[0] {
                            let entry = entries.next().expect("3^4 entries");
                            w.store(w.add(three, zeroth), &mut entry[at..]);
                        }
                    }
                }
            }
        }
    }
}

/// Where the sums of a pass come from and go to.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first pass of a chunk: 16-bit sums start from zero.
    pub(super) first: bool,
    /// The last one: they are added to the 32-bit sums.
    pub(super) last: bool,
}

/// Adds the table entries of a pass to the sums of every row.
#[inline(always)]
pub(super) fn add<W: WordLanes, const N: usize>(
    w: W,
    place: Place,
    indices: &[Indices],
    tables: &[Table; TABLES],
    partial: &mut [Partial],
    sums: &mut [Sums],
) {
    match (place.first, place.last) {
        (false, false) => add_at::<W, N, false, false>(w, indices, tables, partial, sums),
        (false, true) => add_at::<W, N, false, true>(w, indices, tables, partial, sums),
        (true, false) => add_at::<W, N, true, false>(w, indices, tables, partial, sums),
        (true, true) => add_at::<W, N, true, true>(w, indices, tables, partial, sums),
    }
}

#[inline(always)]
fn add_at<W: WordLanes, const N: usize, const FIRST: bool, const LAST: bool>(
    w: W,
    indices: &[Indices],
    tables: &[Table; TABLES],
    partial: &mut [Partial],
    sums: &mut [Sums],
) {
    for ((indices, partial), sums) in indices.iter().zip(partial).zip(sums) {
        for ((indices, partial), sums) in indices.iter().zip(partial).zip(sums) {
            let mut row = [w.zero(); N];
            if !FIRST {
                for (n, row) in row.iter_mut().enumerate() {
                    *row = w.load(&partial[n * W::LANES..]);
                }
            }
            for (i, table) in tables.iter().enumerate() {
                let entry = &table.sums[(indices >> (8 * i)) as usize & 0x7f];
                for (n, row) in row.iter_mut().enumerate() {
                    *row = w.add(*row, w.load(&entry[n * W::LANES..]));
                }
            }
            for (n, row) in row.into_iter().enumerate() {
                if LAST {
                    w.add_to_sums(row, &mut sums[n * W::LANES..]);
                } else {
                    w.store(row, &mut partial[n * W::LANES..]);
                }
            }
        }
    }
}

/// The indices of a tile's part of a chunk, of all its passes. Every `stride`-th line is the tile's.
#[inline(always)]
pub(super) fn index(layout: Layout, lines: &[Line], stride: usize, mut write: impl FnMut(Indices)) {
    let mut all = [[ZERO; TILE_ROWS]; TABLES * PASSES];
    let mut n: usize = 0;
    // Not `step_by`, which divides.
    let mut at = 0;
    match layout {
        Layout::TwoBits => {
            for index in &mut all {
                let Some(line) = lines.get(at) else { break };
                at += stride;
                n += 1;
                for (byte, index) in line.0.iter().zip(index) {
                    // low + 9 high; of high + (high << 3) the compiler would make a product.
                    *index = (byte & 15) + (byte >> 4) + (byte >> 1 & 0x78);
                }
            }
        }
        Layout::FiveTrits => {
            for [firsts @ .., fifth] in all.as_chunks_mut::<5>().0 {
                if at >= lines.len() {
                    break;
                }
                n += 5;
                *fifth = [0; TILE_ROWS];
                // The fifth codes are the digits of a number.
                for (first, place) in firsts.iter_mut().zip([1, 3, 9, 27]) {
                    let line = &lines[at];
                    at += stride;
                    for ((byte, first), fifth) in line.0.iter().zip(first).zip(&mut *fifth) {
                        let last;
                        (*first, last) = four_and_one(*byte, place);
                        *fifth += last;
                    }
                }
            }
        }
    }
    for lines in &all.as_chunks::<TABLES>().0[..n.div_ceil(TABLES)] {
        write(transpose(lines));
    }
}

/// The index of the first four codes of five, and the fifth plus one, `place` fold.
///
/// All by masks of comparisons: of shifts that are added the compiler would make products.
#[inline(always)]
fn four_and_one(byte: u8, place: u8) -> (u8, u8) {
    let mask = |yes: bool| 0u8.wrapping_sub(u8::from(yes));
    let negative = mask(byte >= 0x80);
    let index = byte & 0x7f;
    let last = mask(index >= five_trits::LAST_PAIR);
    let f = (last & byte & 15) | (!last & (index >> 3));
    let g = (last & 8) | (!last & byte & 7);
    // p = g or g - 9, then signed: p + 4 is 0 to 8. -x = (x ^ -1) + 1.
    let p = g.wrapping_sub(9 & mask(g > 4));
    let p = (p ^ negative).wrapping_sub(negative).wrapping_add(4);
    // The number of the first three digits, the fourth digit and the fifth.
    let v = (f ^ negative).wrapping_sub(negative).wrapping_add(13);
    let (one, two) = (mask(p >= 3), mask(p >= 6));
    let fourth = p - (3 & one) - (3 & two);
    // 3^3 = 0x1b
    (v + (0x1b & mask(fourth >= 1)) + (0x1b & mask(fourth >= 2)), (place & one) + (place & two))
}

/// Eight lines of bytes to one word of eight bytes per row: in each block of 8 x 8, squares of four, two
/// and one bytes swap (Warren, Hacker's Delight, section 7-3).
#[inline(always)]
fn transpose(lines: &[[u8; TILE_ROWS]; TABLES]) -> Indices {
    let mut words: [[u64; 8]; TABLES] = [[0; 8]; TABLES];
    for (words, line) in words.iter_mut().zip(lines) {
        for (word, bytes) in words.iter_mut().zip(line.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }
    for (step, shift, mask) in
        [(4, 32, 0x0000_0000_ffff_ffff_u64), (2, 16, 0x0000_ffff_0000_ffff), (1, 8, 0x00ff_00ff_00ff_00ff)]
    {
        for words in words.chunks_exact_mut(2 * step) {
            let (lows, highs) = words.split_at_mut(step);
            for (low, high) in lows.as_flattened_mut().iter_mut().zip(highs.as_flattened_mut()) {
                let swap = (*low >> shift ^ *high) & mask;
                *high ^= swap;
                *low ^= swap << shift;
            }
        }
    }
    let mut out = [0; TILE_ROWS];
    for (out, words) in out.as_chunks_mut().0.iter_mut().zip(words) {
        *out = words;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn indices_are_those_of_the_codes() {
        let mut random = Random::new(5);
        for layout in Layout::ALL {
            let codes: Vec<i8> = random.codes(TILE_ROWS * CHUNK_COLS);
            let mut lines = vec![layout.zero(); layout.chunk_lines()];
            for (row, codes) in codes.chunks(CHUNK_COLS).enumerate() {
                for (line, codes) in lines.iter_mut().zip(codes.chunks(layout.codes_per_byte())) {
                    line.0[byte_of_row(row)] = layout.encode(codes);
                }
            }
            for lines in [&lines[..], &lines[..8]] {
                let mut seen = 0;
                index(layout, lines, 1, |indices| {
                    for (r, row) in codes.chunks(CHUNK_COLS).enumerate() {
                        for (i, byte) in indices[index_of_row(r)].to_le_bytes().into_iter().enumerate() {
                            let columns = columns(layout, seen * TABLES + i);
                            let digits = columns.iter().rev().fold(0, |n, &c| {
                                let c = usize::from(c);
                                let outside = c >= lines.len() * layout.codes_per_byte();
                                3 * n + if outside { 1 } else { row[c] + 1 }
                            });
                            assert_eq!(byte, digits as u8, "{layout:?} row {r}");
                        }
                    }
                    seen += 1;
                });
                assert_eq!(seen, passes(layout, lines.len()));
            }
        }
    }

    #[test]
    fn the_columns_of_a_chunk_are_in_one_index_each() {
        for layout in Layout::ALL {
            let mut all: Vec<u8> = (0..CHUNK_COLS / 4).flat_map(|i| columns(layout, i)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..CHUNK_COLS as u8).collect::<Vec<_>>());
        }
    }
}
