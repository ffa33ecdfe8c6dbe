//! Opens a Hugging Face checkpoint.
//!
//! ```text
//! folder/
//!   config.json                     shape and constants
//!   model.safetensors               weights in one file, or:
//!   model.safetensors.index.json    {"weight_map": {"name": "model-00001-of-00002.safetensors", ...}}
//!   model-0000N-of-0000M.safetensors
//!   generation_config.json          more ending tokens (optional)
//!   tokenizer.json, or tokenizer.model, or vocab.json and merges.txt (optional)
//!   tokenizer_config.json, chat_template.jinja (optional)
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use b158_kernels::packing::hf::QUARTERS;
use serde_json::Value;

use crate::{
    Checkpoint, Error, LayerTensor, ModelConfig, Provenance, Tensor, TensorId, TensorType,
    checkpoint::{TextFiles, collect_tensors, is_pickle, refuse_unused, total_bytes},
    config::{ScaleConvention, parse_hugging_face},
    error::printable,
    mapped_file::{MappedFile, read_small},
    safetensors::{self, Entry, INDEX},
    tokenizer::files::TokenizerSource,
};

const SINGLE: &str = "model.safetensors";

/// Every tensor of the weights, by name: its file and its header entry.
struct Weights {
    /// What to name when a tensor is missing.
    listing: PathBuf,
    files: Vec<Arc<MappedFile>>,
    entries: BTreeMap<String, (usize, Entry)>,
}

/// What is read of the index.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: Option<BTreeMap<String, String>>,
}

/// Opens a folder.
pub(crate) fn open_folder(folder: &Path) -> Result<Checkpoint, Error> {
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    if single.is_file() {
        open(folder, folder, |_| read_single(&single))
    } else if index.is_file() {
        open(folder, folder, |folder| read_shards(folder, &index))
    } else {
        Err(no_weights(folder)?)
    }
}

/// Opens a single `.safetensors` file, whose config is beside it.
pub(crate) fn open_file(file: &Path) -> Result<Checkpoint, Error> {
    let folder = file.parent().unwrap_or(Path::new(""));
    open(file, folder, |_| read_single(file))
}

fn open(
    path: &Path,
    folder: &Path,
    weights: impl FnOnce(&Path) -> Result<Weights, Error>,
) -> Result<Checkpoint, Error> {
    let (mut config, packed) = read_config(folder)?;
    let weights = weights(folder)?;
    if config.linear_norm_eps.is_some() {
        // Without our own key, the weights tell whether the layout has both kinds of norms.
        let first = TensorId::Layer { index: 0, kind: LayerTensor::AttnNorm };
        config.block_norms &= weights.entries.contains_key(&first.hugging_face_name(config.architecture));
    }
    let tensors = collect_tensors(&config, |id| {
        let name = id.hugging_face_name(config.architecture);
        let Some((file, entry)) = weights.entries.get(&name) else {
            return Err(Error::MissingTensor { file: weights.listing.clone(), tensor: name });
        };
        let file = &weights.files[*file];
        match entry.tensor_type() {
            Some(dtype) => Tensor::new(file, &name, dtype, entry.shape.clone(), entry.offset),
            None if entry.dtype == "U8" && packed.is_some() => {
                Tensor::new(file, &name, TensorType::HfPacked, unpacked_shape(&entry.shape), entry.offset)
            }
            None => {
                let (file, found) = (file.path().to_owned(), entry.dtype.clone());
                Err(Error::UnsupportedType { file, tensor: name, found })
            }
        }
    })?;
    let demanded = tensors.values().map(|tensor| &tensor.name[..]).collect();
    refuse_unused(&weights.listing, weights.entries.keys().map(String::as_str), &demanded)?;
    let mut scales = BTreeMap::new();
    if let Some(convention) = packed {
        refuse_mixed(&weights.listing, &tensors)?;
        for (&id, tensor) in tensors.iter().filter(|(_, t)| t.dtype == TensorType::HfPacked) {
            scales.insert(id, weights.scale(tensor, convention)?);
        }
    }
    Ok(Checkpoint {
        path: path.to_owned(),
        config,
        files: weights.files.iter().map(|f| f.path().to_owned()).collect(),
        bytes_on_disk: total_bytes(&weights.files),
        tensors,
        scales,
        text: read_text(folder)?,
        notes: Vec::new(),
        provenance: provenance(folder)?,
    })
}

