//! `sealboot demo`, whole, and stopped half-way.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sealboot::vm::{Process, os};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::{Instant, timeout_at};

use crate::lab::Lab;
use crate::machine::take_slot;

/// Beyond what the demo gives its machine.
const LIMIT: Duration = Duration::from_secs(400);

/// A demo that runs, with a directory of its own for what is temporary.
struct Demo {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    shown: String,
    temporary: tempfile::TempDir,
    deadline: Instant,
    _slot: fs::File,
}

impl Demo {
    fn start(words: &[&str]) -> Self {
        let lab = Lab::get();
        let temporary = tempfile::tempdir().unwrap();
        let slot = take_slot();
        let mut command = Command::new(&lab.sealboot);
        command
            .arg("demo")
            .arg("--loader")
            .arg(&lab.loader)
            .args(words)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(command).unwrap();
        let stdout = process.take_stdout().unwrap();
        Self {
            process,
            lines: BufReader::new(stdout).lines(),
            shown: String::new(),
            temporary,
            deadline: Instant::now() + LIMIT,
            _slot: slot,
        }
    }

    /// Follows the demo to a line that contains `text`; to its end where there is none.
    async fn until(&mut self, text: &str) {
        loop {
            match timeout_at(self.deadline, self.lines.next_line()).await {
                Ok(Ok(Some(line))) => {
                    self.shown.push_str(&line);
                    self.shown.push('\n');
                    if line.contains(text) {
                        return;
                    }
                }
                Ok(Ok(None)) => return,
                other => panic!("no {text:?}: {other:?}\n{}", self.shown),
            }
        }
    }

    async fn ends(mut self) -> (ExitStatus, String, tempfile::TempDir) {
        self.until("no line holds this").await;
        let status = timeout_at(self.deadline, self.process.wait()).await;
        let status = status.expect("the demo ends").unwrap();
        (status, self.shown, self.temporary)
    }
}

/// The command lines of the processes that work below this directory, as all of a demo's do.
fn processes_in(directory: &Path) -> Vec<String> {
    let directory = directory.as_os_str().as_bytes();
    fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|process| {
            // A directory that was removed reads as `PATH (deleted)`.
            fs::read_link(process.join("cwd"))
                .is_ok_and(|cwd| cwd.as_os_str().as_bytes().starts_with(directory))
        })
        .map(|process| {
            let cmdline = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&cmdline).replace('\0', " ")
        })
        .collect()
}

#[tokio::test]
async fn the_demo_ends_in_a_running_os_and_leaves_nothing() {
    let (status, shown, temporary) = Demo::start(&[]).ends().await;
    assert!(status.success(), "{status}\n{shown}");
    assert!(shown.contains(os::LAST_WORDS), "{shown}");
    assert!(shown.contains("What each stage took"), "{shown}");
    for stage in ["prepare", "image", "handover", "total"] {
        assert!(
            shown.contains(&format!("│ {stage} ")),
            "{stage} in\n{shown}"
        );
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_demo_that_is_stopped_while_its_machine_runs_leaves_nothing() {
    let keep = tempfile::tempdir().unwrap();
    let kept = keep.path().join("kept");
    let mut demo = Demo::start(&["--keep", kept.to_str().unwrap()]);
    demo.until("sealboot: stage=prepare").await;
    assert!(
        demo.shown.contains("sealboot: stage=prepare"),
        "{}",
        demo.shown
    );
    let id = demo.process.id().unwrap();
    let running = processes_in(&kept);
    assert!(running.len() >= 3, "server, vm boot and QEMU: {running:?}");
    kill(Pid::from_raw(i32::try_from(id).unwrap()), Signal::SIGTERM).unwrap();
    let (status, shown, temporary) = demo.ends().await;
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(!shown.contains(os::LAST_WORDS), "{shown}");
    assert_eq!(processes_in(&kept), Vec::<String>::new());
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert!(kept.join("trust.json").exists(), "what was kept is there");
}

#[tokio::test]
async fn a_demo_that_is_stopped_removes_its_directory() {
    let mut demo = Demo::start(&[]);
    // The line after the server's command is its URL: it runs.
    demo.until("https://127.0.0.1:").await;
    assert!(
        !processes_in(demo.temporary.path()).is_empty(),
        "{}",
        demo.shown
    );
    let id = i32::try_from(demo.process.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGINT).unwrap();
    let (status, shown, temporary) = demo.ends().await;
    assert_eq!(status.code(), Some(1), "{shown}");
    assert_eq!(processes_in(temporary.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}
