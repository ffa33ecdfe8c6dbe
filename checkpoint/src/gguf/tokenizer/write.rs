//! A tokenizer.json to llama.cpp's keys.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde_json::Value as Json;

use super::{
    ADD_BOS, ADD_EOS, ADD_SPACE_PREFIX, BOS_TOKEN, CHAT_TEMPLATE, EOS_TOKEN, HUGGING_FACE_JSON, MERGES,
    MODEL, NO_VOCABULARY, PADDING_TOKEN, PRE, SCORES, TOKEN_TYPE, TOKENS, UNKNOWN_TOKEN,
};
use crate::{
    Error, ModelConfig,
    error::printable,
    gguf::{Array, Value, metadata::Metadata},
    tokenizer::{
        metaspace::BLANK,
        parsed::Bpe,
        pre_tokenizer,
        sentencepiece::Model,
        vocabulary::{TokenKind, Vocabulary},
    },
};

/// What a checkpoint knows about its tokenizer.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizerText<'a> {
    /// The text of the tokenizer.json.
    pub json: Option<&'a str>,
    /// The bytes of a SentencePiece tokenizer.model beside it, for its scores.
    pub sentence_piece: Option<&'a [u8]>,
    /// The text of the padding token.
    pub pad: Option<&'a str>,
    /// The chat template (Jinja).
    pub chat_template: Option<&'a str>,
}

/// `tokenizer.*` of a GGUF file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerMetadata {
    /// Keys and values in the order of the file.
    pub metadata: Metadata,
    /// What llama.cpp may tokenize otherwise than the tokenizer.json, one sentence each. Readers of
    /// `tokenizer.huggingface.json`, like this crate, are not affected.
    pub warnings: Vec<String>,
}

impl TokenizerMetadata {
    fn put(&mut self, key: &str, value: impl Into<Value<'static>>) {
        self.metadata.push((key.to_owned(), value.into()));
    }

    fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }
}

/// The keys from which llama.cpp tokenizes as the tokenizer.json does, and the tokenizer.json itself.
/// `file` is for messages only.
///
/// # Errors
/// A damaged tokenizer, or one with ids beyond the model's vocabulary.
pub fn to_gguf(
    file: &Path,
    config: &ModelConfig,
    text: TokenizerText<'_>,
) -> Result<TokenizerMetadata, Error> {
    let mut out = TokenizerMetadata::default();
    let bpe = text.json.map(|json| Bpe::parse(file, json)).transpose()?;
    match bpe {
        None => out.put(MODEL, NO_VOCABULARY),
        Some(None) => {
            out.put(MODEL, NO_VOCABULARY);
            out.warn("llama.cpp will find no tokenizer: only BPE can be written for it");
        }
        Some(Some(bpe)) => {
            if is_byte_level(&bpe) {
                byte_level(file, &bpe, &mut out)?;
            } else {
                scored(file, &bpe, text, &mut out)?;
            }
            tokens(file, config, &bpe, &mut out)?;
            ids(config, &bpe, text, &mut out);
        }
    }
    if let Some(id) = config.bos_token
        && !out.metadata.iter().any(|(key, _)| key == BOS_TOKEN)
    {
        out.put(BOS_TOKEN, Value::U32(id));
    }
    if let Some(&id) = config.eos_tokens.first() {
        out.put(EOS_TOKEN, Value::U32(id));
    }
    if let Some(template) = text.chat_template {
        out.put(CHAT_TEMPLATE, template);
    }
    if let Some(json) = text.json {
        out.put(HUGGING_FACE_JSON, json);
    }
    Ok(out)
}

/// Whether a `ByteLevel` step is somewhere before the model.
fn is_byte_level(bpe: &Bpe) -> bool {
    fn has(steps: &Json) -> bool {
        let inner = |key: &str| steps[key].as_array().is_some_and(|steps| steps.iter().any(has));
        steps["type"] == "ByteLevel" || inner("pretokenizers") || inner("normalizers")
    }
    has(&bpe.pre_tokenizer) || has(&bpe.normalizer)
}

