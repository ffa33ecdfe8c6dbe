//! What a conversion did.

use b158_checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::{Options, Scheme, Verified};

/// What a conversion did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The format of the linear layers.
    pub format: String,
    /// The scheme that made codes of the weights; `none` if they were there or none were made.
    pub scheme: String,
    /// SHA-256 of the source's weight files, one after the other in order of names.
    pub source_sha256: String,
    /// Bytes of the source's weight files.
    pub source_bytes: u64,
    /// Bytes of the output's weight files.
    pub output_bytes: u64,
    /// Weights that are stored as codes.
    pub ternary_weights: u64,
    /// Bits of the linear layers, scales included, per weight; `None` if none holds codes.
    pub bits_per_weight: Option<f64>,
    /// The largest change of a scale that its place in the output forced, relative to it.
    pub largest_scale_change: f64,
    /// How far the codes that the scheme made are from the weights, relative to them (Frobenius norms);
    /// only of a model that was not trained with ternary weights.
    pub relative_error: Option<f64>,
    /// What to know before the output is used, one sentence each.
    pub warnings: Vec<String>,
    /// What was read back and compared, if that was asked for.
    pub verified: Option<Verified>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// One entry for each ternary tensor, in file order.
    pub tensors: Vec<TensorReport>,
}

/// One ternary tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    /// Its name in the output.
    pub name: String,
    /// Its bytes in the output, with its scale.
    pub bytes: u64,
    /// Its scale in the source.
    pub scale: f32,
    /// How far the scale in the output is from it, relative to it.
    pub scale_change: f64,
    /// Whether the scheme made its codes.
    pub ternarized: bool,
    /// As [`Report::relative_error`].
    pub relative_error: Option<f64>,
    /// How many codes are -1, 0 and +1.
    pub codes: [u64; 3],
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Report {
    pub(crate) fn new(checkpoint: &Checkpoint, options: &Options, scheme: Scheme) -> Self {
        Self {
            format: options.format.name().to_owned(),
            scheme: scheme.name().to_owned(),
            source_sha256: String::new(),
            source_bytes: checkpoint.bytes_on_disk(),
            output_bytes: 0,
            ternary_weights: 0,
            bits_per_weight: None,
            largest_scale_change: 0.0,
            relative_error: None,
            warnings: Vec::new(),
            verified: None,
            seconds: 0.0,
            tensors: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, tensor: TensorReport) {
        self.ternary_weights += tensor.codes.iter().sum::<u64>();
        self.largest_scale_change = self.largest_scale_change.max(tensor.scale_change);
        self.tensors.push(tensor);
    }

    pub(crate) fn finish(&mut self) {
        let bytes: u64 = self.tensors.iter().map(|t| t.bytes).sum();
        self.bits_per_weight =
            (self.ternary_weights > 0).then(|| bytes as f64 * 8.0 / self.ternary_weights as f64);
    }
}
