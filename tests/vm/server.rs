//! `sealboot serve`, as an operator runs it.

use std::process::{Command, Stdio};
use std::time::Duration;

use sealboot::vm::Process;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::lab::Lab;
use crate::store::Store;

/// A server until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Process,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Serves the store on a free port, with the certificate that the initramfs trusts.
    pub(crate) async fn start(store: &Store) -> Self {
        Self::start_at(store, 0, "tls").await
    }

    /// Serves the store on `port` with the certificate in the lab's directory `tls`.
    pub(crate) async fn start_at(store: &Store, port: u16, tls: &str) -> Self {
        let lab = Lab::get();
        let mut command = Command::new(&lab.sealboot);
        command
            .arg("serve")
            .arg("--store")
            .arg(store.path())
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .arg("--tls-cert")
            .arg(lab.path(&format!("{tls}/server.pem")))
            .arg("--tls-key")
            .arg(lab.path(&format!("{tls}/server.key")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(command).unwrap();
        let mut stdout = BufReader::new(process.take_stdout().unwrap());
        let mut url = String::new();
        timeout(Duration::from_secs(30), stdout.read_line(&mut url))
            .await
            .expect("the server listens")
            .unwrap();
        let port = url
            .trim_end()
            .trim_end_matches('/')
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or_else(|| panic!("the server's URL: {url:?}"));
        Self {
            port,
            process,
            _stdout: stdout,
        }
    }

    /// Ends the server as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}