fn byte_level(file: &Path, bpe: &Bpe, out: &mut TokenizerMetadata) -> Result<(), Error> {
    out.put(MODEL, "gpt2");
    let known = if bpe.normalizer.is_null() {
        pre_tokenizer::recognize(&bpe.pre_tokenizer, bpe.ignore_merges)
    } else {
        None
    };
    let name = known.map_or("default", |known| known.names[0]);
    match known {
        None => out.warn(
            "llama.cpp may split a text at other places: it has no name for this tokenizer's way, so `tokenizer.ggml.pre` is `default`",
        ),
        Some(known) if known.ignore_merges != bpe.ignore_merges => out.warn(format!(
            "llama.cpp may merge otherwise: its pre-tokenizer `{name}` {} tokens that no merge makes",
            if known.ignore_merges { "finds" } else { "does not find" }
        )),
        Some(_) => {}
    }
    out.put(PRE, name);
    // Checks that every merge is one of tokens.
    bpe.merge_ids(file)?;
    if bpe.merges.iter().any(|(left, right)| left.chars().skip(1).chain(right.chars()).any(|c| c == ' ')) {
        out.warn("llama.cpp will misread merges of tokens that contain a blank");
    }
    let lines: Vec<String> = bpe.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    out.put(MERGES, Value::Array(Array::from_strings(lines.iter().map(String::as_str))));
    Ok(())
}

fn scored(file: &Path, bpe: &Bpe, text: TokenizerText<'_>, out: &mut TokenizerMetadata) -> Result<(), Error> {
    out.put(MODEL, "llama");
    // llama.cpp ignores it, gguf-py writes it.
    out.put(PRE, "default");
    let blanks = Blanks::of(bpe);
    out.put(ADD_SPACE_PREFIX, Value::Bool(blanks.prefix));
    if !blanks.exact {
        out.warn("llama.cpp will treat a text otherwise before it merges: it only replaces blanks and puts one in front");
    }
    if !bpe.byte_fallback {
        out.warn("llama.cpp needs the tokens <0x00> to <0xFF> for characters that no token expresses");
    }
    if bpe.ignore_merges {
        out.warn("llama.cpp will not find tokens that no merge makes");
    }
    let order = Order::of(file, bpe)?;
    if !order.scores_say_all {
        out.warn("llama.cpp may merge otherwise: this tokenizer's merges do not follow from one score for each token");
    }
    let model = text.sentence_piece.map(|bytes| Model::parse(file, bytes)).and_then(Result::ok);
    let model_scores = model.and_then(|model| order.model_scores(bpe, &model));
    let scores = model_scores.unwrap_or_else(|| order.ranks(bpe));
    out.put(SCORES, Value::Array(Array::from_f32s(&scores)));
    Ok(())
}

/// What happens to blanks before a text is merged.
struct Blanks {
    prefix: bool,
    /// Whether llama.cpp does the same.
    exact: bool,
}

impl Blanks {
    fn of(bpe: &Bpe) -> Self {
        let blank = BLANK.to_string();
        let steps = match bpe.normalizer["normalizers"].as_array() {
            Some(steps) => &steps[..],
            None if bpe.normalizer.is_null() => &[],
            None => std::slice::from_ref(&bpe.normalizer),
        };
        let replaces = |step: &Json| {
            step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == *blank
        };
        let prepends = |step: &Json| step["type"] == "Prepend" && step["prepend"] == *blank;
        let pre = &bpe.pre_tokenizer;
        match steps {
            [a, b] if prepends(a) && replaces(b) => Self { prefix: true, exact: pre.is_null() },
            [a] if replaces(a) => Self { prefix: false, exact: pre.is_null() },
            [] if pre["type"] == "Metaspace" => {
                let scheme = pre["prepend_scheme"].as_str();
                let prefix = scheme.map_or(pre["add_prefix_space"] != false, |scheme| scheme != "never");
                // `first` adds no blank after an added token, where llama.cpp does.
                let exact = pre["split"] == false && pre["replacement"] == *blank && scheme != Some("first");
                Self { prefix, exact }
            }
            _ => Self { prefix: steps.iter().any(prepends), exact: false },
        }
    }
}

