//! The forward pass that is differentiated: a LLaMA-shaped Transformer over whole sequences.
//!
//! ```text
//!   h = embedding[ids]
//!   per layer:  x = Q(norm(h))    a = attention(turn(x Wq), turn(x Wk), x Wv)      h += Q(sub_norm(a)) Wo
//!               x = Q(norm(h))    f = activation(x Wgate) * (x Wup)                h += Q(sub_norm(f)) Wdown
//!   logits = norm(h) head
//! ```
//!
//! Q is the quantizer of activations; the sub-norms are where the layout has them. The layouts are those that the
//! runner executes: LLaMA, 1bitLLM, 2B4T.

use std::sync::Arc;

use b158_checkpoint::{LayerTensor, ModelConfig, TensorId};
use candle_core::{D, Device, Result, Tensor, Var};

use crate::{
    Error,
    ops::{
        ActivationQuantizer, Angles, HeadShape, Layout, attention, gated, merge_heads, quantize, rms_norm,
        split_heads,
    },
    parameters::Parameter,
    scheme::Scheme,
};

/// How a twin computes.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// Shape and layout.
    pub config: ModelConfig,
    /// What its linear layers do.
    pub scheme: Scheme,
    /// Groups of quantization.
    pub groups: usize,
    angles: Arc<Angles>,
}

impl Architecture {
    /// That of a config, whose heads are shared by no other queries than the config says.
    pub fn new(config: ModelConfig, scheme: Scheme, groups: usize) -> Self {
        let angles = Angles::new(config.head_dim, config.rope_theta, config.context_length);
        Self { config, scheme, groups, angles }
    }

    fn activations(&self) -> ActivationQuantizer {
        self.scheme.activations(self.groups)
    }
}

/// The weights of one forward pass, of which gradients are taken: quantized once, and matrices transposed
/// (`[cols, rows]`) so that no product has to do it.
pub struct Weights {
    leaves: Vec<Var>,
    /// The output head, where it is the embedding: a leaf of its own, so that it is transposed once.
    tied_head: Option<Var>,
    ids: Vec<TensorId>,
}

impl Weights {
    /// The parameters as the scheme's forward pass has them.
    ///
    /// # Errors
    /// A weight that is not finite; a device that fails.
    pub fn new(
        architecture: &Architecture,
        parameters: &[Parameter],
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let leaf = |parameter: &Parameter| {
            let Parameter { id, shape, values, .. } = parameter;
            let tensor = if id.is_linear() {
                let quantized = architecture.scheme.weights(values, architecture.groups)?;
                matrix(&transposed(&quantized, shape[0], shape[1]), shape[1], shape[0], device)?
            } else if *id == TensorId::OutputHead {
                matrix(&transposed(values, shape[0], shape[1]), shape[1], shape[0], device)?
            } else {
                Tensor::from_slice(values, &shape[..], device)?
            };
            Ok(Var::from_tensor(&tensor)?)
        };
        let leaves = parameters.iter().map(leaf).collect::<std::result::Result<Vec<_>, Error>>()?;
        let embedding = &parameters[0];
        let tied_head = if architecture.config.tied_embeddings {
            let (rows, cols) = (embedding.shape[0], embedding.shape[1]);
            Some(Var::from_tensor(&matrix(&transposed(&embedding.values, rows, cols), cols, rows, device)?)?)
        } else {
            None
        };
        Ok(Self { leaves, tied_head, ids: parameters.iter().map(|p| p.id).collect() })
    }

    fn get(&self, id: TensorId) -> &Tensor {
        let index = self.ids.iter().position(|other| *other == id).expect("a tensor of the config");
        &self.leaves[index]
    }

    fn head(&self) -> &Tensor {
        match &self.tied_head {
            Some(head) => head,
            None => self.get(TensorId::OutputHead),
        }
    }

