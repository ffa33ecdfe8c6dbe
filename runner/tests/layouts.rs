//! Layouts that no recorded reference covers, against the formulas in f64: norms inside the linear layers
//! (BitLinear of the paper's training tips), with and without norms of the blocks, and scaled rotary
//! embeddings; from a Hugging Face folder and from a GGUF file with the same bits.
//!
//! ```text
//! y = codes(W) . int8(norm(x)) * scale(W) * scale(x)      norm: RMSNorm with the layer's own weights
//! ```

use std::path::Path;

use b158_checkpoint::{
    Activation, Architecture, Checkpoint, LayerTensor, ModelConfig, OutputFolder, RopeScaling, TensorId,
    TensorInfo, TensorType,
    gguf::{GgufDataWriter, GgufPlan, ROPE_FREQS, metadata},
    safetensors::{SafetensorsPlan, SafetensorsWriter},
};
use b158_kernels::rope::RopePairs;
use b158_runner::{LoadOptions, Model, Session};

const TOKENS: [u32; 14] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7];

fn config(block_norms: bool, rope_scaling: RopeScaling) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        hidden_size: 48,
        intermediate_size: 80,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        vocab_size: 10,
        context_length: 32,
        norm_eps: 1e-5,
        rope_theta: 100.0,
        rope_scaling,
        rope_pairs: RopePairs::HalfSplit,
        activation: Activation::Silu,
        tied_embeddings: false,
        block_norms,
        sub_norms: false,
        linear_norm_eps: Some(1e-6),
        ternary_linears: true,
        bos_token: None,
        eos_tokens: Vec::new(),
    }
}

/// Fast, slow and medium frequencies, for the base and the head above.
const LLAMA3: RopeScaling =
    RopeScaling::Llama3 { factor: 4.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };

/// Weights of a model: the same for the file and for the reference.
struct Weights {
    config: ModelConfig,
    tensors: Vec<(TensorId, Vec<f32>)>,
}

