//! What a written GGUF file says about its model and where it comes from.

use b158_checkpoint::{
    Checkpoint, TensorInfo, TensorType,
    gguf::{
        GgufPlan, ROPE_FREQS,
        metadata::{self, Description, Metadata},
    },
};

use crate::{Error, Options, Scheme, plan::Step, write::written};

/// The metadata of a GGUF file but for the source's hash.
pub(crate) struct Gguf<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a Options,
    scheme: Scheme,
    tokenizer: Metadata,
    /// What llama.cpp may tokenize otherwise.
    pub(crate) warnings: Vec<String>,
}

impl<'a> Gguf<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        options: &'a Options,
        scheme: Scheme,
    ) -> Result<Self, Error> {
        let tokenizer = checkpoint.tokenizer_metadata()?;
        let mut warnings = tokenizer.warnings;
        if !tokenizer.metadata.iter().any(|(key, _)| key == "tokenizer.huggingface.json") {
            warnings.push("the source has no tokenizer, and the output has none either".to_owned());
        }
        Ok(Self { checkpoint, options, scheme, tokenizer: tokenizer.metadata, warnings })
    }

    /// The whole header.
    pub(crate) fn plan(&self, steps: &[Step], source_sha256: &str) -> Result<GgufPlan, Error> {
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
        let tensors = steps.iter().flat_map(written);
        let factors = self.rope_factors().map(|factors| TensorInfo {
            name: ROPE_FREQS.to_owned(),
            dtype: TensorType::F32,
            shape: vec![factors.len()],
        });
        Ok(GgufPlan::new(&metadata, tensors.chain(factors).collect())?)
    }

    /// The values of the last tensor: what llama.cpp divides rotary frequencies by, where they are scaled
    /// one by one.
    pub(crate) fn rope_factors(&self) -> Option<Vec<f32>> {
        self.checkpoint.config().rope_factors()
    }
}
