//! Prefill and decode rates of a model.

use std::{num::NonZeroUsize, time::Instant};

use crate::{Error, Model, Session, score::argmax};

/// Measured rates, in tokens per second: the best of the runs, since noise only ever adds time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Tokens of the prompt.
    pub prefill_tokens: usize,
    /// Prompt tokens per second, all of them in one call.
    pub prefill_per_second: f64,
    /// Tokens decoded after the prompt.
    pub decode_tokens: usize,
    /// Decoded tokens per second, one a call.
    pub decode_per_second: f64,
    /// Bytes of the key-value cache of the measured session.
    pub cache_bytes: usize,
}

/// Times a prompt of `prefill` tokens and `decode` greedy tokens after it, `runs` times.
///
/// # Errors
/// What [`Session::forward`] refuses, such as a length beyond the model's context.
pub fn rates(model: &Model, prefill: usize, decode: usize, runs: NonZeroUsize) -> Result<Rates, Error> {
    if prefill == 0 {
        return Err(Error::Empty { what: "prompt" });
    }
    let (context, limit) = (model.context(), model.config().context_length);
    let tokens = prefill.saturating_add(decode);
    if tokens > context {
        return Err(Error::ContextFull { wanted: tokens, capacity: context, limit });
    }
    let vocab_size = model.config().vocab_size;
    // Any ids do: the time does not depend on them.
    let prompt: Vec<u32> = (0..prefill).map(|i| (i * 31 % vocab_size) as u32).collect();
    let (mut prefill_seconds, mut decode_seconds, mut cache_bytes) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..runs.get() {
        let mut session = Session::new(model, tokens)?;
        let start = Instant::now();
        let mut logits = session.forward(&prompt, prefill - 1)?;
        prefill_seconds = prefill_seconds.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 0..decode {
            let next = argmax(logits.as_slice().expect("standard layout")) as u32;
            logits = session.forward(&[next], 0)?;
        }
        decode_seconds = decode_seconds.min(start.elapsed().as_secs_f64());
        cache_bytes = session.cache_bytes();
    }
    Ok(Rates {
        prefill_tokens: prefill,
        prefill_per_second: prefill as f64 / prefill_seconds,
        decode_tokens: decode,
        decode_per_second: decode as f64 / decode_seconds,
        cache_bytes,
    })
}
