//! Decoding token by token.

use super::Tokenizer;
use crate::Error;

/// Text as it becomes certain: a character of several tokens appears once it is complete.
///
/// A token's text may depend on the token before it (a leading blank, bytes of one character), so
/// each step decodes the tokens that were shown last together with the new ones, and shows what
/// the new ones add:
///
/// ```text
/// ids    [ shown last | new ...  ]        ends in an unfinished character: wait
/// text   [ shown      | the rest ]        else: show the rest
/// ```
#[derive(Clone, Debug)]
pub struct DecodeStream<'t> {
    pub(super) tokenizer: &'t Tokenizer,
    pub(super) skip_special: bool,
    pub(super) ids: Vec<u32>,
    /// How many of `ids` are shown, and their text.
    pub(super) shown_ids: usize,
    pub(super) shown: String,
}

impl DecodeStream<'_> {
    /// The text that one more token makes certain; empty while a character is unfinished.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        if text.len() <= self.shown.len() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let new = self.rest(&text);
        self.ids.drain(..self.shown_ids);
        self.shown_ids = self.ids.len();
        self.shown = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(new)
    }

    /// What is left when no more tokens come: an unfinished character as U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String, Error> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(self.rest(&text))
    }

    /// `text` without what is shown of it already.
    fn rest(&self, text: &str) -> String {
        let mut shown = self.shown.chars();
        text.chars().skip_while(|&c| shown.next() == Some(c)).collect()
    }
}
