//! `b158 data`: the catalogue, what of it is at hand, and the desk's own data.

mod desk;
mod fetch;
mod found;
mod list;
mod path;
mod verify;

use anyhow::Result;

use crate::{
    ExitStatus,
    cli::{DataArgs, DataCommand},
    printer::Printer,
};

pub fn run(args: &DataArgs, printer: &Printer) -> Result<ExitStatus> {
    match &args.command {
        DataCommand::List(args) => list::run(args, printer),
        DataCommand::Verify(args) => verify::run(args, printer),
        DataCommand::Path(args) => path::run(args, printer),
        DataCommand::Fetch(args) => fetch::run(args, printer),
        DataCommand::Desk(args) => desk::run(args, printer),
    }
}
