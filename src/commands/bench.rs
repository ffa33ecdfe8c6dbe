//! `b158 bench`.

use std::path::Path;

use anyhow::Result;
use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::bench;
use serde::{Deserialize, Serialize};

use crate::{ExitStatus, cli::BenchArgs, commands::load, printer::Printer};

/// One model's size and speed on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The instruction set in use.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// Bytes of the weight files.
    pub file_bytes: u64,
    /// Bits of the linear layers' weights on disk, for each of those weights.
    pub bits_per_weight: f64,
    /// Bytes of all weights in memory.
    pub weight_bytes: usize,
    /// Bytes of the key-value cache.
    pub cache_bytes: usize,
    /// The process's highest resident memory in bytes; absent where the system does not tell.
    pub peak_memory: Option<u64>,
    /// Tokens of the prompt.
    pub prefill_tokens: usize,
    /// Prompt tokens per second.
    pub prefill_per_second: f64,
    /// Tokens decoded after the prompt.
    pub decode_tokens: usize,
    /// Decoded tokens per second.
    pub decode_per_second: f64,
}

pub fn run(args: &BenchArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (checkpoint, model) = load(&args.model, isa, None)?;
    let half = model.context() / 2;
    let (prefill, decode) = (args.prefill.unwrap_or(half.min(128)), args.decode.unwrap_or(half.min(64)));
    let rates = bench::rates(&model, prefill, decode, args.runs)?;
    let measured = Measured {
        isa: isa.name().to_owned(),
        threads: rayon::current_num_threads(),
        file_bytes: checkpoint.bytes_on_disk(),
        bits_per_weight: bits_per_weight(&checkpoint)?,
        weight_bytes: model.weight_bytes(),
        cache_bytes: rates.cache_bytes,
        peak_memory: peak_memory(),
        prefill_tokens: rates.prefill_tokens,
        prefill_per_second: rates.prefill_per_second,
        decode_tokens: rates.decode_tokens,
        decode_per_second: rates.decode_per_second,
    };
    printer.result(&measured, || text(&args.model, &measured))?;
    Ok(ExitStatus::Success)
}

fn text(model: &Path, m: &Measured) -> String {
    let megabytes = |bytes: u64| format!("{:.2} MB", bytes as f64 / 1e6);
    format!(
        "{}, {} threads, {}\n  file     {} ({:.4} bits a weight in linear layers)\n  memory   weights {}, KV cache {}, peak resident {}\n  prefill  {:.1} tokens/s ({} tokens)\n  decode   {:.1} tokens/s ({} tokens)",
        model.display(),
        m.threads,
        m.isa,
        megabytes(m.file_bytes),
        m.bits_per_weight,
        megabytes(m.weight_bytes as u64),
        megabytes(m.cache_bytes as u64),
        m.peak_memory.map_or("unknown".to_owned(), megabytes),
        m.prefill_per_second,
        m.prefill_tokens,
        m.decode_per_second,
        m.decode_tokens,
    )
}

/// Bits on disk, scale tensors included, for each weight of the linear layers.
fn bits_per_weight(checkpoint: &Checkpoint) -> Result<f64> {
    let (mut bytes, mut weights) = (0, 0);
    for id in checkpoint.tensor_ids().into_iter().filter(|id| id.is_linear()) {
        let tensor = checkpoint.tensor(id)?;
        bytes += tensor.bytes().len();
        bytes += if checkpoint.scale(id)?.is_some() { size_of::<f32>() } else { 0 };
        weights += tensor.shape.iter().product::<usize>();
    }
    Ok(bytes as f64 * 8.0 / weights as f64)
}

/// `VmHWM` of this process, in bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
