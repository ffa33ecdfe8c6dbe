//! Perplexity, end tasks, paired comparison and tables.
//!
//! ```text
//!   suite.yaml --> suite           tasks/*.yaml --> task, template
//!        |                               |
//!        +-----------> evaluate <--------+---- datasets
//!                         |  request: prompts, token ids, windows
//!                         |  order:   what is scored first, and together
//!                         |  model:   log-likelihoods   <-->  log, cache: what is known already
//!                         |  metrics: acc, acc_norm, perplexities, standard errors
//!                         v
//!       merge <-- shard or results  <--folder-->  results.json + samples.parquet, sealed by digest
//!                         |
//!              compare, check, table
//! ```
//!
//! Prompts, token ids and metrics are those of lm-evaluation-harness 0.4.13 (called lm-eval below), request by
//! request; tasks are data (YAML), not code.

pub mod average;
pub mod bootstrap;
pub mod cache;
pub mod chance;
pub mod check;
pub mod claims;
pub mod compare;
pub mod detokenize;
pub mod digest;
pub mod environment;
pub mod error;
pub mod evaluate;
mod few_shot;
pub mod folder;
pub mod holm;
pub mod kl;
pub mod lm_eval_bootstrap;
pub mod lm_eval_files;
pub mod log;
pub mod merge;
pub mod metrics;
pub mod model;
mod order;
mod pairing;
pub mod perplexity;
pub mod power;
mod prepare;
mod python;
mod python_random;
pub mod report;
pub mod request;
pub mod results;
mod runner_model;
pub mod samples;
pub mod shard;
pub mod suite;
pub mod table;
pub mod tango;
pub mod task;
mod template;
mod yaml;

pub use average::{Average, AverageParity, average, compare_averages, mean_perplexity};
pub use chance::{above_chance, chance};
pub use compare::{CompareOptions, Margins, Parity, Verdict, compare};
pub use error::Error;
pub use evaluate::{EvalOptions, Preset, Progress, evaluate};
pub use folder::ShardResults;
pub use merge::merge;
pub use metrics::Metric;
pub use model::{LanguageModel, Score, ScoreRequest};
pub use results::{ModelResults, SuiteResults, TaskResults};
pub use runner_model::RunnerModel;
pub use shard::Shard;
pub use suite::{Role, Suite};
pub use task::{Task, find_tasks};

#[cfg(test)]
mod oracle;