/// The tokens that merges make, in the order of their first merges.
struct Order {
    made: Vec<u32>,
    /// Whether the list is exactly what scores in that order imply: each token's merges stand
    /// together, and all its splits into tokens are among them.
    scores_say_all: bool,
}

impl Order {
    fn of(file: &Path, bpe: &Bpe) -> Result<Self, Error> {
        let merges = bpe.merge_ids(file)?;
        let mut made: Vec<u32> = Vec::new();
        let mut seen = HashSet::new();
        let mut together = true;
        for &[_, _, id] in &merges {
            if seen.insert(id) {
                made.push(id);
            } else if made.last() != Some(&id) {
                together = false;
            }
        }
        let ids: HashSet<[u32; 2]> = merges.iter().map(|&[left, right, _]| [left, right]).collect();
        Ok(Self { scores_say_all: together && ids.len() == all_splits(&bpe.vocabulary), made })
    }

    /// Minus the place in the order, so that llama.cpp, which merges what has the highest score,
    /// follows it. Tokens that no merge makes come last; added tokens are not merged.
    fn ranks(&self, bpe: &Bpe) -> Vec<f32> {
        let ranks: HashMap<u32, usize> = self.made.iter().enumerate().map(|(rank, &id)| (id, rank)).collect();
        let mut last = self.made.len();
        let score = |token: &crate::tokenizer::vocabulary::Token| match (token.kind, ranks.get(&token.id)) {
            (_, Some(&rank)) => -(rank as f32),
            (TokenKind::Normal, None) if !is_byte(&token.text) => {
                last += 1;
                -((last - 1) as f32)
            }
            _ => 0.0,
        };
        bpe.vocabulary.tokens().iter().map(score).collect()
    }

    /// The scores of a tokenizer.model, if it has the same tokens and its scores the same order.
    fn model_scores(&self, bpe: &Bpe, model: &Model) -> Option<Vec<f32>> {
        let mut scores = Vec::new();
        for token in bpe.vocabulary.tokens() {
            let score = match model.tokens.get(token.id as usize) {
                Some(piece) if piece.text == token.text => piece.score,
                None if token.kind != TokenKind::Normal => 0.0,
                _ => return None,
            };
            scores.push(score);
        }
        let index: HashMap<u32, usize> =
            bpe.vocabulary.tokens().iter().enumerate().map(|(index, token)| (token.id, index)).collect();
        let score = |id: &u32| scores[index[id]];
        self.made.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])).then_some(scores)
    }
}

/// How many pairs of mergeable tokens make a mergeable token.
fn all_splits(vocabulary: &Vocabulary) -> usize {
    let mergeable = vocabulary.tokens().iter().filter(|t| t.kind == TokenKind::Normal && !is_byte(&t.text));
    let texts: HashSet<&str> = mergeable.map(|token| token.text.as_str()).collect();
    // Longer tokens than any tokenizer has would take long to split.
    let splits = |text: &str| {
        let places = text.char_indices().skip(1).take(1024);
        places.filter(|&(i, _)| texts.contains(&text[..i]) && texts.contains(&text[i..])).count()
    };
    texts.iter().map(|text| splits(text)).sum()
}

/// Whether a token is spelled `<0x41>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|d| d.len() == 2 && d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')))
}

