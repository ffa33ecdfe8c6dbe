//! AVX2: two ways to add.
//!
//! **By row**, for one token. 32 codes at a time:
//!
//! ```text
//!   codes   field moved to the top of each byte: 11...... 00...... 01......
//!   vpsignb x by codes:   -x, 0 or x             |x| <= 127, so -x fits
//!   vpxor   with 0x80:    x + 128, unsigned
//!   vpsadbw against 0:    sums of eight          128 * columns is subtracted at the end
//! ```
//!
//! **By table**, for many: the method of the Four Russians (Arlazarov, Dinic, Kronrod and
//! Faradzhev, 1970) with 16 tokens in the lanes. Four activations of a token have 81 signed sums; a
//! byte of four codes is the index of one:
//!
//! ```text
//!   table[byte] = i16 x 16 tokens            built by one addition an entry, for 8 bytes at a time
//!   row's sums += table0[byte0] + ... + table7[byte7]
//! ```
//!
//! The tables depend on the activations only, so all rows share them. 8 x 81 entries of 32 bytes are
//! 20 kB and stay in a first-level cache. A table has room for 256 entries, of which the cache lines
//! of the unused ones are never touched; it is 10 lines longer than that, so that the used lines of
//! the eight tables spread over all sets of the cache. i16 sums are widened every 8 passes: 8 passes x 8
//! bytes x 4 codes x 127 = 32512 < 32768.

#[allow(clippy::wildcard_imports)] // as intrinsics are used everywhere
use std::arch::x86_64::*;

use super::{TILE_ROWS, TileUnit};
use crate::{quantize::Unit, simd::Avx2};

/// Tokens in the lanes of a table.
pub(super) const TOKENS: usize = 16;

/// From this many tokens on a table pays, even if some lanes stay empty.
const MIN_TOKENS: usize = 5;

/// Rows that share a table, at most: 96 bytes of sums each stay in a second-level cache.
const MAX_PART: usize = 4096;
/// Rows that share a table, at least: building it costs as much as adding for about 80 rows.
const MIN_PART: usize = 512;

/// Bytes (of four codes) that one pass over the rows adds up.
const GROUPS: usize = 8;
/// Passes until an i16 sum could overflow.
const PASSES: usize = 8;
/// Passes of a unit.
const UNIT_PASSES: usize = 32 / GROUPS;

/// Of `tokens`, how many go by table.
pub(super) fn tokens_by_table(tokens: usize) -> usize {
    if tokens % TOKENS >= MIN_TOKENS { tokens } else { tokens - tokens % TOKENS }
}

/// Rows of a task, so that all threads have work and tables are shared widely.
pub(super) fn rows_of_part(rows: usize, tokens: usize) -> usize {
    let tasks = 2 * rayon::current_num_threads();
    let parts =
        tasks.div_ceil(tokens.div_ceil(TOKENS)).min(rows.div_ceil(MIN_PART)).max(rows.div_ceil(MAX_PART));
    rows.div_ceil(parts).next_multiple_of(TILE_ROWS)
}

/// The sums of one tile's rows for one token.
pub(super) fn dot_tile(_proof: Avx2, tile: &[TileUnit], x: &[Unit]) -> [i32; TILE_ROWS] {
    // SAFETY: the token proves AVX2.
    unsafe { ternary_dot_tile(tile, x) }
}

