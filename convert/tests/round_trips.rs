//! Every format to every format: codes stay, and scales as far as the target's place for them allows.

mod common;

use std::path::{Path, PathBuf};

use b158_checkpoint::{Checkpoint, LayerTensor, OpenOptions, TensorId, TensorType};
use b158_convert::{Error, Format, Options, Scheme};
use b158_kernels::{
    Isa,
    packing::hf,
    rope::RopePairs,
    ternary::{Layout, TernaryMatrix},
};
use common::{LLAMA, Shape, oracle, quietly, random_checkpoint};
use proptest::prelude::*;

/// How far a scale may move, relative to it: half a unit in the last place of the type that holds it.
fn bound(format: Format, options: &Options) -> f64 {
    match format {
        Format::F16 => 2f64.powi(-11),
        Format::Bf16 => 2f64.powi(-8),
        // A reciprocal of a reciprocal, each rounded to f32.
        Format::HuggingFace if options.linear_class.name() == "bitlinear" => 2f64.powi(-23),
        _ => 0.0,
    }
}

/// A format in one of its forms.
#[derive(Clone, Debug)]
struct Target {
    /// Ends in .gguf where that is the container.
    name: String,
    options: Options,
}

/// Every format; `hf` with both meanings of its scales, full precision in both containers; heads
/// in every plain type.
fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for (format, name, head) in [
        ("tq1_0", "tq1_0.gguf", None),
        ("tq2_0", "tq2_0.gguf", Some("f16")),
        ("q2_0", "q2_0.gguf", Some("bf16")),
        ("q1_0", "q1_0.gguf", None),
        ("i2_s", "i2_s.gguf", Some("f32")),
        ("i2_s-arm", "i2_s-arm.gguf", None),
        ("hf", "hf", None),
        ("hf", "hf-bitlinear", Some("bf16")),
        ("f16", "f16.gguf", None),
        ("bf16", "bf16", None),
        ("f32", "f32.gguf", None),
        ("f32", "f32", Some("f16")),
    ] {
        let mut options = Options::new(format.parse().unwrap(), Isa::best());
        options.head = head.map(|head| head.parse().unwrap());
        options.verify = true;
        if name == "hf-bitlinear" {
            options.linear_class = "bitlinear".parse().unwrap();
        }
        targets.push(Target { name: name.to_owned(), options });
    }
    assert_eq!(targets.len(), Format::ALL.len() + 2, "every format is there");
    targets
}

/// Codes of a linear layer in Hugging Face's order of rows and the scale, read without the converter.
fn codes(checkpoint: &Checkpoint, id: TensorId) -> (Vec<i8>, f32) {
    let tensor = checkpoint.tensor(id).unwrap();
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let mut codes = vec![0; rows * cols];
    let mut scale = checkpoint.scale(id).unwrap().unwrap_or(1.0);
    if let Some(format) = tensor.dtype.ternary() {
        let (matrix, d) =
            TernaryMatrix::from_packed(Layout::TwoBits, format, rows, cols, tensor.bytes()).unwrap();
        scale *= d;
        for (row, codes) in codes.chunks_exact_mut(cols).enumerate() {
            matrix.codes_row(row, codes);
        }
    } else if tensor.dtype == TensorType::HfPacked {
        hf::unpack(tensor.bytes(), cols, &mut codes).unwrap();
    } else {
        let mut weights = vec![0.0; rows * cols];
        tensor.weights().unwrap().to_f32(&mut weights);
        scale = weights.iter().fold(0.0, |max: f32, w| max.max(w.abs()));
        for (code, w) in codes.iter_mut().zip(weights) {
            assert!(w == 0.0 || w.abs() == scale);
            *code = if w == 0.0 { 0 } else { w.signum() as i8 };
        }
    }
    let config = checkpoint.config();
    let is_rotated = matches!(id, TensorId::Layer { kind: LayerTensor::AttnQ | LayerTensor::AttnK, .. });
    if is_rotated && config.rope_pairs == RopePairs::Interleaved {
        // Row i of a head's first half is the file's row 2i, of its second half row 2i + 1.
        let half = config.head_dim / 2;
        let source = |row: usize| {
            let (head, i) = (row / config.head_dim, row % config.head_dim);
            head * config.head_dim + i % half * 2 + i / half
        };
        codes = (0..rows).flat_map(|row| codes[source(row) * cols..][..cols].to_vec()).collect();
    }
    (codes, scale)
}

/// Converts `from` and proves it; `None` if its rows do not fit the format.
fn hop(from: &Path, to: &Path, options: &Options) -> Option<PathBuf> {
    let report = match quietly(from, to, options) {
        Err(Error::Shape { .. }) => return None,
        other => other.unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), options.format)),
    };
    let limit = bound(options.format, options);
    for tensor in &report.tensors {
        assert!(tensor.scale_change <= limit, "{} to {}: {tensor:?}", from.display(), options.format);
    }
    assert!(report.ternary_weights > 0 && report.verified.is_some());
    Some(to.to_owned())
}

