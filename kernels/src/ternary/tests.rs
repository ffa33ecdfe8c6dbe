use proptest::prelude::*;

use super::*;
use half::f16;

use crate::{packing::hf, testing::Random};

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
    let matrices = Layout::ALL.map(|layout| TernaryMatrix::from_codes(layout, rows, x.cols(), codes));
    let expected = reference(rows, codes, x);
    for (matrix, isa) in matrices.iter().flat_map(|m| Isa::available().into_iter().map(move |isa| (m, isa))) {
        let mut sums = vec![i32::MIN; expected.len()];
        matrix.matmul_i32(isa, x, &mut sums);
        assert_eq!(sums, expected, "{isa} {matrix:?} x {} tokens", x.rows());
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

/// All codes of a matrix, as they are read back.
fn codes_of(matrix: &TernaryMatrix) -> Vec<i8> {
    let mut codes = vec![9; matrix.rows() * matrix.cols()];
    for (r, row) in codes.chunks_exact_mut(matrix.cols()).enumerate() {
        matrix.codes_row(r, row);
    }
    codes
}

/// A CPU with AVX-512 but without VBMI takes a path of its own.
#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_without_vbmi() {
    let avx512 = Isa::available().into_iter().find_map(|isa| match isa.set() {
        Set::Avx512(avx512) => Some(avx512),
        _ => None,
    });
    let Some(kernels) = avx512 else {
        println!("skipped: this machine has no AVX-512");
        return;
    };
    let mut random = Random::new(512);
    for (rows, cols, tokens) in [(330, 333, 3), (64, 20, 1), (600, 1000, 9), (1, 1, 1)] {
        let (codes, x) = (random.codes(rows * cols), random.int8_rows(tokens, cols));
        let expected = reference(rows, &codes, &x);
        for layout in Layout::ALL {
            let TernaryMatrix { lines, shape } = TernaryMatrix::from_codes(layout, rows, cols, &codes);
            let mut sums = vec![0; expected.len()];
            let out = Disjoint::new(&mut sums);
            let finish = |_| |sum| sum;
            product::run(&[Product { kernels, shape, lines: &lines, x: &x, out, finish }]);
            assert_eq!(sums, expected, "{layout:?} [{rows}, {cols}]");
        }
    }
}