impl Weights {
    fn random(config: ModelConfig) -> Self {
        let mut state = 1u64;
        let mut uniform = || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
        };
        let tensor = |id: TensorId| {
            let shape = id.shape(&config);
            let center = if shape.len() == 1 { 1.0 } else { 0.0 };
            (id, (0..shape.iter().product()).map(|_| center + uniform() - 0.5).collect())
        };
        let tensors = TensorId::all(&config).map(tensor).collect();
        Self { config, tensors }
    }

    fn infos(&self, name: impl Fn(TensorId) -> String) -> Vec<TensorInfo> {
        let info = |(id, _): &(TensorId, _)| TensorInfo {
            name: name(*id),
            dtype: TensorType::F32,
            shape: id.shape(&self.config),
        };
        self.tensors.iter().map(info).collect()
    }

    fn write_folder(&self, path: &Path) {
        let name = |id: TensorId| id.hugging_face_name(self.config.architecture);
        let plan = SafetensorsPlan::new(self.infos(name), Some(20_000)).unwrap();
        let folder = OutputFolder::create(path).unwrap();
        let mut writer =
            SafetensorsWriter::new(&plan, |file| folder.file(file).map_err(|e| e.source)).unwrap();
        for (id, values) in &self.tensors {
            writer.write_tensor(&name(*id), &bytes(values)).unwrap();
        }
        writer.finish().unwrap();
        folder.write("config.json", self.config.to_json(TensorType::F32, None).as_bytes()).unwrap();
        folder.commit().unwrap();
    }

    fn write_gguf(&self, path: &Path) {
        let description = metadata::Description {
            name: "layouts",
            linears: TensorType::F32,
            tokenizer: Vec::new(),
            provenance: Vec::new(),
        };
        let factors = self.config.rope_factors();
        let mut infos = self.infos(TensorId::gguf_name);
        if let Some(factors) = &factors {
            let shape = vec![factors.len()];
            infos.push(TensorInfo { name: ROPE_FREQS.into(), dtype: TensorType::F32, shape });
        }
        let plan = GgufPlan::new(&metadata::to_gguf(&self.config, description), infos).unwrap();
        let mut file = std::fs::File::create(path).unwrap();
        plan.write_header(&mut file).unwrap();
        let mut writer = GgufDataWriter::new(&plan, file);
        assert_eq!(metadata::rope_pairs(&self.config), self.config.rope_pairs, "no row moves");
        for (id, values) in &self.tensors {
            writer.write_tensor(&id.gguf_name(), &bytes(values)).unwrap();
        }
        if let Some(factors) = &factors {
            writer.write_tensor(ROPE_FREQS, &bytes(factors)).unwrap();
        }
        writer.finish().unwrap();
    }

    fn get(&self, id: TensorId) -> Vec<f64> {
        let (_, values) = self.tensors.iter().find(|(other, _)| *other == id).unwrap();
        values.iter().map(|&w| f64::from(w)).collect()
    }

    fn layer(&self, index: usize, kind: LayerTensor) -> Vec<f64> {
        self.get(TensorId::Layer { index, kind })
    }

    /// RMSNorm with that tensor's weights; `x` itself where the layout has no such norm.
    fn norm(&self, x: &[f64], index: usize, kind: LayerTensor) -> Vec<f64> {
        let id = TensorId::Layer { index, kind };
        let eps = if kind == LayerTensor::AttnNorm || kind == LayerTensor::FfnNorm {
            self.config.norm_eps
        } else {
            self.config.linear_norm_eps.unwrap()
        };
        if TensorId::all(&self.config).any(|other| other == id) {
            rms_norm(x, &self.get(id), eps)
        } else {
            x.to_vec()
        }
    }

    fn bit_linear(&self, x: &[f64], index: usize, kind: LayerTensor) -> Vec<f64> {
        let x = self.norm(x, index, kind.input_norm().unwrap());
        let largest = x.iter().fold(1e-5f64, |m, x| m.max(x.abs()));
        let x: Vec<f64> = x.iter().map(|x| (x * 127.0 / largest).round_ties_even()).collect();
        let w = self.layer(index, kind);
        let mean = (w.iter().map(|w| w.abs()).sum::<f64>() / w.len() as f64).max(1e-5);
        let code = |w: &f64| (w / mean).round_ties_even().clamp(-1.0, 1.0);
        let row = |w: &[f64]| w.iter().map(code).zip(&x).map(|(w, x)| w * x).sum::<f64>();
        w.chunks_exact(x.len()).map(|w| row(w) * mean * largest / 127.0).collect()
    }

    fn frequencies(&self) -> Vec<f64> {
        let c = &self.config;
        let plain = (0..c.head_dim / 2).map(|i| c.rope_theta.powf(-2.0 * i as f64 / c.head_dim as f64));
        let scale = |f: f64| match c.rope_scaling {
            RopeScaling::None => f,
            RopeScaling::Linear { factor } => f / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context,
            } => {
                let turns = original_context as f64 * f / std::f64::consts::TAU;
                let s = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - s) * f / factor + s * f
            }
        };
        plain.map(scale).collect()
    }

    fn rotate(&self, x: &mut [f64], position: usize) {
        let half = self.config.head_dim / 2;
        for head in x.chunks_exact_mut(2 * half) {
            for (i, f) in self.frequencies().into_iter().enumerate() {
                let (sin, cos) = (position as f64 * f).sin_cos();
                let (a, b) = (head[i], head[half + i]);
                (head[i], head[half + i]) = (a * cos - b * sin, b * cos + a * sin);
            }
        }
    }

    /// The logits after each token.
    fn reference(&self, tokens: &[u32]) -> Vec<f64> {
        let c = &self.config;
        let (d, group) = (c.head_dim, c.heads / c.kv_heads);
        let embedding = self.get(TensorId::TokenEmbedding);
        let mut xs: Vec<Vec<f64>> = tokens
            .iter()
            .map(|&t| embedding[t as usize * c.hidden_size..][..c.hidden_size].to_vec())
            .collect();
        for layer in 0..c.layers {
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (position, x) in xs.iter_mut().enumerate() {
                let h = self.norm(x, layer, LayerTensor::AttnNorm);
                let mut q = self.bit_linear(&h, layer, LayerTensor::AttnQ);
                let mut k = self.bit_linear(&h, layer, LayerTensor::AttnK);
                self.rotate(&mut q, position);
                self.rotate(&mut k, position);
                keys.push(k);
                values.push(self.bit_linear(&h, layer, LayerTensor::AttnV));
                let mut mixed = vec![0.0; q.len()];
                for head in 0..c.heads {
                    let kv = head / group * d;
                    let dot = |k: &Vec<f64>| (0..d).map(|i| q[head * d + i] * k[kv + i]).sum::<f64>();
                    let scores: Vec<f64> = keys.iter().map(|k| (dot(k) / (d as f64).sqrt()).exp()).collect();
                    let sum: f64 = scores.iter().sum();
                    for (score, v) in scores.iter().zip(&values) {
                        for i in 0..d {
                            mixed[head * d + i] += score / sum * v[kv + i];
                        }
                    }
                }
                add(x, &self.bit_linear(&mixed, layer, LayerTensor::AttnOutput));
                let h = self.norm(x, layer, LayerTensor::FfnNorm);
                let gate = self.bit_linear(&h, layer, LayerTensor::FfnGate);
                let up = self.bit_linear(&h, layer, LayerTensor::FfnUp);
                let inner: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                add(x, &self.bit_linear(&inner, layer, LayerTensor::FfnDown));
            }
        }
        let (norm, head) = (self.get(TensorId::OutputNorm), self.get(TensorId::OutputHead));
        let logits = |x: &Vec<f64>| {
            let h = rms_norm(x, &norm, c.norm_eps);
            let row = |w: &[f64]| w.iter().zip(&h).map(|(w, h)| w * h).sum::<f64>();
            head.chunks_exact(c.hidden_size).map(row).collect::<Vec<_>>()
        };
        xs.iter().flat_map(logits).collect()
    }
}

