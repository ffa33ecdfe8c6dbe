//! BPE over characters in which U+2581 stands for a blank, with bytes for what no token expresses:
//! SentencePiece's BPE and llama.cpp's `llama` vocabularies.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    json::{BpeModel, Framing, TokenizerJson},
    merges::{self, Piece},
    vocabulary::{TokenKind, Vocabulary},
};
use crate::Error;

/// Stands for a blank: U+2581, lower one eighth block.
pub(crate) const BLANK: char = '\u{2581}';

/// What happens to a text before it is merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a> {
    /// A blank in front of the text, and of what follows an added token.
    pub(crate) add_space_prefix: bool,
    /// No blanks at the ends, and one where there are many.
    pub(crate) remove_extra_whitespaces: bool,
    /// Whether blanks become U+2581.
    pub(crate) escape_whitespaces: bool,
    /// SentencePiece's compiled table of replacements, in base64.
    pub(crate) charsmap: Option<&'a str>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            add_space_prefix: true,
            remove_extra_whitespaces: false,
            escape_whitespaces: true,
            charsmap: None,
        }
    }
}

/// The tokenizer.json of such a vocabulary; `unknown` is the token for what cannot be expressed.
pub(crate) fn tokenizer_json(
    file: &Path,
    vocabulary: &Vocabulary,
    unknown: Option<u32>,
    options: Options<'_>,
    framing: &Framing,
) -> Result<String, Error> {
    let mergeable = |kind| matches!(kind, TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused);
    let pieces: Vec<Piece> = vocabulary
        .tokens()
        .iter()
        .filter(|token| mergeable(token.kind))
        .map(|token| Piece { id: token.id, text: &token.text, score: token.score })
        .collect();
    let merges = merges::from_scores(file, &pieces)?;
    TokenizerJson {
        vocabulary,
        normalizer: normalizer(options),
        pre_tokenizer: Value::Null,
        post_processor: framing.post_processor(vocabulary),
        decoder: decoder(options),
        model: BpeModel {
            unk_token: unknown.and_then(|id| vocabulary.get(id)).map(|token| token.text.as_str()),
            fuse_unk: true,
            byte_fallback: vocabulary.tokens().iter().any(|token| token.kind == TokenKind::Byte),
            ignore_merges: false,
            vocab: vocabulary,
            merges: &merges,
        },
    }
    .write(file)
}

fn normalizer(options: Options<'_>) -> Value {
    let mut steps = Vec::new();
    if let Some(charsmap) = options.charsmap {
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": charsmap}));
    }
    if options.remove_extra_whitespaces {
        // Blanks only: other white space is text. U+2581 in the text itself is a blank at its end.
        for (regex, content) in [("^ +|[ \u{2581}]+$", ""), (" {2,}", " ")] {
            steps.push(json!({"type": "Replace", "pattern": {"Regex": regex}, "content": content}));
        }
    }
    let blank = if options.escape_whitespaces { BLANK } else { ' ' };
    if options.add_space_prefix {
        steps.push(json!({"type": "Prepend", "prepend": blank}));
    }
    if options.escape_whitespaces {
        steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK}));
    }
    match steps.len() {
        0 => Value::Null,
        _ => json!({"type": "Sequence", "normalizers": steps}),
    }
}

fn decoder(options: Options<'_>) -> Value {
    let mut steps = Vec::new();
    if options.escape_whitespaces {
        steps.push(json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}));
    }
    steps.push(json!({"type": "ByteFallback"}));
    steps.push(json!({"type": "Fuse"}));
    if options.add_space_prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}
