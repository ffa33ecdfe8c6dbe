//! A ternary model that others trained, out of its own format into all of ours: the same digest wherever
//! scales are kept exactly, and the log-likelihood that its own program gives.
//!
//! The model is bitllama2.c's (3 million weights, trained on TinyStories). Its file:
//!
//! ```text
//! 0     "24ka", version 1, then 7 numbers u32: width, feed-forward, layers, heads, kv heads, vocabulary, context
//! 256   output norm [width] f32, embedding [vocabulary, width] f32
//! ...   wq of every layer, then wk, wv, wo, w1 (gate), w2 (down), w3 (up), each: scale f32, codes, four a
//!       byte, highest bits first: 00 is 0, 01 is +1, 11 is -1
//! ```
//!
//! Its norms inside the blocks have no weights and divide by the width once more, which is a weight of
//! 1 / width; rows of wq and wk pair neighbours.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use b158_checkpoint::{
    Checkpoint, TensorInfo, TensorType,
    safetensors::{SafetensorsPlan, SafetensorsWriter},
};
use b158_convert::{Options, convert};
use b158_kernels::Isa;
use b158_runner::{LoadOptions, Model, score};
use common::b158;
use serde_json::{Value, json};

/// The folder with real models, or `None` (and a message) where it is absent.
fn models() -> Option<PathBuf> {
    let path = common::oracle()?.join("../data/models");
    if path.join("bitllama2c/bit_model_3M.bin").is_file() {
        return Some(path);
    }
    eprintln!("skipped: no real models beside the reference outputs");
    None
}

/// Reads numbers and codes one after the other.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take(&mut self, bytes: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        self.take(4 * count).as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    /// A scale and codes, as the weights that they stand for.
    fn ternary(&mut self, count: usize) -> Vec<f32> {
        let scale = self.floats(1)[0];
        let codes = self.take(count / 4).iter().flat_map(|byte| [6, 4, 2, 0].map(|shift| byte >> shift & 3));
        codes.map(|code| [0.0, scale, f32::NAN, -scale][code as usize]).collect()
    }
}

/// Rows that pair neighbours within a head, as Hugging Face pairs them: half a head apart.
fn half_split(rows: &[f32], cols: usize, head_dim: usize) -> Vec<f32> {
    let order = |row: usize| {
        let (head, i) = (row / head_dim, row % head_dim);
        head * head_dim + i % (head_dim / 2) * 2 + i / (head_dim / 2)
    };
    (0..rows.len() / cols).flat_map(|row| &rows[order(row) * cols..][..cols]).copied().collect()
}

