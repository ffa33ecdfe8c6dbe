//! Loss curves, as `b158 train` leaves them in `curves.json`.
//!
//! ```text
//!   {TWIN: {"steps":    [{"step": 1, "loss": 7.6, ...}, ...],
//!           "held_out": [{"step": 100, "nats": 2.5, ...}, ...]}}
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// Name of the file in a folder of twins.
pub const CURVES_FILE: &str = "curves.json";

/// The course of one twin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Every step.
    pub steps: Vec<Step>,
    /// Measurements on held-out text.
    pub held_out: Vec<HeldOut>,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step, from 1.
    pub step: usize,
    /// Mean loss of its batch in nats a token.
    pub loss: f64,
}

/// A measurement on held-out text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Steps done before.
    pub step: usize,
    /// Loss in nats a token.
    pub nats: f64,
}

/// Reads a curves file.
///
/// # Errors
/// [`Error::Read`], [`Error::Config`].
pub fn read(path: &Path) -> Result<Vec<(String, Curve)>, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let bad = |message: String| Error::Config {
        file: path.display().to_string(),
        message,
        hint: "give the curves.json that `b158 train` wrote".into(),
    };
    let twins: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| bad(format!("not a file of curves: {e}")))?;
    let curve = |(name, value)| match serde_json::from_value(value) {
        Ok(curve) => Ok((name, curve)),
        Err(e) => Err(bad(format!("twin '{name}': {e}"))),
    };
    twins.into_iter().map(curve).collect()
}

/// The curves in a results folder; none where it has none.
///
/// # Errors
/// Those of [`read`].
pub fn in_folder(folder: &Path) -> Result<Vec<(String, Curve)>, Error> {
    let path = folder.join(CURVES_FILE);
    if path.is_file() { read(&path) } else { Ok(Vec::new()) }
}

/// Mean losses over a fiftieth of the steps each, at the step in the middle.
pub(super) fn smoothed(steps: &[Step]) -> Vec<(f64, f64)> {
    let mean = |steps: &[Step]| steps.iter().map(|s| s.loss).sum::<f64>() / steps.len() as f64;
    let chunks = steps.chunks((steps.len() / 50).max(1));
    chunks.map(|chunk| (chunk[chunk.len() / 2].step as f64, mean(chunk))).collect()
}
