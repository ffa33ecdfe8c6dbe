//! What the output will hold, decided before a byte is written.

use b158_checkpoint::{
    Checkpoint, Tensor, TensorId, TensorInfo, TensorType, gguf::metadata, rope_permutation,
};
use b158_kernels::{packing::hf, rope::RopePairs};

use crate::{Error, Format, HeadType, Options, format::Container, scale::Place};

/// One tensor of the source and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) id: TensorId,
    /// Its name in the output.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A linear layer of a ternary model: its codes, as that type if it has any; where the scale is a
    /// tensor of its own, that tensor's name. A master that stays one has no codes and keeps its weights.
    Linear { dtype: TensorType, scale_name: Option<String> },
    /// Weights in that type.
    Weights(TensorType),
}

impl Step {
    /// The tensors that it writes, for a container's header.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = TensorInfo> {
        let (dtype, scale) = match &self.content {
            Content::Weights(dtype) => (*dtype, None),
            Content::Linear { dtype, scale_name } => (*dtype, scale_name.as_deref()),
        };
        let tensor = TensorInfo { name: self.name.clone(), dtype, shape: self.shape.clone() };
        let scale = scale.map(|name| {
            let name = name.to_owned();
            TensorInfo { name, dtype: TensorType::F32, shape: vec![1] }
        });
        [tensor].into_iter().chain(scale)
    }
}

/// Every tensor of the output, in order.
pub(crate) fn steps(
    checkpoint: &Checkpoint,
    container: Container,
    options: &Options,
) -> Result<Vec<Step>, Error> {
    let steps = checkpoint.tensor_ids().into_iter().map(|id| step(checkpoint, container, options, id));
    let mut steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
    if container == Container::HuggingFace {
        // safetensors has no gaps: wide elements first, so that each starts at a multiple of its size.
        steps.sort_by_key(|step| match step.content {
            Content::Weights(TensorType::F32) | Content::Linear { dtype: TensorType::F32, .. } => 0,
            Content::Linear { dtype: TensorType::HfPacked, .. } => 1,
            _ => 2,
        });
    }
    Ok(steps)
}

fn step(
    checkpoint: &Checkpoint,
    container: Container,
    options: &Options,
    id: TensorId,
) -> Result<Step, Error> {
    let architecture = checkpoint.config().architecture;
    let source = checkpoint.tensor(id)?;
    let name = match container {
        Container::Gguf => id.gguf_name(),
        Container::HuggingFace => id.hugging_face_name(architecture),
    };
    let content = match id {
        _ if id.is_linear() => {
            check_linear(checkpoint, &source, options.format)?;
            let scale_name = match Place::of(options) {
                Place::Tensor => Some(id.gguf_scale_name()),
                Place::WeightScale(_) => Some(format!("{name}_scale")),
                Place::Tail | Place::Blocks | Place::Weights(_) => None,
            };
            Content::Linear { dtype: options.format.tensor_type(), scale_name }
        }
        TensorId::TokenEmbedding | TensorId::OutputHead => {
            let dtype = head_type(&source, options);
            check_head(&source, dtype, container)?;
            Content::Weights(dtype)
        }
        // Norms, in f32 as every GGUF reader expects them; in a folder as they are.
        _ if container == Container::HuggingFace && source.dtype.dense().is_some() => {
            Content::Weights(source.dtype)
        }
        _ => Content::Weights(TensorType::F32),
    };
    Ok(Step { id, name, shape: source.shape, content })
}

/// The type of embeddings and head.
pub(crate) fn head_type(source: &Tensor, options: &Options) -> TensorType {
    match (options.head, options.format) {
        (Some(HeadType(dtype)), _) => dtype,
        (None, Format::F16 | Format::Bf16 | Format::F32) => options.format.tensor_type(),
        // transformers has no such blocks; f16 is what they were made of, most likely.
        (None, Format::HuggingFace) if source.dtype.dense().is_none() => TensorType::F16,
        (None, _) => source.dtype,
    }
}

/// The source rows of a tensor's output rows, where the container orders them differently.
pub(crate) fn order(checkpoint: &Checkpoint, container: Container, id: TensorId) -> Option<Vec<usize>> {
    let config = checkpoint.config();
    let target = match container {
        Container::Gguf => metadata::rope_pairs(config),
        Container::HuggingFace => RopePairs::HalfSplit,
    };
    rope_permutation(config, id, target)
}

fn check_linear(checkpoint: &Checkpoint, source: &Tensor, format: Format) -> Result<(), Error> {
    let (rows, cols) = (source.shape[0], source.shape[1]);
    if format.fits(rows, cols) {
        return Ok(());
    }
    let (file, tensor) = (source.file().to_owned(), source.name.clone());
    let needs = match format {
        Format::Blocks(blocks) => {
            format!("rows of {cols} weights, but {format} has blocks of {}", blocks.block())
        }
        _ => format!(
            "the shape [{rows}, {cols}], but {format} packs {} rows and a multiple of 16 weights",
            hf::QUARTERS
        ),
    };
    let fitting: Vec<_> = Format::that_fit(checkpoint).into_iter().map(Format::name).collect();
    Err(Error::Shape { file, tensor, needs, fitting: fitting.join(", ") })
}

fn check_head(source: &Tensor, dtype: TensorType, container: Container) -> Result<(), Error> {
    let file = || source.file().to_owned();
    if container == Container::HuggingFace && dtype.dense().is_none() {
        let hint = "choose --head f16, bf16 or f32";
        return Err(Error::Head { file: file(), reason: format!("transformers has no {dtype}"), hint });
    }
    let cols = source.shape[1];
    if dtype.byte_len(&[cols]).is_none() {
        let reason = format!("rows of {cols} weights do not consist of {dtype}'s blocks");
        return Err(Error::Head { file: file(), reason, hint: "choose --head f16, bf16 or f32" });
    }
    Ok(())
}
