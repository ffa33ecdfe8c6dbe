//! One results folder, made ready to be shown.

use std::path::Path;

use b158_runner::bench::Measured;
use serde::Serialize;

use super::curves::{self, Curve};
use super::measurements::{Known, Measurements};
use crate::compare::MetricParity;
use crate::suite::Role;
use crate::{
    Average, AverageParity, CompareOptions, Error, Margins, Metric, ModelResults, Parity, SuiteResults,
    TaskResults, above_chance, average, chance, compare, compare_averages,
};

/// Everything that is known of a suite's models; with `--json` it is printed as it is.
#[derive(Serialize)]
pub struct Run {
    /// The suite's name.
    pub suite: String,
    /// What has to be known about its models.
    pub notice: Option<String>,
    /// What counted as parity.
    pub margins: Margins,
    /// One digest for all results: two machines agree, or compare the models' own.
    pub digest: String,
    /// One entry per task, in the suite's order.
    pub tasks: Vec<TaskRow>,
    /// One entry per model, in the suite's order.
    pub models: Vec<ModelRow>,
    /// Every candidate against the baseline of its size.
    pub comparisons: Vec<Comparison>,
    /// The content of `results.json`.
    pub results: serde_json::Value,
    /// The results themselves.
    #[serde(skip)]
    pub evaluated: SuiteResults,
    /// Loss curves by the name of the twin.
    #[serde(skip)]
    pub curves: Vec<(String, Curve)>,
}

/// A task.
#[derive(Serialize)]
pub struct TaskRow {
    /// Its name.
    pub task: String,
    /// Documents that were evaluated.
    pub documents: usize,
    /// The accuracy of chance; absent for tasks without accuracies.
    pub chance: Option<f64>,
}

/// A model.
#[derive(Serialize)]
pub struct ModelRow {
    /// Its name in results.
    pub name: String,
    /// Its size, if the suite has sizes.
    pub size: Option<String>,
    /// Its name among the models of its size.
    pub variant: String,
    /// What it is in comparisons.
    pub role: Role,
    /// The format that it was evaluated in; absent where nobody said.
    pub format: Option<String>,
    /// Where it came from; absent where nobody said.
    pub source: Option<String>,
    /// Size and speed; absent where they were not measured.
    pub measured: Option<Measured>,
    /// Mean accuracy.
    pub average: Option<Average>,
    /// For each task with accuracies, whether the lower 95 % bound is above chance.
    pub above_chance: serde_json::Map<String, serde_json::Value>,
    /// The result digest.
    pub digest: String,
}

/// A candidate against the baseline of its size.
#[derive(Serialize)]
pub struct Comparison {
    /// Their size, if the suite has sizes.
    pub size: Option<String>,
    /// The candidate's name among the models of its size.
    pub variant: String,
    /// Metric by metric.
    #[serde(flatten)]
    pub parity: Parity,
    /// The mean of the accuracies.
    pub average: Option<AverageParity>,
}

impl Run {
    /// Reads a folder that `eval` or `reproduce` wrote. Where the folder does not say which model is the baseline,
    /// `baseline` names it; without one nothing is compared.
    ///
    /// # Errors
    /// Those of [`SuiteResults::read`], [`Measurements::read`], and [`crate::compare()`];
    /// [`Error::Config`] if no model has the baseline's name.
    pub fn read(folder: &Path, baseline: Option<&str>) -> Result<Self, Error> {
        let results = SuiteResults::read(folder)?;
        let known = Measurements::read(folder)?.unwrap_or_default();
        if let Some(name) = baseline.filter(|name| results.model(name).is_none()) {
            let names: Vec<&str> = results.models.iter().map(|m| m.name.as_str()).collect();
            return Err(Error::Config {
                file: folder.display().to_string(),
                message: format!("no results of a model `{name}`"),
                hint: format!("it has {}", names.join(", ")),
            });
        }
        let mut run = Self::new(results, &known, baseline)?;
        run.curves = curves::in_folder(folder)?;
        Ok(run)
    }

    /// Joins results with what else is known; `baseline` as in [`Self::read`].
    ///
    /// # Errors
    /// Those of [`crate::compare()`].
    pub fn new(evaluated: SuiteResults, known: &Measurements, baseline: Option<&str>) -> Result<Self, Error> {
        let first = evaluated.models.first().map_or(&[][..], |model| &model.tasks);
        let task = |t: &TaskResults| TaskRow {
            task: t.task.task.clone(),
            documents: t.documents.len(),
            chance: chance(t),
        };
        let tasks = first.iter().map(task).collect();
        let models: Vec<ModelRow> =
            evaluated.models.iter().map(|m| row(m, known.model(&m.name), baseline)).collect();
        Ok(Self {
            suite: evaluated.suite.clone(),
            notice: known.notice.clone(),
            margins: evaluated.margins,
            digest: evaluated.digest(),
            tasks,
            comparisons: comparisons(&models, &evaluated)?,
            models,
            results: evaluated.to_json(),
            evaluated,
            curves: Vec::new(),
        })
    }

