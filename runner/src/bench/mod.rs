//! Speed, memory and energy of a model on this machine.
//!
//! ```text
//!   first token    one token on an empty cache, after loading: pages come in, buffers are made
//!   prefill        a prompt in one call, from an empty cache
//!   decode         token by token, each chosen greedily, behind a cache of `depth` tokens
//! ```
//!
//! Rates are the best of the runs, since noise only ever adds time; latencies are percentiles over the tokens of all
//! runs. A decoded token reads every weight of the linear layers and of the head once, and the key-value cache:
//! these bytes times the rate, over the bandwidth at which the same threads read memory, are the share of the
//! roofline that was reached.
//!
//! The cache before `depth` is filled with arbitrary keys and values: computing a prompt of that length is what
//! `prefill` measures, and no operation's time depends on the numbers in it.
//!
//! ```
//! use b158_runner::{LoadOptions, Model, Shape, SyntheticFormat, bench};
//!
//! let shape = Shape::named("tiny").unwrap();
//! let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
//! let options = bench::Options { prefill: vec![16], depths: vec![0, 64], decode: 4, ..Default::default() };
//! let measured = bench::run(&model, &options, |step| eprintln!("{step}"))?;
//! assert_eq!(measured.decode[1].depth_tokens, 64);
//! assert!(measured.prefill[0].tokens_per_second > 0.0);
//! // One addition a weight: the energy that the papers count.
//! assert!(measured.energy_modelled[0].linear_layers_mj_per_token > 0.0);
//! # Ok::<(), b158_runner::Error>(())
//! ```

mod bandwidth;
mod energy;
mod measured;
mod peak;
mod rapl;

use std::time::Instant;

use serde::{Deserialize, Serialize};

pub use self::{
    bandwidth::read_bandwidth,
    energy::{Energy, modelled},
    measured::{Column, LeftOut, Measured},
    peak::{peak_resident, reset_peak},
    rapl::Counters,
};
use crate::{
    Error, MemoryReport, Model, Session, argmax,
    awake::awake,
    memory::{buffer_bytes, cache_bytes_read},
};

/// After so long no further run of the same measurement starts.
const ENOUGH_SECONDS: f64 = 20.0;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Lengths of prompts.
    pub prefill: Vec<usize>,
    /// Tokens in the cache before decoding.
    pub depths: Vec<usize>,
    /// Tokens decoded at each depth.
    pub decode: usize,
    /// Runs of each measurement, at least 1; fewer where one takes many seconds.
    pub runs: usize,
}

impl Default for Options {
    /// A short and a long prompt, an empty and a long context.
    fn default() -> Self {
        Self { prefill: vec![128, 512], depths: vec![0, 2048], decode: 32, runs: 3 }
    }
}

impl Options {
    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        let decode = self.depths.iter().map(|depth| depth.saturating_add(self.decode));
        self.prefill.iter().copied().chain(decode).max().unwrap_or_default()
    }

    /// How many times [`run`] names a step.
    pub fn steps(&self) -> usize {
        self.prefill.len() + if self.decode > 0 { self.depths.len() } else { 0 } + 2
    }
}

/// What a model takes and how fast it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Worker threads.
    pub threads: usize,
    /// From a loaded model to the logits after one token.
    pub first_forward_seconds: f64,
    /// Prompts, as asked for.
    pub prefill: Vec<Prefill>,
    /// Decoding, as asked for.
    pub decode: Vec<Decode>,
    /// Weights in memory.
    pub memory: MemoryReport,
    /// Activations, tables and logits, computed from their sizes.
    pub buffer_bytes: u64,
    /// The process's highest resident memory since [`reset_peak`], mapped pages included; absent where the system does
    /// not tell.
    pub peak_resident_bytes: Option<u64>,
    /// At which all threads together read memory, the best of several moments.
    pub read_bandwidth_bytes_per_second: f64,
    /// Energy of the matrix products, by the papers' model.
    pub energy_modelled: Vec<Energy>,
}

/// A prompt in one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prefill {
    /// Its length.
    pub tokens: usize,
    /// Best of the runs.
    pub tokens_per_second: f64,
    /// Runs that were made.
    pub runs: usize,
}

