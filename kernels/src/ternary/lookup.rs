//! One token: tables of sums, looked up by bytes of codes, for 16 to 64 rows at a time.
//!
//! The tables depend on the activations only, so all rows share them. Whatever a register's width, a
//! kernel is written once, over [`ByteLanes`].
//!
//! **Two bits.** A nibble indexes the nine signed sums of its two activations. A sum plus 256 is from 2
//! to 510: its low five bits and the rest are looked up and added up separately, in bytes.
//!
//! ```text
//!   low  <= 31     8 lookups fit a byte (248), then they are added to 16-bit sums
//!   high <= 15    16 lookups fit a byte (240), then their 32-fold is added to the same
//!   16 bits       80 lookups are a chunk: |sum| <= 160 * 127 = 20320 once 80 * 256 is taken away
//! ```
//!
//! **Five trits.** The triple f and the pair g index tables of 16 ([`five_trits`]); the sign in the
//! top bit turns their sum round.
//!
//! ```text
//!   f sum = 32 a + b,  g sum = 32 c + d     -16 <= b <= 15,  -15 <= d <= 16
//!   +-(b + d)  <= 31       4 lookups fit a signed byte (124)
//!   +-(a + c)  <= 20       6 would; 4 are taken
//! ```
//!
//! The 16-bit sums are widened to 32 bits once per chunk.

use std::hint::black_box;

use super::layout::{Line, TILE_ROWS, five_trits, two_bits};
use crate::quantize::Chunk;

/// Bytes in the lanes of a register, and 16-bit words in the same lanes.
pub(super) trait ByteLanes: Copy {
    /// 8-bit lanes.
    type V: Copy;

    /// Registers of a line.
    const PARTS: usize;

