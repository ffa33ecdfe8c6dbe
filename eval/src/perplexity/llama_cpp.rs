//! llama.cpp's `llama-perplexity` (`tools/perplexity/perplexity.cpp`, without `--ppl-stride`).
//!
//! ```text
//!   tokens of the file   [B t1 t2 ... | tn tn+1 ... | ...]      floor(tokens / n_ctx) chunks, the rest is dropped
//!   a chunk              B t t t | t t t t                      its first token becomes BOS; the first half and one
//!                        read    | scored                       more are only read
//!   error                exp(m) sqrt((E[nll^2] - m^2) / (count - 1)),  m = E[nll]
//! ```

use super::{Plan, Scored, Text, too_short, window};
use crate::{Error, LanguageModel};

pub(super) fn plan(model: &dyn LanguageModel, text: &Text, context: usize) -> Result<Plan, Error> {
    let tokens = model.encode(&text.whole(), true)?;
    if tokens.len() < 2 * context {
        return Err(too_short(text, tokens.len(), 2 * context));
    }
    // Only of a tokenizer that puts BOS before texts.
    let bos = model.bos().filter(|bos| tokens.first() == Some(bos));
    let chunk = |chunk: &[u32]| {
        let mut chunk = chunk.to_vec();
        chunk[0] = bos.unwrap_or(chunk[0]);
        window(&chunk, context / 2 + 1)
    };
    Ok(Plan { windows: tokens.chunks_exact(context).map(chunk).collect(), left_out: 0 })
}

/// The standard error of the perplexity; none of a single token, and where rounding leaves no variance.
pub(super) fn error(scored: &Scored) -> Option<f64> {
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for logprob in scored.logprobs() {
        sum -= logprob;
        squares += logprob * logprob;
        count += 1.0;
    }
    let mean = sum / count;
    let variance = squares / count - mean * mean;
    (count > 1.0 && variance > 0.0).then(|| libm::exp(mean) * (variance / (count - 1.0)).sqrt())
}
