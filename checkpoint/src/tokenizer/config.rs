//! tokenizer_config.json: which tokens begin and end a text, and tokens beyond the model's own.

use std::path::Path;

use serde_json::Value;

use crate::{Error, mapped_file::read_small};

/// What a tokenizer_config.json says; all of it optional.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenizerConfig {
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
    pub(crate) pad: Option<String>,
    pub(crate) add_bos: Option<bool>,
    pub(crate) add_eos: Option<bool>,
    /// `added_tokens_decoder`, in order of ids.
    pub(crate) added: Vec<AddedToken>,
}

/// A token of `added_tokens_decoder`.
#[derive(Clone, Debug)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) text: String,
    pub(crate) special: bool,
}

impl TokenizerConfig {
    /// Reads the file of that folder; everything is absent where the file is.
    ///
    /// # Errors
    /// It cannot be read, is not JSON, or lists tokens in a way that has no meaning.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join("tokenizer_config.json");
        if !file.is_file() {
            return Ok(Self::default());
        }
        let bytes = read_small(&file)?;
        Self::parse(&file, &bytes)
    }

    pub(crate) fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let json: Value = serde_json::from_slice(bytes).map_err(Error::json(file))?;
        let token = |key: &str| {
            let value = &json[key];
            value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
        };
        let mut added = Vec::new();
        for (id, value) in json["added_tokens_decoder"].as_object().into_iter().flatten() {
            let text = value["content"].as_str();
            let (Ok(id), Some(text)) = (id.parse(), text) else {
                return Err(Error::malformed(
                    file,
                    "`added_tokens_decoder` must map ids to tokens with a `content`",
                ));
            };
            let special = value["special"].as_bool().unwrap_or(false);
            added.push(AddedToken { id, text: text.to_owned(), special });
        }
        added.sort_by_key(|token| token.id);
        Ok(Self {
            bos: token("bos_token"),
            eos: token("eos_token"),
            pad: token("pad_token"),
            add_bos: json["add_bos_token"].as_bool(),
            add_eos: json["add_eos_token"].as_bool(),
            added,
        })
    }
}
