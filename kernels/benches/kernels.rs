//! Speeds of the matrix products on 2560 x 6912, the feed-forward shape of BitNet b1.58 2B4T.
//!
//! ```text
//! cargo bench -p b158-kernels
//! ```
//!
//! Gw/s are 10^9 weights times tokens per second, best of several runs. Decode reads one of several
//! copies of the matrix in turn, so that the weights come from memory as they do in a model.

use std::{hint::black_box, time::Instant};

use b158_kernels::{
    Isa,
    dense::{self, DenseSlice, Weights},
    packing::BlockFormat,
    quantize::Int8Rows,
    ternarize,
    ternary::TernaryMatrix,
};
use half::f16;
use rayon::prelude::*;

const ROWS: usize = 6912;
const COLS: usize = 2560;
const PREFILL: usize = 128;
/// Bytes of all copies together: more than a last-level cache.
const WORKING_SET: usize = 512 << 20;

/// Seconds of the fastest of `n` calls.
fn best(n: usize, mut f: impl FnMut(usize)) -> f64 {
    (0..n)
        .map(|i| {
            let start = Instant::now();
            f(i);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn numbers(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

fn row(what: &str, isa: Isa, decode: f64, decode_bytes: usize, prefill: f64) {
    let weights = (ROWS * COLS) as f64 / 1e9;
    println!(
        "{what:8} {isa:8} {:>12.1} {:>10.1} {:>14.1}",
        weights / decode,
        decode_bytes as f64 / decode / 1e9,
        weights * PREFILL as f64 / prefill,
    );
}

fn main() {
    let words = vec![1u64; WORKING_SET / 8];
    let read = best(7, |_| {
        let sum: u64 = words.par_chunks(1 << 17).map(|c| c.iter().fold(0, |a, b| a ^ b)).sum();
        black_box(sum);
    });
    drop(words);
    println!(
        "{} threads, reading memory {:.1} GB/s",
        rayon::current_num_threads(),
        WORKING_SET as f64 / read / 1e9
    );
    println!("{:8} {:8} {:>12} {:>10} {:>14}", "weights", "isa", "decode Gw/s", "GB/s", "prefill Gw/s");

    let x = numbers(PREFILL * COLS);
    let halves: Vec<f16> = numbers(ROWS * COLS).into_iter().map(f16::from_f32).collect();
    let bytes = 2 * halves.len();
    let copies = vec![halves; WORKING_SET / bytes];
    let mut out = vec![0.0; PREFILL * ROWS];
    for isa in Isa::available() {
        // The portable path is a reference: one run tells enough.
        let n = if isa == Isa::SCALAR { 2 } else { 40 };
        let decode = best(n, |i| {
            let w = DenseSlice::F16(&copies[i % copies.len()]);
            dense::matmul(isa, w, ROWS, COLS, &x[..COLS], 1, &mut out[..ROWS]);
        });
        let prefill = best(n.div_ceil(8), |_| {
            dense::matmul(isa, DenseSlice::F16(&copies[0]), ROWS, COLS, &x, PREFILL, &mut out);
        });
        row("f16", isa, decode, bytes, prefill);
    }

    let wide = numbers(ROWS * COLS);
    for (name, format) in [("q8_0", BlockFormat::Q8_0), ("q6_k", BlockFormat::Q6K)] {
        let mut blocks = vec![0; ROWS * format.row_bytes(COLS).expect("whole blocks")];
        format.quantize(&wide, &mut blocks);
        let bytes = blocks.len();
        let copies = vec![blocks; WORKING_SET / bytes];
        let weights = |i: usize| Weights::Blocks { format, bytes: &copies[i % copies.len()] };
        for isa in Isa::available() {
            let n = if isa == Isa::SCALAR { 2 } else { 40 };
            let decode = best(n, |i| {
                dense::matmul(isa, weights(i), ROWS, COLS, &x[..COLS], 1, &mut out[..ROWS]);
            });
            let prefill = best(n.div_ceil(8), |i| {
                dense::matmul(isa, weights(i), ROWS, COLS, &x, PREFILL, &mut out);
            });
            row(name, isa, decode, bytes, prefill);
        }
    }
    drop(wide);

    let w = DenseSlice::F16(&copies[0]);
    let mut codes = vec![0; ROWS * COLS];
    let mut schemes = Vec::new();
    for isa in Isa::available() {
        let mut time = |name, f: &mut dyn FnMut()| schemes.push((name, isa, best(5, |_| f())));
        time("absmean", &mut || _ = black_box(ternarize::absmean(isa, w)));
        time("absmedian", &mut || _ = black_box(ternarize::absmedian(isa, w)));
        time("ternarize", &mut || ternarize::ternarize(isa, w, 0.5, &mut codes));
        time("binary", &mut || _ = black_box(ternarize::binary(isa, w, &mut codes)));
        time("fit", &mut || _ = black_box(ternarize::fit(isa, w, 0.5)));
    }
    ternarize::ternarize(Isa::best(), w, 0.5, &mut codes);
    drop(copies);

    let matrix = TernaryMatrix::from_codes(ROWS, COLS, &codes);
    let bytes = matrix.bytes();
    let copies = vec![matrix; WORKING_SET / bytes];
    let (mut one, mut many) = (Int8Rows::new(), Int8Rows::new());
    one.quantize(Isa::best(), &x[..COLS], COLS).expect("finite");
    many.quantize(Isa::best(), &x, COLS).expect("finite");
    for isa in Isa::available() {
        let n = if isa == Isa::SCALAR { 2 } else { 200 };
        let decode = best(n, |i| copies[i % copies.len()].matmul(isa, 0.1, &one, &mut out[..ROWS]));
        let prefill = best(n.div_ceil(10), |i| copies[i % copies.len()].matmul(isa, 0.1, &many, &mut out));
        row("ternary", isa, decode, bytes, prefill);
    }
    for (name, isa, time) in schemes {
        println!("{name:10} {isa:8} {:6.2} GB/s of f16", (2 * ROWS * COLS) as f64 / time / 1e9);
    }
}
