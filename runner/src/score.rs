//! Log-likelihood of a continuation.

use b158_kernels::softmax;

use crate::{Error, Model, Session};

/// Log-probabilities of a continuation's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Natural logarithm of each token's probability, given everything before it.
    pub logprobs: Vec<f64>,
    /// Whether every token has the highest logit of its position (the first of equals).
    pub greedy: bool,
}

impl Score {
    /// Log-likelihood of the whole continuation, in nats: the terms added in order.
    pub fn sum(&self) -> f64 {
        self.logprobs.iter().sum()
    }
}

/// Scores `continuation` after `context`, both token ids.
///
/// # Errors
/// An empty context or continuation, or what [`Session::forward`] refuses.
pub fn score(model: &Model, context: &[u32], continuation: &[u32]) -> Result<Score, Error> {
    if context.is_empty() {
        return Err(Error::Empty { what: "context" });
    }
    let Some((_, input_tail)) = continuation.split_last() else {
        return Err(Error::Empty { what: "continuation" });
    };
    let vocab_size = model.config().vocab_size;
    if let Some(&id) = continuation.iter().find(|&&id| id as usize >= vocab_size) {
        return Err(Error::TokenOutOfVocabulary { id, vocab_size });
    }
    // The last token is predicted, not read.
    let input = [context, input_tail].concat();
    let mut score = Score { logprobs: Vec::with_capacity(continuation.len()), greedy: true };
    let mut tokens = continuation.iter();
    Session::new(model, input.len())?.forward_each(&input, context.len() - 1, |row| {
        if let Some(&token) = tokens.next() {
            score.logprobs.push(softmax::log_probability(model.isa(), row, token as usize));
            score.greedy &= argmax(row) == token as usize;
        }
    })?;
    Ok(score)
}

/// The first index of the highest value; 0 of no values.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &value) in row.iter().enumerate() {
        if value > row[best] {
            best = i;
        }
    }
    best
}