    /// The logits `[sequences * positions, vocabulary]` of sequences of equal length, one after the other in `ids`.
    pub fn forward(&self, architecture: &Architecture, ids: &[u32], sequences: usize) -> Result<Tensor> {
        let config = &architecture.config;
        let positions = ids.len() / sequences;
        let eps = config.norm_eps;
        let heads = |heads| HeadShape { sequences, positions, heads, dim: config.head_dim };
        let shared = config.heads / config.kv_heads;
        let activations = architecture.activations();

        let embedding = self.get(TensorId::TokenEmbedding);
        let mut h = embedding.index_select(&Tensor::new(ids, embedding.device())?, 0)?;
        for index in 0..config.layers {
            let tensor = |kind| self.get(TensorId::Layer { index, kind });
            let norm = |x: &Tensor, kind| rms_norm(x, tensor(kind), eps);
            let project = |x: &Tensor, kind| match architecture.scheme {
                Scheme::Bnn => product_of_signs(x, tensor(kind)),
                _ => x.matmul(tensor(kind)),
            };

            let x = quantize(activations, &norm(&h, LayerTensor::AttnNorm)?)?;
            let (q, k, v) = (
                project(&x, LayerTensor::AttnQ)?,
                project(&x, LayerTensor::AttnK)?,
                project(&x, LayerTensor::AttnV)?,
            );
            let turn = Some(&architecture.angles);
            let q = split_heads(&q, heads(config.heads), Layout::Rows, turn)?;
            let k = repeat(&split_heads(&k, heads(config.kv_heads), Layout::Columns, turn)?, shared)?;
            let v = repeat(&split_heads(&v, heads(config.kv_heads), Layout::Rows, None)?, shared)?;
            let mut a = merge_heads(&attention(&q, &k, &v)?, heads(config.heads))?;
            if config.sub_norms {
                a = norm(&a, LayerTensor::AttnSubNorm)?;
            }
            h = (h + project(&quantize(activations, &a)?, LayerTensor::AttnOutput)?)?;

            let x = quantize(activations, &norm(&h, LayerTensor::FfnNorm)?)?;
            let gate = project(&x, LayerTensor::FfnGate)?;
            let up = project(&x, LayerTensor::FfnUp)?;
            let mut f = gated(config.activation, &gate, &up)?;
            if config.sub_norms {
                f = norm(&f, LayerTensor::FfnSubNorm)?;
            }
            h = (h + project(&quantize(activations, &f)?, LayerTensor::FfnDown)?)?;
        }
        rms_norm(&h, self.get(TensorId::OutputNorm), eps)?.matmul(self.head())
    }

    /// The gradient of every parameter, in its own orientation, of the quantized weights.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Vec<f32>>> {
        let store = loss.backward()?;
        let values = |var: &Var| match store.get(var) {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
            None => Ok(vec![0.0; var.elem_count()]),
        };
        let mut gradients = Vec::with_capacity(self.leaves.len());
        for (leaf, id) in self.leaves.iter().zip(&self.ids) {
            let gradient = values(leaf)?;
            gradients.push(if id.is_linear() || *id == TensorId::OutputHead {
                let (cols, rows) = leaf.dims2()?;
                transposed(&gradient, cols, rows)
            } else {
                gradient
            });
        }
        if let Some(head) = &self.tied_head {
            let (cols, rows) = head.dims2()?;
            let head = transposed(&values(head)?, cols, rows);
            gradients[0].iter_mut().zip(head).for_each(|(g, h)| *g += h);
        }
        Ok(gradients)
    }
}

/// The product of a binarized network: `x` holds a magnitude for each token times signs, `w` one magnitude times signs.
///
/// It often is exactly 0, and the next layer takes its sign, so the signs' products are counted, which floats do
/// exactly below 2^24; the gradient is that of the ordinary product.
fn product_of_signs(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let product = x.matmul(w)?;
    let (x, w) = (x.detach(), w.detach());
    // A token of zeros has no signs; any magnitude then gives zeros.
    let x_magnitude = x.abs()?.max_keepdim(D::Minus1)?.clamp(f32::MIN_POSITIVE, f32::MAX)?;
    let w_magnitude = w.abs()?.flatten_all()?.max_keepdim(0)?.clamp(f32::MIN_POSITIVE, f32::MAX)?;
    let count = x.broadcast_div(&x_magnitude)?.matmul(&w.broadcast_div(&w_magnitude)?)?;
    let exact = count.broadcast_mul(&x_magnitude)?.broadcast_mul(&w_magnitude)?;
    &product + (exact - product.detach())?
}

/// Each matrix of `[matrices, a, b]` `times` times in a row: grouped-query attention.
fn repeat(x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let (matrices, a, b) = x.dims3()?;
    x.unsqueeze(1)?.broadcast_as((matrices, times, a, b))?.contiguous()?.reshape((matrices * times, a, b))
}

fn matrix(values: &[f32], rows: usize, cols: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(values, (rows, cols), device)
}

/// `[rows, cols]` to `[cols, rows]`, in tiles that fit the cache.
fn transposed(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row in (0..rows).step_by(TILE) {
        for col in (0..cols).step_by(TILE) {
            for r in row..rows.min(row + TILE) {
                for c in col..cols.min(col + TILE) {
                    out[c * rows + r] = values[r * cols + c];
                }
            }
        }
    }
    out
}
