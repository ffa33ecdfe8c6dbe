//! Tokens with their scores and kinds, before they become a tokenizer.json.

use std::{collections::HashMap, path::Path};

use crate::{Error, error::printable};

/// What a token is for. The numbers are those of SentencePiece's `SentencePiece.Type` and of
/// `tokenizer.ggml.token_type`, which agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Text.
    Normal = 1,
    /// Stands for text that no token expresses.
    Unknown = 2,
    /// Marks a place (beginning, end, a turn); shows no text.
    Control = 3,
    /// Text that is cut out before anything else.
    UserDefined = 4,
    /// A row of the embedding that nothing maps to.
    Unused = 5,
    /// A byte of a character that no token expresses, spelled `<0x41>`.
    Byte = 6,
}

impl TokenKind {
    /// The kind with that number; numbers of unknown meaning are text.
    pub(crate) fn from_id(id: u64) -> Self {
        match id {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    /// Whether the token is cut out of a text before the model sees it, and whether it is special.
    pub(crate) fn added(self) -> Option<bool> {
        match self {
            Self::Control | Self::Unknown => Some(true),
            Self::UserDefined => Some(false),
            Self::Normal | Self::Unused | Self::Byte => None,
        }
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) text: String,
    /// The highest score merges first; meaningless for byte-level BPE.
    pub(crate) score: f32,
    pub(crate) kind: TokenKind,
}

/// All tokens of a model, in order of ids, each text once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vocabulary {
    tokens: Vec<Token>,
}

impl Vocabulary {
    /// Sorts tokens by id.
    ///
    /// # Errors
    /// [`Error::Malformed`] if two tokens share their text or their id, or a score is no number.
    pub(crate) fn new(file: &Path, mut tokens: Vec<Token>) -> Result<Self, Error> {
        tokens.sort_by_key(|token| token.id);
        if let Some(pair) = tokens.windows(2).find(|pair| pair[0].id == pair[1].id) {
            let texts = [&pair[0], &pair[1]].map(|token| printable(&token.text));
            let reason = format!("the tokens `{}` and `{}` share the id {}", texts[0], texts[1], pair[0].id);
            return Err(Error::malformed(file, reason));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for token in &tokens {
            if let Some(other) = ids.insert(token.text.as_str(), token.id) {
                let text = printable(&token.text);
                let reason = format!("the token `{text}` has two ids, {other} and {}", token.id);
                return Err(Error::malformed(file, reason));
            }
            if token.score.is_nan() {
                let reason = format!("the score of the token `{}` is not a number", printable(&token.text));
                return Err(Error::malformed(file, reason));
            }
        }
        Ok(Self { tokens })
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The token with that id.
    pub(crate) fn get(&self, id: u32) -> Option<&Token> {
        let index = self.tokens.binary_search_by_key(&id, |token| token.id).ok()?;
        self.tokens.get(index)
    }

    /// The id of a text; linear.
    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.tokens.iter().find(|token| token.text == text).map(|token| token.id)
    }
}
