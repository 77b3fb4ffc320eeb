//! Showing each step as a command line, and running exactly that.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::io::AsyncReadExt as _;

use crate::cli::support::Failure;
use crate::vm::Process;

/// Columns after which a command line is broken before its options.
const WIDTH: usize = 96;

/// Where a command runs while the next ones are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    Fore,
    Back,
}

/// The steps of a demo, all taken in one directory.
pub(super) struct Steps {
    directory: PathBuf,
    program: PathBuf,
}

impl Steps {
    pub(super) fn new(directory: &Path) -> Result<Self, Failure> {
        let program = env::current_exe()
            .map_err(|error| Failure::new("cannot tell where this program is").because(&error))?;
        Ok(Self {
            directory: directory.to_owned(),
            program,
        })
    }

    /// Says what comes next.
    pub(super) fn title(&self, text: &str) {
        let bold = anstyle::AnsiColor::Cyan.on_default().bold();
        say(format_args!("\n{bold}{text}{bold:#}"));
    }

    /// Shows a line of shell that somebody would type and the demo need not run.
    pub(super) fn show_line(&self, line: fmt::Arguments<'_>) {
        let dim = anstyle::Style::new().bold();
        say(format_args!("{dim}$ {line}{dim:#}"));
    }

    /// Shows a command as it is typed.
    pub(super) fn show(&self, command: &Command, ground: Ground) {
        let mut words = vec![if Path::new(command.get_program()) == self.program {
            "sealboot".to_owned()
        } else {
            quoted(command.get_program())
        }];
        words.extend(command.get_args().map(quoted));
        if ground == Ground::Back {
            words.push("&".to_owned());
        }
        self.show_line(format_args!("{}", wrapped(&words)));
    }

    /// Shows how this program is called `sealboot`, where PATH does not do that already, and goes to
    /// the directory of the demo.
    pub(super) fn enter(&self) {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path)
            .map(|directory| directory.join("sealboot"))
            .find(|file| file.is_file())
            .and_then(|file| file.canonicalize().ok());
        let here = self.program.parent().unwrap_or(Path::new("/"));
        if found.as_deref() != Some(&self.program) {
            self.show_line(format_args!(
                "export PATH={}:$PATH",
                quoted(here.as_os_str())
            ));
        }
        self.show_line(format_args!("cd {}", quoted(self.directory.as_os_str())));
    }

    /// A command of this very program, to be completed and given to [`Steps::run`] or [`Steps::start`].
    pub(super) fn sealboot<const N: usize>(&self, words: [&str; N]) -> Command {
        self.command(&self.program, words)
    }

    /// A command in the demo's directory.
    pub(super) fn command<const N: usize>(
        &self,
        program: impl AsRef<OsStr>,
        words: [&str; N],
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    /// Shows a command and runs it to its end. Gives what it wrote to stdout, which is shown as well.
    pub(super) async fn run(&self, mut command: Command) -> Result<String, Failure> {
        command.stdout(Stdio::piped());
        let shown = command_name(&command);
        let broken = |error| Failure::new(format!("cannot follow `{shown}`")).because(&error);
        let mut process = self.start(command, Ground::Fore)?;
        let mut output = String::new();
        if let Some(mut stdout) = process.take_stdout() {
            stdout.read_to_string(&mut output).await.map_err(broken)?;
        }
        let status = process.wait().await.map_err(broken)?;
        if !output.is_empty() {
            say(format_args!("{}", output.trim_end()));
        }
        if status.success() {
            Ok(output)
        } else {
            Err(Failure::new(format!("`{shown}` failed ({status})")))
        }
    }

    /// Shows a command and starts it.
    pub(super) fn start(&self, command: Command, ground: Ground) -> Result<Process, Failure> {
        self.show(&command, ground);
        let shown = command_name(&command);
        Process::start(command)
            .map_err(|error| Failure::new(format!("cannot start `{shown}`")).because(&error))
    }
}

/// Writes a line to stdout. Nobody reads it any more once that fails, and the demo goes on to its end.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let mut stdout = anstream::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// The words of a command up to its first option.
fn command_name(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_owned();
    let words: Vec<OsString> = std::iter::once(name)
        .chain(
            command
                .get_args()
                .take_while(|word| !word.as_encoded_bytes().starts_with(b"-"))
                .map(OsStr::to_owned),
        )
        .collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

/// A word as a POSIX shell takes it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "_-./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The words on one line, or broken before options where that would be long.
fn wrapped(words: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (index, word) in words.iter().enumerate() {
        let value = words.get(index + 1).filter(|next| !next.starts_with('-'));
        let length = word.len() + value.map_or(0, |value| value.len() + 1);
        if index > 0 && word.starts_with("--") && column + length > WIDTH {
            text.push_str(" \\\n    ");
            column = 4;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them_otherwise() {
        for (word, typed) in [
            ("keys/alice.pub", "keys/alice.pub"),
            ("https://10.0.2.2:1/", "https://10.0.2.2:1/"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("a;b", "'a;b'"),
            ("~", "'~'"),
        ] {
            assert_eq!(quoted(OsStr::new(word)), typed);
        }
    }

    #[test]
    fn a_shell_reads_back_the_words_that_were_shown() {
        let words: Vec<String> = ["printf", "%s|", "--one", "a b", "--two"]
            .into_iter()
            .map(str::to_owned)
            .chain([
                format!("{}'", "long ".repeat(30)),
                "--three".to_owned(),
                "x".repeat(80),
            ])
            .collect();
        let typed: Vec<String> = words.iter().map(|word| quoted(OsStr::new(word))).collect();
        let line = wrapped(&typed);
        assert!(line.contains(" \\\n    --"));
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read, words[2..].join("|") + "|");
    }
}