/// Every ordered pair of formats, from a checkpoint that is made ternary by the scheme. Returns how many
/// pairs there were.
fn every_pair(source: &Path, scheme: Scheme) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut pairs = 0;
    let mut first_codes: Option<Vec<Vec<i8>>> = None;
    for mut first in targets() {
        if scheme != Scheme::Binary && first.options.format.name() == "q1_0" {
            continue;
        }
        first.options.scheme = Some(scheme);
        let path = folder.path().join(format!("first-{}", first.name));
        let Some(between) = hop(source, &path, &first.options) else { continue };
        for second in targets() {
            if scheme != Scheme::Binary && second.options.format.name() == "q1_0" {
                continue;
            }
            let path = folder.path().join(format!("{}-then-{}", first.name.replace('.', "_"), second.name));
            let Some(last) = hop(&between, &path, &second.options) else { continue };
            pairs += 1;
            // What is at the end of every chain, read without the converter.
            let last = Checkpoint::open(&last).unwrap();
            let linears = last.tensor_ids().into_iter().filter(|id| id.is_linear());
            let found: Vec<_> = linears.map(|id| codes(&last, id).0).collect();
            assert_eq!(&found, first_codes.get_or_insert_with(|| found.clone()), "{first:?} {second:?}");
        }
    }
    pairs
}

#[test]
fn every_checkpoint_of_the_reference() {
    let Some(oracle) = oracle() else { return };
    let mut names: Vec<PathBuf> =
        oracle.join("ckpt").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for source in names {
        let pairs = every_pair(&source, Scheme::Absmean);
        println!("{}: {pairs} pairs", source.file_name().unwrap().display());
        // hf in both meanings, f16, bf16 and f32 in both containers fit everything.
        assert!(pairs >= 36, "{pairs}");
    }
}

#[test]
fn binary_weights_fit_every_format() {
    let folder = tempfile::tempdir().unwrap();
    random_checkpoint(folder.path(), LLAMA, 1);
    assert_eq!(every_pair(folder.path(), Scheme::Binary), 12 * 12);
    // Ternary codes do not fit one bit.
    let mut options = Options::new("q1_0".parse().unwrap(), Isa::best());
    options.scheme = Some(Scheme::Absmean);
    let error = quietly(folder.path(), &folder.path().join("x.gguf"), &options).unwrap_err();
    assert!(matches!(error, Error::HasZeros { .. }), "{error}");
    assert!(!folder.path().join("x.gguf").exists());
}

/// Tensors of zeros, and scales too small for half precision.
#[test]
fn zeros_and_small_scales() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let shape = Shape { class: "BitnetForCausalLM", tied: false, ..LLAMA };
    random_checkpoint(&source, shape, 5);
    let file = source.join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let fill = |weights: &dyn Fn(usize) -> f32| {
        let mut bytes = bytes.clone();
        for name in ["self_attn.q_proj", "mlp.down_proj"] {
            let offsets = &json[&format!("model.layers.0.{name}.weight")]["data_offsets"];
            let range = header + offsets[0].as_u64().unwrap() as usize
                ..header + offsets[1].as_u64().unwrap() as usize;
            for (i, w) in bytes[range].as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *w = weights(i).to_le_bytes();
            }
        }
        std::fs::write(&file, bytes).unwrap();
        let pairs = every_pair(&source, Scheme::Absmean);
        assert_eq!(pairs, 11 * 11);
    };
    fill(&|_| 0.0);
    // Exact in f16 and bf16: a power of two below the smallest normal f16.
    let small = 2f32.powi(-18);
    fill(&|i| small * (i % 3) as f32 - small);
}

/// The scale in every block, as readers without scale tensors need it.
#[test]
fn scales_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    random_checkpoint(folder.path(), LLAMA, 9);
    for format in ["tq1_0", "tq2_0", "q2_0"] {
        let mut options = Options::new(format.parse().unwrap(), Isa::best());
        (options.scales, options.verify) = ("blocks".parse().unwrap(), true);
        let file = folder.path().join(format!("{format}.gguf"));
        let report = quietly(folder.path(), &file, &options).unwrap();
        // Half a unit in the last place of an f16.
        assert!(report.largest_scale_change > 0.0 && report.largest_scale_change <= 2f64.powi(-11));
        let written = Checkpoint::open(&file).unwrap();
        let ids = written.tensor_ids().into_iter().filter(|id| id.is_linear());
        for (id, tensor) in ids.zip(&report.tensors) {
            assert_eq!(written.scale(id).unwrap(), None);
            assert_eq!(codes(&written, id).1, half::f16::from_f32(tensor.scale).to_f32());
        }
        hop(&file, &folder.path().join(format!("{format}-hf")), &targets()[6].options).unwrap();
    }
}

