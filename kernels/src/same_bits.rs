//! One digest over every operation, the same for every instruction set on every machine.
//!
//! The expected digests are constants, so the same test run on another machine, or in an emulator
//! without AVX2, proves that its results have the same bits.

use half::{bf16, f16};

use crate::{
    Isa, activation, attention,
    dense::{DenseSlice, Weights, matmul},
    kv::{KvPage, KvType},
    norm,
    packing::BlockFormat,
    quantize::Int8Rows,
    rope::{RopePairs, RopeTable, inverse_frequencies},
    softmax, ternarize,
    ternary::{Layout, TernaryMatrix},
    testing::{Random, fnv1a},
};

fn digest(words: impl IntoIterator<Item = u64>) -> u64 {
    fnv1a(words.into_iter().flat_map(u64::to_le_bytes))
}

fn digest_of_floats(x: &[f32]) -> u64 {
    digest(x.iter().map(|x| u64::from(x.to_bits())))
}

/// Dense products of all types, one token and several, and of several panels.
fn dense(isa: Isa, random: &mut Random) -> u64 {
    let (rows, cols, tokens) = (29, 1111, 6);
    let w = random.floats(rows * cols, 0.1);
    let x = random.floats(tokens * cols, 3.0);
    let halves: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
    let brains: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
    let mut all = Vec::new();
    for w in [DenseSlice::F32(&w), DenseSlice::F16(&halves), DenseSlice::Bf16(&brains)] {
        for tokens in [1, tokens] {
            let mut out = vec![0.0; tokens * rows];
            matmul(isa, w, rows, cols, &x[..tokens * cols], tokens, &mut out);
            all.extend(out);
        }
    }
    digest_of_floats(&all)
}

/// Weights in blocks, one token and several: quantization, dequantization and product.
fn dense_blocks(isa: Isa, random: &mut Random) -> u64 {
    let (rows, cols, tokens) = (29, 5 * 256, 6);
    let w = random.floats(rows * cols, 0.1);
    let x = random.floats(tokens * cols, 3.0);
    let mut all = Vec::new();
    for format in BlockFormat::ALL {
        let mut bytes = vec![0; rows * format.row_bytes(cols).unwrap()];
        format.quantize(&w, &mut bytes);
        for tokens in [1, tokens] {
            let mut out = vec![0.0; tokens * rows];
            let w = Weights::Blocks { format, bytes: &bytes };
            matmul(isa, w, rows, cols, &x[..tokens * cols], tokens, &mut out);
            all.extend(out);
        }
    }
    digest_of_floats(&all)
}

/// Ternarization, quantization and the ternary product, for one token and for tables.
fn ternary(isa: Isa, random: &mut Random) -> u64 {
    let (rows, cols, tokens) = (150, 333, 70);
    let w: Vec<f16> = random.floats(rows * cols, 0.04).iter().map(|&w| f16::from_f32(w)).collect();
    let mean = ternarize::absmean(isa, DenseSlice::F16(&w)).unwrap();
    let mut codes = vec![0; w.len()];
    ternarize::ternarize(isa, DenseSlice::F16(&w), mean, &mut codes);
    let mut x = Int8Rows::new();
    x.quantize(isa, &random.floats(tokens * cols, 5.0), cols).unwrap();
    let mut all = Vec::new();
    for layout in Layout::ALL {
        let matrix = TernaryMatrix::from_codes(layout, rows, cols, &codes);
        let mut out = vec![0.0; tokens * rows];
        matrix.matmul(isa, mean, &x, &mut out);
        all.extend(out);
    }
    digest_of_floats(&all)
}

/// The other schemes, and the loss of one.
fn schemes(isa: Isa, random: &mut Random) -> u64 {
    let w: Vec<f16> = random.floats(45 * 333, 0.04).iter().map(|&w| f16::from_f32(w)).collect();
    let w = DenseSlice::F16(&w);
    let mut codes = vec![0; w.len()];
    let beta = ternarize::binary(isa, w, &mut codes).unwrap();
    let median = ternarize::absmedian(isa, w).unwrap();
    let fit = ternarize::fit(isa, w, median);
    let words = [u64::from(beta.to_bits()), u64::from(median.to_bits()), fit.relative_error.to_bits()];
    digest(words.into_iter().chain(fit.counts).chain(codes.into_iter().map(|code| code as u64)))
}

