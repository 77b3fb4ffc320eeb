//! `sealboot serve` as a process, under a runtime.

use std::process::{Command, Stdio};

use sealboot::vm::Process;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use super::patience::PATIENCE;

/// A server until it is dropped.
#[derive(Debug)]
pub struct Served {
    /// `https://ADDRESS:PORT/`, as it said itself.
    pub url: String,
    process: Process,
    _stdout: BufReader<ChildStdout>,
}

impl Served {
    /// Starts a command that serves, and waits until it has said where.
    pub async fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::start(command).unwrap();
        let mut stdout = BufReader::new(process.take_stdout().unwrap());
        let mut url = String::new();
        timeout(PATIENCE, stdout.read_line(&mut url))
            .await
            .expect("the server listens")
            .unwrap();
        Self {
            url: url.trim_end().to_owned(),
            process,
            _stdout: stdout,
        }
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        let (_, port) = self.url.trim_end_matches('/').rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// Ends the server as a power cut would.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}
