//! vocab.json and merges.txt, as GPT-2 has them.
//!
//! ```text
//! vocab.json   {"!": 0, "\"": 1, ...}        merges.txt   #version: 0.2
//!                                                         Ġ t
//! ```

use std::{collections::BTreeMap, path::Path};

use super::{
    byte_level,
    config::TokenizerConfig,
    json::Framing,
    pre_tokenizer,
    vocabulary::{Token, TokenKind, Vocabulary},
};
use crate::{Error, error::printable};

/// GPT-2's only special token.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The tokenizer.json of that pair of files; `file` is the vocabulary's, for messages.
pub(crate) fn tokenizer_json(
    file: &Path,
    vocab: &[u8],
    merges: &str,
    config: &TokenizerConfig,
) -> Result<String, Error> {
    let vocab: BTreeMap<String, u32> = serde_json::from_slice(vocab).map_err(Error::json(file))?;
    let mut added: BTreeMap<&str, (u32, bool)> =
        config.added.iter().map(|token| (token.text.as_str(), (token.id, token.special))).collect();
    if let Some(&id) = vocab.get(END_OF_TEXT) {
        added.insert(END_OF_TEXT, (id, true));
    }
    let kind = |special: bool| if special { TokenKind::Control } else { TokenKind::UserDefined };
    let mut tokens: Vec<Token> = vocab
        .into_iter()
        .map(|(text, id)| {
            let kind = added.remove(text.as_str()).map_or(TokenKind::Normal, |(_, special)| kind(special));
            Token { id, text, score: 0.0, kind }
        })
        .collect();
    tokens.extend(added.into_iter().map(|(text, (id, special))| Token {
        id,
        text: text.into(),
        score: 0.0,
        kind: kind(special),
    }));
    let vocabulary = Vocabulary::new(file, tokens)?;
    let lines = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    let merges = lines.map(|line| pair(file, line)).collect::<Result<Vec<_>, _>>()?;
    let id = |text: &Option<String>, add: Option<bool>| {
        text.as_deref().filter(|_| add == Some(true)).and_then(|text| vocabulary.id(text))
    };
    let framing = Framing::new(id(&config.bos, config.add_bos), id(&config.eos, config.add_eos));
    byte_level::tokenizer_json(file, &vocabulary, &merges, &pre_tokenizer::GPT2, &framing)
}

/// The two halves of a merge. The first half is not empty, so a blank at the front belongs to it.
pub(crate) fn pair<'m>(file: &Path, merge: &'m str) -> Result<(&'m str, &'m str), Error> {
    let blank = merge.char_indices().skip(1).find(|&(_, c)| c == ' ');
    blank.map(|(i, _)| (&merge[..i], &merge[i + 1..])).ok_or_else(|| {
        Error::malformed(
            file,
            format!("the merge `{}` is not two tokens with a blank between", printable(merge)),
        )
    })
}
