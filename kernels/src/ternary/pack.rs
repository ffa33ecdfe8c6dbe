//! Into the working layout and back.

use std::convert::Infallible;

use half::f16;
use rayon::prelude::*;

use super::{
    MAX_COLS,
    layout::{GROUP_ROWS, Layout, Line, Shape, TILE_ROWS, byte_of_row, five_trits, two_bits},
};
use crate::{
    disjoint::Disjoint,
    packing::{InvalidTrit, TernaryFormat, hf},
    quantize::CHUNK_COLS,
};

/// Packed bytes that are no ternary matrix of the given shape with one scale.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PackedError {
    /// A row is no whole number of blocks, has none, or is longer than 2^24.
    #[error(
        "a row of {cols} weights does not consist of blocks of {block}\nhint: store the tensor in another type"
    )]
    Columns {
        /// Columns of the matrix.
        cols: usize,
        /// Codes of a block.
        block: usize,
    },
    /// The bytes are not those of the shape.
    #[error(
        "[{rows}, {cols}] takes another number of bytes than {found}\nhint: the tensor is cut short or its shape is wrong"
    )]
    Length {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// Bytes given.
        found: usize,
    },
    /// A byte is not made of trits.
    #[error("row {row}: {invalid}")]
    Invalid {
        /// The row.
        row: usize,
        /// The byte, its block counted from the start of the row.
        invalid: InvalidTrit,
    },
    /// A scale is NaN or infinite.
    #[error("row {row}, block {block}: the scale {scale} is not finite\nhint: the tensor is damaged")]
    Scale {
        /// The row.
        row: usize,
        /// The block in the row.
        block: usize,
        /// Its scale.
        scale: f16,
    },
    /// Two blocks with nonzero codes have different scales.
    #[error(
        "row {row}, block {block}: the scale {scale} differs from the {other} of earlier blocks\nhint: the tensor was not ternarized with one scale; convert it anew from full precision"
    )]
    Scales {
        /// The row.
        row: usize,
        /// The block in the row.
        block: usize,
        /// Its scale.
        scale: f16,
        /// The scale of the blocks before it.
        other: f16,
    },
}

/// Rows whose codes `row(r, codes)` writes.
pub(super) fn from_rows(shape: Shape, row: impl Fn(usize, &mut [i8]) + Sync) -> Vec<Line> {
    let row = |(): &mut (), r: usize, codes: &mut [i8]| {
        row(r, codes);
        Ok::<_, Infallible>(())
    };
    fill(shape, || (), row).map_or_else(|never| match never {}, |(lines, _)| lines)
}

/// transformers' packing, `bytes` `[rows / 4, cols]`.
pub(super) fn from_hf(shape: Shape, bytes: &[u8]) -> Result<Vec<Line>, PackedError> {
    let Shape { rows, cols, .. } = shape;
    if !(1..=MAX_COLS).contains(&cols) {
        return Err(PackedError::Columns { cols, block: 1 });
    }
    if !rows.is_multiple_of(hf::QUARTERS) || (rows / hf::QUARTERS).checked_mul(cols) != Some(bytes.len()) {
        return Err(PackedError::Length { rows, cols, found: bytes.len() });
    }
    let packed_rows = rows / hf::QUARTERS;
    let unpack = |(): &mut (), row: usize, codes: &mut [i8]| {
        let packed = row % packed_rows;
        hf::unpack_row(&bytes[packed * cols..(packed + 1) * cols], row / packed_rows, codes)
            .map_err(|invalid| PackedError::Invalid { row, invalid })
    };
    Ok(fill(shape, || (), unpack)?.0)
}

/// Codes that are encoded at a time, those of up to 16 rows: their bytes share lines, which stay in a
/// first-level cache meanwhile. Row by row, every line of a group would come from the second level each time.
const BATCH_CODES: usize = 1 << 17;
const BATCH_ROWS: usize = 16;

/// A matrix of which `row(state, r, codes)` makes the rows, group by group, each in order and with a state of its
/// own. The states come back in their order, or the first error.
fn fill<S: Send, E: Send>(
    shape: Shape,
    start: impl Fn() -> S + Sync,
    row: impl Fn(&mut S, usize, &mut [i8]) -> Result<(), E> + Sync,
) -> Result<(Vec<Line>, Vec<S>), E> {
    // Memory that is zero costs nothing until a task touches its part.
    let mut lines: Vec<Line> = bytemuck::zeroed_vec(shape.total());
    let (parts, zero) = (Disjoint::new(&mut lines), shape.layout.zero());
    let batch = (BATCH_CODES / shape.cols).clamp(1, BATCH_ROWS);
    let states = (0..shape.groups())
        .into_par_iter()
        .map_init(
            || vec![0; batch * shape.cols],
            |codes, group| {
                // SAFETY: each group has one task.
                let lines = unsafe { parts.part(shape.group(group)) };
                if zero.0[0] != 0 {
                    lines.fill(zero);
                }
                let mut state = start();
                let (first, end) = (group * GROUP_ROWS, shape.rows.min((group + 1) * GROUP_ROWS));
                for r in (first..end).step_by(batch) {
                    let codes = &mut codes[..batch.min(end - r) * shape.cols];
                    for (i, codes) in codes.chunks_exact_mut(shape.cols).enumerate() {
                        row(&mut state, r + i, codes)?;
                    }
                    write_rows(shape, lines, group, r - first, codes);
                }
                Ok(state)
            },
        )
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<_, _>>()?;
    Ok((lines, states))
}