    /// The part of a line.
    fn load(self, line: &Line, part: usize) -> Self::V;
    /// 16 bytes, repeated over the register.
    fn table(self, table: &[u8; 16]) -> Self::V;
    /// A hint that the memory at `p`, which may be any address, will be read.
    fn prefetch(self, _p: *const u8) {}
    /// As [`prefetch`](Self::prefetch), into the first-level cache. It pays on AVX2 (4 % where the weights
    /// are cached), not on AVX-512.
    fn prefetch_soon(self, _p: *const u8) {}
    fn splat(self, byte: u8) -> Self::V;
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wraps around.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bytes shifted right by `N`, 1 to 7; the bits that come in from above are of no meaning.
    fn shift_right<const N: i32>(self, v: Self::V) -> Self::V;
    /// Entries of a [`table`](Self::table), by indices below 16.
    fn lookup(self, table: Self::V, index: Self::V) -> Self::V;
    /// `v > limit ? a : b`, signed.
    fn select_above(self, v: Self::V, limit: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `-v` where the top bit of `sign` is set; where `sign` is 0, `v` is.
    fn negate(self, v: Self::V, sign: Self::V) -> Self::V;

    /// The same word in all 16-bit lanes.
    fn splat_words(self, word: i16) -> Self::V;
    /// Adds even and odd bytes, taken as unsigned or signed, to words; 32-fold if they are `HIGH` parts.
    fn add_words<const SIGNED: bool, const HIGH: bool>(self, sums: [Self::V; 2], v: Self::V) -> [Self::V; 2];
    /// Adds words to `sums`: in the order of the rows that the bytes of this part of a line stand for.
    fn flush(self, words: [Self::V; 2], part: usize, sums: &mut TileSums);
}

/// One sum for each row of a tile.
pub(super) type TileSums = [i32; TILE_ROWS];

/// The sums of one token over a chunk, for `TILES` of the `WIDTH` tiles of a group from `first` on. `tables`
/// has one line per line of codes.
#[inline(always)]
pub(super) fn two_bit_sums<const WIDTH: usize, const TILES: usize, const PARTS: usize, S: ByteLanes>(
    s: S,
    lines: &[[Line; WIDTH]],
    first: usize,
    tables: &[Line],
    sums: &mut [TileSums; TILES],
) {
    let (nibble, zero) = (s.splat(15), s.splat(0));
    let bias = (tables.len() as i16) << 9; // two pairs a line, 256 each
    let mut words = [[[s.splat_words(bias.wrapping_neg()); 2]; PARTS]; TILES];
    let mut high = [[zero; PARTS]; TILES];
    let mut rest = Rest { tables, lines };
    while let Some((tables, lines)) = rest.next(4) {
        let mut low = [[zero; PARTS]; TILES];
        for (table, line) in tables.iter().zip(lines) {
            prefetch(s, first, line);
            let [low0, high0, low1, high1] = four_tables(s, table);
            for (t, codes) in line[first..first + TILES].iter().enumerate() {
                for part in 0..PARTS {
                    let codes = s.load(codes, part);
                    let pair = s.and(codes, nibble);
                    low[t][part] = s.add(low[t][part], s.lookup(low0, pair));
                    high[t][part] = s.add(high[t][part], s.lookup(high0, pair));
                    let pair = s.and(s.shift_right::<4>(codes), nibble);
                    low[t][part] = s.add(low[t][part], s.lookup(low1, pair));
                    high[t][part] = s.add(high[t][part], s.lookup(high1, pair));
                }
            }
        }
        for t in 0..TILES {
            for part in 0..PARTS {
                words[t][part] = s.add_words::<false, false>(words[t][part], low[t][part]);
            }
        }
        // Every other time: lines come in groups of eight.
        if rest.tables.len() & 4 == 0 {
            for t in 0..TILES {
                for part in 0..PARTS {
                    words[t][part] = s.add_words::<false, true>(words[t][part], high[t][part]);
                }
            }
            high = [[zero; PARTS]; TILES];
        }
    }
    for (words, sums) in words.into_iter().zip(sums) {
        for (part, words) in words.into_iter().enumerate() {
            s.flush(words, part, sums);
        }
    }
}

/// As [`two_bit_sums`].
#[inline(always)]
pub(super) fn five_trit_sums<const WIDTH: usize, const TILES: usize, const PARTS: usize, S: ByteLanes>(
    s: S,
    lines: &[[Line; WIDTH]],
    first: usize,
    tables: &[Line],
    sums: &mut [TileSums; TILES],
) {
    let (zero, eight, seven) = (s.splat(0), s.splat(8), s.splat(7));
    let (nibble, magnitude) = (s.splat(15), s.splat(0x7f));
    let below_last = s.splat(five_trits::LAST_PAIR - 1);
    let mut words = [[[zero; 2]; PARTS]; TILES];
    let mut rest = Rest { tables, lines };
    while let Some((tables, lines)) = rest.next(4) {
        let mut low = [[zero; PARTS]; TILES];
        let mut high = [[zero; PARTS]; TILES];
        for (table, line) in tables.iter().zip(lines) {
            prefetch(s, first, line);
            let [low_f, high_f, low_g, high_g] = four_tables(s, table);
            for (t, codes) in line[first..first + TILES].iter().enumerate() {
                for part in 0..PARTS {
                    let codes = s.load(codes, part);
                    let index = s.and(codes, magnitude);
                    let high_bits = s.and(s.shift_right::<3>(index), nibble);
                    let f = s.select_above(index, below_last, s.and(codes, nibble), high_bits);
                    let g = s.select_above(index, below_last, eight, s.and(codes, seven));
                    let sum = s.add(s.lookup(low_f, f), s.lookup(low_g, g));
                    low[t][part] = s.add(low[t][part], s.negate(sum, codes));
                    let sum = s.add(s.lookup(high_f, f), s.lookup(high_g, g));
                    high[t][part] = s.add(high[t][part], s.negate(sum, codes));
                }
            }
        }
        for t in 0..TILES {
            for part in 0..PARTS {
                words[t][part] = s.add_words::<true, false>(words[t][part], low[t][part]);
                words[t][part] = s.add_words::<true, true>(words[t][part], high[t][part]);
            }
        }
    }
    for (words, sums) in words.into_iter().zip(sums) {
        for (part, words) in words.into_iter().enumerate() {
            s.flush(words, part, sums);
        }
    }
}

/// Lines of a group and of their tables.
struct Rest<'a, const WIDTH: usize> {
    tables: &'a [Line],
    lines: &'a [[Line; WIDTH]],
}

