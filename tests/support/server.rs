//! A store, certificates and servers in a temporary directory, and curl.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::patience::{PATIENCE, eventually};
use super::places::tool;

/// The path of a blob.
pub const BLOB: &str = "blobs/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.tar";

/// A directory with `store/` and `tls/`.
#[derive(Debug)]
pub struct Lab {
    directory: TempDir,
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// `https://127.0.0.1:PORT/`
    pub url: String,
    stderr: PathBuf,
}

/// What curl brought.
#[derive(Debug)]
pub struct Fetched {
    /// The status of the answer.
    pub status: u16,
    /// Its headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What a command printed and exited with.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it printed on stderr.
    pub stderr: String,
}

/// The operator's tool, which reads nothing and colours nothing.
pub fn sealboot() -> Command {
    let mut command = Command::new(tool());
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    Output {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty store and certificates for 127.0.0.1.
    pub fn new() -> Self {
        let lab = Self {
            directory: TempDir::new().unwrap(),
        };
        for directory in ["images/relay", "blobs"] {
            fs::create_dir_all(lab.store().join(directory)).unwrap();
        }
        let made = output(
            sealboot()
                .args(["tls", "generate", "--host", "127.0.0.1", "--out"])
                .arg(lab.path("tls")),
        );
        assert!(made.status.success(), "{made:?}");
        lab
    }

    /// A file of the directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// The store's root.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Puts a file into the store.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        super::world::put(&self.store().join(path), bytes);
    }

    /// The command that serves the store on a free port.
    pub fn command(&self) -> Command {
        let mut command = sealboot();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(self.store())
            .arg("--tls-cert")
            .arg(self.path("tls/server.pem"))
            .arg("--tls-key")
            .arg(self.path("tls/server.key"));
        command
    }

    /// Starts a server, and waits until it has said where it listens.
    pub fn serve(&self, more: &[&str]) -> Running {
        let stderr = tempfile::Builder::new()
            .prefix("stderr-")
            .tempfile_in(self.directory.path())
            .unwrap()
            .into_temp_path()
            .keep()
            .unwrap();
        let mut child = self
            .command()
            .args(more)
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut running = Running {
            child,
            url: String::new(),
            stderr,
        };
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let mut stdout = BufReader::new(stdout);
            let _ = stdout.read_line(&mut line);
            let _ = send.send(line);
            // stdout is one line, and nothing after it.
            let mut rest = String::new();
            let _ = stdout.read_to_string(&mut rest);
            assert_eq!(rest, "");
        });
        let line = receive.recv_timeout(PATIENCE).unwrap_or_default();
        let url = line.strip_suffix('\n').unwrap_or_default();
        assert!(
            url.starts_with("https://127.0.0.1:") && url.ends_with('/'),
            "{line:?} {}",
            running.stderr()
        );
        url.clone_into(&mut running.url);
        running
    }

    /// curl that trusts the lab's authority, takes the URL's path as it is, and does not hang.
    pub fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--disable", "--silent", "--show-error", "--path-as-is"])
            .args(["--max-time", "60", "--cacert"])
            .arg(self.path("tls/ca.pem"));
        curl
    }

    /// Fetches a path with more arguments for curl.
    pub fn fetch(&self, server: &Running, path: &str, more: &[&str]) -> Fetched {
        let header = tempfile::NamedTempFile::new().unwrap();
        let output = self
            .curl()
            .args(more)
            .arg("--dump-header")
            .arg(header.path())
            .arg(format!("{}{path}", server.url))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{path} {more:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Fetched::new(&fs::read_to_string(header.path()).unwrap(), output.stdout)
    }
}

impl Fetched {
    fn new(header: &str, body: Vec<u8>) -> Self {
        let mut lines = header.lines();
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|line| line.get(..3))
            .and_then(|status| status.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {header:?}")),
            headers,
            body,
        }
    }

    /// A header by its name in lower case; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// All headers but the date, as lines.
    pub fn header_lines(&self) -> String {
        self.headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect()
    }
}

impl Running {
    /// What the server has printed on stderr.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the server ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait().signal(), Some(Signal::SIGKILL as i32));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The length of a file; zero where there is none.
pub fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
