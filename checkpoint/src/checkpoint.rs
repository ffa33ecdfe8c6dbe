//! An open checkpoint, whatever its container.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    BosToken, Error, ModelConfig, OpenOptions, Tensor, TensorId, Tokenizer,
    error::printable,
    gguf::{
        self,
        tokenizer::{TokenizerMetadata, TokenizerText},
    },
    gguf_file, hub_cache, hugging_face,
    mapped_file::MappedFile,
    tokenizer::files::{self, TokenizerSource},
};

/// A model on disk: config, tensors and tokenizer. Opening it checks the structure as a whole and
/// reads no weights.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) path: PathBuf,
    pub(crate) config: ModelConfig,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) bytes_on_disk: u64,
    pub(crate) tensors: BTreeMap<TensorId, Tensor>,
    pub(crate) scales: BTreeMap<TensorId, f32>,
    pub(crate) text: TextFiles,
    pub(crate) notes: Vec<String>,
    pub(crate) provenance: Option<Provenance>,
}

/// Where a checkpoint that b158 wrote comes from: keys `b158.*` of GGUF, the object `b158` of config.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The version of b158.
    pub version: String,
    /// The scheme that made codes of the source's weights, or `none`.
    pub scheme: String,
    /// SHA-256 of the source's weight files, in hexadecimal.
    pub source_sha256: String,
}

/// What belongs to the tokenizer.
#[derive(Debug)]
pub(crate) struct TextFiles {
    /// Where the tokenizer is.
    pub(crate) source: TokenizerSource,
    /// The token that begins a sequence, as tokenizer_config.json spells it.
    pub(crate) bos_text: Option<String>,
    /// The token that ends one, likewise.
    pub(crate) eos_text: Option<String>,
    pub(crate) chat_template: Option<String>,
}

impl Checkpoint {
    /// Opens a Hugging Face folder (`model.safetensors`, or shards with their index), a
    /// `.safetensors` file beside its `config.json`, or a `.gguf` file.
    ///
    /// Everything that can be checked without reading weights is checked: every tensor that the
    /// config demands is there, with the shape that the config implies and a type that can be read,
    /// and lies inside its file.
    ///
    /// # Errors
    /// Whatever is wrong, with file, tensor and remedy.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// As [`Checkpoint::open`], with what the caller knows about files that do not say it themselves.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let metadata = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match hub_cache::find(path) {
                Some(folder) => return hugging_face::open_folder(&folder),
                None => return Err(Error::io(path)(error)),
            },
            metadata => metadata.map_err(Error::io(path))?,
        };
        if metadata.is_dir() {
            return hugging_face::open_folder(path);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "gguf" => gguf_file::open(path, options),
            "safetensors" => hugging_face::open_file(path),
            "bin" | "pt" | "pth" | "ckpt" if is_pickle(path) => Err(Error::Pickle { file: path.to_owned() }),
            _ => Err(Error::NotACheckpoint { file: path.to_owned() }),
        }
    }

    /// Opens a GGUF file whatever its name, with the defaults of [`OpenOptions`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_gguf(path: &Path) -> Result<Self, Error> {
        gguf_file::open(path, &OpenOptions::default())
    }

    /// The model's name: that of its folder or file; in the Hub's cache, where folders are called by
    /// commits, that of the repository.
    pub fn name(&self) -> String {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        if !path.is_dir() {
            return path
                .file_stem()
                .map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        }
        let repository = path.parent().filter(|p| p.file_name().is_some_and(|name| name == "snapshots"));
        let repository = repository.and_then(Path::parent).and_then(name);
        let repository =
            repository.as_deref().and_then(|name| name.strip_prefix("models--")?.split("--").last());
        repository.map(str::to_owned).or_else(|| name(&path)).unwrap_or_else(|| "model".into())
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's shape and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the checkpoint comes from, if b158 wrote it.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }

    /// What the files do not say and was assumed, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The files that hold weights, in order of names.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The other files that the model consists of: config, index, generation config, tokenizer. None for a
    /// GGUF file, which holds all of it.
    pub fn files_beside_weights(&self) -> Vec<PathBuf> {
        files::beside_weights(self)
    }

    /// The size of the files that hold weights.
    pub fn bytes_on_disk(&self) -> u64 {
        self.bytes_on_disk
    }

    /// The size of all tensors together.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.bytes().len() as u64).sum()
    }

    /// Every tensor that the config demands: embedding, layers in order, output norm, and the head
    /// where it is not tied.
    pub fn tensor_ids(&self) -> Vec<TensorId> {
        self.tensors.keys().copied().collect()
    }

    /// A tensor, in place.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if the model has no such tensor (a sub-norm of a LLaMA, a layer
    /// beyond the last, a tied head).
    pub fn tensor(&self, id: TensorId) -> Result<Tensor, Error> {
        self.tensors.get(&id).cloned().ok_or_else(|| Error::MissingTensor {
            file: self.path.clone(),
            tensor: id.hugging_face_name(self.config.architecture),
        })
    }

    /// The separate scale of a packed tensor, which multiplies its product; `None` if the scale is
    /// in the tensor's own blocks or the tensor is in full precision.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn scale(&self, id: TensorId) -> Result<Option<f32>, Error> {
        self.tensor(id)?;
        Ok(self.scales.get(&id).copied())
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// There is none, it is damaged, or it has more tokens than the model.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        let json = self.tokenizer_json()?;
        let bos = BosToken { text: self.text.bos_text.as_deref(), id: self.config.bos_token };
        Tokenizer::from_json(&self.text.source.file(), &json, bos, self.config.vocab_size)
    }

    /// The text of the model's tokenizer.json: the file's, or one that is made of a tokenizer.model,
    /// of vocab.json and merges.txt, or of the `tokenizer.ggml.*` keys of a GGUF file.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] if there is none; one that cannot be read, or is damaged.
    pub fn tokenizer_json(&self) -> Result<String, Error> {
        self.text.source.json(&self.path)
    }

    /// `tokenizer.*` of a GGUF file with this model: llama.cpp's keys, the whole tokenizer.json and
    /// the chat template. A model without a tokenizer has keys that say so.
    ///
    /// # Errors
    /// A damaged tokenizer, or one with ids beyond the model's vocabulary.
    pub fn tokenizer_metadata(&self) -> Result<TokenizerMetadata, Error> {
        let json = match self.tokenizer_json() {
            Err(Error::NoTokenizer { .. }) => None,
            json => Some(json?),
        };
        let (model, pad) = (self.text.source.sentence_piece()?, self.text.source.pad()?);
        let text = TokenizerText {
            json: json.as_deref(),
            sentence_piece: model.as_deref(),
            pad: pad.as_deref(),
            chat_template: self.text.chat_template.as_deref(),
        };
        gguf::tokenizer::to_gguf(&self.text.source.file(), &self.config, text)
    }

    /// The tokenizer's files for a Hugging Face folder, names and contents: tokenizer.json, and
    /// tokenizer_config.json, special_tokens_map.json, generation_config.json, tokenizer.model and
    /// the like as the source has them. Without a source's, tokenizer_config.json says what is known
    /// here; without a tokenizer there is no tokenizer.json.
    ///
    /// # Errors
    /// Files that cannot be read, or a damaged tokenizer.
    pub fn text_files(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        files::text_files(self)
    }

    /// The text of the token that ends a sequence as tokenizer_config.json spells it, which for chat models is
    /// the one that ends a turn; absent in GGUF, where [`ModelConfig::eos_tokens`] has its id.
    pub fn eos_text(&self) -> Option<&str> {
        self.text.eos_text.as_deref()
    }

    /// The chat template (Jinja), if the model has one. [`ChatTemplate::of`](crate::ChatTemplate::of) reads it.
    pub fn chat_template(&self) -> Option<String> {
        self.text.chat_template.clone()
    }
}

