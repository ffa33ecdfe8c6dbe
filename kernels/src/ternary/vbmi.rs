//! AVX-512 with VBMI: a permutation of two registers is a table of 128 bytes, so five trits take one
//! lookup for the low and one for the high part of their sum.
//!
//! ```text
//!   sum = 32 high + low      -16 <= low <= 15       -20 <= high <= 20
//!   4 lookups of either sign stay in a signed byte: 4 * 20 = 80, 4 * 16 = 64
//! ```
//!
//! Everything else is as without VBMI.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use super::{
    four_russians::{Indices, Lanes, Partial, Place, Sums, TABLES, Table},
    kernels::Kernels,
    layout::{Layout, Line, five_trits},
    lookup::{self, ByteLanes, TileSums, each_tile},
};
use crate::{quantize::Chunk, simd::Avx512};

/// Proof that the CPU has VBMI besides AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Vbmi(Avx512);

/// Lines of tables for a line of five trits: low parts, then high parts.
const TABLE_LINES: usize = 4;
impl Vbmi {
    pub(super) fn detect(avx512: Avx512) -> Option<Self> {
        avx512.vbmi().then_some(Self(avx512))
    }
}

/// Of each of the 128 sums, the lane of its triple, 0 to 13, and that of its pair, 16 to 24. (The last two sums are
/// never asked for.)
static LANES: [[[i16; 32]; 4]; 2] = {
    let mut lanes = [[[0; 32]; 4]; 2];
    let last = five_trits::LAST_PAIR as usize;
    let mut i = 0;
    while i < 128 {
        let (triple, pair) = if i < last { (i / 8, i % 8) } else { (i - last, 8) };
        lanes[0][i / 32][i % 32] = triple as i16;
        lanes[1][i / 32][i % 32] = pair as i16 + 16;
        i += 1;
    }
    lanes
};

