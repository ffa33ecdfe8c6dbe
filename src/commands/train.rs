//! `b158 train`: the twins of a recipe.

use std::time::Duration;

use anyhow::Context;
use b158_eval::table::{self, Align};
use b158_train::{
    Observer, RecipeFile, Report, TrainOptions, curve::Point, gradient::Workers, held_out::HeldOut, train,
    trainer::remove_states,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    ExitStatus,
    cli::TrainArgs,
    commands::memory_limit,
    interrupt::{self, Interruptible},
    printer::Printer,
};

/// How many threads candle may divide single operations among, which it reads when it first computes.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

pub fn run(args: &TrainArgs, printer: &Printer) -> anyhow::Result<ExitStatus> {
    if std::env::var_os(CANDLE_THREADS).is_none() {
        return with_single_operations();
    }
    let recipe = RecipeFile { data: args.data.clone(), ..RecipeFile::read(&args.recipe)? };
    let default = || format!("target/b158/train/{}", recipe.recipe.recipe).into();
    let output = args.output.clone().unwrap_or_else(default);
    let options = TrainOptions {
        output: output.clone(),
        resume: args.resume,
        memory: memory_limit()?.or_else(b158_runner::memory::available),
    };
    let workers = Workers::new(rayon::current_num_threads(), args.device.open()?)?;
    interrupt::catch()?;
    let observer = Bar { bar: std::sync::Mutex::default(), work: Interruptible::new() };
    let report = train(&recipe, &options, &workers, &observer)?;
    if !args.keep_states {
        remove_states(&recipe, &output)?;
    }
    printer.result(&report, || text(&report))?;
    printer.note(&format!("written: {}", output.display()));
    Ok(ExitStatus::Success)
}

/// Runs this command again with operations that candle does not divide. The trainer has one micro-batch on each thread;
/// candle's own threads would stand in each other's way.
fn with_single_operations() -> anyhow::Result<ExitStatus> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(CANDLE_THREADS, "1");
    #[cfg(unix)]
    {
        // The same process, so that signals reach it. It returns only if it fails.
        let error = std::os::unix::process::CommandExt::exec(&mut command);
        Err(error).context("cannot start the training process")
    }
    #[cfg(not(unix))]
    {
        let status = command.status().context("cannot start the training process")?;
        // Whatever failed has been said.
        Ok(if status.success() { ExitStatus::Success } else { ExitStatus::Failure })
    }
}

fn text(report: &Report) -> String {
    let header = [
        ("twin", Align::Left),
        ("scheme", Align::Left),
        ("weights", Align::Right),
        ("in linear layers", Align::Right),
        ("held-out perplexity", Align::Left),
        ("tokens/s", Align::Right),
        ("time", Align::Right),
    ];
    let header = header.map(|(name, align)| (name.to_owned(), align));
    let perplexity =
        |h: &HeldOut| format!("{:.4} ({:.4} to {:.4})", h.perplexity, h.interval[0], h.interval[1]);
    let mut rows = Vec::new();
    for twin in &report.twins {
        let minutes = format!("{:.1} min", Duration::from_secs_f64(twin.seconds).as_secs_f64() / 60.0);
        let mut row = vec![twin.name.clone(), twin.scheme.name().into()];
        row.extend([twin.weights, twin.linear_weights].map(|n| n.to_string()));
        row.extend([perplexity(&twin.held_out), format!("{:.0}", twin.tokens_per_second), minutes]);
        rows.push(row);
        if let Some(held_out) = &twin.post_training {
            let name = format!("{}, ternarized", twin.name);
            let blank = String::new;
            rows.push(vec![name, "b1.58".into(), blank(), blank(), perplexity(held_out), blank(), blank()]);
        }
    }
    let left_out = match report.left_out {
        0 => String::new(),
        n => format!(" {n} documents were left out, since they are held out."),
    };
    format!(
        "# b158 train: {}\n\nEach of {} windows of text was read {:.2} times.{left_out}\n\n{}",
        report.recipe,
        report.windows,
        report.epochs,
        table::markdown(&header, &rows)
    )
}

/// Progress as a bar with loss and speed; Ctrl-C ends training with its state on disk.
struct Bar {
    bar: std::sync::Mutex<Option<ProgressBar>>,
    work: Interruptible,
}

impl Observer for Bar {
    fn prepare(&self, what: &str) {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{prefix:>24} {spinner}").expect("a constant template"));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.replace(Some(bar));
    }

    fn begin(&self, twin: &str, done: usize, steps: usize) {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:>24} {bar:30} {pos}/{len} {msg} {eta}");
        bar.set_style(style.expect("a constant template"));
        bar.set_prefix(twin.to_owned());
        bar.set_position(done as u64);
        // The time left is judged by the steps of this run.
        bar.reset_eta();
        self.replace(Some(bar));
    }

    fn step(&self, point: &Point, tokens_per_second: f64) -> bool {
        if let Some(bar) = &*self.lock() {
            bar.set_message(format!("loss {:.3}, {tokens_per_second:.0} tokens/s", point.loss));
            bar.inc(1);
        }
        !self.work.interrupted()
    }

    fn end(&self) {
        self.replace(None);
    }
}

impl Bar {
    /// Clears the bar that is there and puts another one in its place.
    fn replace(&self, bar: Option<ProgressBar>) {
        if let Some(old) = std::mem::replace(&mut *self.lock(), bar) {
            old.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
