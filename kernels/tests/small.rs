//! Kernels that read or write through pointers, on shapes small enough for Miri: ternary products, dense
//! products of f32 and norms. (Miri lacks the conversions of f16.)
//!
//! Miri interprets, a thousand times slower; `.ci/run` runs only this file in it. Results are compared as
//! everywhere, but what matters here is that no access is out of bounds, so sizes lie around those of
//! tiles, chunks and vectors.

use b158_kernels::{
    Isa,
    dense::{DenseSlice, matmul},
    norm::rms_norm,
    quantize::Int8Rows,
    ternary::{Layout, TernaryMatrix},
};

/// One row of a tile and the next tile's first.
const ROWS: [usize; 2] = [1, 65];
/// One column less and one more than a chunk; in Miri, which would take minutes, than a pass.
const COLS: [usize; 2] = if cfg!(miri) { [19, 33] } else { [159, 161] };
/// One token; enough for tables of tokens with empty lanes.
const TOKENS: [usize; 2] = [1, 9];

fn noise(seed: usize, i: usize) -> usize {
    (i + 1).wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 7
}

fn floats(seed: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| (noise(seed, i) % 255) as f32 - 127.0).collect()
}

#[test]
fn ternary_products() {
    let shapes = ROWS.into_iter().zip(COLS);
    for ((rows, cols), layout) in shapes.flat_map(|shape| Layout::ALL.map(|layout| (shape, layout))) {
        let codes: Vec<i8> = (0..rows * cols).map(|i| (noise(3, i) % 3) as i8 - 1).collect();
        let matrix = TernaryMatrix::from_codes(layout, rows, cols, &codes);
        for tokens in TOKENS {
            for isa in Isa::available() {
                let mut x = Int8Rows::new();
                x.quantize(isa, &floats(5, tokens * cols), cols).unwrap();
                let mut out = vec![i32::MIN; tokens * rows];
                matrix.matmul_i32(isa, &x, &mut out);
                for (i, out) in out.into_iter().enumerate() {
                    let (row, x) = (&codes[i % rows * cols..][..cols], x.row(i / rows));
                    let expected: i32 = row.iter().zip(x).map(|(c, x)| i32::from(*c) * i32::from(*x)).sum();
                    assert_eq!(out, expected, "{isa} {rows} x {cols}, output {i} of {tokens} tokens");
                }
            }
        }
    }
}

#[test]
fn dense_products_and_norms() {
    for (rows, cols) in ROWS.into_iter().zip([15, 33]) {
        let (w, weight) = (floats(7, rows * cols), floats(9, cols));
        for tokens in TOKENS {
            let x = floats(11, tokens * cols);
            let results = Isa::available().into_iter().map(|isa| {
                let (mut out, mut normed) = (vec![0.0; tokens * rows], vec![0.0; tokens * cols]);
                matmul(isa, DenseSlice::F32(&w), rows, cols, &x, tokens, &mut out);
                rms_norm(isa, &x, &weight, 1e-5, &mut normed);
                out.into_iter().chain(normed).map(f32::to_bits).collect::<Vec<_>>()
            });
            let results: Vec<_> = results.collect();
            assert!(results.iter().all(|one| *one == results[0]), "{rows} x {cols}, {tokens} tokens");
        }
    }
}
