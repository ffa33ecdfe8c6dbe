//! tokenizer.model of Llama 3: tiktoken's ranks.
//!
//! ```text
//! IQ== 0          a token's bytes in base64, a blank, its rank, which is its id too;
//! Ig== 1          of all pairs of neighbours, the one whose joined bytes have the lowest rank merges
//! ...
//! ```
//!
//! The file names neither the expression that splits a text nor the special tokens. Llama 3's are
//! known; the special tokens come from tokenizer_config.json where that lists them:
//!
//! ```text
//! 128000 <|begin_of_text|>  ..6 <|start_header_id|>  ..9 <|eot_id|>     between and after them, to
//!     ..1 <|end_of_text|>   ..7 <|end_header_id|>                       128255: <|reserved_special_token_0|>,
//!                                                                       _1, and so on
//! ```

use std::path::Path;

use super::{
    base64, byte_level,
    config::TokenizerConfig,
    json::Framing,
    merges::{self, Piece},
    pre_tokenizer,
    vocabulary::{Token, TokenKind, Vocabulary},
};
use crate::Error;

/// Llama 3's number of ranks, and of special tokens after them.
const LLAMA3_RANKS: usize = 128_000;
const LLAMA3_SPECIAL: u32 = 256;
const BEGIN_OF_TEXT: &str = "<|begin_of_text|>";
/// Ranks are scores, and f32 holds whole numbers up to here.
const MAX_RANK: u32 = 1 << 24;

/// Whether a tokenizer.model is this format. A SentencePiece model begins with a line feed.
pub(crate) fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).is_ok_and(|line| rank(line).is_some())
}

/// A line: a token's bytes and its rank.
fn rank(line: &str) -> Option<(Vec<u8>, u32)> {
    let (bytes, rank) = line.trim_end().split_once(' ')?;
    let bytes = base64::decode(bytes).filter(|bytes| !bytes.is_empty())?;
    Some((bytes, rank.parse().ok().filter(|&rank| rank < MAX_RANK)?))
}

/// The tokenizer.json of ranks; the special tokens of tokenizer_config.json count first.
pub(crate) fn tokenizer_json(file: &Path, bytes: &[u8], config: &TokenizerConfig) -> Result<String, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::malformed(file, "its ranks are not text"))?;
    let alphabet = byte_level::alphabet();
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (bytes, id) = rank(line).ok_or_else(|| {
            Error::malformed(file, format!("line {} is not a token in base64 and its rank", number + 1))
        })?;
        let text = bytes.iter().map(|&b| alphabet[usize::from(b)]).collect();
        tokens.push(Token { id, text, score: -(id as f32), kind: TokenKind::Normal });
    }
    let special = special_tokens(tokens.len(), config).ok_or_else(|| {
        let feature = format!("a file of {} ranks, which is not Llama 3's,", tokens.len());
        Error::unsupported(file, feature, "put the model's tokenizer.json beside config.json")
    })?;
    tokens.extend(special);
    let vocabulary = Vocabulary::new(file, tokens)?;
    let normal = vocabulary.tokens().iter().filter(|token| token.kind == TokenKind::Normal);
    let pieces: Vec<Piece> =
        normal.map(|token| Piece { id: token.id, text: &token.text, score: token.score }).collect();
    let merges = merges::from_scores(file, &pieces)?;
    let id = |text: Option<&str>| text.and_then(|text| vocabulary.id(text));
    let framing = Framing::new(
        id(Some(config.bos.as_deref().unwrap_or(BEGIN_OF_TEXT))).filter(|_| config.add_bos.unwrap_or(true)),
        id(config.eos.as_deref()).filter(|_| config.add_eos.unwrap_or(false)),
    );
    byte_level::tokenizer_json(file, &vocabulary, &merges, &pre_tokenizer::LLAMA3, &framing)
}

/// The special tokens, if these are Llama 3's ranks.
fn special_tokens(ranks: usize, config: &TokenizerConfig) -> Option<Vec<Token>> {
    let token = |id: u32, text: String, special: bool| Token {
        id,
        text,
        score: 0.0,
        kind: if special { TokenKind::Control } else { TokenKind::UserDefined },
    };
    if config.added.iter().any(|token| token.text == BEGIN_OF_TEXT) {
        return Some(config.added.iter().map(|t| token(t.id, t.text.clone(), t.special)).collect());
    }
    if ranks != LLAMA3_RANKS {
        return None;
    }
    let mut reserved = 0..;
    let text = |number: u32| match number {
        0 => BEGIN_OF_TEXT.to_owned(),
        1 => "<|end_of_text|>".to_owned(),
        6 => "<|start_header_id|>".to_owned(),
        7 => "<|end_header_id|>".to_owned(),
        9 => "<|eot_id|>".to_owned(),
        _ => format!("<|reserved_special_token_{}|>", reserved.next().unwrap_or(0)),
    };
    let texts: Vec<String> = (0..LLAMA3_SPECIAL).map(text).collect();
    Some(texts.into_iter().zip(ranks as u32..).map(|(text, id)| token(id, text, true)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_numbers_its_special_tokens() {
        let tokens = special_tokens(LLAMA3_RANKS, &TokenizerConfig::default()).unwrap();
        let text = |id: u32| tokens[(id - 128_000) as usize].text.as_str();
        assert_eq!(tokens.last().unwrap().id, 128_255);
        assert_eq!(text(128_002), "<|reserved_special_token_0|>");
        assert_eq!(text(128_005), "<|reserved_special_token_3|>");
        assert_eq!(text(128_008), "<|reserved_special_token_4|>");
        assert_eq!(text(128_010), "<|reserved_special_token_5|>");
        assert_eq!(text(128_255), "<|reserved_special_token_250|>");
        assert!(special_tokens(1000, &TokenizerConfig::default()).is_none());
    }

    #[test]
    fn the_format_is_recognized() {
        assert!(is_tiktoken(b"IQ== 0\nIg== 1\n"));
        for other in
            [&b"\n\x0e\x0a\x05<unk>"[..], b"", b"IQ==\n", b"IQ== -1", b" 0", b"IQ== 99999999", b"\xff\xff 1"]
        {
            assert!(!is_tiktoken(other), "{other:?}");
        }
    }
}
