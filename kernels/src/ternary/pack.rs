//! Into the working layout and back.

use rayon::prelude::*;

use super::{MAX_COLS, TILE_ROWS, TileUnit, ZERO_UNIT, f16};
use crate::{
    packing::{InvalidTrit, TernaryFormat},
    quantize::UNIT_COLS,
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

pub(super) fn from_codes(cols: usize, codes: &[i8]) -> Vec<TileUnit> {
    let mut units = zeros(codes.len() / cols, cols);
    let tiles = units.par_chunks_mut(cols.div_ceil(UNIT_COLS));
    tiles.zip(codes.par_chunks(TILE_ROWS * cols)).for_each(|(tile, codes)| {
        for (r, codes) in codes.chunks_exact(cols).enumerate() {
            write_row(tile, r, codes);
        }
    });
    units
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

pub(super) fn from_packed(
    format: TernaryFormat,
    rows: usize,
    cols: usize,
    bytes: &[u8],
) -> Result<(Vec<TileUnit>, f16), PackedError> {
    let row_bytes = format
        .row_bytes(cols)
        .filter(|_| (1..=MAX_COLS).contains(&cols))
        .ok_or(PackedError::Columns { cols, block: format.block() })?;
    if rows.checked_mul(row_bytes) != Some(bytes.len()) {
        return Err(PackedError::Length { rows, cols, found: bytes.len() });
    }
    let mut units = zeros(rows, cols);
    let found: Vec<Result<Option<Found>, PackedError>> = units
        .par_chunks_mut(cols.div_ceil(UNIT_COLS))
        .zip(bytes.par_chunks(TILE_ROWS * row_bytes))
        .enumerate()
        .map(|(i, (tile, bytes))| repack_tile(format, cols, tile, i * TILE_ROWS, bytes))
        .collect();
    let mut first: Option<Found> = None;
    for found in found {
        if let Some(found) = found? {
            found.same_as(*first.get_or_insert(found))?;
        }
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
    Ok((units, scale))
}

/// Repacks the rows of one tile, of which the first is `first_row`.
fn repack_tile(
    format: TernaryFormat,
    cols: usize,
    tile: &mut [TileUnit],
    first_row: usize,
    bytes: &[u8],
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
        write_row(tile, r, &codes);
    }
    Ok(first)
}

fn zeros(rows: usize, cols: usize) -> Vec<TileUnit> {
    vec![ZERO_UNIT; rows.div_ceil(TILE_ROWS) * cols.div_ceil(UNIT_COLS)]
}

fn write_row(tile: &mut [TileUnit], r: usize, codes: &[i8]) {
    for (unit, codes) in tile.iter_mut().zip(codes.chunks(UNIT_COLS)) {
        let mut padded = [[0; 32]; 4];
        padded.as_flattened_mut()[..codes.len()].copy_from_slice(codes);
        let field = |code: i8| (code & 3) as u8;
        for (j, byte) in unit.0[r].iter_mut().enumerate() {
            *byte = field(padded[0][j])
                | field(padded[1][j]) << 2
                | field(padded[2][j]) << 4
                | field(padded[3][j]) << 6;
        }
    }
}

pub(super) fn read_row(tile: &[TileUnit], r: usize, codes: &mut [i8]) {
    for (unit, codes) in tile.iter().zip(codes.chunks_mut(UNIT_COLS)) {
        for (i, codes) in codes.chunks_mut(32).enumerate() {
            for (code, byte) in codes.iter_mut().zip(unit.0[r]) {
                // The field moved to the top, then down again with its sign.
                *code = (byte << (6 - 2 * i)) as i8 >> 6;
            }
        }
    }
}
