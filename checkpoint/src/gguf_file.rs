//! Opens a `.gguf` file as a checkpoint.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    Checkpoint, Error, ModelConfig, Tensor, TensorId, TensorType,
    checkpoint::{TextFiles, collect_tensors, refuse_biases, total_bytes},
    gguf::{Gguf, TensorEntry, metadata, tokenizer},
    mapped_file::MappedFile,
    tokenizer::files::TokenizerSource,
};

pub(crate) fn open(path: &Path) -> Result<Checkpoint, Error> {
    let file = Arc::new(MappedFile::open(path)?);
    let gguf = Gguf::parse(path, file.bytes())?;
    let config = metadata::from_gguf(path, &gguf)?;
    let entries: BTreeMap<&str, &TensorEntry> = gguf.tensors.iter().map(|t| (t.name, t)).collect();
    refuse_biases(path, entries.keys().copied())?;
    let read = |name: &str, entry: &TensorEntry| {
        let dtype = entry.tensor_type().ok_or_else(|| Error::UnsupportedType {
            file: path.to_owned(),
            tensor: name.to_owned(),
            found: format!("number {} of GGUF's types", entry.type_id),
        })?;
        Tensor::new(&file, name, dtype, entry.shape.clone(), entry.offset)
    };
    let tensors = collect_tensors(&config, |id| {
        let name = id.gguf_name();
        match entries.get(name.as_str()) {
            Some(entry) => read(&name, entry),
            None => Err(Error::MissingTensor { file: path.to_owned(), tensor: name }),
        }
    })?;
    refuse_mixed(path, &gguf, &config, &tensors)?;

    let mut scales = BTreeMap::new();
    for &id in tensors.keys().filter(|id| id.is_linear()) {
        let name = id.gguf_scale_name();
        if let Some(entry) = entries.get(name.as_str()) {
            scales.insert(id, scale(path, &read(&name, entry)?)?);
        }
    }
    let text = TextFiles {
        source: TokenizerSource::Gguf(Arc::clone(&file)),
        bos_text: None,
        chat_template: tokenizer::chat_template(&gguf).map(str::to_owned),
    };
    let bytes_on_disk = total_bytes([&file]);
    let path = path.to_owned();
    Ok(Checkpoint { files: vec![path.clone()], path, config, bytes_on_disk, tensors, scales, text })
}

/// A file of others with some linear layers packed and some not leaves open whether the activations
/// of the others are quantized; ours say so in a key.
fn refuse_mixed(
    path: &Path,
    gguf: &Gguf,
    config: &ModelConfig,
    tensors: &BTreeMap<TensorId, Tensor>,
) -> Result<(), Error> {
    let says_so = gguf.get(metadata::TERNARY_LINEARS).is_some();
    if says_so || config.architecture != crate::Architecture::Llama || !config.ternary_linears {
        return Ok(());
    }
    let dense = tensors.iter().find(|(id, tensor)| id.is_linear() && tensor.dtype.dense().is_some());
    match dense {
        Some((_, tensor)) => Err(Error::unsupported(
            path,
            format!(
                "a mixture of packed and full-precision linear layers (`{}` is {})",
                tensor.name, tensor.dtype
            ),
            "convert the model again from its full-precision checkpoint",
        )),
        None => Ok(()),
    }
}

/// The number in a scale tensor: f32, one element.
fn scale(path: &Path, tensor: &Tensor) -> Result<f32, Error> {
    let number = <[u8; 4]>::try_from(tensor.bytes()).ok().filter(|_| tensor.dtype == TensorType::F32);
    let scale = number.map(f32::from_le_bytes).filter(|scale| scale.is_finite());
    scale.ok_or_else(|| {
        Error::malformed(path, format!("tensor `{}` is not a single finite F32 number", tensor.name))
    })
}
