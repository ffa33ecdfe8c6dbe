//! The report as one HTML file: no network, no build step, nothing to install.
//!
//! ```text
//!   title, notice
//!   a line for each comparison: the verdict, and what it rests on
//!   key figures
//!   tables, sortable          plots (SVG)
//!   the paper's own numbers, marked as such
//!   claims
//!   every comparison and every metric
//!   digests, how to reproduce
//! ```

mod figures;
mod plot;

use self::figures::{Figure, figures, of_paper};
use super::run::{Comparison, ModelRow, Run};
use super::sheet::{Cell, Sheet};
use super::{Report, paper, tables};
use crate::table::Align;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn page(report: &Report) -> String {
    let suites: Vec<&str> = report.runs.iter().map(|run| run.suite.as_str()).collect();
    let title = escape(&format!("b158: {}", suites.join(", ")));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"generator\" content=\"b158 {}\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        env!("CARGO_PKG_VERSION")
    );
    for (index, run) in report.runs.iter().enumerate() {
        let prefix = if report.runs.len() == 1 { String::new() } else { format!("{}-", index + 1) };
        out += &section(run, &prefix);
    }
    out += &papers(report);
    if let Some(claims) = &report.claims {
        out += &format!("<section id=\"claims\">\n{}</section>\n", table(&claims.sheet(), 2, "long"));
    }
    for run in &report.runs {
        out += &details(run);
    }
    out += "</main>\n";
    out += &footer(report);
    out += &format!("<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

/// Verdicts, key figures, tables and plots of a run.
fn section(run: &Run, prefix: &str) -> String {
    let mut out = format!("<h1>{}</h1>\n", escape(&headline(run)));
    if let Some(notice) = &run.notice {
        out += &format!("<p class=\"notice\">{}</p>\n", escape(&notice.replace('\n', " ")));
    }
    if !run.comparisons.is_empty() {
        out += "<ul class=\"verdicts\">\n";
        for comparison in &run.comparisons {
            out += &format!("<li>{}</li>\n", verdict(comparison));
        }
        out += "</ul>\n";
    }
    out += &key_figures(run);
    for sheet in tables::main_tables(run) {
        out += &table(&sheet, 2, "");
    }
    let figures = figures(run);
    if !figures.is_empty() {
        out += "<h2>Plots</h2>\n<div class=\"plots\">\n";
        for f in &figures {
            out += &figure(f, prefix);
        }
        out += "</div>\n";
    }
    out
}

fn headline(run: &Run) -> String {
    match (run.comparisons.is_empty(), run.models.len()) {
        (false, _) => format!("How twins compare: {}", run.suite),
        (true, 1) => format!("One model: {}", run.suite),
        (true, n) => format!("{n} models: {}", run.suite),
    }
}

/// What a comparison says, in a sentence.
fn verdict(comparison: &Comparison) -> String {
    let parity = &comparison.parity;
    let mut parts = Vec::new();
    if let Some(m) = comparison.perplexity() {
        parts.push(format!(
            "perplexity ×{:.4} ({:.4} to {:.4}), {}",
            m.effect,
            m.interval.0,
            m.interval.1,
            named(m.verdict.name())
        ));
    }
    if let Some(a) = comparison.average {
        let points = |v: f64| format!("{:+.2}", v * 1e2);
        parts.push(format!(
            "mean accuracy {} points ({} to {}), {}",
            points(a.effect),
            points(a.interval.0),
            points(a.interval.1),
            named(a.verdict.name())
        ));
    }
    let size = comparison.size.as_deref().map_or(String::new(), |size| format!("{}: ", escape(size)));
    format!(
        "{size}<strong>{}</strong> against {}: {}. All {} metrics: {}.",
        escape(&comparison.variant),
        escape(&parity.baseline),
        parts.join("; "),
        parity.metrics.len(),
        named(parity.verdict.name())
    )
}

/// A verdict in its colour; the word says it, too.
fn named(verdict: &str) -> String {
    format!("<span class=\"{verdict}\">{verdict}</span>")
}

/// Of the candidate that is largest, and does best there: what one wants to know first.
fn key_figures(run: &Run) -> String {
    let weights = |row: &ModelRow| row.measured.as_ref().and_then(|m| m.linear_weights).unwrap_or(0);
    let candidates = || run.models.iter().filter(|row| run.baseline_of(row).is_some());
    let Some(most) = candidates().map(weights).max() else { return String::new() };
    let mut best: Option<&ModelRow> = None;
    for row in candidates().filter(|row| weights(row) == most) {
        let value = |row: &ModelRow| row.average.map_or(0.0, |a| a.value);
        if best.is_none_or(|best| value(row) > value(best)) {
            best = Some(row);
        }
    }
    let Some((row, baseline)) = best.and_then(|row| Some((row, run.baseline_of(row)?))) else {
        return String::new();
    };
    let mut items = Vec::new();
    if let (Some(own), Some(theirs)) = (&row.measured, &baseline.measured) {
        if let Some(bits) = own.bits_per_weight {
            let of = theirs
                .bits_per_weight
                .map_or(String::new(), |bits| format!("of {bits:.0} in {}", baseline.variant));
            items.push(("bits a weight", format!("{bits:.2}"), of));
        }
        if let (Some(a), Some(b)) = (own.weight_bytes(), theirs.weight_bytes()) {
            let text = format!("{:.2} of {:.2} MB", a as f64 / 1e6, b as f64 / 1e6);
            items.push(("less memory for weights", format!("{:.2}×", b as f64 / a as f64), text));
        }
        if let (Some(a), Some(b)) = (own.latency_ms(), theirs.latency_ms()) {
            items.push(("faster decoding", format!("{:.2}×", b / a), format!("{a:.3} of {b:.3} ms a token")));
        }
    }
    if let Some(a) = row.average {
        let of = baseline
            .average
            .map_or(String::new(), |b| format!("of {:.1} in {}", b.value * 1e2, baseline.variant));
        items.push(("mean accuracy, %", format!("{:.1}", a.value * 1e2), of));
    }
    if items.is_empty() {
        return String::new();
    }
    let mut out = format!("<h2>{} at a glance</h2>\n<dl class=\"figures\">\n", escape(&row.name));
    for (name, value, note) in items {
        out += &format!("<div><dt>{name}</dt><dd>{value}<small>{}</small></dd></div>\n", escape(&note));
    }
    out + "</dl>\n"
}

fn figure(f: &Figure, prefix: &str) -> String {
    let id = format!("{prefix}{}", f.id);
    let open = format!("<svg class=\"plot\" role=\"img\" aria-labelledby=\"{id}-title\" ");
    let mut legend = String::new();
    if !f.legend.is_empty() {
        legend += "<ul class=\"legend\">\n";
        for (name, style) in &f.legend {
            legend += &format!("<li>{} {}</li>\n", plot::key(*style), escape(name));
        }
        legend += "</ul>\n";
    }
    format!(
        "<figure id=\"plot-{id}\" data-points=\"{}\">\n<figcaption><strong id=\"{id}-title\">{}</strong>{}</figcaption>\n\
         {legend}{}\n</figure>\n",
        f.points,
        escape(&f.title),
        escape(&f.note),
        f.svg.replacen("<svg ", &open, 1)
    )
}

/// The paper's tables, where there are twins to compare with its own.
fn papers(report: &Report) -> String {
    if report.runs.iter().all(|run| run.comparisons.is_empty()) {
        return String::new();
    }
    let mut out = String::from("<section class=\"paper\" id=\"paper\">\n<h2>The paper's own numbers</h2>\n");
    out += &format!("<p class=\"note\">{}</p>\n", escape(paper::NOTE));
    for sheet in paper::tables() {
        out += &table(&sheet, 3, "");
    }
    out += "<div class=\"plots\">\n";
    out += &figure(&of_paper(), "");
    out + "</div>\n</section>\n"
}

/// Every comparison and every model, folded away.
fn details(run: &Run) -> String {
    let mut out = format!("<section>\n<h2>Every metric: {}</h2>\n", escape(&run.suite));
    for sheet in tables::comparisons(run).iter().chain(&tables::models(run)) {
        out += &format!(
            "<details>\n<summary>{}</summary>\n{}</details>\n",
            escape(&sheet.title),
            bare(sheet, "")
        );
    }
    out + "</section>\n"
}

fn footer(report: &Report) -> String {
    let mut out = format!("<footer>\n<p>Made by b158 {}. ", env!("CARGO_PKG_VERSION"));
    out += "The same models, tasks and data give the same digests on every machine; sizes in memory, latency and \
            roofline are this machine's.</p>\n";
    for run in &report.runs {
        out += &format!(
            "<p>{}: result digest of all models <code>{}</code></p>\n",
            escape(&run.suite),
            escape(&run.digest)
        );
    }
    out += "<p>To reproduce: <code>b158 reproduce SUITE.yaml -o DIR</code> (without a suite, the embedded twins), then \
            <code>b158 report DIR -o OUT</code>.</p>\n</footer>\n";
    out
}

/// Heading, table and note.
fn table(sheet: &Sheet, level: usize, class: &str) -> String {
    format!("<h{level}>{}</h{level}>\n{}", escape(&sheet.title), bare(sheet, class))
}

/// Table and note. A wide table scrolls in its own frame, which the keyboard reaches.
fn bare(sheet: &Sheet, class: &str) -> String {
    let right = |align: Align| if align == Align::Left { "" } else { " class=\"right\"" };
    let mut out = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table class=\"{class}\">\n<thead>\n<tr>",
        escape(&sheet.title)
    );
    for (title, align) in &sheet.header {
        out += &format!(
            "<th scope=\"col\" aria-sort=\"none\"{}><button type=\"button\">{}</button></th>",
            right(*align),
            escape(title)
        );
    }
    out += "</tr>\n</thead>\n<tbody>\n";
    for row in &sheet.rows {
        out += "<tr>";
        for (index, (cell, (_, align))) in row.iter().zip(&sheet.header).enumerate() {
            let sort = cell.sort.map_or(String::new(), |sort| format!(" data-sort=\"{sort}\""));
            let (tag, scope) = if index == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
            out += &format!("<{tag}{scope}{}{sort}>{}</{tag}>", right(*align), content(cell));
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table>\n</div>\n";
    if !sheet.note.is_empty() {
        out += &format!("<p class=\"note\">{}</p>\n", escape(&sheet.note.replace('\n', " ")));
    }
    out
}

/// Verdicts have their colours.
fn content(cell: &Cell) -> String {
    let text = cell.text.trim();
    let class = match text.split([' ', ':']).next().unwrap_or_default() {
        "better" | "parity" | "worse" | "undecided" if !text.contains(',') => {
            text.split(' ').next().unwrap_or_default()
        }
        "reproduced" => "reproduced",
        "not" if text.starts_with("not reproduced") => "refuted",
        "not" if text.starts_with("not testable here") => "untestable",
        _ => return escape(text),
    };
    format!("<span class=\"{class}\">{}</span>", escape(text))
}

/// A name as part of an id.
pub(super) fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

/// Names are free text.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}
