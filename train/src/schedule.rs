//! Learning rate and weight decay by step.
//!
//! ```text
//!   warm-up    rate rises linearly over the first `warmup` steps, whatever the kind
//!   cosine     floor + (peak - floor) (1 + cos(pi t)) / 2        t: share of the steps done
//!   linear     peak + (floor - peak) t
//!   two_stage  peak (1 - t) before the middle, second_peak (1 - t) after it; weight decay 0 after it
//! ```
//!
//! The last is that of the b1.58 authors' "Training Tips, Code and FAQ": a high rate first, since small updates do
//! not change ternary codes, then a lower one, and no decay in the second half, where latent weights far from zero
//! mean confident codes.

use serde::{Deserialize, Serialize};

/// The course of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Half a cosine, from peak to floor.
    Cosine,
    /// A line, from peak to floor.
    Linear,
    /// Two lines to zero, the second one lower.
    TwoStage,
}

/// A twin's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The course of the learning rate.
    pub kind: Kind,
    /// Its highest value.
    pub peak: f64,
    /// Where the second line of two stages would start; peak / 1.5 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_peak: Option<f64>,
    /// Its last value; not for two stages, which end at zero.
    #[serde(default)]
    pub floor: f64,
    /// Steps of the warm-up.
    #[serde(default)]
    pub warmup: usize,
    /// Decoupled weight decay of matrices.
    #[serde(default)]
    pub weight_decay: f64,
}

impl Schedule {
    /// The learning rate of a step, from 0.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let t = step as f64 / steps as f64;
        let rate = match self.kind {
            Kind::Cosine => {
                self.floor + (self.peak - self.floor) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * t))
            }
            Kind::Linear => self.peak + (self.floor - self.peak) * t,
            Kind::TwoStage if 2 * step < steps => self.peak * (1.0 - t),
            Kind::TwoStage => self.second_peak.unwrap_or(self.peak / 1.5) * (1.0 - t),
        };
        let warm = (step + 1) as f64 / (self.warmup + 1) as f64;
        rate * warm.min(1.0)
    }

    /// The weight decay of a step, from 0.
    pub fn decay(&self, step: usize, steps: usize) -> f64 {
        if self.kind == Kind::TwoStage && 2 * step >= steps { 0.0 } else { self.weight_decay }
    }

    /// What makes no sense, and the remedy.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let wrong = |message: &str, hint: &str| Err((format!("schedule: {message}"), hint.to_owned()));
        if !positive(self.peak) || self.second_peak.is_some_and(|second| !positive(second)) {
            return wrong("a learning rate is no finite number above 0", "for instance peak: 1.5e-3");
        }
        if !(self.floor.is_finite() && (0.0..=self.peak).contains(&self.floor)) {
            return wrong("floor is not between 0 and peak", "remove it to end at 0");
        }
        if self.second_peak.is_some() && self.kind != Kind::TwoStage {
            return wrong("second_peak is for two_stage only", "remove it");
        }
        if self.floor > 0.0 && self.kind == Kind::TwoStage {
            return wrong("two_stage ends at 0 and has no floor", "remove it");
        }
        if !(self.weight_decay.is_finite() && (0.0..1.0).contains(&self.weight_decay)) {
            return wrong("weight_decay is not between 0 and 1", "for instance 0.1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: Kind) -> Schedule {
        Schedule { kind, peak: 1.5e-3, second_peak: None, floor: 0.0, warmup: 9, weight_decay: 0.1 }
    }

    #[test]
    fn courses() {
        let line = |kind| {
            let s = schedule(kind);
            let points = [0, 4, 9, 49, 50, 99].map(|i| format!("{:.2e}/{}", s.rate(i, 100), s.decay(i, 100)));
            points.join(" ")
        };
        insta::assert_snapshot!(line(Kind::Cosine), @"1.50e-4/0.1 7.47e-4/0.1 1.47e-3/0.1 7.74e-4/0.1 7.50e-4/0.1 3.70e-7/0.1");
        insta::assert_snapshot!(line(Kind::Linear), @"1.50e-4/0.1 7.20e-4/0.1 1.37e-3/0.1 7.65e-4/0.1 7.50e-4/0.1 1.50e-5/0.1");
        insta::assert_snapshot!(line(Kind::TwoStage), @"1.50e-4/0.1 7.20e-4/0.1 1.37e-3/0.1 7.65e-4/0.1 5.00e-4/0 1.00e-5/0");
    }

    #[test]
    fn two_stages_of_the_training_tips() {
        let s = Schedule { second_peak: Some(1e-3), warmup: 0, ..schedule(Kind::TwoStage) };
        assert_eq!(s.rate(0, 1000), 1.5e-3);
        // Before and after the middle: the second line begins where it would be had it begun at 1e-3.
        assert!((s.rate(499, 1000) - 0.501 * 1.5e-3).abs() < 1e-12);
        assert!((s.rate(500, 1000) - 0.5e-3).abs() < 1e-12);
        assert_eq!((s.decay(499, 1000), s.decay(500, 1000)), (0.1, 0.0));
    }
}