/// Writes the model as a Hugging Face folder of 1bitLLM's layout with F32 weights.
fn to_hugging_face(models: &Path, folder: &Path) {
    let bytes = fs::read(models.join("bitllama2c/bit_model_3M.bin")).unwrap();
    let size = |i: usize| u32::from_le_bytes(bytes[8 + 4 * i..][..4].try_into().unwrap()) as usize;
    let [width, ffn, layers, heads, kv_heads, vocab, context] = [0, 1, 2, 3, 4, 5, 6].map(size);
    assert_eq!(&bytes[..8], b"24ka\x01\0\0\0");
    let config = json!({
        "architectures": ["BitnetForCausalLM"], "hidden_size": width, "intermediate_size": ffn,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "vocab_size": vocab, "max_position_embeddings": context, "rms_norm_eps": 1e-12, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::copy(models.join("bitllama2c/tokenizer.model"), folder.join("tokenizer.model")).unwrap();

    let mut reader = Reader(&bytes[256..]);
    let mut tensors = vec![
        ("model.norm.weight".to_owned(), vec![width], reader.floats(width)),
        ("model.embed_tokens.weight".to_owned(), vec![vocab, width], reader.floats(vocab * width)),
    ];
    let head_dim = width / heads;
    for (name, rows, cols) in [
        ("self_attn.q_proj", width, width),
        ("self_attn.k_proj", kv_heads * head_dim, width),
        ("self_attn.v_proj", kv_heads * head_dim, width),
        ("self_attn.o_proj", width, width),
        ("mlp.gate_proj", ffn, width),
        ("mlp.down_proj", width, ffn),
        ("mlp.up_proj", ffn, width),
    ] {
        for layer in 0..layers {
            let mut weights = reader.ternary(rows * cols);
            if matches!(name, "self_attn.q_proj" | "self_attn.k_proj") {
                weights = half_split(&weights, cols, head_dim);
            }
            tensors.push((format!("model.layers.{layer}.{name}.weight"), vec![rows, cols], weights));
        }
    }
    assert!(reader.0.is_empty());
    for layer in 0..layers {
        for (name, size) in [
            ("input_layernorm", width),
            ("self_attn.inner_attn_ln", width),
            ("post_attention_layernorm", width),
            ("mlp.ffn_layernorm", ffn),
        ] {
            let weights = vec![1.0 / width as f32; size];
            tensors.push((format!("model.layers.{layer}.{name}.weight"), vec![size], weights));
        }
    }

    let infos = tensors.iter().map(|(name, shape, _)| {
        let (name, shape) = (name.clone(), shape.clone());
        TensorInfo { name, dtype: TensorType::F32, shape }
    });
    let plan = SafetensorsPlan::new(infos.collect(), None).unwrap();
    let mut writer = SafetensorsWriter::new(&plan, |name: &str| fs::File::create(folder.join(name))).unwrap();
    for (name, _, weights) in &tensors {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        writer.write_tensor(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// The mean negative log-likelihood of the first 256 tokens of every story, in nats, and their number.
fn mean_nll(model: &Path, stories: &[String]) -> (f64, u64) {
    let checkpoint = Checkpoint::open(model).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for story in stories {
        let mut ids = tokenizer.encode(story, true).unwrap();
        ids.truncate(256);
        let score = score(&model, &ids[..1], &ids[1..]).unwrap();
        sum -= score.sum();
        count += score.logprobs.len() as u64;
    }
    (sum / count as f64, count)
}

/// The digest of an evaluation on the stories: every log-likelihood's bits.
fn digest(model: &Path, data: &Path, out: &Path) -> String {
    let argument = format!("m={}", model.display());
    b158()
        .args(["eval", "--model", &argument, "--tasks", "wikitext", "--data"])
        .arg(data)
        .arg("-o")
        .arg(out)
        .assert()
        .success();
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    results["digest"]["m"].as_str().unwrap().to_owned()
}

#[test]
fn every_format_gives_the_results_of_the_models_own_program() {
    let Some(models) = models() else { return };
    let read = |name: &str| fs::read_to_string(models.join("derived").join(name)).unwrap();
    let stories: Vec<String> = serde_json::from_str(&read("golden-20-stories.json")).unwrap();
    let reference: Value = serde_json::from_str(&read("golden-reference.json")).unwrap();
    let reference = &reference["bitllama2c-3M"];
    let expected = reference["mean_nll_nats"].as_f64().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    to_hugging_face(&models, &source);
    let pages: String = stories.iter().map(|story| json!({ "page": story }).to_string() + "\n").collect();
    fs::write(folder.path().join("wikitext.jsonl"), pages).unwrap();

    let mut digests = Vec::new();
    for format in ["tq1_0", "tq2_0", "q2_0", "i2_s", "i2_s-arm", "hf", "f32", "f16", "bf16"] {
        let name = if format == "hf" { "m-hf".to_owned() } else { format!("m-{format}.gguf") };
        let output = folder.path().join(name);
        let options = Options::new(format.parse().unwrap(), Isa::best());
        let report = convert(&Checkpoint::open(&source).unwrap(), &output, &options, &|_, _| ()).unwrap();
        assert!(report.tensors.iter().all(|t| !t.ternarized), "the codes are there already");
        let (nll, count) = mean_nll(&output, &stories);
        println!("{format}: {nll:.6} nats, {count} tokens");
        assert_eq!(count, reference["tokens_scored"].as_u64().unwrap());
        // The recorded number comes from products in f32, in which single int8 activations fall on the other
        // side of a rounding boundary: some 1e-4. bf16 rounds scales by up to 0.4 %.
        let tolerance = if format == "bf16" { 5e-3 } else { 1e-3 };
        assert!((nll - expected).abs() < tolerance, "{format}: {nll}, not {expected}");
        if report.largest_scale_change == 0.0 && format != "f32" {
            digests.push((format, digest(&output, folder.path(), &folder.path().join("results"))));
        }
    }
    let formats: Vec<_> = digests.iter().map(|(format, _)| *format).collect();
    assert_eq!(formats, ["tq1_0", "tq2_0", "q2_0", "i2_s", "i2_s-arm", "hf"]);
    let source = digest(&source, folder.path(), &folder.path().join("results"));
    for (format, digest) in &digests {
        assert_eq!(digest, &source, "{format}");
    }
}