#[target_feature(enable = "avx2")]
#[inline(never)]
fn ternary_dot_tile(tile: &[TileUnit], x: &[Unit]) -> [i32; TILE_ROWS] {
    let zero = _mm256_setzero_si256();
    let mut sums = [zero; TILE_ROWS];
    for (unit, x) in tile.iter().zip(x) {
        let x = [load(&x[0]), load(&x[1]), load(&x[2]), load(&x[3])];
        for (row, sum) in unit.0.iter().zip(&mut sums) {
            let codes = load_codes(row);
            let low = _mm256_add_epi64(
                field_sum(_mm256_slli_epi16::<6>(codes), x[0]),
                field_sum(_mm256_slli_epi16::<4>(codes), x[1]),
            );
            let high =
                _mm256_add_epi64(field_sum(_mm256_slli_epi16::<2>(codes), x[2]), field_sum(codes, x[3]));
            *sum = _mm256_add_epi64(*sum, _mm256_add_epi64(low, high));
        }
    }
    let offset = (tile.len().min(x.len()) * 128 * 128) as i64;
    let mut out = [0; TILE_ROWS];
    for (out, &sum) in out.iter_mut().zip(&sums) {
        let two = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        *out = (_mm_cvtsi128_si64(two) + _mm_extract_epi64::<1>(two) - offset) as i32;
    }
    out
}

