//! The tables of `docs/performance.md`, each written by the benchmark that measured it.
//!
//! A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; what stands there is replaced,
//! together with where and when it was measured, and the rest of the document is kept.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use jiff::Timestamp;

/// A table in Markdown, all of whose columns but the first are numbers.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
    columns: usize,
}

impl Table {
    /// A table with these headings and no rows yet.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let rule = format!("|---|{}", "--:|".repeat(headings.len() - 1));
        let mut table = Self {
            text: String::new(),
            columns: headings.len(),
        };
        table.row(headings);
        table.text += &format!("{rule}\n");
        table
    }

    /// Adds a row.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        assert_eq!(cells.len(), self.columns, "a row that does not fit");
        for cell in cells {
            self.text += &format!("| {} ", cell.as_ref());
        }
        self.text += "|\n";
    }

    /// The table as it is written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// What is aimed at, and whether it was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Target {
    /// The figure as it is shown, with the word on it. What is judged is the figure, not its rounding.
    pub(crate) fn judge(self, figure: f64, shown: &str) -> String {
        let met = match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        };
        let word = if met { "met" } else { "**missed**" };
        format!("{shown} {word}").trim_start().to_owned()
    }
}

/// The one in the middle, or between the two there; of no figures there is none.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) {
        f64::midpoint(figures[middle - 1], figures[middle])
    } else {
        figures[middle]
    }
}

/// What a benchmark found, and on what machine.
#[derive(Debug)]
pub(crate) struct Report {
    name: &'static str,
    text: String,
}

impl Report {
    /// Begins the report of a benchmark; call it before the measuring, so that the load is not its own.
    pub(crate) fn begin(name: &'static str) -> Self {
        let text = format!("\n{}\n", environment());
        Self { name, text }
    }

    /// Adds a paragraph, a list or a table.
    pub(crate) fn add(&mut self, block: &str) {
        self.text += &format!("\n{}\n", block.trim_end());
    }

    /// Puts the report into the document in the place of the last one, and on stderr.
    pub(crate) fn write(self) {
        eprintln!("{}", self.text);
        let path = document();
        let text = fs::read_to_string(&path).expect("docs/performance.md");
        let (begin, end) = (
            format!("<!-- begin {} -->\n", self.name),
            format!("<!-- end {} -->", self.name),
        );
        let (before, rest) = text.split_once(&begin).expect(&begin);
        let (_, after) = rest.split_once(&end).expect(&end);
        let text = format!("{before}{begin}{}\n{end}{after}", self.text);
        fs::write(&path, text).expect("docs/performance.md");
    }
}

fn document() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("docs/performance.md")
}

/// One sentence on the machine, the compiler, the time and the sources.
fn environment() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("a CPU of unknown model", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    // The compiler that cargo builds with is the one that it names to build scripts and to programs.
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = said_by(Command::new(rustc).arg("--version"));
    let kernel = said_by(Command::new("uname").args(["-s", "-r"]));
    let mut commit = said_by(git().args(["rev-parse", "--short=12", "HEAD"]));
    // The document itself is changed by each benchmark before this one.
    let changed =
        said_by(git().args(["status", "--porcelain", "--", ".", ":!docs/performance.md"]));
    if !changed.is_empty() {
        commit += " with changes";
    }
    format!(
        "Measured on {} at commit {commit}: {model}, {cores} cores, {kernel}, {rustc}; load average {load} before it began.",
        Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
    )
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    git
}

/// What a command prints, or a question mark where it cannot be asked.
fn said_by(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
        _ => "?".to_owned(),
    }
}
