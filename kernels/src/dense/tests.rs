use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::{packing::BlockFormat, testing::Random};

/// The rule of the crate page, word for word, with libm's fused multiply-add.
fn reference(w: &[f32], x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, (w, x)) in w.iter().zip(x).enumerate() {
        lanes[i % 16] = libm::fmaf(*w, *x, lanes[i % 16]);
    }
    for step in [8, 4, 2, 1] {
        for j in 0..step {
            lanes[j] += lanes[j + step];
        }
    }
    lanes[0]
}

fn check(rows: usize, cols: usize, tokens: usize, seed: u64) {
    let mut random = Random::new(seed);
    let x = random.floats(tokens * cols, 2.0);
    let w = random.floats(rows * cols, 1.0);
    let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
    let brains: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
    for slice in [DenseSlice::F32(&w), DenseSlice::F16(&halves), DenseSlice::Bf16(&brains)] {
        let mut wide = vec![0.0; w.len()];
        slice.to_f32(&mut wide);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; tokens * rows];
            matmul(isa, slice, rows, cols, &x, tokens, &mut out);
            for t in 0..tokens {
                for r in 0..rows {
                    let (w, x) = (&wide[r * cols..(r + 1) * cols], &x[t * cols..(t + 1) * cols]);
                    let (found, expected) = (out[t * rows + r], reference(w, x));
                    assert_eq!(found.to_bits(), expected.to_bits(), "{isa} {:?} [{t}][{r}]", slice.dtype());
                    // n roundings of at most half an ulp of the sum of magnitudes, and some slack.
                    let exact: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let scale: f64 = w.iter().zip(x).map(|(w, x)| f64::from(w * x).abs()).sum();
                    let bound = (cols as f64 / 16.0 + 6.0) * 6e-8 * scale + 1e-30;
                    assert!((f64::from(found) - exact).abs() <= bound, "{found} for {exact}");
                }
            }
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// The product over blocks has the bits of the product over their dequantized values.
fn check_blocks(format: BlockFormat, rows: usize, cols: usize, tokens: usize, seed: u64) {
    let mut random = Random::new(seed);
    let x = random.floats(tokens * cols, 2.0);
    let mut bytes = vec![0; rows * format.row_bytes(cols).unwrap()];
    format.quantize(&random.floats(rows * cols, 0.3), &mut bytes);
    let w = Weights::Blocks { format, bytes: &bytes };
    let mut wide = vec![0.0; w.len()];
    w.to_f32(&mut wide);
    for isa in Isa::available() {
        let (mut out, mut expected) = (vec![f32::NAN; tokens * rows], vec![f32::NAN; tokens * rows]);
        matmul(isa, w, rows, cols, &x, tokens, &mut out);
        matmul(isa, DenseSlice::F32(&wide), rows, cols, &x, tokens, &mut expected);
        assert_eq!(bits(&out), bits(&expected), "{isa} {format:?} {rows} x {cols} x {tokens}");
        let (w, x) = (&wide[(rows - 1) * cols..], &x[..cols]);
        assert_eq!(out[rows - 1].to_bits(), reference(w, x).to_bits());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn blocks_equal_their_values(rows in 1..30usize, blocks in 1..6usize, tokens in 1..6usize, seed: u64) {
        for format in BlockFormat::ALL {
            check_blocks(format, rows, blocks * format.block(), tokens, seed);
        }
    }

    #[test]
    fn equals_the_rule(rows in 1..30usize, cols in 1..150usize, tokens in 1..9usize, seed: u64) {
        check(rows, cols, tokens, seed);
    }
}

#[test]
fn panels_blocks_and_tails() {
    check(13, 1030, 3, 1);
    check(25, 48, 131, 2);
    check(70, 16, 2, 3);
    check(1, 1, 64, 4);
}

#[test]
fn panels_and_tasks_of_blocks() {
    for tokens in [1, 3] {
        check_blocks(BlockFormat::Q8_0, 70, 32 * 35, tokens, 1);
        check_blocks(BlockFormat::Q6K, 131, 256 * 5, tokens, 2);
    }
}

#[test]
fn rows_of_weights() {
    let cols = 256;
    let w = Random::new(4).floats(6 * cols, 1.0);
    let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
    let blocks = BlockFormat::ALL.map(|format| {
        let mut bytes = vec![0; 6 * format.row_bytes(cols).unwrap()];
        format.quantize(&w, &mut bytes);
        (format, bytes)
    });
    let blocks = blocks.iter().map(|(format, bytes)| Weights::Blocks { format: *format, bytes });
    for weights in blocks.chain([DenseSlice::F32(&w).into(), DenseSlice::F16(&halves).into()]) {
        assert_eq!((weights.len(), weights.is_empty()), (6 * cols, false));
        let mut all = vec![0.0; 6 * cols];
        weights.to_f32(&mut all);
        let mut some = vec![0.0; 2 * cols];
        weights.rows(3..5, cols).to_f32(&mut some);
        assert_eq!(some, all[3 * cols..5 * cols]);
        // Six bits: 64 steps from -1 to 1, and half a step of slack for the scale.
        assert!(all.iter().zip(&w).all(|(a, b)| (a - b).abs() < 1.0 / 32.0));
        assert!(weights.rows(6..6, cols).is_empty());
    }
}

#[test]
fn threads_change_nothing() {
    let (rows, cols, tokens) = (150, 520, 5);
    let mut random = Random::new(7);
    let (w, x) = (random.floats(rows * cols, 1.0), random.floats(tokens * cols, 1.0));
    let run = |threads, tokens| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = vec![0.0; tokens * rows];
        pool.install(|| {
            matmul(Isa::best(), DenseSlice::F32(&w), rows, cols, &x[..tokens * cols], tokens, &mut out);
        });
        out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(run(1, tokens), run(2, tokens));
    // Nor does the number of tokens: the first one alone is the first of many.
    assert_eq!(run(1, tokens)[..rows], run(2, 1));
}

#[test]
fn empty_shapes() {
    let mut out = [1.0; 6];
    matmul(Isa::best(), DenseSlice::F32(&[]), 3, 0, &[], 2, &mut out);
    assert_eq!(out, [0.0; 6]);
    matmul(Isa::best(), DenseSlice::F32(&[]), 0, 5, &[0.0; 5], 1, &mut []);
    matmul(Isa::best(), DenseSlice::F32(&[0.0; 5]), 1, 5, &[], 0, &mut []);
}

#[test]
fn bytes_become_weights_or_an_error() {
    let words = [0x3c00_3c00u32; 4]; // aligned storage: f16 ones
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    let slice = DenseSlice::from_bytes(DenseType::F16, bytes).unwrap();
    assert_eq!(slice.len(), 8);
    let mut wide = [0.0; 3];
    slice.range(2..5).to_f32(&mut wide);
    assert_eq!(wide, [1.0; 3]);
    let misaligned = DenseSlice::from_bytes(DenseType::F32, &bytes[2..6]).unwrap_err();
    assert_eq!(misaligned, DenseError::Misaligned { size: 4 });
    let ragged = DenseSlice::from_bytes(DenseType::Bf16, &bytes[..3]).unwrap_err();
    assert_eq!(ragged, DenseError::Ragged { len: 3, size: 2 });
    assert_eq!(
        ragged.to_string(),
        "3 bytes are no whole number of 2-byte weights\nhint: the tensor is cut short or its type is wrong"
    );
}