/// Whether a file begins as a pickle does, or as the archive in which PyTorch keeps them.
pub(crate) fn is_pickle(file: &Path) -> bool {
    let mut magic = [0; 4];
    let read = fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && (magic == *b"PK\x03\x04" || magic[0] == 0x80)
}

/// Looks up every tensor that the config demands and checks it against the config.
///
/// Stops at the first failure, so that a config which claims billions of layers costs nothing.
pub(crate) fn collect_tensors(
    config: &ModelConfig,
    find: impl Fn(TensorId) -> Result<Tensor, Error>,
) -> Result<BTreeMap<TensorId, Tensor>, Error> {
    let mut tensors = BTreeMap::new();
    for id in TensorId::all(config) {
        let tensor = find(id)?;
        let file = || tensor.file().to_owned();
        let expected = id.shape(config);
        if tensor.shape != expected {
            let (tensor, found) = (tensor.name.clone(), tensor.shape.clone());
            return Err(Error::WrongShape { file: file(), tensor, found, expected });
        }
        let fits = match id {
            _ if id.is_linear() => true,
            TensorId::TokenEmbedding | TensorId::OutputHead => tensor.dtype.is_full_precision(),
            _ => tensor.dtype.dense().is_some(),
        };
        if !fits {
            let dtype = tensor.dtype.name();
            return Err(Error::NotDense { file: file(), tensor: tensor.name.clone(), dtype });
        }
        tensors.insert(id, tensor);
    }
    Ok(tensors)
}

/// A bias that the model would not add, and a norm that it would leave out, change its results.
/// `demanded` are the names of the tensors that it uses.
pub(crate) fn refuse_unused<'n>(
    file: &Path,
    names: impl Iterator<Item = &'n str>,
    demanded: &BTreeSet<&str>,
) -> Result<(), Error> {
    for name in names.filter(|name| !demanded.contains(name)) {
        let feature = || format!("the tensor `{}`", printable(name));
        if name.strip_suffix(".bias").is_some() {
            return Err(Error::unsupported(file, feature(), "use a model without biases"));
        }
        if name.strip_suffix("norm.weight").is_some() {
            return Err(Error::unsupported(
                file,
                feature(),
                "the config asks for no such norm; check that config and weights belong together",
            ));
        }
    }
    Ok(())
}

/// The size of mapped files together.
pub(crate) fn total_bytes<'f>(files: impl IntoIterator<Item = &'f Arc<MappedFile>>) -> u64 {
    files.into_iter().map(|f| f.bytes().len() as u64).sum()
}
