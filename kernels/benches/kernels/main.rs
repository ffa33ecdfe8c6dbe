//! Speeds of the matrix products on the shapes of the papers' models.
//!
//! ```text
//! cargo bench -p b158-kernels                    all shapes; some minutes
//! cargo bench -p b158-kernels -- 2560x6912       one shape: multiples of 16 columns, 32 rows
//! cargo bench -p b158-kernels -- schemes         ternarization instead
//! ```
//!
//! Gw/s are 10^9 weights times tokens per second, best of several runs. `cached` multiplies one matrix
//! again and again, `memory` copies in turn, together larger than a cache, so that the weights come from
//! memory as they do in a model. `x maddubs` or `x vnni` is the ratio to the product by multiplication of the same
//! instruction set (`multiply.rs`), `of read` the share of what reading the same memory takes.

#[cfg(target_arch = "x86_64")]
mod multiply;
mod schemes;

use std::{hint::black_box, time::Instant};

use b158_kernels::{
    Isa,
    dense::{self, DenseSlice},
    quantize::Int8Rows,
    ternary::{Layout, TernaryMatrix},
};
use half::f16;
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

/// Columns and rows: the feed-forward layers of the papers' 700M, 2B4T, 3B and 70B.
const SHAPES: [(usize, usize); 4] = [(1536, 4096), (2560, 6912), (3200, 8640), (8192, 28672)];
const PREFILL: usize = 128;
/// Bytes of all copies together: more than a last-level cache.
const WORKING_SET: usize = 256 << 20;
/// Seconds of repeating one measurement.
const PATIENCE: f64 = 0.25;

/// Seconds of the fastest of several calls, of which the n-th gets n.
fn best(mut f: impl FnMut(usize)) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    for i in 0.. {
        let call = Instant::now();
        f(i);
        best = best.min(call.elapsed().as_secs_f64());
        if i >= 2 && start.elapsed().as_secs_f64() > PATIENCE {
            break;
        }
    }
    best
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

/// Bytes per second of reading memory.
fn read_bandwidth(pool: &ThreadPool) -> f64 {
    let words = vec![1u64; WORKING_SET / 8];
    let seconds = pool.install(|| {
        best(|_| {
            let sum: u64 = words.par_chunks(1 << 17).map(|c| c.iter().fold(0, |a, b| a ^ b)).sum();
            black_box(sum);
        })
    });
    WORKING_SET as f64 / seconds
}

/// What is being measured, and where its results go.
struct Table {
    cols: usize,
    rows: usize,
    threads: usize,
    read: f64,
}

impl Table {
    fn head(&self) {
        println!(
            "\n{} x {}, {} thread{}, reading memory {:.1} GB/s\n\n{:8} {:10} | {:>8} {:>9} | {:>8} {:>6} {:>7} | {:>8}",
            self.cols,
            self.rows,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.read / 1e9,
            "isa",
            "weights",
            "cached",
            "",
            "memory",
            "GB/s",
            "of read",
            "128 rows",
        );
        println!(
            "{:8} {:10} | {:>8} {:>9} | {:>8} {:>6} {:>7} | {:>8}",
            "", "", "Gw/s", "", "Gw/s", "", "", "Gw/s"
        );
    }

    /// Seconds of one token, cached and from memory, and of 128; what to divide by.
    fn row(
        &self,
        isa: Isa,
        weights: &str,
        bytes: usize,
        [cached, memory, many]: [f64; 3],
        by: Option<([f64; 3], &str)>,
    ) {
        let giga = (self.rows * self.cols) as f64 / 1e9;
        let rate = bytes as f64 / memory;
        let ratio = |i: usize, seconds: f64| {
            by.map_or(String::new(), |(other, name)| format!("{:.2}x {name}", other[i] / seconds))
        };
        println!(
            "{isa:8} {weights:10} | {:>8.1} {:>9} | {:>8.1} {:>6.1} {:>6.0}% | {:>8.1} {}",
            giga / cached,
            ratio(0, cached).trim_end_matches(|c: char| c.is_alphabetic()).trim(),
            giga / memory,
            rate / 1e9,
            100.0 * rate / self.read,
            giga * PREFILL as f64 / many,
            ratio(2, many),
        );
    }
}

