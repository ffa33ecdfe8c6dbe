//! `b158 inspect`.

use anyhow::Result;
use b158_checkpoint::Checkpoint;
use b158_convert::{Inspection, Training, inspect};
use b158_eval::table::{Align, markdown};
use b158_kernels::Isa;

use crate::{ExitStatus, cli::InspectArgs, printer::Printer};

pub fn run(args: &InspectArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let inspection = inspect(&checkpoint, isa)?;
    printer.result(&inspection, || text(&inspection, args.tensors))?;
    if inspection.training == Training::FullPrecision {
        printer.note(&format!(
            "warning: this model was not trained with ternary weights: codes would differ from its weights by {:.0} % of their norm. Ternarized afterwards, a model usually loses most of its quality",
            100.0 * inspection.relative_error
        ));
    }
    Ok(ExitStatus::Success)
}

fn text(i: &Inspection, tensors: bool) -> String {
    let total: u64 = i.codes.iter().sum();
    let share = |n: u64| 100.0 * n as f64 / total.max(1) as f64;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("architecture", i.architecture.to_owned()),
        row(
            "shape",
            format!(
                "{} layers, width {}, feed-forward {} ({}), {} heads of {} ({} for keys and values)",
                i.layers, i.hidden_size, i.intermediate_size, i.activation, i.heads, i.head_dim, i.kv_heads
            ),
        ),
        row(
            "vocabulary",
            format!("{}, {} head", i.vocab_size, if i.tied_embeddings { "tied" } else { "separate" }),
        ),
        row("context", format!("{} tokens", i.context_length)),
        row("weights", format!("{}, {} of them in linear layers", i.parameters, i.linear_parameters)),
        row("files", format!("{} bytes, {:.4} bits a weight", i.bytes, i.bits_per_weight)),
        row(
            "linear layers",
            format!("{}, {:.4} bits a weight", types(i).join(" and "), i.linear_bits_per_weight),
        ),
        row(
            "codes -1, 0, +1",
            format!("{:.2} %, {:.2} %, {:.2} %", share(i.codes[0]), share(i.codes[1]), share(i.codes[2])),
        ),
        row("trained for ternary", i.training.explanation().to_owned()),
        row("relative error", format!("{:.4}", i.relative_error)),
    ];
    rows.push(row("can become", i.formats.join(", ")));
    if let Some(made) = &i.provenance {
        let text = format!("b158 {}, scheme {}, from {}", made.version, made.scheme, made.source_sha256);
        rows.push(row("made by", text));
    }
    let mut text = markdown(&[("", Align::Left), ("", Align::Left)], &rows);
    if tensors {
        text += "\n";
        text += &tensor_table(i);
    }
    text
}

/// The types of the linear layers, each once.
fn types(i: &Inspection) -> Vec<&'static str> {
    let mut types: Vec<_> = i.tensors.iter().filter(|t| t.ternary.is_some()).map(|t| t.dtype).collect();
    types.sort_unstable();
    types.dedup();
    types
}

fn tensor_table(i: &Inspection) -> String {
    let header = [
        ("tensor", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("bytes", Align::Right),
        ("-1", Align::Right),
        ("0", Align::Right),
        ("+1", Align::Right),
        ("scale", Align::Right),
        ("relative error", Align::Right),
    ];
    let rows: Vec<_> = i
        .tensors
        .iter()
        .map(|t| {
            let shape = t.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
            let mut row = vec![t.name.clone(), t.dtype.to_owned(), shape, t.bytes.to_string()];
            match &t.ternary {
                Some(ternary) => {
                    row.extend(ternary.codes.map(|n| n.to_string()));
                    row.push(format!("{:.6}", ternary.scale));
                    row.push(format!("{:.4}", ternary.relative_error));
                }
                None => row.extend(std::iter::repeat_n(String::new(), 5)),
            }
            row
        })
        .collect();
    markdown(&header, &rows)
}
