//! Writes the text of a tokenizer.json.
//!
//! Every token stands in the model's vocabulary, also those that are cut out of the text before
//! (`added_tokens`): the library numbers added tokens by itself if the vocabulary lacks them.

use std::path::Path;

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Value, json};

use super::vocabulary::Vocabulary;
use crate::Error;

/// A whole tokenizer.json.
pub(super) struct TokenizerJson<'v, M> {
    pub(super) vocabulary: &'v Vocabulary,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) model: M,
}

impl<M: Serialize> TokenizerJson<'_, M> {
    pub(super) fn write(&self, file: &Path) -> Result<String, Error> {
        serde_json::to_string(self).map_err(Error::json(file))
    }
}

impl<M: Serialize> Serialize for TokenizerJson<'_, M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", "1.0")?;
        map.serialize_entry("truncation", &Value::Null)?;
        map.serialize_entry("padding", &Value::Null)?;
        map.serialize_entry("added_tokens", &AddedTokens(self.vocabulary))?;
        map.serialize_entry("normalizer", &self.normalizer)?;
        map.serialize_entry("pre_tokenizer", &self.pre_tokenizer)?;
        map.serialize_entry("post_processor", &self.post_processor)?;
        map.serialize_entry("decoder", &self.decoder)?;
        map.serialize_entry("model", &self.model)?;
        map.end()
    }
}

struct AddedTokens<'v>(&'v Vocabulary);

impl Serialize for AddedTokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for token in self.0.tokens() {
            if let Some(special) = token.kind.added() {
                list.serialize_element(&json!({
                    "id": token.id, "content": token.text, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": special,
                }))?;
            }
        }
        list.end()
    }
}

/// The model of byte-level BPE and of SentencePiece's BPE.
#[derive(Serialize)]
#[serde(tag = "type", rename = "BPE")]
pub(super) struct BpeModel<'v> {
    pub(super) unk_token: Option<&'v str>,
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
    #[serde(serialize_with = "vocab")]
    pub(super) vocab: &'v Vocabulary,
    /// Pairs, the first of which merges first.
    pub(super) merges: &'v [(&'v str, &'v str)],
}

fn vocab<S: Serializer>(vocabulary: &Vocabulary, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(vocabulary.tokens().len()))?;
    for token in vocabulary.tokens() {
        map.serialize_entry(&token.text, &token.id)?;
    }
    map.end()
}

/// What is put around every text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
}

impl Framing {
    /// With the token that begins and the one that ends a text.
    pub(crate) fn new(before: Option<u32>, after: Option<u32>) -> Self {
        Self { before: before.into_iter().collect(), after: after.into_iter().collect() }
    }

    /// The `post_processor` that puts those of the tokens around a text that exist.
    pub(super) fn post_processor(&self, vocabulary: &Vocabulary) -> Value {
        let known = |ids: &[u32]| -> Vec<_> { ids.iter().filter_map(|&id| vocabulary.get(id)).collect() };
        let (before, after) = (known(&self.before), known(&self.after));
        if before.is_empty() && after.is_empty() {
            return Value::Null;
        }
        let around = |name: &str, type_id: u32| -> Vec<Value> {
            let special = |text: &str| json!({"SpecialToken": {"id": text, "type_id": type_id}});
            let text = json!({"Sequence": {"id": name, "type_id": type_id}});
            let before = before.iter().map(|token| special(&token.text));
            before.chain([text]).chain(after.iter().map(|token| special(&token.text))).collect()
        };
        let special_tokens: serde_json::Map<_, _> = before
            .iter()
            .chain(&after)
            .map(|token| {
                let text = &token.text;
                (text.clone(), json!({"id": text, "ids": [token.id], "tokens": [text]}))
            })
            .collect();
        json!({
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": ([around("A", 0), around("B", 1)].concat()),
            "special_tokens": special_tokens,
        })
    }
}
