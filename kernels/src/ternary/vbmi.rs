//! AVX-512 with VBMI: a permutation of two registers is a table of 128 bytes, so five trits take one
//! lookup for the low and one for the high part of their sum.
//!
//! ```text
//!   sum = 32 high + low      -16 <= low <= 15       -20 <= high <= 20
//!   6 lookups of either sign fit a signed byte: 6 * 20 = 120, 6 * 16 = 96
//! ```
//!
//! Everything else is as without VBMI.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use super::{
    four_russians::{Indices, Lanes, Partial, Place, Sums, TABLES, Table},
    kernels::Kernels,
    layout::{Layout, Line},
    lookup::{self, ByteLanes, TileSums},
};
use crate::{quantize::Chunk, simd::Avx512};

/// Proof that the CPU has VBMI besides AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Vbmi(Avx512);

/// Lines of tables for a line of five trits: low parts, then high parts.
const TABLE_LINES: usize = 4;
/// Lines of codes that are added up in bytes.
const GROUP: usize = 6;
/// Tiles that share the loads of a table.
const TILES: usize = 4;

impl Vbmi {
    pub(super) fn detect(avx512: Avx512) -> Option<Self> {
        avx512.vbmi().then_some(Self(avx512))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline(never)]
fn ternary_five_trit_tables(x: &Chunk, tables: &mut [Line]) {
    let tables = tables.as_chunks_mut::<TABLE_LINES>().0;
    for (x, [low0, low1, high0, high1]) in x.as_chunks().0.iter().zip(tables) {
        let mut sums = [0; 128];
        lookup::sums_of_five(x, 16, &mut sums);
        let (first, second) = sums.split_at(64);
        for (sums, low, high) in [(first, low0, high0), (second, low1, high1)] {
            for ((sum, low), high) in sums.iter().zip(&mut low.0).zip(&mut high.0) {
                *low = (sum & 31).wrapping_sub(16) as u8;
                *high = (sum >> 5) as u8;
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline(never)]
fn ternary_five_trit_sums(s: Avx512, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
    let tables = tables.as_chunks::<TABLE_LINES>().0;
    lookup::each_tiles::<TILES>(
        lines,
        tables.len(),
        sums,
        |tiles, sums| five_trit_sums(s, tiles, tables, sums),
        |tiles, sums| five_trit_sums(s, tiles, tables, sums),
    );
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn five_trit_sums<const TILES: usize>(
    s: Avx512,
    tiles: [&[Line]; TILES],
    tables: &[[Line; TABLE_LINES]],
    sums: &mut [TileSums; TILES],
) {
    let zero = _mm512_setzero_si512();
    let mut words = [[zero; 2]; TILES];
    let mut rest = tiles;
    for tables in tables.chunks(GROUP) {
        let mut low = [zero; TILES];
        let mut high = [zero; TILES];
        let lines = rest.map(|tile| &tile[..tables.len()]);
        rest = rest.map(|tile| &tile[tables.len()..]);
        for (k, table) in tables.iter().enumerate() {
            let [low0, low1, high0, high1] = table.each_ref().map(|line| ByteLanes::load(s, line, 0));
            for t in 0..TILES {
                let codes = ByteLanes::load(s, &lines[t][k], 0);
                let negative = _mm512_movepi8_mask(codes);
                // The permutation takes the low seven bits of an index.
                let sum = _mm512_permutex2var_epi8(low0, codes, low1);
                low[t] = _mm512_add_epi8(low[t], _mm512_mask_sub_epi8(sum, negative, zero, sum));
                let sum = _mm512_permutex2var_epi8(high0, codes, high1);
                high[t] = _mm512_add_epi8(high[t], _mm512_mask_sub_epi8(sum, negative, zero, sum));
            }
        }
        for t in 0..TILES {
            words[t] = s.add_words::<true, 0>(words[t], low[t]);
            words[t] = s.add_words::<true, 5>(words[t], high[t]);
        }
    }
    for (words, sums) in words.into_iter().zip(sums) {
        s.flush(words, 0, sums);
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
            Layout::FiveTrits => unsafe { ternary_five_trit_tables(x, tables) },
        }
    }

    fn sums(self, layout: Layout, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
        match layout {
            Layout::TwoBits => self.0.sums(layout, lines, tables, sums),
            // SAFETY: the token proves VBMI.
            Layout::FiveTrits => unsafe { ternary_five_trit_sums(self.0, lines, tables, sums) },
        }
    }

    fn index(self, layout: Layout, lines: &[Line], out: &mut [Indices], stride: usize) {
        self.0.index(layout, lines, out, stride);
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
