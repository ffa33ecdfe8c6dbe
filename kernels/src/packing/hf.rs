//! transformers' packed weights (`integrations/bitnet.py`): two bits a trit, whole matrices.
//!
//! ```text
//!   matrix [rows, cols]  =  four quarters of rows / 4 rows each
//!
//!   packed [rows / 4, cols], byte (r, c):  | quarter 3 | quarter 2 | quarter 1 | quarter 0 |
//!                                    bits    7       6   5       4   3       2   1       0
//!   the field of quarter i is the trit (code + 1) of row i * rows / 4 + r, column c
//! ```

use super::InvalidTrit;

/// Rows that share a byte.
pub const QUARTERS: usize = 4;

/// Unpacks a matrix into its codes `[rows, cols]`; `bytes` is `[rows / 4, cols]`.
///
/// # Errors
/// The first byte with a field of 3; its block is the packed row.
///
/// # Panics
/// The lengths do not fit each other, or `cols` is 0.
pub fn unpack(bytes: &[u8], cols: usize, codes: &mut [i8]) -> Result<(), InvalidTrit> {
    assert_eq!(bytes.len().checked_mul(QUARTERS), Some(codes.len()), "four codes a byte");
    assert!(cols > 0 && bytes.len().is_multiple_of(cols), "packed rows are [rows / 4, cols]");
    // A field is 3 where both of its bits are set.
    if let Some(at) = bytes.iter().position(|b| (b & b >> 1) & 0x55 != 0) {
        return Err(InvalidTrit { block: at / cols, byte: at % cols, value: bytes[at] });
    }
    if bytes.is_empty() {
        return Ok(());
    }
    for (i, quarter) in codes.chunks_exact_mut(bytes.len()).enumerate() {
        for (code, byte) in quarter.iter_mut().zip(bytes) {
            *code = (byte >> (2 * i) & 3) as i8 - 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_field_lands_in_its_row(quarter_rows in 0usize..5, cols in 1usize..9, seed in any::<u64>()) {
            let mut random = crate::testing::Random::new(seed);
            let rows = QUARTERS * quarter_rows;
            let codes = random.codes(rows * cols);
            let mut bytes = vec![0; quarter_rows * cols];
            for (at, code) in codes.iter().enumerate() {
                let (row, col) = (at / cols, at % cols);
                bytes[row % quarter_rows * cols + col] |= ((code + 1) as u8) << (2 * (row / quarter_rows));
            }
            let mut found = vec![0; codes.len()];
            unpack(&bytes, cols, &mut found).unwrap();
            prop_assert_eq!(found, codes);
        }
    }

    #[test]
    fn a_field_of_three_is_no_trit() {
        let error = unpack(&[0b01, 0b10, 0b01_11_01_01], 3, &mut [0; 12]).unwrap_err();
        assert_eq!(error, InvalidTrit { block: 0, byte: 2, value: 0b01_11_01_01 });
    }
}
