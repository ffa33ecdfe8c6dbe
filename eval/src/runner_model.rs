//! The runner as a [`LanguageModel`].

use b158_checkpoint::{Checkpoint, Tokenizer};
use b158_runner::Model;

use crate::{Error, LanguageModel, Score, ScoreRequest};

/// A loaded model and its tokenizer.
pub struct RunnerModel {
    model: Model,
    tokenizer: Tokenizer,
}

impl RunnerModel {
    /// Joins a loaded model with the tokenizer of its checkpoint.
    ///
    /// # Errors
    /// [`Error::Model`] if the checkpoint has no usable tokenizer.
    pub fn new(checkpoint: &Checkpoint, model: Model) -> Result<Self, Error> {
        let tokenizer = checkpoint.tokenizer().map_err(failed)?;
        Ok(Self { model, tokenizer })
    }
}

impl LanguageModel for RunnerModel {
    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(text, add_special).map_err(failed)
    }

    fn bos(&self) -> Option<u32> {
        self.tokenizer.bos()
    }

    fn bos_text(&self) -> Option<&str> {
        self.tokenizer.bos_text()
    }

    fn eos(&self) -> Option<u32> {
        self.model.config().eos_tokens.first().copied()
    }

    fn max_length(&self) -> usize {
        self.model.context()
    }

    fn score(&self, context: &[u32], continuation: &[u32]) -> Result<Score, Error> {
        b158_runner::score(&self.model, context, continuation).map_err(failed)
    }

    fn score_batch(&self, requests: &[ScoreRequest<'_>]) -> Result<Vec<Score>, Error> {
        b158_runner::score_batch(&self.model, requests).map_err(failed)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Model(Box::new(error))
}
