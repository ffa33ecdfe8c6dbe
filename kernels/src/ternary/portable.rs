//! The reference: additions, subtractions and masks.

use super::{TILE_ROWS, TileUnit};
use crate::quantize::Unit;

/// The sums of one tile's rows for one token.
#[inline(never)]
pub(super) fn ternary_dot_tile(tile: &[TileUnit], x: &[Unit]) -> [i32; TILE_ROWS] {
    let mut sums = [0; TILE_ROWS];
    for (unit, x) in tile.iter().zip(x) {
        for (row, sum) in unit.0.iter().zip(&mut sums) {
            // Four codes a byte: at most 4 * 127 per position.
            let mut partial = [0i16; 32];
            for j in 0..32 {
                for (field, x) in x.iter().enumerate() {
                    let code = row[j] >> (2 * field);
                    let nonzero = 0u8.wrapping_sub(code & 1) as i8;
                    let negative = 0u8.wrapping_sub(code >> 1 & 1) as i8;
                    // (x ^ -1) - (-1) = -x
                    let signed = (x[j] ^ negative).wrapping_sub(negative) & nonzero;
                    partial[j] += i16::from(signed);
                }
            }
            for p in partial {
                *sum += i32::from(p);
            }
        }
    }
    sums
}
