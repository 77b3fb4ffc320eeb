//! `sealboot man`.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use super::support::{Failure, output};
use sealboot_store::files::{self, Existing};

/// Print the manual page, or write one page for each command.
///
/// The pages are made from the same text as --help: `sealboot man | man -l -` shows the first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write sealboot.1 and a page for each command into this directory, and print their paths
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args, command: clap::Command) -> Result<(), Failure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(directory) = &args.out else {
        return output::data(&String::from_utf8_lossy(&render(&page_of(command))?));
    };
    files::create_directory(directory)?;
    let mut written = String::new();
    write_pages(command, directory, &mut written)?;
    output::data(&written)
}

/// Writes the page of a command, then those of the commands under it.
fn write_pages(
    command: clap::Command,
    directory: &Path,
    written: &mut String,
) -> Result<(), Failure> {
    let man = page_of(command.clone());
    let path = directory.join(man.get_filename());
    files::write(&path, &render(&man)?, 0o644, Existing::Replace)?;
    written.push_str(&format!("{}\n", path.display()));
    let shown = command
        .get_subcommands()
        .filter(|under| !under.is_hide_set());
    shown
        .cloned()
        .try_for_each(|under| write_pages(under, directory, written))
}

fn page_of(command: clap::Command) -> Man {
    Man::new(command)
        .source(concat!("sealboot ", env!("CARGO_PKG_VERSION")))
        .manual("Sealboot")
}

fn render(man: &Man) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    man.render(&mut page)
        .map_err(|error| Failure::new("cannot write a manual page").because(&error))?;
    Ok(page)
}
