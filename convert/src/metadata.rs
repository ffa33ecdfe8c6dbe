//! What a written GGUF file says about its model and where it comes from.

use b158_checkpoint::{
    Checkpoint, Error as CheckpointError,
    gguf::{
        GgufPlan, TensorInfo,
        metadata::{self, Description},
    },
};

use crate::{Error, Options, plan::Step, write::written};

/// The metadata of a GGUF file but for the source's hash.
pub(crate) struct Gguf<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a Options,
    tokenizer_json: Option<String>,
}

impl<'a> Gguf<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, options: &'a Options) -> Result<Self, Error> {
        let tokenizer_json = match checkpoint.tokenizer_json() {
            // A checkpoint without a tokenizer still converts; its file then has none either.
            Err(CheckpointError::NoTokenizer { .. }) => None,
            other => Some(other?),
        };
        Ok(Self { checkpoint, options, tokenizer_json })
    }

    /// The whole header.
    pub(crate) fn plan(&self, steps: &[Step], source_sha256: &str) -> Result<GgufPlan, Error> {
        let name = self.checkpoint.path().file_stem().map_or("model".into(), |name| name.to_string_lossy());
        let provenance = [
            ("b158.version", env!("CARGO_PKG_VERSION")),
            ("b158.scheme", self.options.scheme().name()),
            ("b158.source.sha256", source_sha256),
        ];
        let metadata = metadata::to_gguf(
            self.checkpoint.config(),
            Description {
                name: &name,
                linears: self.options.format.tensor_type(),
                tokenizer_json: self.tokenizer_json.as_deref(),
                chat_template: self.checkpoint.chat_template().as_deref(),
                provenance: provenance.map(|(key, value)| (key.to_owned(), value.into())).into(),
            },
        );
        let tensors = steps.iter().flat_map(written).map(|(name, dtype, shape)| {
            let name = name.to_owned();
            TensorInfo { name, dtype, shape }
        });
        Ok(GgufPlan::new(&metadata, tensors.collect())?)
    }
}
