//! What commands print: data on stdout, talk on stderr.

use std::io::{BufRead as _, ErrorKind, Read as _, Write as _};

use comfy_table::{Cell, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use sealboot_store::Notice;

use super::Failure;

/// Writes data on stdout. A reader that has gone away (`| head`) is no failure.
pub(in crate::cli) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new("cannot write to standard output").because(&error))
        }
        _ => Ok(()),
    }
}

/// Writes exactly these bytes on stdout. A reader that goes away before it has them all is a failure.
pub(in crate::cli) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new("cannot write to standard output").because(&error))
}

/// Writes data on stdout as indented JSON.
pub(in crate::cli) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new("cannot write the result as JSON").because(&error))?;
    data(&format!("{text}\n"))
}

/// Says something on stderr.
pub(in crate::cli) fn talk(text: impl std::fmt::Display) {
    anstream::eprintln!("{text}");
}

/// Says on stderr what somebody should know though it stops nothing.
pub(in crate::cli) fn warn(text: impl std::fmt::Display) {
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    anstream::eprintln!("{yellow}warning{yellow:#}: {text}");
}

/// Says on stderr what a store has to say.
pub(in crate::cli) fn say(notice: Notice) {
    match notice {
        Notice::NothingRenewed { error } => talk(Failure::from(error)),
        Notice::NotRenewed { image, error } => {
            talk(Failure::from(error).context(format!("image {image} is not renewed")));
        }
        notice if notice.is_warning() => warn(notice),
        notice => talk(notice),
    }
}

/// Runs `work` under a progress bar over `bytes` on stderr, where that is a terminal; gives it a place for notices and
/// one for the bytes done so far.
pub(in crate::cli) fn with_progress<T>(
    bytes: u64,
    work: impl FnOnce(&mut dyn FnMut(Notice), &mut dyn FnMut(u64)) -> T,
) -> T {
    let style = ProgressStyle::with_template(
        "  {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(bytes).with_style(style);
    let result = work(&mut |notice| bar.suspend(|| say(notice)), &mut |done| {
        bar.set_position(done)
    });
    bar.finish_and_clear();
    result
}

/// Asks on the terminal, where anything but `y` or `yes` is a no, and so is the end of input.
pub(in crate::cli) fn agreed(question: &str) -> Result<bool, Failure> {
    anstream::eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .take(64)
        .read_line(&mut answer)
        .map_err(|error| Failure::new("cannot read the answer").because(&error))?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Lays rows out in aligned columns, two spaces in from the left, a newline after each.
pub(in crate::cli) fn columns<const N: usize>(
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row.map(Cell::new));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if table.is_empty() {
        return String::new();
    }
    table.lines().fold(String::new(), |text, line| {
        text + "  " + line.trim_end() + "\n"
    })
}