/// Matrices of different heights, one without rows, that share their inputs.
#[test]
fn several_matrices_are_each_one() {
    let mut random = Random::new(77);
    // Few and many rows, so that threads have a part; one token by one set of tables, and many.
    for (heights, cols, tokens) in
        [([70, 0, 300], 333, 1), ([2000, 640, 640], 1000, 3), ([70, 5, 300], 333, 41)]
    {
        let x = random.int8_rows(tokens, cols);
        for layout in Layout::ALL {
            let matrices =
                heights.map(|rows| TernaryMatrix::from_codes(layout, rows, cols, &random.codes(rows * cols)));
            for isa in Isa::available() {
                let mut outs = heights.map(|rows| vec![f32::NAN; tokens * rows]);
                let mut scale = 0.0;
                let [a, b, c] = &mut outs;
                let outputs =
                    [(&matrices[0], a), (&matrices[1], b), (&matrices[2], c)].map(|(matrix, out)| {
                        scale += 0.5;
                        Output { matrix, scale, out }
                    });
                matmul_many(isa, &x, outputs);
                for (i, (matrix, found)) in matrices.iter().zip(&outs).enumerate() {
                    let mut expected = vec![0.0; found.len()];
                    matrix.matmul(isa, 0.5 * (i + 1) as f32, &x, &mut expected);
                    assert_eq!(found, &expected, "{isa} {layout:?} matrix {i} of {tokens} tokens");
                }
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
    fn equals_i64(rows in 1..150usize, cols in 1..500usize, tokens in 1..65usize, seed: u64) {
        let mut random = Random::new(seed);
        check(rows, &random.codes(rows * cols), &random.int8_rows(tokens, cols));
    }

    #[test]
    fn codes_come_back(rows in 1..140usize, cols in 1..300usize, seed: u64) {
        let codes = Random::new(seed).codes(rows * cols);
        for layout in Layout::ALL {
            let matrix = TernaryMatrix::from_codes(layout, rows, cols, &codes);
            prop_assert_eq!((matrix.rows(), matrix.cols(), matrix.layout()), (rows, cols, layout));
            prop_assert_eq!(codes_of(&matrix), &codes[..]);
        }
    }

    #[test]
    fn rows_equal_codes(rows in 0..300usize, cols in 1..500usize, seed: u64) {
        let codes = Random::new(seed).codes(rows * cols);
        for layout in Layout::ALL {
            let matrix = TernaryMatrix::from_rows(layout, rows, cols, |r, row| {
                row.copy_from_slice(&codes[r * cols..(r + 1) * cols]);
            });
            prop_assert_eq!(codes_of(&matrix), &codes[..]);
            prop_assert_eq!(TernaryMatrix::bytes_of(layout, rows, cols), Some(matrix.bytes()));
        }
    }

    #[test]
    fn hf_equals_codes(quarter in 0..40usize, cols in 1..300usize, seed: u64) {
        let rows = 4 * quarter;
        let codes = Random::new(seed).codes(rows * cols);
        let mut bytes = vec![0; quarter * cols];
        hf::pack(&codes, cols, &mut bytes);
        for layout in Layout::ALL {
            let matrix = TernaryMatrix::from_hf(layout, rows, cols, &bytes).unwrap();
            prop_assert_eq!(codes_of(&matrix), &codes[..]);
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
            let layout = Layout::ALL[(seed % 2) as usize];
            let (matrix, scale) = TernaryMatrix::from_packed(layout, format, rows, cols, &bytes).unwrap();
            prop_assert_eq!(scale, if format.block_scales() { 0.25 } else { 1.0 });
            prop_assert_eq!(codes_of(&matrix), &codes[..]);
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
        let (_, scale) = TernaryMatrix::from_packed(Layout::TwoBits, format, 3, cols, &bytes).unwrap();
        assert_eq!(scale, if format.block_scales() { 0.5 } else { 1.0 });
    }
}

#[test]
fn extremes_do_not_overflow() {
    // Many times the columns that an i16 could hold, and whole chunks as well as a part of one.
    let (rows, cols) = (35, 3290);
    for tokens in [1, 4, 9, 16, 23, 40] {
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

/// Groups of tiles, of which the last one is narrower, or padded.
#[test]
fn groups_of_every_width() {
    let mut random = Random::new(11);
    for rows in [257, 330, 400, 600] {
        let codes = random.codes(rows * 165);
        for tokens in [1, 9, 33] {
            check(rows, &codes, &random.int8_rows(tokens, 165));
        }
    }
}

/// Sums whose low five bits are as large as they get, where bytes are the closest to an overflow.
#[test]
fn low_parts_at_their_bounds() {
    let rows = 70;
    // Activations and codes by period: a pair of 255 = 7 * 32 + 31 after its bias of 256; a triple of 15 and a
    // pair of 16, and both negated; a sum of five of 16 and of -16, which are -16 mod 32.
    let cases: [(&[f32], &[i8]); 5] = [
        (&[-1.0, 0.0], &[1, 0]),
        (&[15.0, 0.0, 0.0, 16.0, 0.0], &[1, 0, 0, 1, 0]),
        (&[15.0, 0.0, 0.0, 16.0, 0.0], &[-1, 0, 0, -1, 0]),
        (&[16.0, 0.0, 0.0, 0.0, 0.0], &[1, 0, 0, 0, 0]),
        (&[16.0, 0.0, 0.0, 0.0, 0.0], &[-1, 0, 0, 0, 0]),
    ];
    for (x, codes) in cases {
        let cols = 320;
        let mut x: Vec<f32> = x.iter().copied().cycle().take(cols).collect();
        // In the second chunk, so that the first one is undisturbed; it fixes the scale at 1.
        x[cols - 1] = 127.0;
        let codes: Vec<i8> = codes.iter().copied().cycle().take(rows * cols).collect();
        for tokens in [1, 9] {
            check(rows, &codes, &exactly(&x, tokens));
        }
    }
}

#[test]
fn several_parts_and_threads() {
    let (rows, cols) = (2300, 500);
    let mut random = Random::new(9);
    let codes = random.codes(rows * cols);
    // One token and a few, each with enough work for threads; five groups of tokens in two tasks.
    let inputs = [1, 5, 137].map(|tokens| random.int8_rows(tokens, cols));
    let expected = inputs.each_ref().map(|x| reference(rows, &codes, x));
    for layout in Layout::ALL {
        let matrix = TernaryMatrix::from_codes(layout, rows, cols, &codes);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for isa in Isa::available() {
                for (x, expected) in inputs.iter().zip(&expected) {
                    let mut sums = vec![0; expected.len()];
                    pool.install(|| matrix.matmul_i32(isa, x, &mut sums));
                    assert!(sums == *expected, "{isa}, {threads} threads, {} tokens", x.rows());
                }
            }
        }
    }
}

#[test]
fn no_rows_and_no_tokens() {
    let x = Random::new(1).int8_rows(2, 10);
    TernaryMatrix::from_codes(Layout::FiveTrits, 0, 10, &[]).matmul_i32(Isa::best(), &x, &mut []);
    TernaryMatrix::from_codes(Layout::TwoBits, 3, 10, &[0; 30]).matmul_i32(
        Isa::best(),
        &Int8Rows::new(),
        &mut [],
    );
    for (format, expected) in [(TernaryFormat::Tq2_0, 0.0), (TernaryFormat::I2sX86, 1.0)] {
        let (empty, scale) = TernaryMatrix::from_packed(Layout::TwoBits, format, 0, 256, &[]).unwrap();
        assert_eq!((empty.bytes(), scale), (0, expected));
    }
}

#[test]
fn storage_is_what_the_layout_says() {
    let codes = vec![1; 128 * 320];
    let matrix = TernaryMatrix::from_codes(Layout::TwoBits, 128, 320, &codes);
    assert_eq!(matrix.bytes(), codes.len() / 4);
    assert_eq!(format!("{matrix:?}"), "TernaryMatrix [128, 320] TwoBits");
    let matrix = TernaryMatrix::from_codes(Layout::FiveTrits, 128, 320, &codes);
    assert_eq!(matrix.bytes(), codes.len() / 5);
}

#[test]
#[should_panic(expected = "codes are -1, 0 or 1")]
fn rows_of_other_codes_are_refused() {
    TernaryMatrix::from_rows(Layout::FiveTrits, 3, 7, |r, codes| codes.fill(r as i8));
}

#[test]
fn impossible_shapes_have_no_size() {
    for (rows, cols) in [(1, 0), (1, MAX_COLS + 1), (usize::MAX, 5), (usize::MAX / 4, 5)] {
        assert_eq!(TernaryMatrix::bytes_of(Layout::TwoBits, rows, cols), None, "[{rows}, {cols}]");
    }
}

#[test]
fn damaged_hf_bytes_are_errors() {
    let read = |rows, cols, bytes: &[u8]| TernaryMatrix::from_hf(Layout::TwoBits, rows, cols, bytes);
    assert!(read(8, 3, &[0; 6]).is_ok());
    assert_eq!(read(8, 3, &[0; 5]).unwrap_err(), PackedError::Length { rows: 8, cols: 3, found: 5 });
    assert_eq!(read(7, 3, &[0; 6]).unwrap_err(), PackedError::Length { rows: 7, cols: 3, found: 6 });
    assert_eq!(read(8, 0, &[]).unwrap_err(), PackedError::Columns { cols: 0, block: 1 });
    let error = read(8, 3, &[0, 0, 0, 0, 0b1100_0000, 0]).unwrap_err();
    assert!(error.to_string().starts_with("row 7: block 0, byte 1 (0xc0) is not made of trits"), "{error}");
}

#[test]
fn damaged_blocks_are_errors() {
    for format in TernaryFormat::ALL {
        let (rows, block, size) = (40, format.block(), format.block_bytes());
        let cols = 2 * block;
        let mut good = vec![0; rows * format.row_bytes(cols).unwrap()];
        format.pack(&vec![1; rows * cols], f16::ONE, &mut good);
        let read = |bytes: &[u8]| {
            TernaryMatrix::from_packed(Layout::TwoBits, format, rows, cols, bytes).map(|(_, scale)| scale)
        };
        assert_eq!(read(&good), Ok(1.0));

        let found = good.len() - 1;
        assert_eq!(read(&good[..found]), Err(PackedError::Length { rows, cols, found }));
        let shape = TernaryMatrix::from_packed(Layout::TwoBits, format, usize::MAX, cols, &good).unwrap_err();
        assert_eq!(shape, PackedError::Length { rows: usize::MAX, cols, found: good.len() });
        for cols in [0, block - 1, 1 << 25] {
            let error = TernaryMatrix::from_packed(Layout::TwoBits, format, 1, cols, &[]).unwrap_err();
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
