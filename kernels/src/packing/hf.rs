//! transformers' packed weights (`integrations/bitnet.py`): two bits a trit, whole matrices.
//!
//! ```text
//!   matrix [rows, cols]  =  four quarters of rows / 4 rows each
//!
//!   packed [rows / 4, cols], byte (r, c):  | quarter 3 | quarter 2 | quarter 1 | quarter 0 |
//!                                    bits    7       6   5       4   3       2   1       0
//!   the field of quarter i is the trit (code + 1) of row i * rows / 4 + r, column c
//! ```

use rayon::prelude::*;

use super::{
    InvalidTrit,
    two_bits::{LOW_FIRST, has_three, pack_runs, threes, unpack_run},
};
use crate::{
    Isa,
    simd::{Op, Simd},
};

/// Rows that share a byte.
pub const QUARTERS: usize = 4;

/// Bytes of one task.
const CHUNK: usize = 1 << 14;

/// Packs codes `[rows, cols]`, each -1, 0 or 1; `bytes` is `[rows / 4, cols]`.
///
/// # Panics
/// The lengths do not fit each other, or `cols` is 0.
pub fn pack(codes: &[i8], cols: usize, bytes: &mut [u8]) {
    check_lengths(codes.len(), cols, bytes.len());
    debug_assert!(codes.iter().all(|code| (-1..=1).contains(code)), "codes are -1, 0 or 1");
    let quarter = bytes.len();
    bytes.par_chunks_mut(CHUNK).enumerate().for_each(|(i, bytes)| {
        let run = |q: usize| &codes[q * quarter + i * CHUNK..][..bytes.len()];
        let runs = [run(0), run(1), run(2), run(3)];
        Isa::best().run(Pack { runs, bytes });
    });
}

/// Unpacks a matrix into its codes `[rows, cols]`; `bytes` is `[rows / 4, cols]`.
///
/// # Errors
/// The first byte with a field of 3; its block is the packed row.
///
/// # Panics
/// The lengths do not fit each other, or `cols` is 0.
pub fn unpack(bytes: &[u8], cols: usize, codes: &mut [i8]) -> Result<(), InvalidTrit> {
    check_lengths(codes.len(), cols, bytes.len());
    let bad = bytes.par_chunks(CHUNK).enumerate().find_map_first(|(i, bytes)| {
        let found = Isa::best().run(AnyThree(bytes));
        found.then(|| i * CHUNK + bytes.iter().position(|&b| has_three(b)).expect("seen above"))
    });
    if let Some(at) = bad {
        return Err(InvalidTrit { block: at / cols, byte: at % cols, value: bytes[at] });
    }
    if bytes.is_empty() {
        return Ok(());
    }
    for (codes, shift) in codes.chunks_exact_mut(bytes.len()).zip(LOW_FIRST) {
        codes.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK)).for_each(|(codes, bytes)| {
            Isa::best().run(Unpack { bytes, shift, codes });
        });
    }
    Ok(())
}

/// Unpacks one of the four rows that share a packed row, both of `codes.len()` columns.
///
/// # Errors
/// The first byte whose field of this row is 3; its block is 0.
pub(crate) fn unpack_row(bytes: &[u8], quarter: usize, codes: &mut [i8]) -> Result<(), InvalidTrit> {
    debug_assert_eq!(bytes.len(), codes.len());
    unpack_run(bytes, LOW_FIRST[quarter], codes);
    match codes.iter().position(|&code| code == 2) {
        Some(byte) => Err(InvalidTrit { block: 0, byte, value: bytes[byte] }),
        None => Ok(()),
    }
}

fn check_lengths(codes: usize, cols: usize, bytes: usize) {
    assert_eq!(bytes.checked_mul(QUARTERS), Some(codes), "four codes a byte");
    assert!(cols > 0 && bytes.is_multiple_of(cols), "packed rows are [rows / 4, cols]");
}

struct Pack<'a> {
    runs: [&'a [i8]; QUARTERS],
    bytes: &'a mut [u8],
}

impl Op for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        pack_runs(self.runs, LOW_FIRST, self.bytes);
    }
}

struct AnyThree<'a>(&'a [u8]);

impl Op for AnyThree<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        self.0.iter().fold(0, |seen, &byte| seen | threes(byte)) != 0
    }
}

struct Unpack<'a> {
    bytes: &'a [u8],
    shift: u32,
    codes: &'a mut [i8],
}

impl Op for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        unpack_run(self.bytes, self.shift, self.codes);
    }
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
            prop_assert_eq!(&found, &codes);
            let mut packed = vec![9; bytes.len()];
            pack(&codes, cols, &mut packed);
            prop_assert_eq!(packed, bytes);
        }
    }

    #[test]
    fn several_chunks() {
        let cols = 1000;
        let codes = crate::testing::Random::new(3).codes(QUARTERS * 40 * cols);
        let mut bytes = vec![0; codes.len() / QUARTERS];
        pack(&codes, cols, &mut bytes);
        let at = CHUNK + 5;
        let trits = (0..QUARTERS).map(|q| (codes[q * bytes.len() + at] + 1) as u8);
        assert_eq!(bytes[at], trits.rev().fold(0, |byte, trit| byte << 2 | trit));
        let mut found = vec![9; codes.len()];
        unpack(&bytes, cols, &mut found).unwrap();
        assert_eq!(found, codes);
        (bytes[2 * CHUNK + 3], bytes[at]) = (0xff, 0xc0);
        let error = unpack(&bytes, cols, &mut found).unwrap_err();
        assert_eq!(error, InvalidTrit { block: at / cols, byte: at % cols, value: 0xc0 });
    }

    #[test]
    fn a_field_of_three_is_no_trit() {
        let error = unpack(&[0b01, 0b10, 0b01_11_01_01], 3, &mut [0; 12]).unwrap_err();
        assert_eq!(error, InvalidTrit { block: 0, byte: 2, value: 0b01_11_01_01 });
    }
}
