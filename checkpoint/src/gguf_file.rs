//! Opens a `.gguf` file as a checkpoint.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    Checkpoint, Error, Interleave, ModelConfig, OpenOptions, Tensor, TensorId, TensorType,
    checkpoint::{TextFiles, collect_tensors, refuse_unused, total_bytes},
    error::printable,
    gguf::{Gguf, TensorEntry, metadata, tokenizer},
    mapped_file::MappedFile,
    tokenizer::files::TokenizerSource,
};

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint, Error> {
    let file = Arc::new(MappedFile::open(path)?);
    let gguf = Gguf::parse(path, file.bytes())?;
    if gguf.tensors.is_empty() {
        let feature = "a GGUF file without weights (a vocabulary, or the first part of a split file)";
        return Err(Error::unsupported(path, feature, "give the file that holds the weights"));
    }
    let config = metadata::from_gguf(path, &gguf, file.bytes(), options)?;
    let entries: BTreeMap<&str, &TensorEntry> = gguf.tensors.iter().map(|t| (t.name, t)).collect();
    let read = |name: &str, entry: &TensorEntry| {
        let dtype = match entry.dtype {
            // The file itself does not say which order it is.
            Some(TensorType::I2sX86)
                if options.i2_s == Interleave::Arm && !metadata::says_interleave(&gguf) =>
            {
                TensorType::I2sArm
            }
            Some(dtype) => dtype,
            None => return Err(unknown_type(path, &gguf, entry)),
        };
        Tensor::new(&file, name, dtype, entry.shape.clone(), entry.offset)
    };
    let tensors = collect_tensors(&config, |id| {
        let name = id.gguf_name();
        match entries.get(name.as_str()) {
            Some(entry) => read(&name, entry),
            None => Err(Error::MissingTensor { file: path.to_owned(), tensor: name }),
        }
    })?;
    let demanded = tensors.values().map(|tensor| &tensor.name[..]).collect();
    refuse_unused(path, entries.keys().copied(), &demanded)?;
    refuse_mixed(path, &gguf, &config, &tensors)?;

    let mut scales = BTreeMap::new();
    for (&id, tensor) in tensors.iter().filter(|(id, _)| id.is_linear()) {
        let name = id.gguf_scale_name();
        let separate =
            entries.get(name.as_str()).map(|entry| scale(path, &read(&name, entry)?)).transpose()?;
        let found = match (separate, tensor.tail_scale()) {
            (Some(_), Some(_)) => {
                let reason =
                    format!("tensor `{}` has a scale of its own and the tensor `{name}`", tensor.name);
                return Err(Error::malformed(path, reason));
            }
            (None, Some(scale)) if !(scale.is_finite() && scale >= 0.0) => {
                return Err(Error::malformed(
                    path,
                    format!("tensor `{}` has the scale {scale}", tensor.name),
                ));
            }
            (separate, tail) => separate.or(tail),
        };
        scales.extend(found.map(|scale| (id, scale)));
    }
    let text = TextFiles {
        source: TokenizerSource::Gguf(Arc::clone(&file)),
        bos_text: None,
        eos_text: None,
        chat_template: tokenizer::chat_template(&gguf).map(str::to_owned),
    };
    let provenance = metadata::provenance(&gguf);
    let mut notes = Vec::new();
    let order = tensors.values().find_map(|tensor| match tensor.dtype {
        TensorType::I2sX86 => Some("x86"),
        TensorType::I2sArm => Some("ARM"),
        _ => None,
    });
    if let Some(order) = order.filter(|_| !metadata::says_interleave(&gguf)) {
        notes.push(format!(
            "{}: I2_S files do not say in which order their codes are; they were read in the order of {order}",
            path.display()
        ));
    }
    let bytes_on_disk = total_bytes([&file]);
    let path = path.to_owned();
    Ok(Checkpoint {
        files: vec![path.clone()],
        path,
        config,
        bytes_on_disk,
        tensors,
        scales,
        text,
        notes,
        provenance,
    })
}

fn unknown_type(path: &Path, gguf: &Gguf, entry: &TensorEntry) -> Error {
    let found = gguf.type_name(entry);
    if found.contains("TL1") || found.contains("TL2") {
        let feature = format!("the type {found} of tensor `{}`", printable(entry.name));
        // Its order depends on the tile sizes that the program was compiled for.
        let hint = "such a file does not say in which order its codes are: convert the model again from its Hugging Face checkpoint";
        return Error::unsupported(path, feature, hint);
    }
    if found.contains("ik_llama.cpp") {
        let feature = format!("the type {found} of tensor `{}`", printable(entry.name));
        return Error::unsupported(
            path,
            feature,
            "convert the model again from the file that this one was made of",
        );
    }
    Error::UnsupportedType { file: path.to_owned(), tensor: printable(entry.name), found }
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
    let dense = tensors.iter().find(|(id, tensor)| id.is_linear() && tensor.dtype.is_full_precision());
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
