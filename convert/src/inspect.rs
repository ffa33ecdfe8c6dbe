//! What a checkpoint holds, tensor by tensor, and whether its weights are meant to be ternary.

use b158_checkpoint::{Checkpoint, Provenance, TensorId};
use b158_kernels::Isa;
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    Error, Format, Scheme,
    rows::count,
    ternary::{Loss, Scratch, Ternary},
};

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The class name in config.json.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Number of Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub context_length: usize,
    /// The feed-forward network's activation.
    pub activation: &'static str,
    /// Whether the output head is the embedding.
    pub tied_embeddings: bool,
    /// Bytes of the weight files.
    pub bytes: u64,
    /// Weights in all.
    pub parameters: u64,
    /// Weights of the linear layers.
    pub linear_parameters: u64,
    /// Bits of the linear layers, scales included, per weight.
    pub linear_bits_per_weight: f64,
    /// Bits of the weight files per weight.
    pub bits_per_weight: f64,
    /// Codes -1, 0 and +1 of the linear layers, ternarized where they are not ternary yet.
    pub codes: [u64; 3],
    /// ||w - scale * code|| / ||w|| over all linear layers; 0 where the weights are ternary already.
    pub relative_error: f64,
    /// What the weights of the linear layers are.
    pub training: Training,
    /// Which b158 made it, by which scheme, out of which source; `None` of files of others.
    pub provenance: Option<Provenance>,
    /// The formats that it can become, by the lengths of its rows.
    pub formats: Vec<&'static str>,
    /// Every tensor, in order.
    pub tensors: Vec<TensorInspection>,
}

/// What the weights of the linear layers are, as far as a file can tell.
///
/// The relative error of ternarizing does not tell a b1.58 master from a model that was never meant to
/// be ternary: both are about 0.5, the error of bell-shaped weights. So the config decides, and the
/// error tells what stays of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Training {
    /// They are ternary.
    Ternary,
    /// Full precision, of a model whose config says that its layers ternarize them.
    Master,
    /// Full precision, of a model that uses them as they are.
    FullPrecision,
}

impl Training {
    /// What to expect of ternary codes, in words.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Ternary => "its weights are ternary; whether it was trained so is not recorded",
            Self::Master => {
                "master weights of a ternary model: it ternarizes them itself, so packing loses nothing"
            }
            Self::FullPrecision => "not trained with ternary weights",
        }
    }
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorInspection {
    /// Its name in the file.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub dtype: &'static str,
    /// Rows first.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: u64,
    /// Codes and scale, of a linear layer only.
    pub ternary: Option<TernaryInspection>,
}

/// A linear layer as ternary codes: its own, or those of absmean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TernaryInspection {
    /// How many codes are -1, 0 and +1.
    pub codes: [u64; 3],
    /// Its scale.
    pub scale: f32,
    /// ||w - scale * code|| / ||w||; 0 where the weights are ternary already.
    pub relative_error: f64,
}

/// Looks at every weight.
///
/// # Errors
/// A tensor that is damaged or not finite.
pub fn inspect(checkpoint: &Checkpoint, isa: Isa) -> Result<Inspection, Error> {
    let config = checkpoint.config();
    let mut tensors = Vec::new();
    let (mut parameters, mut linear_parameters, mut linear_bytes) = (0, 0, 0);
    let (mut codes, mut total) = ([0; 3], Loss::default());
    let mut made = false;
    for id in checkpoint.tensor_ids() {
        let tensor = checkpoint.tensor(id)?;
        let count: u64 = tensor.shape.iter().product::<usize>() as u64;
        let bytes = tensor.bytes().len() as u64;
        parameters += count;
        let mut ternary = None;
        if id.is_linear() {
            linear_parameters += count;
            // A scale stands behind the codes of I2_S, and beside those of other formats.
            let file_bytes = tensor.dtype.byte_len(&tensor.shape).unwrap_or(bytes);
            let beside = file_bytes == bytes && checkpoint.scale(id)?.is_some();
            linear_bytes += file_bytes + if beside { 4 } else { 0 };
            let (found, loss) = linear(checkpoint, id, isa)?;
            made |= loss.is_some();
            for (sum, n) in codes.iter_mut().zip(found.codes) {
                *sum += n;
            }
            // Nothing is lost of codes that were there; their norm is that of the weights.
            let norm = f64::from(found.scale).powi(2) * (found.codes[0] + found.codes[2]) as f64;
            total = total + loss.unwrap_or(Loss { error: 0.0, norm });
            ternary = Some(found);
        }
        tensors.push(TensorInspection {
            name: tensor.name.clone(),
            dtype: tensor.dtype.name(),
            shape: tensor.shape.clone(),
            bytes,
            ternary,
        });
        tensor.release();
    }
    Ok(Inspection {
        architecture: config.architecture.hugging_face_name(),
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        layers: config.layers,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        vocab_size: config.vocab_size,
        context_length: config.context_length,
        activation: config.activation.name(),
        tied_embeddings: config.tied_embeddings,
        bytes: checkpoint.bytes_on_disk(),
        parameters,
        linear_parameters,
        linear_bits_per_weight: linear_bytes as f64 * 8.0 / linear_parameters as f64,
        bits_per_weight: checkpoint.bytes_on_disk() as f64 * 8.0 / parameters as f64,
        codes,
        relative_error: total.relative().unwrap_or(0.0),
        training: match (made, config.ternary_linears) {
            (false, _) => Training::Ternary,
            (true, true) => Training::Master,
            (true, false) => Training::FullPrecision,
        },
        provenance: checkpoint.provenance().cloned(),
        formats: Format::that_fit(checkpoint).into_iter().map(Format::name).collect(),
        tensors,
    })
}

/// The codes of a linear layer, its own or those of absmean; with what absmean lost.
fn linear(
    checkpoint: &Checkpoint,
    id: TensorId,
    isa: Isa,
) -> Result<(TernaryInspection, Option<Loss>), Error> {
    let tensor = checkpoint.tensor(id)?;
    let ternary = Ternary::read(checkpoint, id, &tensor, Scheme::Absmean, isa)?
        .expect("absmean makes codes of any weights");
    let codes = (0..ternary.rows)
        .into_par_iter()
        .map_init(
            || (vec![0; ternary.cols], Scratch::default()),
            |(codes, scratch), row| ternary.row(row, codes, scratch).map(|()| count(codes)),
        )
        .try_reduce(|| [0; 3], |a, b| Ok([a[0] + b[0], a[1] + b[1], a[2] + b[2]]))?;
    let loss = ternary.loss()?;
    let relative_error = loss.relative().unwrap_or(0.0);
    let found = TernaryInspection { codes, scale: ternary.scale, relative_error };
    Ok((found, ternary.ternarized.then_some(loss)))
}