impl<'a, const WIDTH: usize> Rest<'a, WIDTH> {
    /// Splits off the first `n` lines, or what is left; None at the end.
    ///
    /// Their number is not a constant to the compiler: a loop over them that it unrolls has more values
    /// alive at once than AVX2 has registers.
    #[inline(always)]
    fn next(&mut self, n: usize) -> Option<(&'a [Line], &'a [[Line; WIDTH]])> {
        let n = n.min(self.tables.len());
        let (tables, lines);
        (tables, self.tables) = self.tables.split_at(n);
        (lines, self.lines) = self.lines.split_at(n);
        (n > 0).then_some((tables, lines))
    }
}

/// Lines that are asked for before they are needed: 16 kB ahead, whatever they then are. A group is read by
/// several calls if its tiles do not fit the registers; the first one asks.
#[inline(always)]
pub(super) fn prefetch<S: ByteLanes, const WIDTH: usize>(s: S, first: usize, line: &[Line; WIDTH]) {
    if first == 0 {
        for line in line {
            s.prefetch(line.0.as_ptr().wrapping_add(AHEAD));
            s.prefetch_soon(line.0.as_ptr().wrapping_add(SOON));
        }
    }
}

/// Bytes between a line and the one that is asked for.
const AHEAD: usize = 16 << 10;
/// The same into the first-level cache.
const SOON: usize = 2 << 10;

/// Calls `$sums::<WIDTH, TILES, ..>` for all tiles of a group, which has one sum each: `$tiles` at a time if
/// the group is whole, else one by one. Widths are powers of two: otherwise the compiler would divide by
/// multiplying.
macro_rules! each_tile {
    ($($sums:ident)::+ [$($generic:tt),*], $s:expr, tiles $tiles:literal, $lines:expr, $tables:expr, $out:expr) => {
        match $out.len() {
            4 => {
                for (i, out) in $out.as_chunks_mut::<$tiles>().0.iter_mut().enumerate() {
                    let lines = $lines.as_chunks().0;
                    $($sums)::+::<4, $tiles, $($generic),*>($s, lines, $tiles * i, $tables, out);
                }
            }
            2 => each_tile!(@one 2, $($sums)::+ [$($generic),*], $s, $lines, $tables, $out),
            1 => each_tile!(@one 1, $($sums)::+ [$($generic),*], $s, $lines, $tables, $out),
            _ => unreachable!("groups have 1, 2 or 4 tiles"),
        }
    };
    (@one $width:literal, $($sums:ident)::+ [$($generic:tt),*], $s:expr, $lines:expr, $tables:expr, $out:expr) => {
        for (i, out) in $out.as_chunks_mut::<1>().0.iter_mut().enumerate() {
            $($sums)::+::<$width, 1, $($generic),*>($s, $lines.as_chunks().0, i, $tables, out);
        }
    };
}
pub(super) use each_tile;

/// The four tables of a line.
#[inline(always)]
fn four_tables<S: ByteLanes>(s: S, line: &Line) -> [S::V; 4] {
    let [a, b, c, d] = line.0.as_chunks::<16>().0 else { unreachable!("64 bytes") };
    [s.table(a), s.table(b), s.table(c), s.table(d)]
}

/// The signed sums of a table's entries: a plus and a minus mask for each activation and entry.
type Masks<const N: usize> = [([i16; 16], [i16; 16]); N];

const fn masks<const N: usize>(codes: [[i8; N]; 16]) -> Masks<N> {
    let mut masks = [([0; 16], [0; 16]); N];
    let mut entry = 0;
    while entry < 16 {
        let mut i = 0;
        while i < N {
            match codes[entry][i] {
                1 => masks[i].0[entry] = -1,
                -1 => masks[i].1[entry] = -1,
                _ => {}
            }
            i += 1;
        }
        entry += 1;
    }
    masks
}

