use proptest::prelude::*;

use super::*;
use crate::testing::Random;

fn reference(rows: usize, codes: &[i8], x: &Int8Rows) -> Vec<i32> {
    let cols = x.cols();
    (0..x.rows())
        .flat_map(|t| {
            (0..rows).map(move |r| {
                let row = codes[r * cols..(r + 1) * cols].iter();
                let sum: i64 = row.zip(x.row(t)).map(|(c, x)| i64::from(*c) * i64::from(*x)).sum();
                i32::try_from(sum).unwrap()
            })
        })
        .collect()
}

fn check(rows: usize, codes: &[i8], x: &Int8Rows) {
    let matrix = TernaryMatrix::from_codes(rows, x.cols(), codes);
    let expected = reference(rows, codes, x);
    for isa in Isa::available() {
        let mut sums = vec![i32::MIN; expected.len()];
        matrix.matmul_i32(isa, x, &mut sums);
        assert_eq!(sums, expected, "{isa} {rows} x {} x {} tokens", x.cols(), x.rows());
        let mut out = vec![f32::NAN; expected.len()];
        matrix.matmul(isa, 0.037, x, &mut out);
        for (t, out) in out.chunks(rows).enumerate() {
            for (r, out) in out.iter().enumerate() {
                let scaled = expected[t * rows + r] as f32 * (0.037 / x.scale(t));
                assert_eq!(out.to_bits(), scaled.to_bits(), "{isa} [{t}][{r}]");
            }
        }
    }
}

/// Rows that quantize to exactly the given codes, which contain a 127 or -127.
fn exactly(codes: &[f32], rows: usize) -> Int8Rows {
    let mut x = Int8Rows::new();
    x.quantize(Isa::SCALAR, &codes.repeat(rows), codes.len()).unwrap();
    x
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn equals_i64(rows in 1..80usize, cols in 1..400usize, tokens in 1..65usize, seed: u64) {
        let mut random = Random::new(seed);
        check(rows, &random.codes(rows * cols), &random.int8_rows(tokens, cols));
    }

    #[test]
    fn codes_come_back(rows in 1..40usize, cols in 1..300usize, seed: u64) {
        let codes = Random::new(seed).codes(rows * cols);
        let matrix = TernaryMatrix::from_codes(rows, cols, &codes);
        prop_assert_eq!((matrix.rows(), matrix.cols()), (rows, cols));
        for r in 0..rows {
            let mut row = vec![9; cols];
            matrix.codes_row(r, &mut row);
            prop_assert_eq!(&row, &codes[r * cols..(r + 1) * cols]);
        }
    }

    #[test]
    fn packed_equals_codes(rows in 1..70usize, blocks in 2..4usize, seed: u64) {
        let x = Random::new(seed ^ 1);
        for format in TernaryFormat::ALL {
            let cols = blocks * format.block();
            let mut codes = Random::new(seed).codes(rows * cols);
            if format.holds_zero() {
                codes[..format.block()].fill(0);
                codes[rows * cols - 1] = 1;
            } else {
                for code in &mut codes {
 *code |= 1;
}
            }
            let mut bytes = vec![0; rows * format.row_bytes(cols).unwrap()];
            format.pack(&codes, f16::from_f32(0.25), &mut bytes);
            if let Some(at) = scale_at(format).filter(|_| format.holds_zero()) {
                // The first block has no code: any finite scale will do.
                bytes[at..at + 2].copy_from_slice(&f16::ZERO.to_le_bytes());
            }
            let (matrix, scale) = TernaryMatrix::from_packed(format, rows, cols, &bytes).unwrap();
            prop_assert_eq!(scale, if format.block_scales() { 0.25 } else { 1.0 });
            let x = x.clone().int8_rows(3, cols);
            let mut sums = vec![0; 3 * rows];
            matrix.matmul_i32(Isa::best(), &x, &mut sums);
            prop_assert_eq!(sums, reference(rows, &codes, &x), "{:?}", format);
        }
    }
}

/// Where a block holds its scale.
fn scale_at(format: TernaryFormat) -> Option<usize> {
    match format {
        TernaryFormat::Q2_0 | TernaryFormat::Q1_0 => Some(0),
        _ => format.block_scales().then_some(format.block_bytes() - 2),
    }
}

#[test]
fn the_scale_of_a_matrix_without_codes() {
    for format in TernaryFormat::ALL.into_iter().filter(|format| format.holds_zero()) {
        let cols = 2 * format.block();
        let mut bytes = vec![0; 3 * format.row_bytes(cols).unwrap()];
        format.pack(&vec![0; 3 * cols], f16::from_f32(0.5), &mut bytes);
        let (_, scale) = TernaryMatrix::from_packed(format, 3, cols, &bytes).unwrap();
        assert_eq!(scale, if format.block_scales() { 0.5 } else { 1.0 });
    }
}

