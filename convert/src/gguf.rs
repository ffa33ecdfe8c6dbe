//! Writing a GGUF file: a header that says what the model is and where it comes from, then the tensors.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use b158_checkpoint::{
    Checkpoint, OutputFile, TensorInfo, TensorType,
    gguf::{
        GgufDataWriter, GgufPlan, ROPE_FREQS,
        metadata::{self, Description, Metadata},
    },
};

use crate::{
    Error, Options, Report, Scheme,
    job::{Job, Sink},
    plan::Step,
    verify::verify_written,
};

pub(crate) fn write(job: &Job, digest: impl FnOnce() -> Result<String, Error>) -> Result<Report, Error> {
    let mut file = OutputFile::create(job.output)?;
    // The hash is not known yet, but its length is.
    let header = Header::new(job.checkpoint, job.options, job.scheme)?;
    let plan = header.plan(job.steps, &"0".repeat(64))?;
    let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
    plan.write_header(&mut writer).map_err(|e| job.error(e))?;
    let mut data = GgufDataWriter::new(&plan, &mut writer);
    let mut report = job.tensors(&mut data)?;
    if let Some(factors) = header.rope_factors() {
        let bytes: Vec<u8> = factors.into_iter().flat_map(f32::to_le_bytes).collect();
        data.write_tensor(ROPE_FREQS, &bytes).map_err(|e| job.error(e))?;
    }
    data.finish().map_err(|e| job.error(e))?;
    drop(writer);

    report.warnings.extend(header.warnings.iter().cloned());
    report.source_sha256 = digest()?;
    let plan = header.plan(job.steps, &report.source_sha256)?;
    file.seek(SeekFrom::Start(0)).and_then(|_| plan.write_header(&mut file)).map_err(|e| job.error(e))?;
    if job.options.verify {
        file.flush().map_err(|e| job.error(e))?;
        let written = Checkpoint::open_gguf(file.partial_path())?;
        report.verified = Some(verify_written(job.checkpoint, &written, job.output, job.options)?);
    }
    file.commit()?;
    report.output_bytes = plan.file_len();
    Ok(report)
}

impl<W: Write> Sink for GgufDataWriter<'_, W> {
    fn part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_part(name, bytes)
    }
}

/// The metadata of a GGUF file but for the source's hash.
struct Header<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a Options,
    scheme: Scheme,
    tokenizer: Metadata,
    /// What llama.cpp may tokenize otherwise.
    warnings: Vec<String>,
}

impl<'a> Header<'a> {
    fn new(checkpoint: &'a Checkpoint, options: &'a Options, scheme: Scheme) -> Result<Self, Error> {
        let tokenizer = checkpoint.tokenizer_metadata()?;
        let mut warnings = tokenizer.warnings;
        if !tokenizer.metadata.iter().any(|(key, _)| key == "tokenizer.huggingface.json") {
            warnings.push("the source has no tokenizer, and the output has none either".to_owned());
        }
        Ok(Self { checkpoint, options, scheme, tokenizer: tokenizer.metadata, warnings })
    }

    /// The whole header.
    fn plan(&self, steps: &[Step], source_sha256: &str) -> Result<GgufPlan, Error> {
        let provenance = [
            ("b158.version", env!("CARGO_PKG_VERSION")),
            ("b158.scheme", self.scheme.name()),
            ("b158.source.sha256", source_sha256),
        ];
        let metadata = metadata::to_gguf(
            self.checkpoint.config(),
            Description {
                name: &self.checkpoint.name(),
                linears: self.options.format.tensor_type(),
                tokenizer: self.tokenizer.clone(),
                provenance: provenance.map(|(key, value)| (key.to_owned(), value.into())).into(),
            },
        );
        let tensors = steps.iter().flat_map(Step::tensors);
        let factors = self.rope_factors().map(|factors| TensorInfo {
            name: ROPE_FREQS.to_owned(),
            dtype: TensorType::F32,
            shape: vec![factors.len()],
        });
        Ok(GgufPlan::new(&metadata, tensors.chain(factors).collect())?)
    }

    /// The values of the last tensor: what llama.cpp divides rotary frequencies by, where they are scaled
    /// one by one.
    fn rope_factors(&self) -> Option<Vec<f32>> {
        self.checkpoint.config().rope_factors()
    }
}
