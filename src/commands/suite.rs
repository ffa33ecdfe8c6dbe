//! What `eval` and `reproduce` share: making a suite's models ready and evaluating them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b158_checkpoint::Checkpoint;
use b158_convert::{Format, Options};
use b158_datasets::DataSource;
use b158_eval::{
    EvalOptions, RunnerModel, Shard, Suite, SuiteResults, Task, evaluate, report::Known, suite::SuiteModel,
};
use b158_kernels::Isa;
use b158_runner::bench::Measured;

use crate::{
    commands::{convert::convert, create_folder, load},
    printer::Printer,
    progress::SuiteBar,
};

/// A model of a suite, in the format that the suite wants it in.
pub struct Prepared {
    /// Its name in results.
    pub name: String,
    /// What to load.
    pub path: PathBuf,
    /// The packed format, if the suite asks for one.
    pub format: Option<Format>,
}

/// Finds every model and converts those that the suite wants converted, into `folder`. Paths are
/// relative to the suite's file.
pub fn prepare(suite: &Suite, suite_file: &Path, folder: &Path, isa: Isa) -> Result<Vec<Prepared>> {
    let base = suite_file.parent().unwrap_or(Path::new("."));
    let prepare = |model: &SuiteModel| {
        let (name, source) = (model.id(), base.join(&model.path));
        let Some(format) = &model.convert else {
            return Ok(Prepared { name, path: source, format: None });
        };
        let format: Format =
            format.parse().with_context(|| format!("{}: model `{name}`", suite_file.display()))?;
        let options = Options { verify: true, ..Options::new(format, isa) };
        let path = folder.join(match format {
            Format::HuggingFace => format!("{name}.{format}"),
            _ => format!("{name}.{format}.gguf"),
        });
        create_folder(folder)?;
        let checkpoint = Checkpoint::open(&source)?;
        convert(&checkpoint, &path, &options)?;
        Ok(Prepared { name, path, format: Some(format) })
    };
    suite.models.iter().map(prepare).collect()
}

/// What an evaluation takes up, and where it keeps what it has.
#[derive(Default)]
pub struct Work {
    /// The part of the documents that is evaluated here.
    pub shard: Option<Shard>,
    /// Folder for the log of samples.
    pub log: Option<PathBuf>,
    /// Folder of the cache.
    pub cache: Option<PathBuf>,
}

/// Evaluates models, one after the other.
pub fn evaluate_all(
    suite: &Suite,
    models: &[Prepared],
    tasks: &[Task],
    data: &DataSource,
    work: &Work,
    isa: Isa,
) -> Result<SuiteResults> {
    let bar = SuiteBar::new(models.len());
    let evaluate_one = |prepared: &Prepared| {
        let (checkpoint, model) = load(&prepared.path, isa)?;
        let options = EvalOptions {
            name: prepared.name.clone(),
            model_sha256: b158_convert::model_sha256(&checkpoint)?,
            preset: suite.preset,
            limit: suite.limit,
            num_fewshot: suite.num_fewshot,
            add_bos: suite.add_bos,
            max_length: suite.max_length,
            shard: work.shard,
            log: work.log.clone(),
            cache: work.cache.clone(),
        };
        let model = RunnerModel::new(&checkpoint, model)?;
        bar.model(&prepared.name);
        Ok(evaluate(&model, tasks, data, &options, &bar)?)
    };
    let models = models.iter().map(evaluate_one).collect::<Result<_>>()?;
    Ok(SuiteResults { suite: suite.suite.clone(), margins: suite.margins, models })
}

/// What is known of a model that its results do not say.
pub fn known(model: &SuiteModel, prepared: &Prepared, measured: Option<Measured>) -> (String, Known) {
    let known = Known {
        variant: model.name.clone(),
        size: model.size.clone(),
        role: model.role,
        format: prepared.format.map_or("as it is".to_owned(), |f| f.to_string()),
        source: model.path.clone(),
        measured,
    };
    (prepared.name.clone(), known)
}

/// Says which prompts no model saw from their beginning.
pub fn note_truncated(results: &SuiteResults, printer: &Printer) {
    for model in &results.models {
        let context = model.settings.max_length;
        for task in &model.tasks {
            let truncated = task.truncated(context);
            if truncated > 0 {
                let requests: usize = task.documents.iter().map(|d| d.samples.len()).sum();
                printer.note(&format!(
                    "note: {}, {}: {truncated} of {requests} requests are longer than the context of {context} tokens; \
                     the model did not see the beginning of their prompts",
                    model.name, task.task.task
                ));
            }
        }
    }
}
