//! llama.cpp's keys to a tokenizer.json.

use std::path::Path;

use super::{
    ADD_BOS, ADD_EOS, ADD_SPACE_PREFIX, BOS_TOKEN, CHAT_TEMPLATE, CLS_TOKEN, EOS_TOKEN, HUGGING_FACE_JSON,
    LOWERCASE, MERGES, MODEL, NO_VOCABULARY, PADDING_TOKEN, PRE, REMOVE_EXTRA_WHITESPACES, SCORES,
    SEPARATOR_TOKEN, TOKEN_TYPE, TOKENS, UNKNOWN_TOKEN,
};
use crate::{
    Error,
    error::printable,
    gguf::{Array, Gguf, Value},
    tokenizer::{
        byte_level, gpt2,
        json::Framing,
        metaspace, pre_tokenizer,
        vocabulary::{Token, TokenKind, Vocabulary},
        word_piece,
    },
};

/// The chat template (Jinja), if the file has one.
pub fn chat_template<'g>(gguf: &'g Gguf<'_>) -> Option<&'g str> {
    gguf.get(CHAT_TEMPLATE)?.as_str()
}

/// The text of the padding token, if the file names one.
pub(crate) fn padding_token(gguf: &Gguf<'_>) -> Option<String> {
    let id = usize::try_from(gguf.get(PADDING_TOKEN)?.as_u64()?).ok()?;
    gguf.get(TOKENS)?.as_array()?.iter().nth(id)?.as_str().map(str::to_owned)
}

/// The text of a tokenizer.json that gives the ids which llama.cpp gives: the one in the file, else
/// one made of `tokenizer.ggml.*`; `None` if the file has neither. `file` is for messages only.
///
/// # Errors
/// Keys that are missing, damaged or contradict each other, and kinds of vocabularies other than
/// `llama`, `gpt2` and `bert`.
pub fn tokenizer_json(file: &Path, gguf: &Gguf<'_>) -> Result<Option<String>, Error> {
    let keys = Keys { file, gguf };
    if let Some(json) = keys.text(HUGGING_FACE_JSON)? {
        return Ok(Some(json.to_owned()));
    }
    let json = match keys.text(MODEL)? {
        None | Some(NO_VOCABULARY | "none") => return Ok(None),
        Some("llama") => sentence_piece(&keys)?,
        Some("gpt2") => byte_level_bpe(&keys)?,
        Some("bert") => bert(&keys)?,
        Some(other) => {
            let feature = format!("the tokenizer model `{}`", printable(other));
            let hint = "convert the model again from its Hugging Face folder";
            return Err(Error::unsupported(file, feature, hint));
        }
    };
    Ok(Some(json))
}

fn sentence_piece(keys: &Keys) -> Result<String, Error> {
    let scores = keys.array(SCORES)?;
    let mut tokens = keys.tokens()?;
    if let Some(scores) = scores {
        let wrong = || Error::malformed(keys.file, format!("`{SCORES}` is not a number for every token"));
        if scores.len() < tokens.len() as u64 {
            return Err(wrong());
        }
        for (token, score) in tokens.iter_mut().zip(scores.iter()) {
            token.score = match score {
                Value::F32(score) => score,
                Value::I32(score) => score as f32,
                _ => return Err(wrong()),
            };
        }
    }
    let vocabulary = Vocabulary::new(keys.file, tokens)?;
    let options = metaspace::Options {
        add_space_prefix: keys.flag(ADD_SPACE_PREFIX)?.unwrap_or(true),
        remove_extra_whitespaces: keys.flag(REMOVE_EXTRA_WHITESPACES)?.unwrap_or(false),
        ..metaspace::Options::default()
    };
    // llama.cpp's defaults are LLaMA's ids.
    let framing = Framing::new(
        keys.token(BOS_TOKEN)?.or(Some(1)).filter(|_| keys.adds(ADD_BOS, true)),
        keys.token(EOS_TOKEN)?.or(Some(2)).filter(|_| keys.adds(ADD_EOS, false)),
    );
    let unknown = keys.token(UNKNOWN_TOKEN)?.unwrap_or(0);
    metaspace::tokenizer_json(keys.file, &vocabulary, Some(unknown), options, &framing)
}

