//! Claims with what was measured and what follows.

use serde::Serialize;

use super::file::{Claim, Claims, Measure};
use super::measures::{Evidence, Found, Value};
use crate::report::sheet::{Cell, Sheet};
use crate::table::Align::{Left, Right};

/// What follows for a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Outcome {
    /// The whole interval of what was measured fulfils the claim, as far as it was tested.
    Reproduced,
    /// None of it does.
    NotReproduced,
    /// Nothing can be said.
    NotTestable {
        /// Why.
        reason: String,
    },
}

/// A claim in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// Paper and place.
    pub source: String,
    /// What the paper says.
    pub claim: String,
    /// What was tested of it, and what the value has to be.
    pub tested: String,
    /// What was measured.
    pub value: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// The same as text.
    pub measured: Option<String>,
    /// What follows.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All claims.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ledger {
    /// In the order of the file.
    pub claims: Vec<Entry>,
}

impl Ledger {
    /// Tests every claim.
    pub fn new(claims: &Claims, evidence: &Evidence<'_>) -> Self {
        let entry = |claim: &Claim| {
            let found = claim.test.as_ref().map(|test| evidence.measure(test));
            let value = found.as_ref().and_then(|found| found.as_ref().ok()).copied();
            let measure = claim.test.as_ref().map(|test| test.measure);
            let bound = claim.test.as_ref().map_or(String::new(), |test| format!(": {}", test.holds));
            Entry {
                id: claim.id.clone(),
                source: format!("{}, {}", claims.papers[&claim.paper], claim.place),
                claim: claim.claim.clone(),
                tested: format!("{}{bound}", claim.tested),
                value: value.map(|v| v.value),
                interval: value.map(|v| v.interval).filter(|(low, high)| low < high),
                measured: measure.zip(value).map(|(m, v)| text(m, v)),
                outcome: outcome(claim, found.as_ref()),
            }
        };
        Self { claims: claims.claims.iter().map(entry).collect() }
    }

    /// How many are reproduced, not reproduced, not testable here.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for entry in &self.claims {
            counts[match entry.outcome {
                Outcome::Reproduced => 0,
                Outcome::NotReproduced => 1,
                Outcome::NotTestable { .. } => 2,
            }] += 1;
        }
        counts
    }

    /// The counts in words.
    pub fn summary(&self) -> String {
        let [yes, no, open] = self.counts();
        format!(
            "Of {} claims: {yes} reproduced, {no} not reproduced, {open} not testable here.",
            self.claims.len()
        )
    }

    /// All claims as a table, those that have a verdict first.
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("Claims of the papers");
        for title in ["claim", "source", "what it says", "what is tested here"] {
            sheet.column(title, Left);
        }
        sheet.column("measured", Right);
        sheet.column("verdict", Left);
        let (open, decided): (Vec<&Entry>, Vec<&Entry>) =
            self.claims.iter().partition(|e| matches!(e.outcome, Outcome::NotTestable { .. }));
        for entry in decided.into_iter().chain(open) {
            sheet.rows.push(vec![
                entry.id.as_str().into(),
                entry.source.as_str().into(),
                entry.claim.as_str().into(),
                entry.tested.as_str().into(),
                measured(entry),
                verdict(&entry.outcome).into(),
            ]);
        }
        sheet.note = format!("{}\n{NOTE}", self.summary());
        sheet
    }

    /// The claims that have a verdict, for the screen.
    pub fn short_sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("Claims of the papers");
        sheet.column("claim", Left);
        sheet.column("what is tested here", Left);
        sheet.column("measured", Right);
        sheet.column("verdict", Left);
        let has_verdict = |e: &&Entry| !matches!(e.outcome, Outcome::NotTestable { .. });
        for entry in self.claims.iter().filter(has_verdict) {
            sheet.rows.push(vec![
                entry.id.as_str().into(),
                entry.tested.as_str().into(),
                measured(entry),
                verdict(&entry.outcome).into(),
            ]);
        }
        sheet.note = format!("{} A verdict is on what is tested here.", self.summary());
        sheet
    }
}

const NOTE: &str = "A verdict is on what is tested here, which often is less than what is claimed: a direction, on other \
                    models\nand another machine. Reproduced: the whole 95 % interval fulfils the bound; not reproduced: \
                    none of it does.\nEnergy is modelled unless it says measured.";

fn measured(entry: &Entry) -> Cell {
    match (&entry.measured, entry.value) {
        (Some(text), Some(value)) => Cell::number(text.as_str(), value),
        _ => Cell::default(),
    }
}

fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reproduced => "reproduced".into(),
        Outcome::NotReproduced => "not reproduced".into(),
        Outcome::NotTestable { reason } => format!("not testable here: {reason}"),
    }
}

fn outcome(claim: &Claim, found: Option<&Found>) -> Outcome {
    let open = |reason: String| Outcome::NotTestable { reason };
    let (Some(test), Some(found)) = (&claim.test, found) else {
        return open(claim.not_testable.clone().unwrap_or_default());
    };
    let value = match found {
        Err(reason) => return open(reason.clone()),
        Ok(value) => value,
    };
    if let Some(wanted) = claim.weights {
        match value.weights {
            None => return open("the size of the models was not measured".into()),
            Some(weights) if (weights as f64) < wanted / 2.0 => {
                let (own, wanted) = (count(weights as f64), count(wanted));
                return open(format!("the largest twins have {own} weights, the claim is about {wanted}"));
            }
            Some(_) => {}
        }
    }
    let (low, high) = value.interval;
    let equal = test.holds.equals.is_some_and(|wanted| low <= wanted && wanted <= high);
    if !value.value.is_finite() {
        open("what was measured is no number".into())
    } else if equal || test.holds.holds(low) && test.holds.holds(high) {
        Outcome::Reproduced
    } else if test.holds.fails(value.interval) {
        Outcome::NotReproduced
    } else {
        open("too few documents: the interval lies on both sides of the bound".into())
    }
}

/// `1.4M`, `3B`.
fn count(weights: f64) -> String {
    let (value, letter) = match weights {
        w if w >= 1e9 => (w / 1e9, "B"),
        w if w >= 1e6 => (w / 1e6, "M"),
        w => (w, ""),
    };
    let text = format!("{value:.1}");
    format!("{}{letter}", text.trim_end_matches(".0"))
}

/// A value and its interval, as the measure is read.
fn text(measure: Measure, v: Value) -> String {
    let (prefix, digits, signed, unit) = match measure {
        Measure::PerplexityRatio | Measure::PerplexityTrend | Measure::PerplexityOverB158 => {
            ("×", 4, false, "")
        }
        Measure::AccuracyDifference | Measure::AccuracyTrend => ("", 2, true, " points"),
        Measure::MemoryFactor
        | Measure::LatencyFactor
        | Measure::EnergyFactor
        | Measure::MeasuredEnergyFactor => ("", 2, false, "x"),
        Measure::LinearGigabytes => ("", 2, false, " GB"),
        Measure::LatencyMs => ("", 2, false, " ms"),
        Measure::DecodeRate => ("", 1, false, " tokens/s"),
        Measure::Accuracy => ("", 2, false, " %"),
        Measure::DifferingFormats => ("", 0, false, ""),
    };
    let number = |x: f64| if signed { format!("{x:+.digits$}") } else { format!("{x:.digits$}") };
    let (low, high) = v.interval;
    let interval = if low < high { format!(" ({} to {})", number(low), number(high)) } else { String::new() };
    format!("{prefix}{}{unit}{interval}", number(v.value))
}