/// The low bytes of the words of two registers.
static LOW_BYTES: Line = {
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < 64 {
        bytes[i] = 2 * i as u8;
        i += 1;
    }
    Line(bytes)
};

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline(never)]
fn ternary_five_trit_tables(s: Avx512, x: &Chunk, tables: &mut [Line]) {
    // SAFETY: 32 words.
    let load = |words: &[i16; 32]| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
    let low_bytes = ByteLanes::load(s, &LOW_BYTES, 0);
    let (thirty_one, sixteen) = (_mm512_set1_epi8(31), _mm512_set1_epi8(16));
    for (x, table) in x.as_chunks().0.iter().zip(tables.as_chunks_mut::<TABLE_LINES>().0) {
        // 16 more in the triples, so that low parts are from -16 to 15.
        let terms = lookup::triples_and_pairs(x, [16, 0]);
        let terms = load(terms.as_flattened().try_into().expect("32 words"));
        for half in 0..2 {
            let mut sums = [terms; 2];
            for (i, sums) in sums.iter_mut().enumerate() {
                let triples = _mm512_permutexvar_epi16(load(&LANES[0][2 * half + i]), terms);
                let pairs = _mm512_permutexvar_epi16(load(&LANES[1][2 * half + i]), terms);
                *sums = _mm512_add_epi16(triples, pairs);
            }
            let low = _mm512_permutex2var_epi8(sums[0], low_bytes, sums[1]);
            let low = _mm512_sub_epi8(_mm512_and_si512(low, thirty_one), sixteen);
            let high = [_mm512_srai_epi16::<5>(sums[0]), _mm512_srai_epi16::<5>(sums[1])];
            let high = _mm512_permutex2var_epi8(high[0], low_bytes, high[1]);
            for (line, bytes) in [(half, low), (2 + half, high)] {
                // SAFETY: a line has 64 bytes.
                unsafe { _mm512_storeu_si512(table[line].0.as_mut_ptr().cast(), bytes) };
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline(never)]
fn ternary_five_trit_sums(s: Avx512, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
    let tables = tables.as_chunks::<TABLE_LINES>().0;
    each_tile!(five_trit_sums [], s, tiles 4, lines, tables, sums);
}

/// As [`lookup::five_trit_sums`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn five_trit_sums<const WIDTH: usize, const TILES: usize>(
    s: Avx512,
    lines: &[[Line; WIDTH]],
    first: usize,
    tables: &[[Line; TABLE_LINES]],
    sums: &mut [TileSums; TILES],
) {
    let mut words = [[_mm512_setzero_si512(); 2]; TILES];
    // Fours, though six would fit: of steps that are no power of two the compiler would compute the number,
    // by multiplying.
    for (tables, lines) in tables.as_chunks::<4>().0.iter().zip(lines.as_chunks().0) {
        add_lines(s, lines, first, tables, &mut words);
    }
    for (words, sums) in words.into_iter().zip(sums) {
        s.flush(words, 0, sums);
    }
}

/// Adds the sums of `N` lines to the words of each tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn add_lines<const WIDTH: usize, const TILES: usize, const N: usize>(
    s: Avx512,
    lines: &[[Line; WIDTH]; N],
    first: usize,
    tables: &[[Line; TABLE_LINES]; N],
    words: &mut [[__m512i; 2]; TILES],
) {
    let zero = _mm512_setzero_si512();
    let mut low = [zero; TILES];
    let mut high = [zero; TILES];
    for ([low0, low1, high0, high1], line) in tables.iter().zip(lines) {
        lookup::prefetch(s, first, line);
        let (low0, low1) = (ByteLanes::load(s, low0, 0), ByteLanes::load(s, low1, 0));
        let (high0, high1) = (ByteLanes::load(s, high0, 0), ByteLanes::load(s, high1, 0));
        for (t, codes) in line[first..first + TILES].iter().enumerate() {
            let codes = ByteLanes::load(s, codes, 0);
            let negative = _mm512_movepi8_mask(codes);
            // The permutation takes the low seven bits of an index.
            let sum = _mm512_permutex2var_epi8(low0, codes, low1);
            low[t] = _mm512_add_epi8(low[t], _mm512_mask_sub_epi8(sum, negative, zero, sum));
            let sum = _mm512_permutex2var_epi8(high0, codes, high1);
            high[t] = _mm512_add_epi8(high[t], _mm512_mask_sub_epi8(sum, negative, zero, sum));
        }
    }
    for t in 0..TILES {
        words[t] = s.add_words::<true, false>(words[t], low[t]);
        words[t] = s.add_words::<true, true>(words[t], high[t]);
    }
}

impl Kernels for Vbmi {
    fn table_lines(self, layout: Layout) -> usize {
        match layout {
            Layout::TwoBits => self.0.table_lines(layout),
            Layout::FiveTrits => TABLE_LINES,
        }
    }

    fn tables(self, layout: Layout, x: &Chunk, tables: &mut [Line]) {
        match layout {
            Layout::TwoBits => self.0.tables(layout, x, tables),
            // SAFETY: the token proves VBMI.
            Layout::FiveTrits => unsafe { ternary_five_trit_tables(self.0, x, tables) },
        }
    }

    fn sums(self, layout: Layout, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
        match layout {
            Layout::TwoBits => self.0.sums(layout, lines, tables, sums),
            // SAFETY: the token proves VBMI.
            Layout::FiveTrits => unsafe { ternary_five_trit_sums(self.0, lines, tables, sums) },
        }
    }

    fn index(self, layout: Layout, lines: &[Line], width: usize, out: &mut [Indices], stride: usize) {
        self.0.index(layout, lines, width, out, stride);
    }

    fn build(self, half: bool, layout: Layout, pass: usize, x: &Lanes, tables: &mut [Table; TABLES]) {
        self.0.build(half, layout, pass, x, tables);
    }

    fn add(
        self,
        half: bool,
        place: Place,
        indices: &[Indices],
        tables: &[Table; TABLES],
        partial: &mut [Partial],
        sums: &mut [Sums],
    ) {
        Kernels::add(self.0, half, place, indices, tables, partial, sums);
    }
}
