//! What a model is on disk: config, tensor names, safetensors, GGUF, tokenizer and chat template.
//!
//! ```text
//! folder with config.json + *.safetensors ──┐              ┌─ config()     ModelConfig
//! file.safetensors beside config.json     ──┼─ Checkpoint ─┼─ tensor(id)   name, type, shape, bytes in place
//! file.gguf                               ──┘              └─ tokenizer()  Tokenizer
//! ```
//!
//! [`Checkpoint::open`] checks everything that can be checked without reading weights, so that later
//! steps cannot fail on structure. Weights are mapped, never copied. No other crate of the workspace
//! knows a file format's bytes.
//!
//! Files are not trusted: whatever they hold, reading them ends in a value or an [`Error`], without
//! a panic and without memory beyond a small multiple of the file's own size.

mod chat_template;
mod checkpoint;
mod config;
mod error;
mod flushed_file;
pub mod gguf;
mod gguf_file;
mod hub_cache;
mod hugging_face;
mod mapped_file;
mod names;
mod options;
mod output;
mod output_folder;
pub mod safetensors;
mod tensor;
mod tokenizer;

pub use chat_template::{ChatOptions, ChatTemplate, Date, Message, Methods, Sandbox, SandboxError};
pub use checkpoint::{Checkpoint, Provenance};
pub use config::{Activation, Architecture, ModelConfig, RopeScaling, ScaleConvention};
pub use error::Error;
pub use flushed_file::FlushedFile;
pub use hub_cache::find as find_in_hub_cache;
pub use names::{LayerTensor, TensorId, rope_permutation};
pub use options::{Interleave, OpenOptions};
pub use output::{OutputError, OutputFile, write_file};
pub use output_folder::{OutputFolder, clean_up};
pub use tensor::{Tensor, TensorInfo, TensorType};
pub use tokenizer::{BosToken, DecodeStream, Tokenizer, tokenizer_model_to_json};
