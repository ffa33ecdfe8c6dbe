//! What counts as parity.

use serde::{Deserialize, Serialize};

/// Non-inferiority margins, to be fixed before the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Margins {
    /// Largest acceptable ratio of the perplexities.
    pub perplexity_ratio: f64,
    /// Largest acceptable loss of accuracy, as a share: 0.01 is one point.
    pub accuracy: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Self { perplexity_ratio: 1.02, accuracy: 0.01 }
    }
}

impl Margins {
    /// Message and hint when a margin makes no sense.
    pub(crate) fn check(&self) -> Result<(), (String, &'static str)> {
        if !(self.perplexity_ratio >= 1.0 && self.perplexity_ratio.is_finite()) {
            let message = format!("margin perplexity_ratio is {}", self.perplexity_ratio);
            return Err((message, "it is a ratio of at least 1, for instance 1.02"));
        }
        if !(0.0..1.0).contains(&self.accuracy) {
            let message = format!("margin accuracy is {}", self.accuracy);
            return Err((message, "it is a share from 0 to below 1: write 0.01 for one point"));
        }
        Ok(())
    }
}
