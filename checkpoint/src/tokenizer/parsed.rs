//! Reads a tokenizer.json for its vocabulary and merges.
//!
//! The library keeps its merges to itself, so this reads them from the text.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    gpt2,
    json::Framing,
    vocabulary::{Token, TokenKind, Vocabulary},
};
use crate::{Error, error::printable};

/// A tokenizer.json with a BPE model.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the format")]
pub(crate) struct Bpe {
    /// Added tokens are [`TokenKind::Control`] or [`TokenKind::UserDefined`].
    pub(crate) vocabulary: Vocabulary,
    pub(crate) merges: Vec<(String, String)>,
    pub(crate) ignore_merges: bool,
    pub(crate) byte_fallback: bool,
    pub(crate) unk_token: Option<String>,
    pub(crate) normalizer: Value,
    pub(crate) pre_tokenizer: Value,
    pub(crate) framing: Framing,
    /// Whether an added token takes blanks along, or wants to be a word.
    pub(crate) greedy_added_tokens: bool,
    /// Whether something is around every text that [`Framing`] cannot say.
    pub(crate) odd_framing: bool,
}

#[derive(Deserialize)]
struct File<M> {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: M,
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the format")]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct ModelType {
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    vocab: BTreeMap<String, u32>,
    merges: Vec<Merge>,
    ignore_merges: Option<bool>,
    byte_fallback: Option<bool>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Older files write a merge as one string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl Bpe {
    /// Reads a tokenizer.json; `None` if its model is not BPE of whole tokens.
    ///
    /// # Errors
    /// Not JSON, or a vocabulary that contradicts itself.
    pub(crate) fn parse(file: &Path, json: &str) -> Result<Option<Self>, Error> {
        let kind: File<ModelType> = serde_json::from_str(json).map_err(Error::json(file))?;
        if kind.model.r#type.is_some_and(|kind| kind != "BPE") {
            return Ok(None);
        }
        let parsed: File<Model> = serde_json::from_str(json).map_err(Error::json(file))?;
        let model = parsed.model;
        let affix = |affix: &Option<String>| affix.as_deref().is_some_and(|affix| !affix.is_empty());
        if affix(&model.continuing_subword_prefix) || affix(&model.end_of_word_suffix) {
            return Ok(None);
        }
        let mut greedy_added_tokens = false;
        let mut tokens: BTreeMap<String, Token> = model
            .vocab
            .into_iter()
            .map(|(text, id)| (text.clone(), Token { id, text, score: 0.0, kind: TokenKind::Normal }))
            .collect();
        for added in parsed.added_tokens {
            greedy_added_tokens |= added.lstrip || added.rstrip || added.single_word;
            let kind = if added.special { TokenKind::Control } else { TokenKind::UserDefined };
            // The model's own number counts, as it does for the library.
            let token = tokens.entry(added.content.clone());
            token.or_insert(Token { id: added.id, text: added.content, score: 0.0, kind }).kind = kind;
        }
        let vocabulary = Vocabulary::new(file, tokens.into_values().collect())?;
        let merges = model.merges.into_iter().map(|merge| match merge {
            Merge::Pair(left, right) => Ok((left, right)),
            Merge::Line(line) => {
                gpt2::pair(file, &line).map(|(left, right)| (left.to_owned(), right.to_owned()))
            }
        });
        let (framing, odd_framing) = match framing(&parsed.post_processor) {
            Some(framing) => (framing, false),
            None => (Framing::default(), true),
        };
        Ok(Some(Self {
            vocabulary,
            merges: merges.collect::<Result<_, _>>()?,
            ignore_merges: model.ignore_merges.unwrap_or(false),
            byte_fallback: model.byte_fallback.unwrap_or(false),
            unk_token: model.unk_token,
            normalizer: parsed.normalizer,
            pre_tokenizer: parsed.pre_tokenizer,
            framing,
            greedy_added_tokens,
            odd_framing,
        }))
    }

    /// The ids of every merge's two halves and of what they become, in order.
    ///
    /// # Errors
    /// A merge of texts that are no tokens.
    pub(crate) fn merge_ids(&self, file: &Path) -> Result<Vec<[u32; 3]>, Error> {
        let ids: HashMap<&str, u32> =
            self.vocabulary.tokens().iter().map(|token| (token.text.as_str(), token.id)).collect();
        let mut joined = String::new();
        let mut merge = |(left, right): &(String, String)| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            Some([*ids.get(left.as_str())?, *ids.get(right.as_str())?, *ids.get(joined.as_str())?])
        };
        let merge = |pair: &(String, String)| {
            merge(pair).ok_or_else(|| {
                let (left, right) = (printable(&pair.0), printable(&pair.1));
                Error::malformed(file, format!("the merge of `{left}` and `{right}` is not one of tokens"))
            })
        };
        self.merges.iter().map(merge).collect()
    }
}

/// The token of a tokenizer.json's model that stands for what no token expresses, if there is one.
pub(crate) fn unk_token(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Unknown {
        unk_token: Option<String>,
    }
    serde_json::from_str::<File<Unknown>>(json).ok()?.model.unk_token
}

/// What a post-processor puts around a single text; `None` for kinds that do more.
fn framing(post_processor: &Value) -> Option<Framing> {
    let id = |pair: &Value| pair[1].as_u64()?.try_into().ok();
    match post_processor["type"].as_str() {
        None if post_processor.is_null() => Some(Framing::default()),
        Some("ByteLevel") => Some(Framing::default()),
        Some("Sequence") => {
            // The inner one first.
            post_processor["processors"].as_array()?.iter().try_fold(Framing::default(), |inner, step| {
                let mut outer = framing(step)?;
                outer.before.extend(inner.before);
                outer.after.splice(0..0, inner.after);
                Some(outer)
            })
        }
        Some("BertProcessing" | "RobertaProcessing") => {
            Some(Framing::new(id(&post_processor["cls"]), id(&post_processor["sep"])))
        }
        Some("TemplateProcessing") => {
            let mut framing = Framing::default();
            let mut text_seen = false;
            for part in post_processor["single"].as_array()? {
                if let Some(name) = part["SpecialToken"]["id"].as_str() {
                    let ids = post_processor["special_tokens"][name]["ids"].as_array()?;
                    let ids =
                        ids.iter().map(|id| id.as_u64()?.try_into().ok()).collect::<Option<Vec<u32>>>()?;
                    if text_seen { &mut framing.after } else { &mut framing.before }.extend(ids);
                } else {
                    if text_seen {
                        return None;
                    }
                    text_seen = true;
                }
            }
            Some(framing)
        }
        _ => None,
    }
}
