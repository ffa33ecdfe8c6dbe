//! Verdicts on metrics of one kind together.

use serde::Serialize;

use super::{MetricParity, Tests, Verdict};
use crate::holm;

/// At most so large is a p-value that decides: the interval has 2.5 % on each side.
pub(super) const LEVEL: f64 = 0.025;

/// Metrics of one kind, tested together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Family {
    /// `accuracies` or `perplexities`.
    pub family: &'static str,
    /// How many metrics it has.
    pub metrics: usize,
    /// How many of them are not inferior after the correction.
    pub noninferior: usize,
    /// What follows for all of them.
    pub verdict: Verdict,
}

/// Corrects the p-values of each kind of metric, and says what follows.
pub(super) fn families(metrics: &mut [MetricParity]) -> Vec<Family> {
    let mut families = Vec::new();
    for (family, accuracies) in [("accuracies", true), ("perplexities", false)] {
        let mut members: Vec<&mut MetricParity> =
            metrics.iter_mut().filter(|m| m.metric.higher_is_better() == accuracies).collect();
        if members.is_empty() {
            continue;
        }
        let mut correct = |get: fn(&mut Tests) -> &mut f64| {
            let p: Vec<f64> = members.iter_mut().map(|m| *get(&mut m.p)).collect();
            let adjusted = holm::adjust(&p);
            for (member, p) in members.iter_mut().zip(&adjusted) {
                *get(&mut member.p_holm) = *p;
            }
            adjusted.iter().filter(|p| **p <= LEVEL).count()
        };
        let noninferior = correct(|p| &mut p.noninferior);
        let superior = correct(|p| &mut p.superior);
        let inferior = correct(|p| &mut p.inferior);
        let verdict = if inferior > 0 {
            Verdict::Worse
        } else if superior == members.len() {
            Verdict::Better
        } else if noninferior == members.len() {
            Verdict::Parity
        } else {
            Verdict::Undecided
        };
        families.push(Family { family, metrics: members.len(), noninferior, verdict });
    }
    families
}
