//! What an interrupted run needs to go on: latent weights, the optimizer's moments, the step and the curve.
//!
//! ```text
//!   OUT/NAME.state.safetensors
//!     w.TENSOR  m.TENSOR  v.TENSOR     F32, names as in the model's own file
//!     metadata "b158": JSON of recipe, data and tokenizer digests, twin, step, curve; SHA-256 of it and the tensors
//! ```
//!
//! One file, written beside its name and renamed, so it is whole at any moment; the digest finds what happened to it
//! later.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use b158_checkpoint::{ModelConfig, write_file};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, curve::Curve, parameters::Parameter};

/// The end of a state's name.
pub(crate) const SUFFIX: &str = ".state.safetensors";

/// Everything but tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Digest of the recipe.
    pub recipe: String,
    /// Digest of the text.
    pub data: String,
    /// Digest of the tokenizer.
    pub tokenizer: String,
    /// The twin.
    pub twin: String,
    /// Steps done.
    pub step: usize,
    /// Their course.
    pub curve: Curve,
}

const KEY: &str = "b158";
const KINDS: [&str; 3] = ["w", "m", "v"];

/// What is written of it.
#[derive(Serialize, Deserialize)]
struct Metadata {
    progress: Progress,
    /// SHA-256 of the progress as JSON and of all tensors, in the order of the parameters.
    sha256: String,
}

fn digest<'a>(progress: &Progress, tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_string(progress).expect("numbers and names"));
    tensors.for_each(|bytes| hash.update(bytes));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the state of a twin is.
pub fn path(folder: &Path, twin: &str) -> PathBuf {
    folder.join(format!("{twin}{SUFFIX}"))
}

/// Writes a state.
///
/// # Errors
/// A file that cannot be written.
pub fn save(
    path: &Path,
    config: &ModelConfig,
    parameters: &[Parameter],
    progress: &Progress,
) -> Result<(), Error> {
    let mut tensors = Vec::new();
    for parameter in parameters {
        let name = parameter.id.hugging_face_name(config.architecture);
        for (kind, values) in KINDS.into_iter().zip([&parameter.values, &parameter.mean, &parameter.square]) {
            tensors.push((format!("{kind}.{name}"), &parameter.shape, to_bytes(values)));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes).expect("bytes of the shape");
        (name, view)
    });
    let sha256 = digest(progress, tensors.iter().map(|(_, _, bytes)| &**bytes));
    let json = serde_json::to_string(&Metadata { progress: progress.clone(), sha256 });
    let metadata = HashMap::from([(KEY.to_owned(), json.expect("numbers and names"))]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| damaged(path, &e.to_string()))?;
    Ok(write_file(path, &bytes)?)
}

/// Reads a state into parameters of the same model; `steps` are those of the recipe.
///
/// # Errors
/// [`Error::State`] for a file that is damaged or of another recipe, text, tokenizer or twin.
pub fn load(
    path: &Path,
    config: &ModelConfig,
    parameters: &mut [Parameter],
    expected: &Progress,
    steps: usize,
) -> Result<Progress, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let broken = |e: &dyn std::fmt::Display| damaged(path, &e.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e))?;
    let json = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let json = json.ok_or_else(|| damaged(path, "it is no state of training"))?;
    let Metadata { progress, sha256 } = serde_json::from_str(json).map_err(|e| broken(&e))?;
    let other = |what| {
        let hint = "run without --resume to begin anew, or give another output folder";
        Err(Error::State { path: path.to_owned(), message: format!("it is of another {what}"), hint })
    };
    match &progress {
        p if p.twin != expected.twin => return other("twin"),
        p if p.recipe != expected.recipe => return other("recipe"),
        p if p.data != expected.data => return other("text"),
        p if p.tokenizer != expected.tokenizer => return other("tokenizer"),
        _ => (),
    }
    let Progress { step, curve, .. } = &progress;
    let measured = curve.held_out.last().is_some_and(|last| last.step == steps);
    if *step > steps || *step != curve.steps.len() || (*step == steps && !measured) {
        return Err(damaged(path, "its steps and its curve do not fit"));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(&e))?;
    let mut read = Vec::new();
    for parameter in parameters {
        let name = parameter.id.hugging_face_name(config.architecture);
        let targets = [&mut parameter.values, &mut parameter.mean, &mut parameter.square];
        for (kind, target) in KINDS.into_iter().zip(targets) {
            let tensor = file.tensor(&format!("{kind}.{name}")).map_err(|e| broken(&e))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != parameter.shape {
                return Err(damaged(path, &format!("tensor {kind}.{name} has another shape or type")));
            }
            for (target, bytes) in target.iter_mut().zip(tensor.data().as_chunks().0) {
                *target = f32::from_le_bytes(*bytes);
            }
            read.push(tensor.data());
        }
    }
    if digest(&progress, read.into_iter()) != sha256 {
        return Err(damaged(path, "its digest is another"));
    }
    Ok(progress)
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn damaged(path: &Path, message: &str) -> Error {
    Error::State {
        path: path.to_owned(),
        message: message.to_owned(),
        hint: "delete it; training then begins anew",
    }
}
