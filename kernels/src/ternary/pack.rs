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

/// `codes` `[rows, cols]`.
pub(super) fn from_codes(shape: Shape, codes: &[i8]) -> Vec<Line> {
    fill(shape, |group, write| {
        let rows = codes.chunks_exact(shape.cols).skip(group * GROUP_ROWS).take(GROUP_ROWS);
        for (r, codes) in rows.enumerate() {
            write(r, codes);
        }
        Ok::<_, Infallible>(())
    })
    .map_or_else(|never| match never {}, |(lines, _)| lines)
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
    let (lines, _) = fill(shape, |group, write| {
        let mut codes = vec![0; cols];
        for row in group * GROUP_ROWS..rows.min((group + 1) * GROUP_ROWS) {
            let packed = row % packed_rows;
            hf::unpack_row(&bytes[packed * cols..(packed + 1) * cols], row / packed_rows, &mut codes)
                .map_err(|invalid| PackedError::Invalid { row, invalid })?;
            write(row % GROUP_ROWS, &codes);
        }
        Ok(())
    })?;
    Ok(lines)
}

/// A matrix of which `group(i, write)` writes the rows of group `i` by `write(row in the group, codes)`.
/// The result of every group comes back in their order, or the first error.
fn fill<T: Send, E: Send>(
    shape: Shape,
    group: impl Fn(usize, &mut dyn FnMut(usize, &[i8])) -> Result<T, E> + Sync,
) -> Result<(Vec<Line>, Vec<T>), E> {
    let mut lines = vec![shape.layout.zero(); shape.total()];
    let parts = Disjoint::new(&mut lines);
    let results = (0..shape.groups())
        .into_par_iter()
        .map(|g| {
            group(g, &mut |r, codes| {
                // SAFETY: each group has one task.
                unsafe { write_row(shape, &parts, g, r, codes) };
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<_, _>>()?;
    Ok((lines, results))
}

/// # Safety
/// Nobody else has the lines of the group.
unsafe fn write_row(shape: Shape, lines: &Disjoint<Line>, group: usize, r: usize, codes: &[i8]) {
    let (width, at) = (shape.width(group), byte_of_row(r % TILE_ROWS));
    for (chunk, codes) in codes.chunks(CHUNK_COLS).enumerate() {
        // SAFETY: the caller's promise; the part before was given up.
        let lines = unsafe { lines.part(shape.part(chunk, group)) };
        let bytes = lines[r / TILE_ROWS..].iter_mut().step_by(width).map(|line| &mut line.0[at]);
        match shape.layout {
            Layout::TwoBits => write(bytes, codes, two_bits::encode),
            Layout::FiveTrits => write(bytes, codes, five_trits::encode),
        }
    }
}

#[inline]
fn write<'a, const N: usize>(
    mut bytes: impl Iterator<Item = &'a mut u8>,
    codes: &[i8],
    encode: impl Fn([i8; N]) -> u8,
) {
    let (whole, tail) = codes.as_chunks::<N>();
    for (codes, byte) in whole.iter().zip(&mut bytes) {
        *byte = encode(*codes);
    }
    if let Some(byte) = bytes.next().filter(|_| !tail.is_empty()) {
        let mut padded = [0; N];
        padded[..tail.len()].copy_from_slice(tail);
        *byte = encode(padded);
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
    let (lines, found) = fill(shape, |group, write| {
        let rows = bytes.chunks(GROUP_ROWS * row_bytes).nth(group).unwrap_or_default();
        repack_group(format, cols, group * GROUP_ROWS, rows, write)
    })?;
    let mut first: Option<Found> = None;
    for found in found.into_iter().flatten() {
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

/// Repacks the rows of one group, of which the first is `first_row`.
fn repack_group(
    format: TernaryFormat,
    cols: usize,
    first_row: usize,
    bytes: &[u8],
    write: &mut dyn FnMut(usize, &[i8]),
) -> Result<Option<Found>, PackedError> {
    let row_bytes = cols / format.block() * format.block_bytes();
    let blocks = cols / format.block();
    let mut codes = vec![0; cols];
    let mut scales = vec![f16::ZERO; if format.block_scales() { blocks } else { 0 }];
    let mut first: Option<Found> = None;
    for (r, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        let row = first_row + r;
        format
            .unpack(bytes, &mut codes, &mut scales)
            .map_err(|invalid| PackedError::Invalid { row, invalid })?;
        for (block, (codes, &scale)) in codes.chunks_exact(format.block()).zip(&scales).enumerate() {
            if !scale.is_finite() {
                return Err(PackedError::Scale { row, block, scale });
            }
            if codes.iter().any(|&c| c != 0) {
                let found = Found { row, block, scale };
                found.same_as(*first.get_or_insert(found))?;
            }
        }
        write(r, &codes);
    }
    Ok(first)
}
