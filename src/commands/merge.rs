//! `b158 merge`.

use anyhow::{Result, bail};
use b158_eval::{ShardResults, environment::write_merged, merge, report::Measurements};

use crate::{
    ExitStatus,
    cli::MergeArgs,
    commands::{create_folder, eval::print},
    printer::Printer,
};

pub fn run(args: &MergeArgs, printer: &Printer) -> Result<ExitStatus> {
    let same = |folder: &std::path::PathBuf| {
        folder == &args.output
            || folder.canonicalize().is_ok_and(|a| args.output.canonicalize().is_ok_and(|b| a == b))
    };
    let mut folders = Vec::new();
    for dir in &args.shards {
        let (finished, unfinished) = ShardResults::folders(dir)?;
        for folder in unfinished {
            printer.note(&format!("note: {}: this shard has not finished", folder.display()));
        }
        folders.extend(finished);
    }
    if folders.iter().any(same) {
        bail!(
            "{}: this is the folder of a shard\nhint: give the result a folder of its own",
            args.output.display()
        );
    }
    let shards = folders.iter().map(|folder| ShardResults::read(folder)).collect::<Result<_, _>>()?;
    let results = merge(shards)?;
    create_folder(&args.output)?;
    write_merged(&args.output, &folders)?;
    match folders.first().map(|folder| Measurements::read(folder)).transpose()?.flatten() {
        Some(known) => known.write(&args.output)?,
        None => Measurements::remove(&args.output)?,
    }
    results.write(&args.output)?;
    print(&results, printer)?;
    Ok(ExitStatus::Success)
}
