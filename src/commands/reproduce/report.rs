//! Everything that `reproduce` has found out; with `--json` it is printed as it is.

use anyhow::Result;
use b158_eval::{
    Average, AverageParity, CompareOptions, Margins, ModelResults, Parity, Role, Suite, SuiteResults,
    above_chance, average, chance, compare, compare_averages, suite::SuiteModel,
};
use serde::Serialize;

use crate::commands::{bench::Measured, suite::Prepared};

/// The result of the main job.
#[derive(Serialize)]
pub struct Report {
    /// The suite's name.
    pub suite: String,
    /// What has to be known about its models.
    pub notice: Option<&'static str>,
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
    /// The format that it was evaluated in.
    pub format: String,
    /// Size and speed.
    pub measured: Measured,
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

impl Report {
    /// `models`, `measured` and the models of `results` are those of the suite, in its order.
    pub fn new(
        suite: &Suite,
        notice: Option<&'static str>,
        models: &[Prepared],
        measured: Vec<Measured>,
        results: &SuiteResults,
    ) -> Result<Self> {
        let rows = suite.models.iter().zip(models).zip(measured).zip(&results.models);
        let first = results.models.first().map_or(&[][..], |model| &model.tasks);
        let task = |t: &b158_eval::TaskResults| TaskRow {
            task: t.task.task.clone(),
            documents: t.documents.len(),
            chance: chance(t),
        };
        Ok(Self {
            suite: suite.suite.clone(),
            notice,
            margins: suite.margins,
            digest: results.digest(),
            tasks: first.iter().map(task).collect(),
            models: rows
                .map(|(((model, prepared), measured), results)| row(model, prepared, measured, results))
                .collect(),
            comparisons: comparisons(suite, results)?,
            results: results.to_json(),
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
}

fn row(model: &SuiteModel, prepared: &Prepared, measured: Measured, results: &ModelResults) -> ModelRow {
    let above = |t: &b158_eval::TaskResults| Some((t.task.task.clone(), above_chance(t)?.into()));
    ModelRow {
        name: prepared.name.clone(),
        size: model.size.clone(),
        variant: model.name.clone(),
        role: model.role,
        format: prepared.format.map_or("as it is".to_owned(), |f| f.to_string()),
        measured,
        average: average(results),
        above_chance: results.tasks.iter().filter_map(above).collect(),
        digest: results.digest(),
    }
}

/// Sizes without a baseline have none.
fn comparisons(suite: &Suite, results: &SuiteResults) -> Result<Vec<Comparison>> {
    let options = CompareOptions { margins: suite.margins, ..CompareOptions::default() };
    let mut comparisons = Vec::new();
    for twins in suite.twins() {
        let Some(baseline) = twins.baseline().and_then(|b| results.model(&b.id())) else { continue };
        for model in twins.candidates() {
            let Some(candidate) = results.model(&model.id()) else { continue };
            comparisons.push(Comparison {
                size: model.size.clone(),
                variant: model.name.clone(),
                parity: compare(baseline, candidate, &options)?,
                average: compare_averages(baseline, candidate, &options)?,
            });
        }
    }
    Ok(comparisons)
}
