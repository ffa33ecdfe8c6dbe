//! What `b158 bench` says of a model or a shape, as JSON.

use serde::{Deserialize, Serialize};

use super::Measurement;

/// Size and speed of a model, or of a shape in one or two formats, on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The model's path or the shape's name.
    pub model: String,
    /// The instruction set in use.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// The type of cached keys and values.
    pub kv: String,
    /// Bytes of the weight files; absent for a shape.
    pub file_bytes: Option<u64>,
    /// Weights of the linear layers; absent for a shape.
    pub linear_weights: Option<u64>,
    /// Bits of the linear layers' weights on disk, for each of those weights; absent for a shape.
    pub bits_per_weight: Option<f64>,
    /// What was measured, ternary first.
    pub formats: Vec<Column>,
    /// What was asked for and not measured.
    pub left_out: Vec<LeftOut>,
}

/// One model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Column {
    /// `ternary` or `FP16`; of a model, `ternary` or `full precision`.
    pub format: String,
    /// To open, map and repack the file, or to make the weights.
    pub load_seconds: f64,
    /// From the start of loading to the logits after one token.
    pub first_token_seconds: f64,
    /// The rest.
    #[serde(flatten)]
    pub measurement: Measurement,
}

/// What was not measured and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// A format or a depth.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Bytes that it takes, where memory is the reason.
    pub needed_bytes: Option<u64>,
    /// Bytes that there were.
    pub available_bytes: Option<u64>,
}

impl Measured {
    /// Of the first format, as are the next two.
    pub fn peak_resident_bytes(&self) -> Option<u64> {
        self.formats.first()?.measurement.peak_resident_bytes
    }

    /// All weights in memory.
    pub fn weight_bytes(&self) -> Option<u64> {
        Some(self.formats.first()?.measurement.memory.weight_bytes())
    }

    /// Median time of a token at the first depth.
    pub fn latency_ms(&self) -> Option<f64> {
        self.formats.first()?.measurement.decode.first().map(|d| d.latency_p50_ms)
    }
}
