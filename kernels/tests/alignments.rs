//! Every operation on slices that start anywhere: results do not depend on where memory lies.

use b158_kernels::{
    Isa, activation, attention,
    dense::{DenseSlice, Weights, matmul},
    kv::{KvPage, KvType},
    norm,
    packing::BlockFormat,
    quantize::Int8Rows,
    ternary::{Layout, TernaryMatrix},
};
use half::{bf16, f16};

/// Elements by which slices are shifted: more than a vector of sixteen lanes, and odd ones.
const SHIFTS: usize = 17;

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0).collect()
}

/// A copy that starts `shift` elements after the start of an allocation.
struct Shifted<T> {
    all: Vec<T>,
    shift: usize,
}

impl<T: Copy> Shifted<T> {
    fn new(shift: usize, x: &[T]) -> Self {
        let mut all = vec![x[0]; shift];
        all.extend_from_slice(x);
        Self { all, shift }
    }

    fn get(&mut self) -> &mut [T] {
        &mut self.all[self.shift..]
    }
}

/// `f(shift)` gives the same bits for every shift and instruction set.
fn check(what: &str, f: impl Fn(Isa, usize) -> Vec<f32>) {
    let bits = |isa, shift| f(isa, shift).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let expected = bits(Isa::SCALAR, 0);
    for isa in Isa::available() {
        for shift in 0..SHIFTS {
            assert_eq!(bits(isa, shift), expected, "{what}: {isa}, shifted by {shift}");
        }
    }
}

#[test]
fn ternary() {
    let (rows, cols, tokens) = (70, 203, 11);
    let codes: Vec<i8> = (0..rows * cols).map(|i| (i * i % 3) as i8 - 1).collect();
    let x = numbers(tokens * cols);
    for layout in Layout::ALL {
        for tokens in [1, tokens] {
            // The product packs codes and activations into lines and chunks of its own; what is shifted is what
            // they are made from, and the output.
            check("ternary", |isa, shift| {
                let mut int8 = Int8Rows::new();
                int8.quantize(isa, Shifted::new(shift, &x[..tokens * cols]).get(), cols).unwrap();
                let matrix = TernaryMatrix::from_codes(layout, rows, cols, Shifted::new(shift, &codes).get());
                let mut out = Shifted::new(shift, &vec![f32::NAN; tokens * rows]);
                matrix.matmul(isa, 0.3, &int8, out.get());
                out.get().to_vec()
            });
        }
    }
}

#[test]
fn dense() {
    let (rows, cols, tokens) = (13, 291, 3);
    let w = numbers(rows * cols);
    let x = numbers(tokens * cols);
    let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
    let brains: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
    for tokens in [1, tokens] {
        let product = |isa, w: DenseSlice, shift| {
            let mut out = Shifted::new(shift, &vec![f32::NAN; tokens * rows]);
            let mut x = Shifted::new(shift, &x[..tokens * cols]);
            matmul(isa, w, rows, cols, x.get(), tokens, out.get());
            out.get().to_vec()
        };
        check("f32", |isa, shift| product(isa, DenseSlice::F32(Shifted::new(shift, &w).get()), shift));
        check("f16", |isa, shift| product(isa, DenseSlice::F16(Shifted::new(shift, &halves).get()), shift));
        check("bf16", |isa, shift| product(isa, DenseSlice::Bf16(Shifted::new(shift, &brains).get()), shift));
    }
}

#[test]
fn blocks() {
    let (rows, cols) = (9, 512);
    let w = numbers(rows * cols);
    let x = numbers(2 * cols);
    for format in BlockFormat::ALL {
        let mut bytes = vec![0; rows * format.row_bytes(cols).unwrap()];
        format.quantize(&w, &mut bytes);
        for tokens in [1, 2] {
            check("blocks", |isa, shift| {
                let mut bytes = Shifted::new(shift, &bytes);
                let mut out = vec![0.0; tokens * rows];
                let w = Weights::Blocks { format, bytes: bytes.get() };
                matmul(isa, w, rows, cols, &x[..tokens * cols], tokens, &mut out);
                out
            });
        }
    }
}

#[test]
fn float_operations() {
    let x = numbers(3 * 77);
    check("rms_norm", |isa, shift| {
        let mut out = Shifted::new(shift, &[0.0; 3 * 77]);
        norm::rms_norm(isa, Shifted::new(shift, &x).get(), &x[..77], 1e-5, out.get());
        out.get().to_vec()
    });
    check("silu_mul", |isa, shift| {
        let mut out = Shifted::new(shift, &[0.0; 3 * 77]);
        activation::silu_mul(isa, Shifted::new(shift, &x).get(), &x, out.get());
        out.get().to_vec()
    });
    check("attention", |isa, shift| {
        let mut pages = [KvPage::new(KvType::F32, 1, 21)];
        for (slot, row) in x.chunks_exact(21).enumerate() {
            pages[0].store(slot, Shifted::new(shift, row).get(), Shifted::new(shift, row).get());
        }
        let (mut q, mut out) = (Shifted::new(shift, &x[..42]), Shifted::new(shift, &[0.0; 42]));
        attention::attend(isa, &pages, 9, 1, q.get(), out.get());
        out.get().to_vec()
    });
}