fn rms_norm(x: &[f64], weight: &[f64], eps: f32) -> Vec<f64> {
    let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean_square + f64::from(eps)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn logits(path: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
    assert!(model.is_ternary());
    Session::new(&model, TOKENS.len()).unwrap().forward(&TOKENS, 0).unwrap().into_raw_vec_and_offset().0
}

#[test]
fn logits_equal_the_formulas() {
    for block_norms in [true, false] {
        for scaling in [RopeScaling::None, RopeScaling::Linear { factor: 2.5 }, LLAMA3] {
            let folder = tempfile::tempdir().unwrap();
            let weights = Weights::random(config(block_norms, scaling));
            weights.write_folder(&folder.path().join("model"));
            weights.write_gguf(&folder.path().join("model.gguf"));
            let ours = logits(&folder.path().join("model"));
            let reference = weights.reference(&TOKENS);
            assert_eq!(ours.len(), reference.len());
            let differences = ours.iter().zip(&reference).map(|(a, b)| (f64::from(*a) - b).abs());
            let largest = differences.fold(0.0, f64::max);
            println!("block norms {block_norms}, {scaling:?}: max |difference| {largest:.1e}");
            // As for the recorded ternary models: f32 against f64 where no int8 code flips.
            assert!(largest <= 1e-4, "block norms {block_norms}, {scaling:?}: {largest}");
            let from_gguf = logits(&folder.path().join("model.gguf"));
            assert!(ours.iter().zip(&from_gguf).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}

/// Else the comparison above would prove nothing.
#[test]
fn scaling_changes_the_logits() {
    let reference = |scaling| Weights::random(config(false, scaling)).reference(&TOKENS);
    let (plain, linear, llama3) =
        (reference(RopeScaling::None), reference(RopeScaling::Linear { factor: 2.5 }), reference(LLAMA3));
    let differs = |a: &[f64], b: &[f64]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 0.05);
    assert!(differs(&plain, &linear) && differs(&plain, &llama3) && differs(&linear, &llama3));
}