/// `tokens` and `token_type`, one for each row of the embedding; pads `scores` too.
fn tokens(file: &Path, config: &ModelConfig, bpe: &Bpe, out: &mut TokenizerMetadata) -> Result<(), Error> {
    let rows = config.vocab_size;
    let vocabulary = bpe.vocabulary.tokens();
    if let Some(last) = vocabulary.last().filter(|token| token.id as usize >= rows) {
        return Err(Error::VocabularyTooLarge { file: file.to_owned(), largest: last.id, vocab_size: rows });
    }
    let spelled: HashSet<&str> = vocabulary.iter().map(|token| token.text.as_str()).collect();
    let has_scores = out.metadata.iter().position(|(key, _)| key == SCORES);
    let dense_scores: Option<Vec<f32>> = has_scores.and_then(|index| {
        let scores = out.metadata[index].1.as_array()?;
        Some(scores.iter().filter_map(|score| score.as_f64()).map(|score| score as f32).collect())
    });
    let (mut texts, mut types, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = vocabulary.iter().enumerate().peekable();
    for id in 0..rows as u32 {
        if let Some((index, token)) = next.next_if(|(_, token)| token.id == id) {
            // llama.cpp cuts user-defined tokens out of the text before it replaces blanks.
            let raw = has_scores.is_some() && token.kind == TokenKind::UserDefined;
            texts.push(if raw { token.text.replace(BLANK, " ") } else { token.text.clone() });
            types.push(kind(bpe, token) as i32);
            scores.push(dense_scores.as_ref().map_or(0.0, |scores| scores[index]));
        } else {
            let mut text = format!("[PAD{id}]");
            while spelled.contains(text.as_str()) {
                text.push('_');
            }
            texts.push(text);
            types.push(TokenKind::Unused as i32);
            scores.push(0.0);
        }
    }
    let mut distinct = HashSet::new();
    if let Some(text) = texts.iter().find(|text| !distinct.insert(text.as_str())) {
        out.warn(format!(
            "llama.cpp will refuse the vocabulary, which has the token `{}` twice",
            printable(text)
        ));
    }
    drop(distinct);
    if let Some(index) = has_scores {
        out.metadata[index].1 = Value::Array(Array::from_f32s(&scores));
    }
    out.put(TOKENS, Value::Array(Array::from_strings(texts.iter().map(String::as_str))));
    out.put(TOKEN_TYPE, Value::Array(Array::from_i32s(&types)));
    Ok(())
}

fn kind(bpe: &Bpe, token: &crate::tokenizer::vocabulary::Token) -> TokenKind {
    if bpe.unk_token.as_deref() == Some(&token.text) {
        TokenKind::Unknown
    } else if token.kind == TokenKind::Normal && bpe.byte_fallback && is_byte(&token.text) {
        TokenKind::Byte
    } else {
        token.kind
    }
}

/// Which tokens have a role, and which are put around every text.
fn ids(config: &ModelConfig, bpe: &Bpe, text: TokenizerText<'_>, out: &mut TokenizerMetadata) {
    if bpe.greedy_added_tokens {
        out.warn("llama.cpp will leave the blanks beside added tokens that take them along");
    }
    for (key, token) in [(UNKNOWN_TOKEN, bpe.unk_token.as_deref()), (PADDING_TOKEN, text.pad)] {
        if let Some(id) = token.and_then(|token| bpe.vocabulary.id(token)) {
            out.put(key, Value::U32(id));
        }
    }
    let (first, last) = (bpe.framing.before.first().copied(), bpe.framing.after.last().copied());
    let (bos, eos) = (config.bos_token.or(first), config.eos_tokens.first().copied());
    let exact = !bpe.odd_framing
        && bpe.framing.before.len() <= 1
        && bpe.framing.after.len() <= 1
        && (first.is_none() || first == bos)
        && (last.is_none() || last == eos);
    if !exact {
        out.warn("llama.cpp will put other tokens around a text: it knows one to begin and one to end with");
    }
    if let Some(bos) = bos {
        out.put(BOS_TOKEN, Value::U32(bos));
    }
    out.put(ADD_BOS, Value::Bool(first.is_some() && first == bos));
    out.put(ADD_EOS, Value::Bool(last.is_some() && last == eos));
}
