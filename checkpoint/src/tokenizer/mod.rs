//! Text to token ids and back, as Hugging Face's `tokenizers` does it.
//!
//! Whatever a model brings along becomes the text of a tokenizer.json first:
//!
//! ```text
//! tokenizer.json, tokenizer.huggingface.json in GGUF ────────────────────────────┐
//! tokenizer.model   SentencePiece protobuf          sentencepiece ─┬─ metaspace ─┤
//! tokenizer.ggml.*  model `llama`                   gguf::tokenizer┘             ├─ Tokenizer
//! tokenizer.model   tiktoken ranks                  tiktoken ──────┐             │
//! vocab.json + merges.txt                           gpt2 ──────────┼─ byte_level ┤
//! tokenizer.ggml.*  model `gpt2`                    gguf::tokenizer┘             │
//! tokenizer.ggml.*  model `bert`                    gguf::tokenizer ─ word_piece ┘
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use crate::{Error, error::printable};

mod base64;
pub(crate) mod byte_level;
pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod gpt2;
pub(crate) mod json;
mod merges;
pub(crate) mod metaspace;
pub(crate) mod parsed;
pub(crate) mod pre_tokenizer;
mod protobuf;
pub(crate) mod sentencepiece;
mod stream;
pub(crate) mod tiktoken;
pub(crate) mod vocabulary;
pub(crate) mod word_piece;

pub use files::tokenizer_model_to_json;
pub use stream::DecodeStream;

/// A model's tokenizer; shared by all threads.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    file: PathBuf,
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    bos: Option<u32>,
    bos_text: Option<String>,
}

/// What is known about the token that begins a sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct BosToken<'a> {
    /// Its text, as in tokenizer_config.json; counts first.
    pub text: Option<&'a str>,
    /// Its id, as in config.json or a GGUF file.
    pub id: Option<u32>,
}

impl Tokenizer {
    /// Reads a tokenizer.json; `file` is for messages only.
    ///
    /// Truncation and padding that the file may ask for are switched off.
    ///
    /// # Errors
    /// A damaged tokenizer, or ids beyond the model's vocabulary of `vocab_size` tokens.
    pub fn from_json(file: &Path, json: &str, bos: BosToken<'_>, vocab_size: usize) -> Result<Self, Error> {
        let (inner, framing) = guarded(file, || {
            let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            // What the tokenizer puts around a text has ids of its own, which need not be tokens.
            let framing = inner.encode_fast("", true)?.get_ids().to_vec();
            Ok((inner, framing))
        })?;
        let largest = inner.get_vocab(true).into_values().chain(framing).max();
        if let Some(largest) = largest.filter(|&id| id as usize >= vocab_size) {
            return Err(Error::VocabularyTooLarge { file: file.to_owned(), largest, vocab_size });
        }
        let named = bos.text.and_then(|text| inner.token_to_id(text));
        let bos = named.or(bos.id);
        let bos_text = bos.and_then(|id| inner.id_to_token(id));
        let vocab_size = largest.map_or(0, |id| id as usize + 1);
        Ok(Self { file: file.to_owned(), inner, vocab_size, bos, bos_text })
    }

    /// The token ids of a text; with `add_special`, also those that the tokenizer puts around it.
    ///
    /// # Errors
    /// A text that the tokenizer cannot express.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        guarded(&self.file, || Ok(self.inner.encode_fast(text, add_special)?.get_ids().to_vec()))
    }

    /// The text of token ids; with `skip_special`, without special tokens. Ids that the tokenizer
    /// does not know are left out.
    ///
    /// # Errors
    /// A decoder that fails on these tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        guarded(&self.file, || self.inner.decode(ids, skip_special))
    }

    /// Decodes tokens one by one, as generation yields them.
    pub fn decode_stream(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, skip_special, ids: Vec::new(), shown_ids: 0, shown: String::new() }
    }

    /// The same, where `before` came before: a text begins without the blank that its first token
    /// carries, a continuation does not.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn decode_stream_after(&self, before: &[u32], skip_special: bool) -> Result<DecodeStream<'_>, Error> {
        // A character takes at most four tokens; some more for decoders that look further back.
        let ids = before[before.len().saturating_sub(8)..].to_vec();
        let shown = self.decode(&ids, skip_special)?;
        Ok(DecodeStream { tokenizer: self, skip_special, shown_ids: ids.len(), ids, shown })
    }

    /// The id of a token's exact text.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of a token, in the tokenizer's own spelling.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the largest id, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The text of the token that begins a sequence, for chat templates.
    pub fn bos_text(&self) -> Option<&str> {
        self.bos_text.as_deref()
    }
}

/// Runs the library, which panics on some damaged tokenizers where it should return an error.
fn guarded<T>(file: &Path, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Error> {
    // The library's state is not used again after a panic: loading ends, or one text fails.
    let result = catch_unwind(AssertUnwindSafe(run));
    let reason = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(e)) => printable(&e.to_string()),
        Err(_) => "it contradicts itself".to_owned(),
    };
    Err(Error::Tokenizer { file: file.to_owned(), reason })
}