/// With some linear layers packed, the others are not ternary, and their activations are not quantized.
fn refuse_mixed(file: &Path, tensors: &BTreeMap<TensorId, Tensor>) -> Result<(), Error> {
    let dense = tensors.iter().find(|(id, tensor)| id.is_linear() && tensor.dtype != TensorType::HfPacked);
    match dense {
        None => Ok(()),
        Some((_, tensor)) => Err(Error::unsupported(
            file,
            format!(
                "a mixture of packed and full-precision linear layers (`{}` is {})",
                tensor.name, tensor.dtype
            ),
            "use a checkpoint in which all linear layers of the blocks are packed",
        )),
    }
}

/// Packed weights `[rows / 4, cols]` stand for `[rows, cols]`.
fn unpacked_shape(packed: &[usize]) -> Vec<usize> {
    let mut shape = packed.to_vec();
    if let [rows, _] = &mut shape[..] {
        *rows = rows.saturating_mul(QUARTERS);
    }
    shape
}

impl Weights {
    /// The factor of a packed tensor's product: its `weight_scale`, or the inverse.
    fn scale(&self, tensor: &Tensor, convention: ScaleConvention) -> Result<f32, Error> {
        let name = format!("{}_scale", tensor.name);
        let Some((file, entry)) = self.entries.get(&name) else {
            return Err(Error::MissingTensor { file: self.listing.clone(), tensor: name });
        };
        let file = &self.files[*file];
        let Some(dtype) = entry.tensor_type() else {
            let (file, found) = (file.path().to_owned(), entry.dtype.clone());
            return Err(Error::UnsupportedType { file, tensor: name, found });
        };
        if entry.shape.iter().any(|&n| n != 1) {
            let (file, found) = (file.path().to_owned(), entry.shape.clone());
            return Err(Error::WrongShape { file, tensor: name, found, expected: vec![1] });
        }
        let mut scale = [0.0];
        Tensor::new(file, &name, dtype, vec![1], entry.offset)?.dense()?.to_f32(&mut scale);
        let [scale] = scale;
        let factor = match convention {
            ScaleConvention::Multiply => scale,
            ScaleConvention::Divide => 1.0 / scale,
        };
        if !(factor.is_finite() && factor > 0.0) {
            return Err(Error::malformed(file.path(), format!("the scale `{name}` is {scale}")));
        }
        Ok(factor)
    }
}

fn read_config(folder: &Path) -> Result<(ModelConfig, Option<ScaleConvention>), Error> {
    let file = folder.join("config.json");
    if !file.exists() {
        return Err(Error::NoConfig { file });
    }
    let (mut config, packed) = parse_hugging_face(&file, &read_small(&file)?)?;
    let generation = folder.join("generation_config.json");
    if generation.is_file() {
        config.add_generation_config(&generation, &read_small(&generation)?)?;
    }
    Ok((config, packed))
}

/// Where the folder comes from, if b158 wrote it.
fn provenance(folder: &Path) -> Result<Option<Provenance>, Error> {
    let file = folder.join("config.json");
    let config: Value = serde_json::from_slice(&read_small(&file)?).map_err(Error::json(&file))?;
    let text = |key: &str| config["b158"][key].as_str().map(printable);
    Ok((|| {
        let (version, scheme) = (text("version")?, text("scheme")?);
        Some(Provenance { version, scheme, source_sha256: text("source_sha256")? })
    })())
}

fn read_single(path: &Path) -> Result<Weights, Error> {
    let file = MappedFile::open(path)?;
    let entries = safetensors::parse(path, file.bytes())?;
    let entries = entries.into_iter().map(|(name, entry)| (name, (0, entry))).collect();
    Ok(Weights { listing: path.to_owned(), files: vec![Arc::new(file)], entries })
}

