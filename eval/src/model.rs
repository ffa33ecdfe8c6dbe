//! What evaluation needs of a language model.

pub use b158_runner::{Score, ScoreRequest};

use crate::Error;

/// A tokenizer and a causal language model.
pub trait LanguageModel: Sync {
    /// Token ids of a text; with `add_special` also the special tokens that the tokenizer adds by its own
    /// configuration (usually BOS).
    ///
    /// # Errors
    /// [`Error::Model`].
    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error>;

    /// The id of the beginning-of-sequence token.
    fn bos(&self) -> Option<u32>;

    /// The text of the beginning-of-sequence token.
    fn bos_text(&self) -> Option<&str>;

    /// The id of the end-of-sequence token.
    fn eos(&self) -> Option<u32>;

    /// The longest input in tokens.
    fn max_length(&self) -> usize;

    /// Log-probability of each token of `continuation` after `context`, and whether every one is the argmax.
    /// `context` is not empty and both together are at most one token longer than [`Self::max_length`]: the last
    /// token is predicted, not read.
    ///
    /// # Errors
    /// [`Error::Model`].
    fn score(&self, context: &[u32], continuation: &[u32]) -> Result<Score, Error>;

    /// [`Self::score`] of each request, the same bits; a model that shares what they have in common does better
    /// than one by one.
    ///
    /// # Errors
    /// [`Error::Model`].
    fn score_batch(&self, requests: &[ScoreRequest<'_>]) -> Result<Vec<Score>, Error> {
        requests.iter().map(|request| self.score(request.context, request.continuation)).collect()
    }
}