    /// The baseline of a model that is a candidate.
    pub fn baseline_of(&self, row: &ModelRow) -> Option<&ModelRow> {
        if row.role == Role::Baseline {
            return None;
        }
        self.models.iter().find(|other| other.size == row.size && other.role == Role::Baseline)
    }

    /// Whether the suite has sizes.
    pub fn has_sizes(&self) -> bool {
        self.models.iter().any(|row| row.size.is_some())
    }

    /// The sizes in the order of their first model; one `None` for a suite without.
    pub fn sizes(&self) -> Vec<Option<&str>> {
        distinct(self.models.iter().map(|row| row.size.as_deref()))
    }

    /// The variants in the order of their first model.
    pub fn variants(&self) -> Vec<&str> {
        distinct(self.models.iter().map(|row| row.variant.as_str()))
    }

    /// Rolling tasks, and the perplexity that says most of each: by words, or by tokens where words are not counted.
    pub fn perplexities(&self) -> Vec<(String, Metric)> {
        let tasks = self.evaluated.models.first().map_or(&[][..], |model| &model.tasks);
        let first = |t: &TaskResults| {
            let metric = [Metric::WordPerplexity, Metric::TokenPerplexity]
                .into_iter()
                .find(|m| t.metric(*m).is_some())?;
            Some((t.task.task.clone(), metric))
        };
        tasks.iter().filter_map(first).collect()
    }

    /// A model's results of a task.
    pub fn task(&self, row: &ModelRow, task: &str) -> Option<&TaskResults> {
        self.evaluated.model(&row.name)?.tasks.iter().find(|t| t.task.task == task)
    }

    /// A model's value of a metric.
    pub fn value(&self, row: &ModelRow, task: &str, metric: Metric) -> Option<f64> {
        Some(self.task(row, task)?.metric(metric)?.value)
    }

    /// The comparison of a candidate with its baseline.
    pub fn comparison_of(&self, row: &ModelRow) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| c.parity.candidate == row.name)
    }
}

impl Comparison {
    /// The perplexity that says most: of the first rolling task, by words or by tokens.
    pub fn perplexity(&self) -> Option<&MetricParity> {
        let of = |m: &&MetricParity| matches!(m.metric, Metric::WordPerplexity | Metric::TokenPerplexity);
        self.parity.metrics.iter().find(of)
    }
}

/// Each item once, in the order of its first.
pub(super) fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for item in items {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

fn row(results: &ModelResults, known: Option<Known>, baseline: Option<&str>) -> ModelRow {
    let above = |t: &TaskResults| Some((t.task.task.clone(), above_chance(t)?.into()));
    let is_baseline = match baseline {
        Some(name) => name == results.name,
        None => known.as_ref().is_some_and(|k| k.role == Role::Baseline),
    };
    let (variant, size, format, source, measured) = match known {
        Some(k) => (k.variant, k.size, Some(k.format), Some(k.source), k.measured),
        None => (results.name.clone(), None, None, None, None),
    };
    ModelRow {
        name: results.name.clone(),
        size,
        variant,
        role: if is_baseline { Role::Baseline } else { Role::Candidate },
        format,
        source,
        measured,
        average: average(results),
        above_chance: results.tasks.iter().filter_map(above).collect(),
        digest: results.digest(),
    }
}

/// Sizes without a baseline have none.
fn comparisons(models: &[ModelRow], results: &SuiteResults) -> Result<Vec<Comparison>, Error> {
    let options = CompareOptions { margins: results.margins, ..CompareOptions::default() };
    let of = |row: &ModelRow| results.model(&row.name);
    let mut comparisons = Vec::new();
    for size in distinct(models.iter().map(|row| &row.size)) {
        let twins = || models.iter().filter(|row| row.size == *size);
        let Some(baseline) = twins().find(|row| row.role == Role::Baseline).and_then(of) else { continue };
        for row in twins().filter(|row| row.role == Role::Candidate) {
            let Some(candidate) = of(row) else { continue };
            comparisons.push(Comparison {
                size: size.clone(),
                variant: row.variant.clone(),
                parity: compare(baseline, candidate, &options)?,
                average: compare_averages(baseline, candidate, &options)?,
            });
        }
    }
    Ok(comparisons)
}