/// Encodes rows from the `r`th of a group on into the group's lines.
fn write_rows(shape: Shape, lines: &mut [Line], group: usize, r: usize, codes: &[i8]) {
    let (width, start) = (shape.width(group), shape.group(group).start);
    for chunk in 0..shape.chunks() {
        let part = shape.part(chunk, group);
        let lines = &mut lines[part.start - start..part.end - start];
        let cols = chunk * CHUNK_COLS..shape.cols.min((chunk + 1) * CHUNK_COLS);
        for (i, codes) in codes.chunks_exact(shape.cols).enumerate() {
            let (tile, at) = ((r + i) / TILE_ROWS, byte_of_row((r + i) % TILE_ROWS));
            let bytes = lines[tile..].iter_mut().step_by(width).map(|line| &mut line.0[at]);
            match shape.layout {
                Layout::TwoBits => write::<4>(bytes, &codes[cols.clone()], two_bits::encode_word),
                Layout::FiveTrits => write::<5>(bytes, &codes[cols.clone()], five_trits::encode_word),
            }
        }
    }
}

/// Encodes the codes of one row's chunk, `N` a byte. `encode` takes them from the low end of a word, whatever
/// is above them.
#[inline]
fn write<'a, const N: usize>(
    mut bytes: impl Iterator<Item = &'a mut u8>,
    mut codes: &[i8],
    encode: impl Fn(u64) -> u8,
) {
    let word = |codes: &[i8; 8]| u64::from_le_bytes(codes.map(|code| code as u8));
    while let Some(eight) = codes.first_chunk() {
        let Some(byte) = bytes.next() else { return };
        *byte = encode(word(eight));
        codes = &codes[N..];
    }
    while !codes.is_empty() {
        let Some(byte) = bytes.next() else { return };
        let (mut padded, n) = ([0; 8], N.min(codes.len()));
        padded[..n].copy_from_slice(&codes[..n]);
        *byte = encode(word(&padded));
        codes = &codes[n..];
    }
}

pub(super) fn read_row(shape: Shape, lines: &[Line], row: usize, codes: &mut [i8]) {
    let (group, r) = (row / GROUP_ROWS, row % GROUP_ROWS);
    let at = byte_of_row(r % TILE_ROWS);
    for (chunk, codes) in codes.chunks_mut(CHUNK_COLS).enumerate() {
        let lines = lines[shape.part(chunk, group)][r / TILE_ROWS..].iter().step_by(shape.width(group));
        for (line, codes) in lines.zip(codes.chunks_mut(shape.layout.codes_per_byte())) {
            codes.copy_from_slice(&shape.layout.decode(line.0[at])[..codes.len()]);
        }
    }
}

/// The scale of the first block with a nonzero code, and where it is.
#[derive(Clone, Copy)]
struct Found {
    row: usize,
    block: usize,
    scale: f16,
}

impl Found {
    fn same_as(self, first: Self) -> Result<(), PackedError> {
        if self.scale.to_bits() == first.scale.to_bits() {
            return Ok(());
        }
        let Self { row, block, scale } = self;
        Err(PackedError::Scales { row, block, scale, other: first.scale })
    }
}

/// GGUF blocks, and the scale that they share.
pub(super) fn from_packed(
    shape: Shape,
    format: TernaryFormat,
    bytes: &[u8],
) -> Result<(Vec<Line>, f16), PackedError> {
    let Shape { rows, cols, .. } = shape;
    let row_bytes = format
        .row_bytes(cols)
        .filter(|_| (1..=MAX_COLS).contains(&cols))
        .ok_or(PackedError::Columns { cols, block: format.block() })?;
    if rows.checked_mul(row_bytes) != Some(bytes.len()) {
        return Err(PackedError::Length { rows, cols, found: bytes.len() });
    }
    let (block, block_scales) = (format.block(), format.block_scales());
    let start =
        || Repacked { scales: vec![f16::ZERO; if block_scales { cols / block } else { 0 }], first: None };
    let (lines, repacked) = fill(shape, start, |repacked, row, codes| {
        repacked.row(format, row, &bytes[row * row_bytes..(row + 1) * row_bytes], codes)
    })?;
    let mut first: Option<Found> = None;
    for found in repacked.into_iter().filter_map(|group| group.first) {
        found.same_as(*first.get_or_insert(found))?;
    }
    let scale = match first {
        Some(first) => first.scale,
        None if !format.block_scales() => f16::ONE,
        None if rows == 0 => f16::ZERO,
        // No code at all: the scale of the first block.
        None => {
            let (mut codes, mut scale) = (vec![0; format.block()], [f16::ZERO]);
            format.unpack(&bytes[..format.block_bytes()], &mut codes, &mut scale).expect("unpacked before");
            scale[0]
        }
    };
    Ok((lines, scale))
}

/// What is known of the scales of a group.
struct Repacked {
    scales: Vec<f16>, // of a row's blocks, if they have any
    first: Option<Found>,
}

impl Repacked {
    /// Unpacks a row and compares its scales with those before.
    fn row(
        &mut self,
        format: TernaryFormat,
        row: usize,
        bytes: &[u8],
        codes: &mut [i8],
    ) -> Result<(), PackedError> {
        format
            .unpack(bytes, codes, &mut self.scales)
            .map_err(|invalid| PackedError::Invalid { row, invalid })?;
        for (block, (codes, &scale)) in codes.chunks_exact(format.block()).zip(&self.scales).enumerate() {
            if !scale.is_finite() {
                return Err(PackedError::Scale { row, block, scale });
            }
            if codes.iter().any(|&c| c != 0) {
                let found = Found { row, block, scale };
                found.same_as(*self.first.get_or_insert(found))?;
            }
        }
        Ok(())
    }
}