/// A scale below zero, which no writer of ours makes.
#[test]
fn a_negative_scale_turns_the_codes_round() {
    let folder = tempfile::tempdir().unwrap();
    random_checkpoint(folder.path(), LLAMA, 11);
    let file = folder.path().join("a.gguf");
    let to = |name: &str| targets().into_iter().find(|t| t.name == name).unwrap().options;
    let report = quietly(folder.path(), &file, &to("tq2_0.gguf")).unwrap();
    let id = TensorId::Layer { index: 0, kind: LayerTensor::FfnDown };
    let scale = report.tensors.iter().find(|t| t.name.contains("ffn_down")).unwrap().scale;
    let (before, _) = codes(&Checkpoint::open(&file).unwrap(), id);
    let mut bytes = std::fs::read(&file).unwrap();
    let at: Vec<usize> =
        (0..bytes.len() - 4).step_by(4).filter(|&i| bytes[i..i + 4] == scale.to_le_bytes()).collect();
    assert_eq!(at.len(), 1, "the scale is in the file once");
    bytes[at[0]..at[0] + 4].copy_from_slice(&(-scale).to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    for name in ["i2_s.gguf", "hf", "f32.gguf"] {
        let out = hop(&file, &folder.path().join(format!("out-{name}")), &to(name)).unwrap();
        let (after, found) = codes(&Checkpoint::open(&out).unwrap(), id);
        assert_eq!(found, scale);
        assert!(before.iter().zip(&after).all(|(a, b)| *a == -b), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn any_shape(
        class in prop::sample::select(vec!["LlamaForCausalLM", "BitnetForCausalLM"]),
        (heads, kv_heads) in prop::sample::select(vec![(1, 1), (2, 1), (4, 2), (6, 3)]),
        width in 1usize..24,
        intermediate in 1usize..300,
        layers in 1usize..3,
        tied: bool,
        median: bool,
        seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (hidden, intermediate) = (heads * 2 * width, 4 * intermediate);
        let shape = Shape { class, hidden, intermediate, layers, heads, kv_heads, tied };
        random_checkpoint(folder.path(), shape, seed);
        every_pair(folder.path(), if median { Scheme::Absmedian } else { Scheme::Absmean });
    }
}

/// Files of bitnet.cpp do not say in which order their codes are.
#[test]
fn the_order_of_foreign_i2_s_files() {
    let folder = tempfile::tempdir().unwrap();
    random_checkpoint(folder.path(), LLAMA, 13);
    let options = |format: &str| Options::new(format.parse().unwrap(), Isa::best());
    let (ours, foreign) = (folder.path().join("ours.gguf"), folder.path().join("foreign.gguf"));
    quietly(folder.path(), &ours, &options("i2_s-arm")).unwrap();
    let mut bytes = std::fs::read(&ours).unwrap();
    let key = b"b158.i2_s.interleave";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at] = b'c';
    std::fs::write(&foreign, bytes).unwrap();

    let id = TensorId::Layer { index: 0, kind: LayerTensor::FfnDown };
    let expected = codes(&Checkpoint::open(&ours).unwrap(), id).0;
    let by_default = Checkpoint::open(&foreign).unwrap();
    assert!(by_default.notes()[0].contains("in the order of x86"), "{:?}", by_default.notes());
    assert_ne!(codes(&by_default, id).0, expected);
    let told = OpenOptions { i2_s: b158_convert::interleave("arm").unwrap(), ..OpenOptions::default() };
    let told = Checkpoint::open_with(&foreign, &told).unwrap();
    assert_eq!(codes(&told, id).0, expected);
    let out = folder.path().join("out.gguf");
    let report = b158_convert::convert(&told, &out, &options("tq2_0"), &|_, _| ()).unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("I2_S")), "{:?}", report.warnings);
    assert_eq!(codes(&Checkpoint::open(&out).unwrap(), id).0, expected);
}

/// Heads in blocks, on the way to every format: `verify` compares their values, this the types.
#[test]
fn heads_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    random_checkpoint(folder.path(), LLAMA, 15);
    for (head, dtype) in [("q8_0", TensorType::Q8_0), ("q6_k", TensorType::Q6K)] {
        for target in targets().into_iter().filter(|t| t.name.contains(".gguf")) {
            let mut options = target.options;
            options.head = Some(head.parse().unwrap());
            if target.name == "q1_0.gguf" {
                options.scheme = Some(Scheme::Binary);
            }
            options.scheme = options.scheme.or(Some(Scheme::Absmean));
            let file =
                hop(folder.path(), &folder.path().join(format!("{head}-{}", target.name)), &options).unwrap();
            let written = Checkpoint::open(&file).unwrap();
            assert_eq!(written.tensor(TensorId::TokenEmbedding).unwrap().dtype, dtype);
            // They stay as they are where they can, and become f16 where transformers has no such blocks.
            let mut on = Options::new("hf".parse().unwrap(), Isa::best());
            on.verify = true;
            let hf = hop(&file, &folder.path().join(format!("{head}-{}-hf", target.name)), &on).unwrap();
            let head_dtype = Checkpoint::open(&hf).unwrap().tensor(TensorId::TokenEmbedding).unwrap().dtype;
            assert_eq!(head_dtype, TensorType::F16);
        }
    }
}
