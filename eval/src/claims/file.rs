//! The file of claims.
//!
//! ```yaml
//! papers:
//!   b158: The Era of 1-bit LLMs, arXiv 2402.17764
//! claims:
//!   - id: ppl-3b                        # its name, alone in the file
//!     paper: b158
//!     place: Table 1                    # where the paper says it
//!     claim: "At 3B, b1.58 has the lower perplexity: 9.91 against 10.04"
//!     tested: "perplexity ratio of the largest twins, paired"
//!     weights: 3e9                      # optional: needs twins of at least half as many weights in linear layers
//!     test: {measure: perplexity_ratio, of: b1.58, holds: {below: 1}}
//!   - id: throughput-70b
//!     paper: b158
//!     place: Table 3
//!     claim: "..."
//!     not_testable: it needs two A100 GPUs
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Error, yaml};

/// All claims.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Titles of the papers by their short names.
    pub papers: BTreeMap<String, String>,
    /// The claims, in the order in which they are shown.
    pub claims: Vec<Claim>,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its name.
    pub id: String,
    /// Short name of the paper.
    pub paper: String,
    /// Where the paper says it.
    pub place: String,
    /// What it says, with its figures.
    pub claim: String,
    /// What is tested of it, and how; empty where nothing is.
    #[serde(default)]
    pub tested: String,
    /// Weights of the models that it is about; twins of less than half of that show something else.
    pub weights: Option<f64>,
    /// The test.
    pub test: Option<Test>,
    /// Why there is none.
    pub not_testable: Option<String>,
}

/// What is measured, on what, and what the claim demands of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What is measured.
    pub measure: Measure,
    /// A variant of the suite, or for `accuracy` and `decode_rate` a model; b1.58 if not given.
    #[serde(default = "b158")]
    pub of: String,
    /// A published shape with random ternary weights, in place of a model.
    pub shape: Option<String>,
    /// The shape in FP16 that it is compared with; the same one if not given.
    pub against: Option<String>,
    /// The task of an `accuracy`.
    pub task: Option<String>,
    /// Its metric; `acc` if not given.
    pub metric: Option<String>,
    /// Documents that the task must have had: those of the public data set.
    pub documents: Option<usize>,
    /// What the claim demands.
    pub holds: Bound,
}

fn b158() -> String {
    "b1.58".to_owned()
}

/// What can be measured; factors are how many times less (or faster) than the baseline, or than FP16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Perplexity over the baseline's, of the largest twins; paired interval.
    PerplexityRatio,
    /// Mean accuracy minus the baseline's in points, of the largest twins; paired interval.
    AccuracyDifference,
    /// The perplexity ratio of the largest twins over that of the smallest.
    PerplexityTrend,
    /// The accuracy difference of the largest twins minus that of the smallest, in points.
    AccuracyTrend,
    /// Perplexity over that of the variant `b1.58` of the same size, of the largest twins.
    PerplexityOverB158,
    /// Bytes of all weights in memory: the baseline's over the candidate's.
    MemoryFactor,
    /// Median milliseconds a token, likewise.
    LatencyFactor,
    /// Modelled energy of the linear layers at 7 nm, likewise.
    EnergyFactor,
    /// Measured energy a token, likewise.
    MeasuredEnergyFactor,
    /// Gigabytes of the linear layers and norms in memory.
    LinearGigabytes,
    /// Milliseconds a token.
    LatencyMs,
    /// Tokens decoded in a second.
    DecodeRate,
    /// Share of right answers in percent; Wilson's interval.
    Accuracy,
    /// Pairs of models of one source in different packed formats: how many differ in a single bit of their results.
    DifferingFormats,
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// Not less.
    pub at_least: Option<f64>,
    /// Not more.
    pub at_most: Option<f64>,
    /// More.
    pub above: Option<f64>,
    /// Less.
    pub below: Option<f64>,
    /// The same, within the interval of what was measured.
    pub equals: Option<f64>,
}

impl Claims {
    /// Parses a file of claims; `file` is the name that error messages use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the claim and the remedy.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let claims: Self = yaml::parse(file, text)?;
        match claims.check() {
            Ok(()) => Ok(claims),
            Err((message, hint)) => {
                Err(Error::Config { file: file.to_owned(), message, hint: hint.to_owned() })
            }
        }
    }

    fn check(&self) -> Result<(), (String, &'static str)> {
        for (i, claim) in self.claims.iter().enumerate() {
            let id = &claim.id;
            if self.claims[..i].iter().any(|other| other.id == *id) {
                return Err((format!("two claims are named '{id}'"), "rename one of them"));
            }
            if !self.papers.contains_key(&claim.paper) {
                return Err((format!("claim '{id}': no paper '{}'", claim.paper), "add it to papers"));
            }
            if claim.test.is_some() == claim.not_testable.is_some() {
                let message =
                    format!("claim '{id}' needs either a test or the reason why it is not testable");
                return Err((message, "write one of `test: ...` and `not_testable: ...`"));
            }
            let Some(test) = &claim.test else { continue };
            if claim.tested.is_empty() {
                return Err((format!("claim '{id}' does not say what is tested"), "add `tested: ...`"));
            }
            if !test.holds.is_one() {
                let message = format!("claim '{id}': holds needs a bound");
                return Err((message, "give one, or two that a value can lie between, each a number"));
            }
            if test.measure == Measure::Accuracy && test.task.is_none() {
                return Err((format!("claim '{id}': accuracy needs a task"), "add `task: ...`"));
            }
        }
        Ok(())
    }
}

impl Bound {
    fn all(&self) -> [Option<f64>; 5] {
        [self.at_least, self.at_most, self.above, self.below, self.equals]
    }

    /// Whether it says something, and can be fulfilled.
    fn is_one(&self) -> bool {
        let given = self.all().iter().flatten().count();
        let finite = self.all().iter().flatten().all(|bound| bound.is_finite());
        let (low, high) = (self.at_least.or(self.above), self.at_most.or(self.below));
        let between = low.zip(high).is_none_or(|(low, high)| low <= high);
        given > 0 && finite && between && (self.equals.is_none() || given == 1)
    }

    /// Whether a value fulfils it.
    pub fn holds(&self, value: f64) -> bool {
        self.at_least.is_none_or(|bound| value >= bound)
            && self.at_most.is_none_or(|bound| value <= bound)
            && self.above.is_none_or(|bound| value > bound)
            && self.below.is_none_or(|bound| value < bound)
            && self.equals.is_none_or(|bound| value == bound)
    }

    /// Whether no value of an interval fulfils it.
    pub fn fails(&self, (low, high): (f64, f64)) -> bool {
        self.at_least.is_some_and(|bound| high < bound)
            || self.at_most.is_some_and(|bound| low > bound)
            || self.above.is_some_and(|bound| high <= bound)
            || self.below.is_some_and(|bound| low >= bound)
            || self.equals.is_some_and(|bound| bound < low || bound > high)
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let signs = ["≥", "≤", ">", "<", "="];
        let parts =
            signs.iter().zip(self.all()).filter_map(|(sign, bound)| Some(format!("{sign} {}", bound?)));
        write!(f, "{}", parts.collect::<Vec<_>>().join(", "))
    }
}