fn byte_level_bpe(keys: &Keys) -> Result<String, Error> {
    let pre_tokenizer = match keys.text(PRE)? {
        None => &pre_tokenizer::DEFAULT,
        Some(name) => pre_tokenizer::by_name(name).ok_or_else(|| {
            let feature = format!("the pre-tokenizer `{}`", printable(name));
            Error::unsupported(keys.file, feature, "convert the model again from its Hugging Face folder")
        })?,
    };
    let vocabulary = Vocabulary::new(keys.file, keys.tokens()?)?;
    let merges = keys.array(MERGES)?.ok_or_else(|| Error::missing_key(keys.file, MERGES))?;
    let lines: Vec<String> = keys.strings(MERGES, merges)?;
    let merges = lines.iter().map(|line| gpt2::pair(keys.file, line)).collect::<Result<Vec<_>, _>>()?;
    let framing = Framing::new(
        keys.token(BOS_TOKEN)?.filter(|_| keys.adds(ADD_BOS, pre_tokenizer.add_bos)),
        keys.token(EOS_TOKEN)?.filter(|_| keys.adds(ADD_EOS, false)),
    );
    byte_level::tokenizer_json(keys.file, &vocabulary, &merges, pre_tokenizer, &framing)
}

fn bert(keys: &Keys) -> Result<String, Error> {
    // Older files call the beginning token `cls`; the ids are BERT's.
    let first = keys.token(BOS_TOKEN)?.or(keys.token(CLS_TOKEN)?).unwrap_or(101);
    let last = keys.token(SEPARATOR_TOKEN)?.unwrap_or(102);
    let framing = Framing::new(Some(first).filter(|_| keys.adds(ADD_BOS, true)), Some(last));
    let unknown = keys.token(UNKNOWN_TOKEN)?.unwrap_or(100);
    let lowercase = keys.flag(LOWERCASE)?.unwrap_or(true);
    word_piece::tokenizer_json(keys.file, keys.tokens()?, Some(unknown), lowercase, &framing)
}

/// Typed access to the keys.
struct Keys<'a> {
    file: &'a Path,
    gguf: &'a Gguf<'a>,
}

impl<'a> Keys<'a> {
    fn typed<T>(
        &self,
        key: &str,
        valid: &'static str,
        read: impl Fn(&'a Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.gguf.get(key) else { return Ok(None) };
        let bad = || Error::BadValue {
            file: self.file.to_owned(),
            key: key.to_owned(),
            value: format!("of type {:?}", value.value_type()),
            valid,
        };
        read(value).map(Some).ok_or_else(bad)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.typed(key, "it must be a string", Value::as_str)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "it must be true or false", Value::as_bool)
    }

    fn token(&self, key: &str) -> Result<Option<u32>, Error> {
        self.typed(key, "it must be a token id", |v| v.as_u64()?.try_into().ok())
    }

    fn array(&self, key: &str) -> Result<Option<&'a Array<'a>>, Error> {
        self.typed(key, "it must be a list", Value::as_array)
    }

    /// Whether a token is put before or after every text.
    fn adds(&self, key: &str, default: bool) -> bool {
        self.gguf.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    fn strings(&self, key: &str, array: &Array<'_>) -> Result<Vec<String>, Error> {
        let text = |value: Value<'_>| value.as_str().map(str::to_owned);
        let strings: Option<Vec<_>> = array.iter().map(text).collect();
        strings.ok_or_else(|| Error::malformed(self.file, format!("`{key}` is not a list of strings")))
    }

    /// The tokens with their kinds; an empty text is no token, so it gets a name as llama.cpp gives it.
    fn tokens(&self) -> Result<Vec<Token>, Error> {
        let texts = self.array(TOKENS)?.ok_or_else(|| Error::missing_key(self.file, TOKENS))?;
        let texts = self.strings(TOKENS, texts)?;
        let mut kinds = vec![TokenKind::Normal; texts.len()];
        if let Some(types) = self.array(TOKEN_TYPE)? {
            let wrong =
                || Error::malformed(self.file, format!("`{TOKEN_TYPE}` is not a number for every token"));
            if types.len() < texts.len() as u64 {
                return Err(wrong());
            }
            for (kind, value) in kinds.iter_mut().zip(types.iter()) {
                *kind = TokenKind::from_id(value.as_u64().ok_or_else(wrong)?);
            }
        }
        let token = |(id, (text, kind)): (usize, (String, TokenKind))| {
            let id =
                u32::try_from(id).map_err(|_| Error::malformed(self.file, "there are too many tokens"))?;
            let text = if text.is_empty() { format!("[EMPTY_{id}]") } else { text };
            Ok(Token { id, text, score: 0.0, kind })
        };
        texts.into_iter().zip(kinds).enumerate().map(token).collect()
    }
}