/// Tokens one by one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decode {
    /// Tokens in the cache before the first.
    pub depth_tokens: usize,
    /// Tokens of a run.
    pub tokens: usize,
    /// Best of the runs.
    pub tokens_per_second: f64,
    /// Half of the tokens took no longer.
    pub latency_p50_ms: f64,
    /// 95 of 100 tokens took no longer.
    pub latency_p95_ms: f64,
    /// The key-value cache behind the last token.
    pub cache_bytes: u64,
    /// Weights, head and cache that one token reads, at the middle of the run.
    pub bytes_read_per_token: u64,
    /// Bytes read each second over the measured bandwidth: 1 is the roofline.
    pub read_bandwidth_share: f64,
    /// Measured by the processor's own counters, all packages; absent where they cannot be read.
    pub measured_mj_per_token: Option<f64>,
    /// Runs that were made.
    pub runs: usize,
}

/// Measures a model; `step` hears what comes next.
///
/// # Errors
/// No tokens, lengths beyond the model's context, or what [`Session::forward`] refuses.
pub fn run(model: &Model, options: &Options, mut step: impl FnMut(&str)) -> Result<Measurement, Error> {
    if options.prefill.contains(&0) {
        return Err(Error::Empty { what: "prompt" });
    }
    let (wanted, context, limit) = (options.longest().max(1), model.context(), model.config().context_length);
    if wanted > context {
        return Err(Error::ContextFull { wanted, capacity: context, limit });
    }
    let runs = options.runs.max(1);

    step("first token");
    let start = Instant::now();
    Session::new(model, 1)?.forward(&[0], 0)?;
    let first_forward_seconds = start.elapsed().as_secs_f64();

    let mut prefill = Vec::new();
    for &tokens in &options.prefill {
        step(&format!("prefill {tokens}"));
        prefill.push(measure_prefill(model, tokens, runs)?);
    }
    let (mut decode, mut machine) = (Vec::new(), Machine { peak: None, is_own: true, bandwidth: 0.0 });
    for &depth in options.depths.iter().filter(|_| options.decode > 0) {
        step(&format!("decode at {depth}"));
        decode.push(measure_decode(model, depth, options.decode, runs)?);
        machine.look();
    }
    let longest = options.prefill.iter().copied().max().unwrap_or(1);
    step("memory bandwidth");
    machine.look();
    let Machine { peak, bandwidth, .. } = machine;
    for decode in &mut decode {
        let bytes_per_second = decode.bytes_read_per_token as f64 * decode.tokens_per_second;
        decode.read_bandwidth_share = bytes_per_second / bandwidth;
    }
    Ok(Measurement {
        threads: rayon::current_num_threads(),
        first_forward_seconds,
        prefill,
        decode,
        memory: model.memory(),
        buffer_bytes: buffer_bytes(model.config(), longest.min(model.prefill_tile)),
        peak_resident_bytes: peak,
        read_bandwidth_bytes_per_second: bandwidth,
        energy_modelled: modelled(model.config(), model.is_ternary()),
    })
}

/// What is looked at between the measurements: on a machine with other work to do, the best bandwidth of
/// several moments is closer to what the memory can do.
struct Machine {
    peak: Option<u64>,
    /// Whether the peak is still without the buffer that measuring the bandwidth takes.
    is_own: bool,
    bandwidth: f64, // bytes each second
}

impl Machine {
    fn look(&mut self) {
        // Before the buffer that is read, which shall not count.
        if self.is_own {
            self.peak = self.peak.max(peak_resident());
        }
        self.bandwidth = self.bandwidth.max(read_bandwidth());
        self.is_own &= reset_peak();
    }
}

