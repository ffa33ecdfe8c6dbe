//! WordPiece, as BERT has it: a word is its longest beginning that is a token, then the longest
//! continuation, and so on; a word that cannot be covered is unknown.
//!
//! llama.cpp's vocabularies mark the beginnings (U+2581), a tokenizer.json the continuations (`##`):
//!
//! ```text
//! llama.cpp         ▁token   ization   [CLS]
//! tokenizer.json    token    ##ization [CLS]
//! ```

use std::path::Path;

use serde_json::json;

use super::{
    json::{Framing, TokenizerJson},
    metaspace::BLANK,
    vocabulary::{Token, TokenKind, Vocabulary},
};
use crate::Error;

/// The tokenizer.json of llama.cpp's tokens.
pub(crate) fn tokenizer_json(
    file: &Path,
    mut tokens: Vec<Token>,
    unknown: Option<u32>,
    lowercase: bool,
    framing: &Framing,
) -> Result<String, Error> {
    for token in &mut tokens {
        let bracketed = token.text.starts_with('[') && token.text.ends_with(']');
        if let Some(word) = token.text.strip_prefix(BLANK) {
            token.text = word.to_owned();
        } else if token.kind == TokenKind::Normal && !bracketed {
            token.text.insert_str(0, "##");
        }
    }
    let vocabulary = Vocabulary::new(file, tokens)?;
    let vocab: serde_json::Map<_, _> =
        vocabulary.tokens().iter().map(|token| (token.text.clone(), token.id.into())).collect();
    let unknown = unknown.and_then(|id| vocabulary.get(id)).map_or("[UNK]", |token| &token.text);
    TokenizerJson {
        vocabulary: &vocabulary,
        normalizer: json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": lowercase, "lowercase": lowercase,
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor: framing.post_processor(&vocabulary),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        model: json!({
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            // llama.cpp knows no limit.
            "max_input_chars_per_word": 10_000, "vocab": vocab,
        }),
    }
    .write(file)
}
