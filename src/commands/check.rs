//! `b158 check`.

use anyhow::{Result, bail};
use b158_eval::{
    Margins, SuiteResults,
    check::{Baseline, Check, Difference, MetricCheck, Scored, State, TaskCheck, check},
    table::{Align, markdown},
};

use crate::{ExitStatus, cli::CheckArgs, printer::Printer};

pub fn run(args: &CheckArgs, printer: &Printer) -> Result<ExitStatus> {
    let results = SuiteResults::read(&args.results)?;
    if let Some(file) = &args.write {
        let baseline = Baseline::of(&results, bounds(args, None)?);
        baseline.write(file)?;
        printer.result(&baseline, || format!("written: {}\n", file.display()))?;
        return Ok(ExitStatus::Success);
    }
    let Some(path) = &args.baseline else { bail!("no baseline\nhint: name one with --baseline") };
    // A folder has the samples, too.
    let samples = if path.is_dir() { Some(SuiteResults::read(path)?) } else { None };
    let mut baseline = match &samples {
        Some(samples) => Baseline::of(samples, None),
        None => Baseline::read(path)?,
    };
    baseline.bounds = bounds(args, baseline.bounds)?;
    let check = check(&results, &baseline, samples.as_ref());
    printer.result(&check, || text(&check, &path.display().to_string()))?;
    Ok(if check.passed { ExitStatus::Success } else { ExitStatus::CheckFailed })
}

/// The bounds of the command line, else the baseline's. Who bounds one metric lets no other get worse.
fn bounds(args: &CheckArgs, baseline: Option<Margins>) -> Result<Option<Margins>> {
    if args.perplexity_ratio.is_none() && args.accuracy.is_none() {
        return Ok(baseline);
    }
    let strict = Margins { perplexity_ratio: 1.0, accuracy: 0.0 };
    let base = baseline.unwrap_or(strict);
    let bounds = Margins {
        perplexity_ratio: args.perplexity_ratio.unwrap_or(base.perplexity_ratio),
        accuracy: args.accuracy.unwrap_or(base.accuracy),
    };
    if !(bounds.perplexity_ratio >= 1.0 && bounds.perplexity_ratio.is_finite()) {
        bail!(
            "--perplexity-ratio is {}\nhint: it is a ratio of at least 1, for instance 1.001",
            bounds.perplexity_ratio
        );
    }
    if !(0.0..1.0).contains(&bounds.accuracy) {
        bail!(
            "--accuracy is {}\nhint: it is a share from 0 to below 1: write 0.01 for one point",
            bounds.accuracy
        );
    }
    Ok(Some(bounds))
}

fn text(check: &Check, baseline: &str) -> String {
    let count = |state| check.tasks.iter().filter(|task| task.state == state).count();
    let mut out = format!(
        "{}: suite {} against {baseline}: {} of {} tasks equal to the bit, {} within bounds, {} different\n",
        if check.passed { "passed" } else { "FAILED" },
        check.suite,
        count(State::Equal),
        check.tasks.len(),
        count(State::WithinBounds),
        count(State::Differs),
    );
    for note in &check.notes {
        out += &format!("note: {note}\n");
    }
    let rows = metric_rows(check);
    if !rows.is_empty() {
        let columns = [
            ("model", Align::Left),
            ("task", Align::Left),
            ("metric", Align::Left),
            ("baseline", Align::Right),
            ("now", Align::Right),
            ("change", Align::Right),
            ("allowed", Align::Right),
            ("", Align::Left),
        ];
        let header = columns.map(|(name, align)| (name.to_owned(), align));
        out += &format!("\n{}", markdown(&header, &rows));
    }
    for task in check.tasks.iter().filter(|task| task.state != State::Equal) {
        out += &format!("\n{}", differences(task));
    }
    out
}

fn metric_rows(check: &Check) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for task in &check.tasks {
        for m in &task.metrics {
            let number = |value: Option<f64>| value.map_or("?".to_owned(), |v| format!("{v:.6}"));
            let (change, allowed) = change(m, check.bounds);
            let verdict = match m.holds {
                Some(true) => "holds",
                Some(false) => "WORSE",
                None => "",
            };
            rows.push(vec![
                task.model.clone(),
                task.task.clone(),
                m.metric.name().to_owned(),
                number(m.baseline),
                number(Some(m.now)),
                change,
                allowed,
                verdict.to_owned(),
            ]);
        }
    }
    rows
}

fn change(m: &MetricCheck, bounds: Option<Margins>) -> (String, String) {
    let of = |value: Option<f64>, text: &dyn Fn(f64) -> String| value.map_or("?".to_owned(), text);
    if m.metric.higher_is_better() {
        let allowed = bounds.map_or("-".to_owned(), |b| format!("{:+.6}", -b.accuracy));
        (of(m.change, &|v| format!("{v:+.6}")), allowed)
    } else {
        let allowed = bounds.map_or("-".to_owned(), |b| format!("×{:.6}", b.perplexity_ratio));
        (of(m.change, &|v| format!("×{v:.6}")), allowed)
    }
}

fn differences(task: &TaskCheck) -> String {
    let mut out = format!("{}, {}:", task.model, task.task);
    if !task.reasons.is_empty() {
        out += &format!(" {};", task.reasons.join(", "));
    }
    let Some(first) = &task.first else { return out.trim_end_matches([';', ':']).to_owned() + "\n" };
    out += &format!(" the first document that differs is {}", first.document);
    if let Some(request) = first.request {
        out += &format!(", request {request}");
    }
    if first.same_ids == Some(false) {
        out += ", and its token ids differ";
    }
    out + "\n"
        + &values("baseline", first.baseline.as_deref(), first)
        + &values("now", first.now.as_deref(), first)
}

fn values(what: &str, scored: Option<&[Scored]>, first: &Difference) -> String {
    let Some(scored) = scored else {
        return if first.now.is_none() && what == "now" {
            "  now       no such document\n".into()
        } else {
            String::new()
        };
    };
    if scored.is_empty() {
        return format!("  {what:<8}  no such request\n");
    }
    let line = |s: &Scored| {
        let (context, continuation) = s.ids;
        format!(
            "  {what:<8}  log-likelihood {} (bits {}), {context} + {continuation} token ids\n",
            s.loglikelihood, s.bits
        )
    };
    scored.iter().map(line).collect()
}