fn read_shards(folder: &Path, index: &Path) -> Result<Weights, Error> {
    // Typed, so that what a hostile file has besides costs no memory.
    let json: Index = serde_json::from_slice(&read_small(index)?).map_err(Error::json(index))?;
    let shard_of = json.weight_map.ok_or_else(|| Error::missing_key(index, "weight_map"))?;
    // Plain file names: nothing outside the model's folder.
    if shard_of.values().any(|shard| Path::new(shard).file_name() != Some(shard.as_ref())) {
        let reason = "`weight_map` must map each tensor's name to a file in the same folder";
        return Err(Error::malformed(index, reason));
    }

    let shards: BTreeSet<&str> = shard_of.values().map(String::as_str).collect();
    let (mut files, mut headers) = (Vec::new(), BTreeMap::new());
    for shard in shards {
        let path = folder.join(shard);
        if !path.is_file() {
            return Err(Error::MissingShard { file: index.to_owned(), shard: printable(shard) });
        }
        let file = MappedFile::open(&path)?;
        headers.insert(shard, (files.len(), safetensors::parse(&path, file.bytes())?));
        files.push(Arc::new(file));
    }
    let mut entries = BTreeMap::new();
    for (tensor, shard) in &shard_of {
        let (file, header) = headers.get_mut(&shard[..]).expect("every shard was read");
        let entry = header
            .remove(tensor)
            .ok_or_else(|| Error::MissingTensor { file: folder.join(shard), tensor: printable(tensor) })?;
        entries.insert(tensor.to_owned(), (*file, entry));
    }
    Ok(Weights { listing: index.to_owned(), files, entries })
}

/// Why a folder has no weights that can be read.
fn no_weights(folder: &Path) -> Result<Error, Error> {
    let mut names = BTreeSet::new();
    for entry in folder.read_dir().map_err(Error::io(folder))? {
        names.insert(PathBuf::from(entry.map_err(Error::io(folder))?.file_name()));
    }
    let with = |extension: &str| names.iter().find(|name| name.extension().is_some_and(|e| e == extension));
    let hint = if with("safetensors").is_some() {
        "the folder has other .safetensors files: give the path of one, or add the index of the shards"
    } else if with("gguf").is_some() {
        "the folder has .gguf files: give the path of one"
    } else if let Some(pickle) =
        ["bin", "pt", "pth"].into_iter().filter_map(with).map(|name| folder.join(name)).find(|f| is_pickle(f))
    {
        return Ok(Error::Pickle { file: pickle });
    } else {
        "give the folder that holds the weights; in a cache of the Hugging Face Hub that is a folder below `snapshots`"
    };
    Ok(Error::NoWeights { file: folder.to_owned(), hint })
}

/// tokenizer_config.json and chat_template.jinja, both optional.
fn read_text(folder: &Path) -> Result<TextFiles, Error> {
    let file = folder.join("tokenizer_config.json");
    let config = if file.is_file() {
        serde_json::from_slice(&read_small(&file)?).map_err(Error::json(&file))?
    } else {
        Value::Null
    };
    let token = |key: &str| {
        let value = &config[key];
        value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
    };
    let (bos_text, eos_text) = (token("bos_token"), token("eos_token"));
    let template = folder.join("chat_template.jinja");
    let chat_template = if template.is_file() {
        let text = String::from_utf8(read_small(&template)?);
        Some(text.map_err(|_| Error::malformed(&template, "it is not UTF-8"))?)
    } else {
        default_template(&config["chat_template"]).map(str::to_owned)
    };
    Ok(TextFiles { source: TokenizerSource::Folder(folder.to_owned()), bos_text, eos_text, chat_template })
}

/// A template, or the one called `default` in a list of named ones.
fn default_template(value: &Value) -> Option<&str> {
    let named = || value.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    value.as_str().or_else(named)
}
