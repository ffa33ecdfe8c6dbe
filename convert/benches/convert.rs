//! Speeds of what a conversion is made of, on the linear layer 2560 x 6912 of BitNet b1.58 2B4T.
//!
//! ```text
//! cargo bench -p b158-convert
//! ```
//!
//! GB/s count the bytes that are read and written, all threads together, best of several runs; the last
//! column compares them with copying memory in the same run.

use std::{hint::black_box, time::Instant};

use b158_kernels::{
    Isa,
    dense::DenseSlice,
    packing::{BlockFormat, TernaryFormat, hf},
    ternarize,
};
use half::f16;
use rayon::prelude::*;

const ROWS: usize = 6912;
const COLS: usize = 2560;
const WEIGHTS: usize = ROWS * COLS;

/// Seconds of the fastest of some calls.
fn best(mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..9).map(time).fold(f64::INFINITY, f64::min)
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

struct Table {
    copy: f64,
}

impl Table {
    fn row(&self, what: &str, bytes: usize, seconds: f64) {
        let rate = bytes as f64 / seconds / 1e9;
        println!(
            "{what:<24} {rate:>8.2} {:>10.2} {:>10.2}",
            WEIGHTS as f64 / seconds / 1e9,
            rate / self.copy
        );
    }
}

fn main() {
    let isa = Isa::best();
    let (from, mut to) = (vec![1u8; 2 * WEIGHTS], vec![0u8; 2 * WEIGHTS]);
    let copy = best(|| {
        to.par_chunks_mut(1 << 20)
            .zip(from.par_chunks(1 << 20))
            .for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
    });
    drop((from, to));
    println!("{} threads, {isa}", rayon::current_num_threads());
    println!("{:<24} {:>8} {:>10} {:>10}", "", "GB/s", "Gweights/s", "of memcpy");
    let table = Table { copy: 4.0 * WEIGHTS as f64 / copy / 1e9 };
    table.row("memcpy of f16", 4 * WEIGHTS, copy);

    let wide = numbers(WEIGHTS);
    let weights: Vec<f16> = wide.iter().map(|&w| f16::from_f32(w)).collect();
    let w = DenseSlice::F16(&weights);
    let mut codes = vec![0i8; WEIGHTS];
    let mut scale = 1.0;
    let seconds = best(|| scale = ternarize::absmean(isa, w).expect("finite"));
    table.row("absmean of f16", 2 * WEIGHTS, seconds);
    let seconds = best(|| {
        black_box(ternarize::absmedian(isa, w).expect("finite"));
    });
    table.row("absmedian of f16", 2 * WEIGHTS, seconds);
    let seconds = best(|| {
        black_box(ternarize::binary(isa, w, &mut codes).expect("finite"));
    });
    table.row("binary of f16", 3 * WEIGHTS, seconds);
    let seconds = best(|| ternarize::ternarize(isa, w, scale, &mut codes));
    table.row("codes of f16", 3 * WEIGHTS, seconds);

    let formats = [
        ("tq1_0", TernaryFormat::Tq1_0),
        ("tq2_0", TernaryFormat::Tq2_0),
        ("q2_0", TernaryFormat::Q2_0),
        ("q1_0", TernaryFormat::Q1_0),
        ("i2_s", TernaryFormat::I2sX86),
        ("i2_s-arm", TernaryFormat::I2sArm),
    ];
    let binary: Vec<i8> = codes.iter().map(|&code| if code > 0 { 1 } else { -1 }).collect();
    let mut unpacked = vec![0i8; WEIGHTS];
    for (name, format) in formats {
        let codes = if format.holds_zero() { &codes } else { &binary };
        let row_bytes = format.row_bytes(COLS).expect("2560 is a multiple of every block");
        let mut packed = vec![0; ROWS * row_bytes];
        let bytes = WEIGHTS + packed.len();
        let seconds = best(|| {
            packed
                .par_chunks_exact_mut(row_bytes)
                .zip(codes.par_chunks_exact(COLS))
                .for_each(|(packed, codes)| format.pack(codes, f16::ONE, packed));
        });
        table.row(&format!("pack {name}"), bytes, seconds);
        let blocks = if format.block_scales() { COLS / format.block() } else { 0 };
        let seconds = best(|| {
            packed.par_chunks_exact(row_bytes).zip(unpacked.par_chunks_exact_mut(COLS)).for_each_init(
                || vec![f16::ZERO; blocks],
                |scales, (packed, codes)| format.unpack(packed, codes, scales).expect("just packed"),
            );
        });
        table.row(&format!("unpack {name}"), bytes, seconds);
        assert_eq!(&unpacked, codes, "{name}");
    }

    let mut packed = vec![0; WEIGHTS / hf::QUARTERS];
    let seconds = best(|| {
        packed
            .par_chunks_exact_mut(COLS)
            .zip(codes.par_chunks_exact(hf::QUARTERS * COLS))
            .for_each(|(packed, codes)| hf::pack(codes, COLS, packed));
    });
    table.row("pack hf", WEIGHTS + packed.len(), seconds);
    let seconds = best(|| {
        packed
            .par_chunks_exact(COLS)
            .zip(unpacked.par_chunks_exact_mut(hf::QUARTERS * COLS))
            .for_each(|(packed, codes)| hf::unpack(packed, COLS, codes).expect("just packed"));
    });
    table.row("unpack hf", WEIGHTS + packed.len(), seconds);
    assert_eq!(unpacked, codes, "hf");

    let mut values = vec![0.0f32; WEIGHTS];
    for (name, format) in [("q8_0", BlockFormat::Q8_0), ("q6_k", BlockFormat::Q6K)] {
        let row_bytes = format.row_bytes(COLS).expect("2560 is a multiple of every block");
        let mut packed = vec![0; ROWS * row_bytes];
        let bytes = 4 * WEIGHTS + packed.len();
        let seconds = best(|| {
            packed
                .par_chunks_exact_mut(row_bytes)
                .zip(wide.par_chunks_exact(COLS))
                .for_each(|(packed, values)| format.quantize(values, packed));
        });
        table.row(&format!("quantize {name}"), bytes, seconds);
        let seconds = best(|| {
            packed
                .par_chunks_exact(row_bytes)
                .zip(values.par_chunks_exact_mut(COLS))
                .for_each(|(packed, values)| format.dequantize(packed, values));
        });
        table.row(&format!("dequantize {name}"), bytes, seconds);
    }
}
