//! `b158 eval`.

use std::{num::NonZeroUsize, path::Path};

use anyhow::Result;
use b158_datasets::DataSource;
use b158_eval::{
    Margins, ModelResults, Preset, Role, Suite, SuiteResults, environment::Environment, find_tasks,
    lm_eval_files, log::Run, mean_perplexity, report::Measurements, suite::SuiteModel, table,
};
use b158_kernels::Isa;

use crate::{
    ExitStatus,
    cli::EvalArgs,
    commands::{
        create_folder,
        suite::{Work, evaluate_all, known, note_truncated, prepare},
    },
    printer::Printer,
    shard::ShardArgument,
};

/// Nobody shall take the desk's questions for the benchmark of the same name.
const DESK: &str =
    "note: without --data, tasks are about the desk's small made-up world, not the benchmarks of their names";

pub fn run(args: &EvalArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (suite, file) = match &args.suite {
        Some(file) => (Suite::read(file)?, file.as_path()),
        None => (from_arguments(args), Path::new("")),
    };
    let suite = Suite {
        tasks: if args.tasks.is_empty() { suite.tasks } else { args.tasks.clone() },
        preset: args.preset.unwrap_or(suite.preset),
        limit: args.documents.limit.or(suite.limit),
        num_fewshot: args.num_fewshot.or(suite.num_fewshot),
        add_bos: args.add_bos.or(suite.add_bos),
        max_length: args.max_length.map(NonZeroUsize::get).or(suite.max_length),
        ..suite
    };
    let suite = suite.checked("the command line")?;
    let tasks = find_tasks(&suite.tasks, args.documents.task_dir.as_deref())?;
    let output = args.shard.map_or_else(|| args.output.clone(), |shard| shard.folder(&args.output));
    create_folder(&output)?;
    if args.documents.data.is_none() {
        printer.note(DESK);
    }
    let shard = args.shard.map(|argument| argument.shard);
    let run = Run { suite: suite.suite.clone(), margins: suite.margins, shard };
    let log = run.begin(&output, args.resume)?;
    if log.logged > 0 {
        printer
            .note(&format!("note: going on from the log, which has the scores of {} documents", log.logged));
    }
    if log.discarded {
        printer.note(
            "note: an unfinished evaluation in this folder begins anew; --resume would have gone on with it",
        );
    }
    let models = prepare(&suite, file, &output.join("models"), isa)?;
    let environment = Environment::new(isa.name(), rayon::current_num_threads());
    let work = Work { shard, log: Some(log.folder), cache: args.documents.cache.clone() };
    let data = DataSource::new(args.documents.data.as_deref());
    let results = evaluate_all(&suite, &models, &tasks, &data, &work, isa)?;
    environment.write(&output, &results)?;
    if args.suite.is_some() {
        // Who is compared with whom; nothing was measured here.
        let known = suite.models.iter().zip(&models).map(|(model, prepared)| known(model, prepared, None));
        Measurements::new(None, known).write(&output)?;
    } else {
        Measurements::remove(&output)?;
    }
    if let Some(argument) = args.shard {
        results.write_shard(&output, argument.shard)?;
        printer.result(&results.shard_json(argument.shard), || shard_text(argument, args, &results))?;
        return Ok(ExitStatus::Success);
    }
    if args.lm_eval_files {
        lm_eval_files::write(&output, &results, &data, environment.started())?;
    }
    results.write(&output)?;
    note_truncated(&results, printer);
    print(&results, printer)?;
    Ok(ExitStatus::Success)
}

/// Tables of every model, or `results.json`.
pub fn print(results: &SuiteResults, printer: &Printer) -> Result<()> {
    printer.result(&results.to_json(), || {
        let section = |m: &ModelResults| {
            let mean = mean_perplexity(m).map_or(String::new(), |mean| {
                format!("mean perplexity by tokens, as the b1.58 paper's of C4 and WikiText-2: {mean:.4}\n")
            });
            format!("{}\n\n{}{mean}\nresult digest {}\n", m.name, table::results_table(m), m.digest())
        };
        results.models.iter().map(section).collect::<Vec<_>>().join("\n")
    })
}

/// What was evaluated: a part has no metrics.
fn shard_text(argument: ShardArgument, args: &EvalArgs, results: &SuiteResults) -> String {
    let mut out = format!("shard {} of suite `{}`\n", argument.shard, results.suite);
    for model in &results.models {
        let documents: usize = model.tasks.iter().map(|task| task.documents.len()).sum();
        out += &format!("{}: {documents} documents, digest {}\n", model.name, model.digest());
    }
    if argument.by_slurm {
        return out + &format!("join all shards with: b158 merge {0} -o {0}\n", args.output.display());
    }
    out + "join the folders of all shards with: b158 merge DIR... -o DIR\n"
}

/// The suite that `--model` and `--tasks` describe.
fn from_arguments(args: &EvalArgs) -> Suite {
    let model = |(name, path): &(String, std::path::PathBuf)| SuiteModel {
        name: name.clone(),
        size: None,
        path: path.display().to_string(),
        role: Role::Candidate,
        convert: None,
    };
    Suite {
        suite: "command line".to_owned(),
        models: args.models.iter().map(model).collect(),
        tasks: args.tasks.clone(),
        preset: Preset::default(),
        limit: None,
        num_fewshot: None,
        add_bos: None,
        max_length: None,
        margins: Margins::default(),
    }
}