#[test]
fn extremes_do_not_overflow() {
    // 5000 columns are 40 units: many times over the columns that an i16 could hold.
    let (rows, cols) = (35, 5000);
    for tokens in [1, 4, 5, 16, 23, 40] {
        for value in [127.0, -127.0] {
            let x = exactly(&vec![value; cols], tokens);
            assert!(x.row(0).iter().all(|&q| f32::from(q) == value));
            for code in [-1, 0, 1] {
                check(rows, &vec![code; rows * cols], &x);
            }
        }
    }
    let alternating: Vec<f32> = (0..cols).map(|i| if i % 2 == 0 { 127.0 } else { -127.0 }).collect();
    let codes: Vec<i8> = (0..rows * cols).map(|i| if i % 2 == 0 { 1 } else { -1 }).collect();
    check(rows, &codes, &exactly(&alternating, 17));
}

#[test]
fn several_parts_and_threads() {
    let (rows, cols, tokens) = (1100, 130, 37);
    let mut random = Random::new(9);
    let codes = random.codes(rows * cols);
    let x = random.int8_rows(tokens, cols);
    let matrix = TernaryMatrix::from_codes(rows, cols, &codes);
    let expected = reference(rows, &codes, &x);
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for isa in Isa::available() {
            let mut sums = vec![0; tokens * rows];
            pool.install(|| matrix.matmul_i32(isa, &x, &mut sums));
            assert_eq!(sums, expected, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn no_rows_and_no_tokens() {
    let x = Random::new(1).int8_rows(2, 10);
    TernaryMatrix::from_codes(0, 10, &[]).matmul_i32(Isa::best(), &x, &mut []);
    TernaryMatrix::from_codes(3, 10, &[0; 30]).matmul_i32(Isa::best(), &Int8Rows::new(), &mut []);
    for (format, expected) in [(TernaryFormat::Tq2_0, 0.0), (TernaryFormat::I2sX86, 1.0)] {
        let (empty, scale) = TernaryMatrix::from_packed(format, 0, 256, &[]).unwrap();
        assert_eq!((empty.bytes(), scale), (0, expected));
    }
}

#[test]
fn storage_is_two_bits_a_code() {
    let matrix = TernaryMatrix::from_codes(64, 256, &[1; 64 * 256]);
    assert_eq!(matrix.bytes(), 64 * 256 / 4);
    assert_eq!(matrix.units.as_ptr().align_offset(64), 0);
    assert_eq!(format!("{matrix:?}"), "TernaryMatrix [64, 256]");
}

#[test]
fn damaged_blocks_are_errors() {
    for format in TernaryFormat::ALL {
        let (rows, block, size) = (40, format.block(), format.block_bytes());
        let cols = 2 * block;
        let mut good = vec![0; rows * format.row_bytes(cols).unwrap()];
        format.pack(&vec![1; rows * cols], f16::ONE, &mut good);
        let read =
            |bytes: &[u8]| TernaryMatrix::from_packed(format, rows, cols, bytes).map(|(_, scale)| scale);
        assert_eq!(read(&good), Ok(1.0));

        let found = good.len() - 1;
        assert_eq!(read(&good[..found]), Err(PackedError::Length { rows, cols, found }));
        let shape = TernaryMatrix::from_packed(format, usize::MAX, cols, &good).unwrap_err();
        assert_eq!(shape, PackedError::Length { rows: usize::MAX, cols, found: good.len() });
        for cols in [0, block - 1, 1 << 25] {
            let error = TernaryMatrix::from_packed(format, 1, cols, &[]).unwrap_err();
            assert_eq!(error, PackedError::Columns { cols, block });
        }

        // Row 33 lies in the second tile.
        let at = (2 * 33 + 1) * size;
        if format != TernaryFormat::Q1_0 {
            let value = if format == TernaryFormat::Tq1_0 { 0x01 } else { 0xff };
            let mut bad = good.clone();
            bad[at + 5] = value;
            assert_eq!(
                read(&bad).unwrap_err().to_string(),
                format!(
                    "row 33: block 1, byte 5 ({value:#04x}) is not made of trits\nhint: the tensor is damaged or of another type"
                )
            );
        }
        let Some(scale_at) = scale_at(format) else { continue };
        for (scale, expected) in [
            (
                f16::from_f32(0.5),
                PackedError::Scales { row: 33, block: 1, scale: f16::from_f32(0.5), other: f16::ONE },
            ),
            (f16::INFINITY, PackedError::Scale { row: 33, block: 1, scale: f16::INFINITY }),
        ] {
            let mut bad = good.clone();
            bad[at + scale_at..][..2].copy_from_slice(&scale.to_le_bytes());
            assert_eq!(read(&bad), Err(expected));
        }
    }
}