/// x + 128 summed in groups of eight, with the sign of the code in the top two bits of each byte.
#[target_feature(enable = "avx2")]
#[inline]
fn field_sum(codes: __m256i, x: __m256i) -> __m256i {
    let top = _mm256_and_si256(codes, _mm256_set1_epi8(0b1100_0000_u8 as i8));
    let signed = _mm256_sign_epi8(x, top);
    let unsigned = _mm256_xor_si256(signed, _mm256_set1_epi8(-128));
    _mm256_sad_epu8(unsigned, _mm256_setzero_si256())
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(x: &[i8; 32]) -> __m256i {
    // SAFETY: 32 bytes, unaligned.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_codes(x: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes, unaligned.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// The signed sums of four activations, indexed by a byte of codes, for 16 tokens.
#[derive(Clone)]
#[repr(C, align(64))]
struct Table {
    sums: [[i16; TOKENS]; 256],
    /// See the head of this file.
    spread: [[i16; TOKENS]; 20],
}

const EMPTY: Table = Table { sums: [[0; TOKENS]; 256], spread: [[0; TOKENS]; 20] };

/// The sums of whole tiles of rows for up to 16 tokens: `codes` `[tiles, units]`, `x` one row of units
/// per token. The result has one element per row of the tiles.
pub(super) fn product_by_table(proof: Avx2, codes: &[TileUnit], x: &[&[Unit]]) -> Vec<[i32; TOKENS]> {
    let units = x[0].len();
    assert!(x.len() <= TOKENS && codes.len().is_multiple_of(units));
    let rows = codes.len() / units * TILE_ROWS;
    let mut sums = vec![[0; TOKENS]; rows];
    let mut partial = vec![[0; TOKENS]; rows];
    let tables = vec![EMPTY; GROUPS].into_boxed_slice();
    let mut tables: Box<[Table; GROUPS]> = tables.try_into().ok().expect("as many as asked for");
    let mut lanes = [[[0; TOKENS]; 32]; 4];
    for u in 0..units {
        for (t, x) in x.iter().enumerate() {
            for (lanes, x) in lanes.iter_mut().zip(&x[u]) {
                for (lanes, x) in lanes.iter_mut().zip(x) {
                    lanes[t] = *x;
                }
            }
        }
        for pass in 0..UNIT_PASSES {
            // SAFETY: the token proves AVX2.
            unsafe {
                ternary_build_tables(&lanes, pass, &mut tables);
                ternary_add_tables(&codes[u..], units, pass, &tables, &mut partial);
            }
        }
        if (u + 1).is_multiple_of(PASSES / UNIT_PASSES) || u + 1 == units {
            // SAFETY: the token proves AVX2.
            unsafe { ternary_widen(&mut partial, &mut sums) };
        }
    }
    let _: Avx2 = proof;
    sums
}

/// Builds the tables of eight bytes of a unit, of which `lanes` holds the activations
/// `[field, byte, token]`.
#[target_feature(enable = "avx2")]
#[inline(never)]
fn ternary_build_tables(lanes: &[[[i8; TOKENS]; 32]; 4], pass: usize, tables: &mut [Table; GROUPS]) {
    let zero = _mm256_setzero_si256();
    for (g, table) in tables.iter_mut().enumerate() {
        // What each field adds for its codes 0, 1 and (at 3) -1.
        let mut fields = [[zero; 4]; 4];
        for (field, lanes) in fields.iter_mut().zip(lanes) {
            // SAFETY: 16 bytes, unaligned.
            let x = unsafe { _mm_loadu_si128(lanes[pass * GROUPS + g].as_ptr().cast()) };
            field[1] = _mm256_cvtepi8_epi16(x);
            field[3] = _mm256_sub_epi16(zero, field[1]);
        }
        for c3 in [0, 1, 3] {
            for c2 in [0, 1, 3] {
                let high = _mm256_add_epi16(fields[3][c3], fields[2][c2]);
                for c1 in [0, 1, 3] {
                    let three = _mm256_add_epi16(high, fields[1][c1]);
                    for c0 in [0, 1, 3] {
                        let sum = _mm256_add_epi16(three, fields[0][c0]);
                        let entry = &mut table.sums[c3 << 6 | c2 << 4 | c1 << 2 | c0];
                        // SAFETY: 32 bytes, unaligned.
                        unsafe { _mm256_storeu_si256(entry.as_mut_ptr().cast(), sum) };
                    }
                }
            }
        }
    }
}

/// Adds the table entries of eight bytes to the partial sums of every row. `codes` starts at the unit
/// in question; the same unit of the next tile lies `stride` further.
#[target_feature(enable = "avx2")]
#[inline(never)]
fn ternary_add_tables(
    codes: &[TileUnit],
    stride: usize,
    pass: usize,
    tables: &[Table; GROUPS],
    partial: &mut [[i16; TOKENS]],
) {
    let tiles = partial.as_chunks_mut::<TILE_ROWS>().0;
    for (unit, partial) in codes.iter().step_by(stride).zip(tiles) {
        for (row, partial) in unit.0.iter().zip(partial) {
            let bytes = u64::from_le_bytes(row.as_chunks().0[pass]);
            // The entry's offset is the byte times 32: shifted to bit 5, the rest masked off.
            let sum0 = _mm256_add_epi16(entry(&tables[0], bytes << 5), entry(&tables[1], bytes >> 3));
            let sum1 = _mm256_add_epi16(entry(&tables[2], bytes >> 11), entry(&tables[3], bytes >> 19));
            let sum2 = _mm256_add_epi16(entry(&tables[4], bytes >> 27), entry(&tables[5], bytes >> 35));
            let sum3 = _mm256_add_epi16(entry(&tables[6], bytes >> 43), entry(&tables[7], bytes >> 51));
            let sum = _mm256_add_epi16(_mm256_add_epi16(sum0, sum1), _mm256_add_epi16(sum2, sum3));
            let p = partial.as_mut_ptr().cast();
            // SAFETY: 32 bytes, unaligned.
            unsafe { _mm256_storeu_si256(p, _mm256_add_epi16(_mm256_loadu_si256(p), sum)) };
        }
    }
}

/// The entry whose index stands at bits 5 to 12.
#[target_feature(enable = "avx2")]
#[inline]
fn entry(table: &Table, index_at_5: u64) -> __m256i {
    let offset = (index_at_5 & (0xff << 5)) as usize;
    // SAFETY: at most 255 * 32, the offset of the last of 256 entries; a table is 64-byte aligned.
    unsafe { _mm256_load_si256(table.sums.as_ptr().byte_add(offset).cast()) }
}

/// Moves the i16 sums into the i32 sums.
#[target_feature(enable = "avx2")]
#[inline(never)]
fn ternary_widen(partial: &mut [[i16; TOKENS]], sums: &mut [[i32; TOKENS]]) {
    for (partial, sums) in partial.iter_mut().zip(sums) {
        for (p, s) in partial.iter_mut().zip(sums) {
            *s += i32::from(*p);
            *p = 0;
        }
    }
}
