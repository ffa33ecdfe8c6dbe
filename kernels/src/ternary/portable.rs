//! Plain Rust: the reference, and what runs where there is nothing better.

use std::array::from_fn;

use bytemuck::{Pod, Zeroable};

use super::{
    four_russians::{self, Indices, Lanes, Partial, Place, Sums, TABLES, TOKENS, Table, WordLanes},
    kernels::{Kernels, compile},
    layout::{GROUP_TILES, Layout, Line, TILE_ROWS, byte_of_row},
    lookup::{self, TileSums},
};
use crate::{quantize::Chunk, simd::Portable};

/// One token: the sum for every byte of codes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct ByteTable([i16; 256]);

// SAFETY: 512 bytes without padding, of which every pattern is valid.
unsafe impl Zeroable for ByteTable {}
// SAFETY: as above.
unsafe impl Pod for ByteTable {}

/// Lines of a [`ByteTable`].
const TABLE_LINES: usize = size_of::<ByteTable>() / size_of::<Line>();

#[inline(never)]
fn ternary_two_bit_tables(x: &Chunk, tables: &mut [Line]) {
    for (x, table) in x.as_chunks().0.iter().zip(bytemuck::cast_slice_mut(tables)) {
        let ByteTable(table) = table;
        let [low, high] = lookup::two_pairs(x);
        for (table, high) in table.as_chunks_mut::<16>().0.iter_mut().zip(high) {
            for (sum, low) in table.iter_mut().zip(low) {
                *sum = low + high;
            }
        }
    }
}

#[inline(never)]
fn ternary_five_trit_tables(x: &Chunk, tables: &mut [Line]) {
    for (x, table) in x.as_chunks().0.iter().zip(bytemuck::cast_slice_mut(tables)) {
        let ByteTable(table) = table;
        let (positive, negative) = table.split_at_mut(128);
        lookup::sums_of_five(x, positive.try_into().expect("128 sums"));
        for (negative, positive) in negative.iter_mut().zip(positive) {
            *negative = -*positive;
        }
    }
}

#[inline(never)]
fn ternary_two_bit_sums(_: Portable, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
    byte_sums(lines, tables, sums);
}

#[inline(never)]
fn ternary_five_trit_sums(_: Portable, lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
    byte_sums(lines, tables, sums);
}

#[inline(always)]
fn byte_sums(lines: &[Line], tables: &[Line], sums: &mut [TileSums]) {
    let tables: &[ByteTable] = bytemuck::cast_slice(tables);
    let mut by_byte = [[0; TILE_ROWS]; GROUP_TILES];
    let by_byte = &mut by_byte[..sums.len()];
    let mut lines = lines.iter();
    for ByteTable(table) in tables {
        for (sums, line) in by_byte.iter_mut().zip(&mut lines) {
            for (sum, &codes) in sums.iter_mut().zip(&line.0) {
                *sum += i32::from(table[usize::from(codes)]);
            }
        }
    }
    for (sums, by_byte) in sums.iter_mut().zip(by_byte) {
        for (r, sum) in sums.iter_mut().enumerate() {
            *sum += by_byte[byte_of_row(r)];
        }
    }
}

impl WordLanes for Portable {
    type R = [i16; 8];

    const LANES: usize = 8;

    #[inline(always)]
    fn zero(self) -> [i16; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn load(self, x: &[i16]) -> [i16; 8] {
        *x.first_chunk().expect("eight words")
    }

    #[inline(always)]
    fn store(self, r: [i16; 8], out: &mut [i16]) {
        out[..8].copy_from_slice(&r);
    }

    #[inline(always)]
    fn widen(self, x: &[i8]) -> [i16; 8] {
        x.first_chunk().expect("eight bytes").map(i16::from)
    }

    #[inline(always)]
    fn add(self, a: [i16; 8], b: [i16; 8]) -> [i16; 8] {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    fn sub(self, a: [i16; 8], b: [i16; 8]) -> [i16; 8] {
        from_fn(|i| a[i].wrapping_sub(b[i]))
    }

    #[inline(always)]
    fn add_to_sums(self, r: [i16; 8], sums: &mut [i32]) {
        for (sum, r) in sums[..8].iter_mut().zip(r) {
            *sum += i32::from(r);
        }
    }
}

compile!(Portable, half Portable, |token| token);