fn rms_norm(isa: Isa, random: &mut Random) -> u64 {
    let (x, weight) = (random.floats(3 * 203, 20.0), random.floats(203, 2.0));
    let mut out = vec![0.0; x.len()];
    norm::rms_norm(isa, &x, &weight, 1e-5, &mut out);
    digest_of_floats(&out)
}

fn probabilities(isa: Isa, random: &mut Random) -> u64 {
    let mut x = random.floats(1003, 40.0);
    let logs = [softmax::log_sum_exp(isa, &x), softmax::log_probability(isa, &x, 17)];
    softmax::softmax(isa, &mut x);
    digest(logs.map(f64::to_bits).into_iter().chain([digest_of_floats(&x)]))
}

fn activations(isa: Isa, random: &mut Random) -> u64 {
    let (gate, up) = (random.floats(501, 30.0), random.floats(501, 2.0));
    let mut out = vec![0.0; 2 * 501];
    let (silu, relu2) = out.split_at_mut(501);
    activation::silu_mul(isa, &gate, &up, silu);
    activation::relu2_mul(isa, &gate, &up, relu2);
    digest_of_floats(&out)
}

fn rope(isa: Isa, random: &mut Random) -> u64 {
    let table = RopeTable::new(&inverse_frequencies(100, 500_000.0), 4000);
    let mut x = random.floats(3 * 100, 4.0);
    table.apply(isa, 3999, &mut x, RopePairs::HalfSplit);
    table.apply(isa, 123, &mut x, RopePairs::Interleaved);
    digest_of_floats(&x)
}

/// Every type of the cache, more queries than a tile, more positions than a page.
fn attend(isa: Isa, random: &mut Random) -> u64 {
    let (head_dim, positions, queries) = (100, 77, 5);
    let q = random.floats(queries * head_dim, 3.0);
    let rows: Vec<[Vec<f32>; 2]> =
        (0..positions).map(|_| [random.floats(head_dim, 2.0), random.floats(head_dim, 1.0)]).collect();
    let mut all = Vec::new();
    for kind in KvType::ALL {
        let mut pages = Vec::new();
        for (i, [key, value]) in rows.iter().enumerate() {
            if i % KvPage::POSITIONS == 0 {
                pages.push(KvPage::new(kind, 1, head_dim));
            }
            pages.last_mut().expect("a page").store(i % KvPage::POSITIONS, key, value);
        }
        let mut out = vec![0.0; queries * head_dim];
        attention::attend(isa, &pages, positions - queries, 1, &q, &mut out);
        all.extend(out);
    }
    digest_of_floats(&all)
}

type Operation = fn(Isa, &mut Random) -> u64;

const EXPECTED: [(&str, Operation, u64); 9] = [
    ("dense", dense, 0x0639_e68f_a455_8f34),
    ("dense blocks", dense_blocks, 0x9ffa_1d09_6dad_5de5),
    ("ternary", ternary, 0x6fdb_f49a_df09_a179),
    ("schemes", schemes, 0x8fa8_c73b_0489_d00d),
    ("rms_norm", rms_norm, 0x4a94_5a16_b291_8a6a),
    ("probabilities", probabilities, 0x18ec_b910_92f0_79a5),
    ("activations", activations, 0xc5d2_4785_4a22_9318),
    ("rope", rope, 0x0199_5df0_5399_d5ff),
    ("attention", attend, 0x2909_9af9_6051_26ee),
];

#[test]
fn digests_are_the_same_everywhere() {
    let mut wrong = Vec::new();
    for isa in Isa::available() {
        for (name, operation, expected) in EXPECTED {
            let found = operation(isa, &mut Random::new(158));
            println!("{isa:8} {name:14} {found:#018x}");
            if found != expected {
                wrong.push((isa.name(), name));
            }
        }
    }
    assert!(wrong.is_empty(), "these digests differ from the constants: {wrong:?}");
}
