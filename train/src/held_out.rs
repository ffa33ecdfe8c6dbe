//! Perplexity of text that was not read, as the forward pass of training computes it.
//!
//! Every token of every window after its first is predicted; the interval treats windows as the sample, since tokens
//! of one window are not independent.

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    gradient::Workers,
    model::{Architecture, Weights},
    ops,
    parameters::Parameter,
    windows::Windows,
};

/// A perplexity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Windows that were measured.
    pub windows: usize,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Mean loss in nats a token.
    pub nats: f64,
    /// e to the mean loss.
    pub perplexity: f64,
    /// Its 95 % interval, by the normal approximation of the mean of windows; of one window no more than a point.
    pub interval: [f64; 2],
}

/// Measures the first `limit` windows.
///
/// # Errors
/// A weight that is not finite; a device that fails.
pub fn measure(
    architecture: &Architecture,
    parameters: &[Parameter],
    windows: &Windows,
    limit: usize,
    workers: &Workers,
) -> Result<HeldOut, Error> {
    let weights = Weights::new(architecture, parameters, workers.device())?;
    let windows_measured = limit.min(windows.len());
    let means = workers.map(windows_measured, |i| {
        let window = windows.get(i);
        let logits = weights.forward(architecture, &window[..window.len() - 1], 1)?.detach();
        let losses = ops::losses(&logits, &window[1..])?;
        Ok(losses.iter().sum::<f64>() / losses.len() as f64)
    })?;
    let n = means.len() as f64;
    let nats = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|mean| (mean - nats) * (mean - nats)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = 1.96 * (variance / n).sqrt();
    let positions = windows.get(0).len() - 1;
    Ok(HeldOut {
        windows: means.len(),
        tokens: means.len() * positions,
        nats,
        perplexity: nats.exp(),
        interval: [(nats - half).exp(), (nats + half).exp()],
    })
}
