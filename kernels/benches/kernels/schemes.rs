//! Ternarization, and products with weights in blocks.

use std::hint::black_box;

use b158_kernels::{
    Isa,
    dense::{self, DenseSlice, Weights},
    packing::BlockFormat,
    ternarize,
};
use half::f16;

use crate::{PREFILL, WORKING_SET, best, numbers};

const COLS: usize = 2560;
const ROWS: usize = 6912;

/// Prints both tables for one shape, on all threads.
pub fn run() {
    let wide = numbers(ROWS * COLS);
    let x = numbers(PREFILL * COLS);
    let mut out = vec![0.0; PREFILL * ROWS];
    let giga = (ROWS * COLS) as f64 / 1e9;
    println!("{:8} {:10} {:>12} {:>8} {:>14}", "isa", "weights", "memory Gw/s", "GB/s", "128 rows Gw/s");
    for (name, format) in [("q8_0", BlockFormat::Q8_0), ("q6_k", BlockFormat::Q6K)] {
        let mut blocks = vec![0; ROWS * format.row_bytes(COLS).expect("whole blocks")];
        format.quantize(&wide, &mut blocks);
        let bytes = blocks.len();
        let copies = vec![blocks; WORKING_SET / bytes];
        let weights = |i: usize| Weights::Blocks { format, bytes: &copies[i % copies.len()] };
        for isa in Isa::available() {
            let one = best(|i| dense::matmul(isa, weights(i), ROWS, COLS, &x[..COLS], 1, &mut out[..ROWS]));
            let many = best(|i| dense::matmul(isa, weights(i), ROWS, COLS, &x, PREFILL, &mut out));
            println!(
                "{isa:8} {name:10} {:>12.1} {:>8.1} {:>14.1}",
                giga / one,
                bytes as f64 / one / 1e9,
                giga * PREFILL as f64 / many
            );
        }
    }
    let halves: Vec<f16> = wide.into_iter().map(f16::from_f32).collect();
    let w = DenseSlice::F16(&halves);
    let mut codes = vec![0; ROWS * COLS];
    for isa in Isa::available() {
        let print = |name, seconds: f64| {
            println!("{isa:8} {name:10} {:>8.2} GB/s of f16", 2.0 * giga / seconds);
        };
        print("absmean", best(|_| _ = black_box(ternarize::absmean(isa, w))));
        print("absmedian", best(|_| _ = black_box(ternarize::absmedian(isa, w))));
        print("ternarize", best(|_| ternarize::ternarize(isa, w, 0.5, &mut codes)));
        print("binary", best(|_| _ = black_box(ternarize::binary(isa, w, &mut codes))));
        print("fit", best(|_| _ = black_box(ternarize::fit(isa, w, 0.5))));
    }
}
