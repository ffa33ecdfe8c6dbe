//! How single tokens are spelled in answers.

use std::sync::{Arc, OnceLock};

use b158_checkpoint::Tokenizer;

/// Each token's text in the middle of a text, found when it is first asked for.
///
/// A token that is no text by itself (a part of a character, a special token) has the tokenizer's own spelling.
pub(crate) struct TokenTexts {
    tokenizer: Arc<Tokenizer>,
    /// A token that comes before, so that the first blank is kept, and its text.
    before: Option<(u32, String)>,
    texts: Vec<OnceLock<Box<str>>>,
}

impl TokenTexts {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, vocab_size: usize) -> Self {
        let before = tokenizer.encode("a", false).ok().and_then(|ids| ids.last().copied()).and_then(|id| {
            let text = tokenizer.decode(&[id], false).ok()?;
            Some((id, text))
        });
        Self { tokenizer, before, texts: (0..vocab_size).map(|_| OnceLock::new()).collect() }
    }

    /// The token's text.
    pub(crate) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", |text| text.get_or_init(|| self.find(id).into()))
    }

    /// The tokenizer's own spelling, of which there is one for each token.
    pub(crate) fn spelling(&self, id: u32) -> String {
        self.tokenizer.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))
    }

    /// The bytes of a token in UTF-8, where it is text or a byte of its own.
    pub(crate) fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let spelling = self.spelling(id);
        let byte = spelling.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>'));
        if let Some(byte) = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            return Some(vec![byte]);
        }
        self.readable(id).map(String::into_bytes)
    }

    fn find(&self, id: u32) -> String {
        self.readable(id).unwrap_or_else(|| self.spelling(id))
    }

    fn readable(&self, id: u32) -> Option<String> {
        let (before, text) = self.before.as_ref()?;
        let both = self.tokenizer.decode(&[*before, id], false).ok()?;
        let own = both.strip_prefix(text.as_str())?;
        (!own.is_empty() && !own.contains(char::REPLACEMENT_CHARACTER)).then(|| own.to_owned())
    }
}
