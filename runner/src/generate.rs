//! Text generation, token by token.

use std::ops::ControlFlow;

use crate::{Error, Sampler, Sampling, Session};

/// What to generate.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// How to choose each token.
    pub sampling: Sampling,
    /// Tokens that end the text; they are not part of it.
    pub stop_tokens: Vec<u32>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A stop token came.
    StopToken,
    /// `max_tokens` were generated.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The caller said so.
    Caller,
}

/// The generated tokens and why there are no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The new tokens, without the prompt and the stop token.
    pub tokens: Vec<u32>,
    /// Why generation ended.
    pub reason: StopReason,
}

/// Continues `prompt` in `session`; `on_token` sees each token as it comes and may break.
///
/// # Errors
/// Sampling options outside their range, and what [`Session::forward`] refuses.
pub fn generate(
    session: &mut Session<'_>,
    prompt: &[u32],
    options: &GenerateOptions,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, Error> {
    let mut sampler = Sampler::new(options.sampling)?;
    let mut tokens = Vec::new();
    let end = |tokens, reason| Ok(Generation { tokens, reason });
    let mut logits = session.forward(prompt, prompt.len().saturating_sub(1))?;
    loop {
        if tokens.len() == options.max_tokens {
            return end(tokens, StopReason::MaxTokens);
        }
        let next = sampler.next(logits.as_slice().expect("standard layout"));
        if options.stop_tokens.contains(&next) {
            return end(tokens, StopReason::StopToken);
        }
        tokens.push(next);
        if on_token(next).is_break() {
            return end(tokens, StopReason::Caller);
        }
        if tokens.len() == options.max_tokens {
            return end(tokens, StopReason::MaxTokens);
        }
        if session.len() == session.capacity() {
            return end(tokens, StopReason::ContextFull);
        }
        logits = session.forward(&[next], 0)?;
    }
}
