//! `b158 data desk`.

use std::path::Path;

use anyhow::Result;
use b158_checkpoint::write_file;
use b158_datasets::world::{self, Part};
use serde::Serialize;

use crate::{ExitStatus, cli::DeskArgs, commands::create_folder, printer::Printer};

/// How much of the text is held out: as much as of the documents.
const HELD_OUT: usize = 16;

#[derive(Serialize)]
struct Output {
    folder: String,
    seed: u64,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    name: String,
    bytes: usize,
    /// Documents, or items of a task.
    rows: usize,
    sha256: String,
}

pub fn run(args: &DeskArgs, printer: &Printer) -> Result<ExitStatus> {
    create_folder(&args.output)?;
    let bytes = usize::try_from(args.bytes)?;
    let mut files = Vec::new();
    for (name, part, bytes) in
        [("train.txt", Part::Train, bytes), ("held-out.txt", Part::HeldOut, bytes / HELD_OUT)]
    {
        let text = world::text(part, args.seed, bytes);
        let documents = text.split("\n\n").count();
        files.push(write(&args.output, name.to_owned(), &text, documents)?);
    }
    for task in world::TASKS {
        let rows = world::dataset(task).expect("a task of the list");
        files.push(write(&args.output, format!("{task}.jsonl"), &rows, rows.lines().count())?);
    }
    let output = Output { folder: args.output.display().to_string(), seed: args.seed, files };
    printer.result(&output, || text(&output))?;
    Ok(ExitStatus::Success)
}

fn write(folder: &Path, name: String, text: &str, rows: usize) -> Result<File> {
    write_file(&folder.join(&name), text.as_bytes())?;
    Ok(File { name, bytes: text.len(), rows, sha256: world::sha256(text) })
}

fn text(output: &Output) -> String {
    let mut out = format!("{}, seed {}\n", output.folder, output.seed);
    for File { name, bytes, rows, sha256 } in &output.files {
        out += &format!("{name:<20} {bytes:>10} bytes {rows:>7} rows  {}\n", &sha256[..16]);
    }
    out
}