fn measure_prefill(model: &Model, tokens: usize, runs: usize) -> Result<Prefill, Error> {
    let vocab_size = model.config().vocab_size;
    // Any ids do: the time does not depend on them.
    let prompt: Vec<u32> = (0..tokens).map(|i| (i * 31 % vocab_size) as u32).collect();
    let mut session = Session::new(model, tokens)?;
    let (best, runs) = repeat(runs, || {
        session.truncate(0);
        let start = Instant::now();
        session.forward(&prompt, tokens - 1)?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    Ok(Prefill { tokens, tokens_per_second: tokens as f64 / best, runs })
}

fn measure_decode(model: &Model, depth: usize, tokens: usize, runs: usize) -> Result<Decode, Error> {
    let mut session = Session::new(model, depth + tokens)?;
    session.fill_cache(depth);
    // Buffers are made and pages come in.
    session.forward(&[0], 0)?;
    let mut latencies = Vec::new();
    let (counters, before) = (Counters::open(), Instant::now());
    let (best, runs) = repeat(runs, || {
        session.truncate(depth);
        awake(|| {
            let (start, mut next) = (Instant::now(), 0);
            for _ in 0..tokens {
                let token = Instant::now();
                let logits = session.forward(&[next], 0)?;
                next = argmax(logits.as_slice().expect("standard layout")) as u32;
                latencies.push(token.elapsed().as_secs_f64());
            }
            Ok(start.elapsed().as_secs_f64())
        })
    })?;
    let joules = counters.and_then(|counters| counters.joules_since(before));
    latencies.sort_by(f64::total_cmp);
    let percentile = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize] * 1e3;
    let cache = cache_bytes_read(model.config(), depth + tokens / 2, model.kv);
    Ok(Decode {
        depth_tokens: depth,
        tokens,
        tokens_per_second: tokens as f64 / best,
        latency_p50_ms: percentile(0.5),
        latency_p95_ms: percentile(0.95),
        cache_bytes: session.cache_bytes() as u64,
        bytes_read_per_token: weights_read(model) + cache,
        read_bandwidth_share: 0.0, // known when the bandwidth is
        measured_mj_per_token: joules.map(|joules| joules * 1e3 / (tokens * runs) as f64),
        runs,
    })
}

/// Bytes of weights that a token reads: all but the embedding's other rows.
fn weights_read(model: &Model) -> u64 {
    let (memory, config) = (model.memory(), model.config());
    let head = if config.tied_embeddings { memory.embedding_bytes } else { memory.head_bytes };
    let row = memory.embedding_bytes / config.vocab_size as u64;
    memory.ternary_bytes + memory.dense_bytes + memory.norm_bytes + head + row
}

/// The shortest of up to `runs` times, and how many there were.
fn repeat(runs: usize, mut time: impl FnMut() -> Result<f64, Error>) -> Result<(f64, usize), Error> {
    let start = Instant::now();
    let (mut best, mut made) = (f64::INFINITY, 0);
    while made < runs && (made == 0 || start.elapsed().as_secs_f64() < ENOUGH_SECONDS) {
        best = best.min(time()?);
        made += 1;
    }
    Ok((best, made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadOptions, Shape, SyntheticFormat};

    fn tiny(format: SyntheticFormat) -> Model {
        Model::synthetic(Shape::named("tiny").unwrap(), format, LoadOptions::default(), |_| ()).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_measured() {
        let model = tiny(SyntheticFormat::Ternary);
        let options = Options { prefill: vec![3, 40], depths: vec![0, 100], decode: 5, runs: 2 };
        let mut steps = 0;
        let measured = run(&model, &options, |_| steps += 1).unwrap();
        assert_eq!(steps, options.steps());
        assert_eq!(
            measured.prefill.iter().map(|p| (p.tokens, p.runs)).collect::<Vec<_>>(),
            [(3, 2), (40, 2)]
        );
        for (decode, depth) in measured.decode.iter().zip([0, 100]) {
            assert_eq!((decode.depth_tokens, decode.tokens, decode.runs), (depth, 5, 2));
            assert!(decode.latency_p50_ms > 0.0 && decode.latency_p95_ms >= decode.latency_p50_ms);
            assert!(decode.read_bandwidth_share > 0.0 && decode.tokens_per_second > 0.0);
        }
        // Two layers of two heads of 64 numbers, keys and values.
        let cache = 2 * 2 * 2 * 64 * 4;
        assert!(measured.decode[1].cache_bytes >= 105 * cache, "the cache holds every position");
        let grown = measured.decode[1].bytes_read_per_token - measured.decode[0].bytes_read_per_token;
        assert_eq!(grown, 100 * cache);
        assert!(measured.peak_resident_bytes.is_none_or(|peak| peak > measured.memory.own_bytes));
    }

    #[test]
    fn the_head_is_read_and_the_embedding_is_not() {
        let model = tiny(SyntheticFormat::F16);
        let memory = model.memory();
        assert_eq!(weights_read(&model), memory.weight_bytes() + 2 * 256, "tied: the head and one row");
        assert_eq!((memory.ternary_bytes, memory.dense_bytes), (0, 2 * Shape::ALL[0].linear_weights()));
    }

    #[test]
    fn bad_lengths_are_refused() {
        let model = tiny(SyntheticFormat::Ternary);
        let ask = |prefill: usize, decode: usize| {
            run(&model, &Options { prefill: vec![prefill], depths: vec![0], decode, runs: 1 }, |_| ())
        };
        assert!(matches!(ask(0, 1), Err(Error::Empty { what: "prompt" })));
        assert!(matches!(ask(usize::MAX, 1), Err(Error::ContextFull { .. })));
        assert!(matches!(ask(1, usize::MAX), Err(Error::ContextFull { .. })));
        assert!(matches!(ask(1, 4097), Err(Error::ContextFull { wanted: 4097, .. })));
    }
}