macro_rules! sixteen {
    ($codes:path) => {{
        let mut all = [$codes(0); 16];
        let mut i = 1;
        while i < 16 {
            all[i] = $codes(i as u8);
            i += 1;
        }
        masks(all)
    }};
}

static NIBBLES: Masks<2> = sixteen!(two_bits::pair);
static TRIPLES: Masks<3> = sixteen!(five_trits::triple);
static PAIRS: Masks<2> = sixteen!(five_trits::pair);

/// `start` plus the signed sums of the activations.
#[inline(always)]
fn signed_sums<const N: usize>(masks: &Masks<N>, x: [i8; N], start: i16) -> [i16; 16] {
    // Opaque: knowing the masks, the compiler replaces sixteen lanes by nine numbers, one by one.
    let masks = black_box(masks);
    let mut sums = [start; 16];
    for ((plus, minus), x) in masks.iter().zip(x) {
        for ((sum, plus), minus) in sums.iter_mut().zip(plus).zip(minus) {
            *sum += (i16::from(x) & plus) - (i16::from(x) & minus);
        }
    }
    sums
}

/// Low parts, then high parts, such that a sum is `32 high + low - bias`.
#[inline(always)]
fn split(sums: [i16; 16], bias: i16, out: &mut [[u8; 16]]) {
    for (i, sum) in sums.into_iter().enumerate() {
        out[0][i] = (sum & 31).wrapping_sub(bias) as u8;
        out[1][i] = (sum >> 5) as u8;
    }
}

/// The tables of [`two_bit_sums`], one line for four columns of `x`.
#[inline(always)]
pub(super) fn two_bit_tables(x: &Chunk, tables: &mut [Line]) {
    for (&[a, b, c, d], table) in x.as_chunks::<4>().0.iter().zip(tables) {
        let out = table.0.as_chunks_mut::<16>().0;
        split(signed_sums(&NIBBLES, [a, b], 256), 0, &mut out[..2]);
        split(signed_sums(&NIBBLES, [c, d], 256), 0, &mut out[2..]);
    }
}

/// The sums of the two nibbles of a byte.
#[inline(always)]
pub(super) fn two_pairs(&[a, b, c, d]: &[i8; 4]) -> [[i16; 16]; 2] {
    [signed_sums(&NIBBLES, [a, b], 0), signed_sums(&NIBBLES, [c, d], 0)]
}

/// The sums of all values of the low seven bits of five trits.
#[inline(always)]
pub(super) fn sums_of_five(x: &[i8; 5], sums: &mut [i16; 128]) {
    let [triples, pairs] = triples_and_pairs(x, [0, 0]);
    let (eights, last) = sums.split_at_mut(usize::from(five_trits::LAST_PAIR));
    for (row, triple) in eights.as_chunks_mut::<8>().0.iter_mut().zip(triples) {
        for (sum, pair) in row.iter_mut().zip(pairs) {
            *sum = triple + pair;
        }
    }
    for (sum, triple) in last.iter_mut().zip(triples) {
        *sum = triple + pairs[8];
    }
}

/// The sums of the triples and of the pairs, each plus its bias.
#[inline(always)]
pub(super) fn triples_and_pairs(&[a, b, c, d, e]: &[i8; 5], bias: [i16; 2]) -> [[i16; 16]; 2] {
    [signed_sums(&TRIPLES, [a, b, c], bias[0]), signed_sums(&PAIRS, [d, e], bias[1])]
}

/// The tables of [`five_trit_sums`], one line for five columns of `x`.
#[inline(always)]
pub(super) fn five_trit_tables(x: &Chunk, tables: &mut [Line]) {
    for (x, table) in x.as_chunks::<5>().0.iter().zip(tables) {
        let out = table.0.as_chunks_mut::<16>().0;
        // Low parts from -16 to 15 and from -15 to 16, so that their sums are as far from 0 either way.
        let [triples, pairs] = triples_and_pairs(x, [16, 15]);
        split(triples, 16, &mut out[..2]);
        split(pairs, 15, &mut out[2..]);
    }
}
