//! Where a checkpoint's tokenizer is, and the files of it that a Hugging Face folder has.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{config::TokenizerConfig, gpt2, parsed, sentencepiece, tiktoken};
use crate::{
    Checkpoint, Error,
    gguf::{self, Gguf},
    mapped_file::{MappedFile, read_tokenizer},
    safetensors::INDEX,
};

const JSON: &str = "tokenizer.json";
const MODEL: &str = "tokenizer.model";
const CONFIG: &str = "tokenizer_config.json";

/// Files that are kept as they are, where the source has them.
const COPIED: [&str; 9] = [
    CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    MODEL,
    "vocab.json",
    "merges.txt",
    "tokenizer.vocab",
];

/// Where the tokenizer is.
#[derive(Debug)]
pub(crate) enum TokenizerSource {
    /// A Hugging Face folder, which may lack one.
    Folder(PathBuf),
    /// The metadata of a GGUF file, which may lack one.
    Gguf(Arc<MappedFile>),
}

impl TokenizerSource {
    /// The file to name in messages.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => {
                let present = [JSON, MODEL, "vocab.json"].map(|name| folder.join(name));
                present.into_iter().find(|file| file.is_file()).unwrap_or_else(|| folder.join(JSON))
            }
            Self::Gguf(file) => file.path().to_owned(),
        }
    }

    /// The text of a tokenizer.json; `checkpoint` is what was opened, for the message that there is none.
    pub(crate) fn json(&self, checkpoint: &Path) -> Result<String, Error> {
        let none = |hint| Error::NoTokenizer { file: checkpoint.to_owned(), hint };
        match self {
            Self::Folder(folder) => folder_json(folder)?.ok_or_else(|| {
                none("put the model's tokenizer.json or tokenizer.model beside config.json (transformers writes one: `AutoTokenizer.from_pretrained(...).save_pretrained(folder)`)")
            }),
            Self::Gguf(file) => {
                let gguf = Gguf::parse(file.path(), file.bytes())?;
                gguf::tokenizer::tokenizer_json(file.path(), &gguf)?.ok_or_else(|| {
                    none("the file has neither `tokenizer.huggingface.json` nor `tokenizer.ggml.*`; convert the model again from its Hugging Face folder")
                })
            }
        }
    }

    /// The tokenizer.model of SentencePiece beside the tokenizer.json, if there is one.
    pub(crate) fn sentence_piece(&self) -> Result<Option<Vec<u8>>, Error> {
        let Self::Folder(folder) = self else { return Ok(None) };
        let bytes = read_if_present(&folder.join(MODEL))?;
        Ok(bytes.filter(|bytes| !tiktoken::is_tiktoken(bytes)))
    }

    /// The text of the padding token.
    pub(crate) fn pad(&self) -> Result<Option<String>, Error> {
        match self {
            Self::Folder(folder) => Ok(TokenizerConfig::read(folder)?.pad),
            Self::Gguf(file) => {
                let gguf = Gguf::parse(file.path(), file.bytes())?;
                Ok(gguf::tokenizer::padding_token(&gguf))
            }
        }
    }
}

fn folder_json(folder: &Path) -> Result<Option<String>, Error> {
    let json = folder.join(JSON);
    if json.is_file() {
        let text = String::from_utf8(read_tokenizer(&json)?);
        return text.map(Some).map_err(|_| Error::malformed(&json, "it is not UTF-8"));
    }
    let file = folder.join(MODEL);
    if let Some(bytes) = read_if_present(&file)? {
        let config = TokenizerConfig::read(folder)?;
        return from_model(&file, &bytes, &config).map(Some);
    }
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    match (read_if_present(&vocab)?, read_if_present(&merges)?) {
        (Some(vocab_bytes), Some(merges_bytes)) => {
            let merges =
                String::from_utf8(merges_bytes).map_err(|_| Error::malformed(&merges, "it is not text"))?;
            gpt2::tokenizer_json(&vocab, &vocab_bytes, &merges, &TokenizerConfig::read(folder)?).map(Some)
        }
        _ => Ok(None),
    }
}

/// The tokenizer.json of a tokenizer.model of either format.
fn from_model(file: &Path, bytes: &[u8], config: &TokenizerConfig) -> Result<String, Error> {
    if tiktoken::is_tiktoken(bytes) {
        tiktoken::tokenizer_json(file, bytes, config)
    } else {
        sentencepiece::tokenizer_json(file, bytes, config)
    }
}

/// The text of a tokenizer.json out of a tokenizer.model: SentencePiece's, or tiktoken's ranks of Llama 3.
/// `config` is the text of tokenizer_config.json; `file` is for messages only.
///
/// # Errors
/// Damage, and kinds of models that have no equal tokenizer.json.
pub fn tokenizer_model_to_json(file: &Path, model: &[u8], config: Option<&[u8]>) -> Result<String, Error> {
    let config = match config {
        Some(config) => TokenizerConfig::parse(&file.with_file_name(CONFIG), config)?,
        None => TokenizerConfig::default(),
    };
    from_model(file, model, &config)
}

/// The files beside the weights that say what the model is and how it reads text, as far as they are there.
pub(crate) fn beside_weights(checkpoint: &Checkpoint) -> Vec<PathBuf> {
    let TokenizerSource::Folder(folder) = &checkpoint.text.source else { return Vec::new() };
    let names = ["config.json", INDEX, JSON].into_iter().chain(COPIED);
    names.map(|name| folder.join(name)).filter(|file| file.is_file()).collect()
}

fn read_if_present(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    if file.is_file() { read_tokenizer(file).map(Some) } else { Ok(None) }
}

/// The files: names and contents, in order of writing.
pub(crate) fn text_files(checkpoint: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut files = Vec::new();
    if let TokenizerSource::Folder(folder) = &checkpoint.text.source {
        for name in COPIED {
            if let Some(bytes) = read_if_present(&folder.join(name))? {
                files.push((name.to_owned(), bytes));
            }
        }
    }
    let json = match checkpoint.tokenizer_json() {
        Err(Error::NoTokenizer { .. }) => return Ok(files),
        json => json?,
    };
    if !files.iter().any(|(name, _)| name == CONFIG) {
        files.push((CONFIG.to_owned(), tokenizer_config(checkpoint, &json)?));
    }
    files.push((JSON.to_owned(), json.into_bytes()));
    Ok(files)
}

/// A tokenizer_config.json that says what the checkpoint knows.
fn tokenizer_config(checkpoint: &Checkpoint, json: &str) -> Result<Vec<u8>, Error> {
    let tokenizer = checkpoint.tokenizer()?;
    let config = checkpoint.config();
    let eos = config.eos_tokens.first().and_then(|&id| tokenizer.id_to_token(id));
    let mut out = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": config.context_length,
    });
    let entries = [
        ("bos_token", tokenizer.bos_text().map(str::to_owned)),
        ("eos_token", eos),
        ("unk_token", parsed::unk_token(json)),
        ("pad_token", checkpoint.text.source.pad()?),
        ("chat_template", checkpoint.chat_template()),
    ];
    for (key, value) in entries {
        if let Some(value) = value {
            out[key] = value.into();
        }
    }
    serde_json::to_vec_pretty(&out).map_err(Error::json(&checkpoint.text.source.file()))
}
