//! What follows from an interval and a margin.

use serde::{Deserialize, Serialize};

/// Fewest documents that may decide.
pub(super) const FEWEST: usize = 10;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not worse than the margin allows.
    Parity,
    /// Better than the baseline.
    Better,
    /// Worse than the margin allows.
    Worse,
    /// The interval lies on both sides of the margin.
    Undecided,
}

impl Verdict {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parity => "parity",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undecided => "undecided",
        }
    }
}

/// `interval` and `margin` on a scale on which more is better and 0 is no effect.
pub(crate) fn verdict(n: usize, identical: bool, interval: (f64, f64), margin: f64) -> Verdict {
    let (low, high) = interval;
    if identical {
        Verdict::Parity
    } else if n < FEWEST {
        Verdict::Undecided
    } else if low > 0.0 {
        Verdict::Better
    } else if low >= margin {
        Verdict::Parity
    } else if high < margin {
        Verdict::Worse
    } else {
        Verdict::Undecided
    }
}
