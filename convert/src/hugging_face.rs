//! Writing a Hugging Face folder: safetensors in shards, config.json, tokenizer.

use std::{io, io::BufWriter};

use b158_checkpoint::{
    Checkpoint, FlushedFile, OutputError, OutputFolder, TensorId,
    safetensors::{SafetensorsPlan, SafetensorsWriter},
};
use serde_json::{Value, json};

use crate::{
    Error, Format, Report,
    job::{Job, Sink},
    plan::{self, Step},
    verify::verify_written,
};

/// The size at which transformers begins another file.
const SHARD_BYTES: u64 = 5_000_000_000;

impl<F: FnMut(&str) -> io::Result<BufWriter<FlushedFile>>> Sink
    for SafetensorsWriter<'_, BufWriter<FlushedFile>, F>
{
    fn part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_part(name, bytes)
    }
}

pub(crate) fn write(job: &Job, digest: impl FnOnce() -> Result<String, Error>) -> Result<Report, Error> {
    let folder = OutputFolder::create(job.output)?;
    let plan = SafetensorsPlan::new(job.steps.iter().flat_map(Step::tensors).collect(), Some(SHARD_BYTES))?;
    // A tokenizer that cannot be read is refused before any work is done.
    let text_files = job.checkpoint.text_files()?;
    let open = |name: &str| {
        let file = folder.file(name).map_err(|e: OutputError| e.source)?;
        Ok(BufWriter::with_capacity(1 << 20, file))
    };
    let mut writer = SafetensorsWriter::new(&plan, open).map_err(|e| job.error(e))?;
    let mut report = job.tensors(&mut writer)?;
    writer.finish().map_err(|e| job.error(e))?;

    if !text_files.iter().any(|(name, _)| name == "tokenizer.json") {
        report.warnings.push("the source has no tokenizer, and the output has none either".to_owned());
    }
    report.source_sha256 = digest()?;
    folder.write("config.json", config(job, &report)?.as_bytes())?;
    for (name, bytes) in text_files {
        folder.write(&name, &bytes)?;
    }
    if job.options.verify {
        let written = Checkpoint::open(folder.partial_path())?;
        report.verified = Some(verify_written(job.checkpoint, &written, job.output, job.options)?);
    }
    folder.commit()?;
    report.output_bytes = plan.total_bytes();
    Ok(report)
}

/// config.json, with what GGUF files say in keys: where the weights come from.
fn config(job: &Job, report: &Report) -> Result<String, Error> {
    let packed = (job.options.format == Format::HuggingFace).then_some(job.options.linear_class.0);
    let embedding = job.checkpoint.tensor(TensorId::TokenEmbedding)?;
    let dtype = plan::head_type(&embedding, job.options);
    let config = job.checkpoint.config();
    let mut config = config.clone();
    config.ternary_linears |= packed.is_some();
    let text = config.to_json(dtype, packed);
    let mut json: Value = serde_json::from_str(&text).expect("it was just made");
    json["b158"] = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "scheme": report.scheme,
        "source_sha256": report.source_sha256,
    });
    Ok(format!("{json:#}\n"))
}