/// Seconds of `f(copy, tokens)`: one token with one copy, one with all in turn, 128.
fn measure<T: Clone + Sync + Send>(
    pool: &ThreadPool,
    one: T,
    bytes: usize,
    mut f: impl FnMut(&T, usize) + Send,
) -> [f64; 3] {
    let copies = vec![one; (WORKING_SET / bytes).max(2)];
    pool.install(|| {
        let many = best(|_| f(&copies[0], PREFILL));
        let cached = best(|_| f(&copies[0], 1));
        // All of them at a time: a last-level cache may hold some, and the fastest call would be one of these.
        let memory = best(|_| copies.iter().for_each(|copy| f(copy, 1))) / copies.len() as f64;
        [cached, memory, many]
    })
}

fn shape(cols: usize, rows: usize) {
    let x = numbers(PREFILL * cols);
    let [mut one, mut many] = [Int8Rows::new(), Int8Rows::new()];
    one.quantize(Isa::best(), &x[..cols], cols).expect("finite");
    many.quantize(Isa::best(), &x, cols).expect("finite");
    let codes: Vec<i8> =
        numbers(rows * cols).into_par_iter().map(|w| (1.49 * w).round_ties_even() as i8).collect();
    let halves: Vec<f16> = codes.par_iter().map(|&c| f16::from_f32(f32::from(c))).collect();
    let threads = [1, std::thread::available_parallelism().map_or(1, usize::from)];
    for threads in threads {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let table = Table { cols, rows, threads, read: read_bandwidth(&pool) };
        table.head();
        for isa in Isa::available() {
            #[cfg(target_arch = "x86_64")]
            let reference = multiply::Multiply::of(isa.name()).map(|kind| {
                let matrix = multiply::Matrix::new(kind, cols, &codes);
                let bytes = matrix.bytes();
                let x: Vec<i8> = (0..PREFILL).flat_map(|t| many.row(t).to_vec()).collect();
                let sums: Vec<i32> = x.chunks(cols).map(|x| x.iter().map(|&x| i32::from(x)).sum()).collect();
                let mut out = matrix.outputs();
                check(&matrix, &codes, &many, &x, &sums);
                let seconds = measure(&pool, matrix, bytes, |matrix, tokens| {
                    matrix.product(&x[..tokens * cols], &sums[..tokens], &mut out);
                });
                table.row(isa, kind.name(), bytes, seconds, None);
                (seconds, kind.name())
            });
            #[cfg(not(target_arch = "x86_64"))]
            let reference = None;
            let mut out = vec![0.0; PREFILL * rows];
            for (layout, name) in [(Layout::TwoBits, "2 bits"), (Layout::FiveTrits, "1.6 bits")] {
                let matrix = TernaryMatrix::from_codes(layout, rows, cols, &codes);
                let bytes = matrix.bytes();
                let seconds = measure(&pool, matrix, bytes, |matrix, tokens| {
                    let x = if tokens == 1 { &one } else { &many };
                    matrix.matmul(isa, 0.1, x, &mut out[..tokens * rows]);
                });
                table.row(isa, name, bytes, seconds, reference);
            }
            if isa != Isa::SCALAR {
                let bytes = 2 * halves.len();
                let seconds = measure(&pool, halves.clone(), bytes, |w, tokens| {
                    let x = &x[..tokens * cols];
                    dense::matmul(isa, DenseSlice::F16(w), rows, cols, x, tokens, &mut out[..tokens * rows]);
                });
                table.row(isa, "f16", bytes, seconds, None);
            }
        }
    }
}

/// The product by multiplication is the same product.
#[cfg(target_arch = "x86_64")]
fn check(matrix: &multiply::Matrix, codes: &[i8], int8: &Int8Rows, x: &[i8], sums: &[i32]) {
    let cols = int8.cols();
    for tokens in [1, 8] {
        let mut out = matrix.outputs();
        matrix.product(&x[..tokens * cols], &sums[..tokens], &mut out);
        for (token, row) in
            [(0, 0), (tokens - 1, codes.len() / cols - 1), (tokens / 2, codes.len() / cols / 2)]
        {
            let row_codes = &codes[row * cols..][..cols];
            let expected: i32 =
                row_codes.iter().zip(int8.row(token)).map(|(c, x)| i32::from(*c) * i32::from(*x)).sum();
            assert_eq!(matrix.at(&out, tokens, token, row), expected);
        }
    }
}

fn main() {
    // Cargo passes --bench.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if wanted.iter().any(|w| w == "schemes") {
        return schemes::run();
    }
    if wanted.is_empty() {
        for (cols, rows) in SHAPES {
            shape(cols, rows);
        }
    }
    for wanted in wanted {
        let (cols, rows) = wanted.split_once('x').expect("COLSxROWS");
        shape(cols.parse().expect("columns"), rows.parse().expect("rows"));
    }
}
