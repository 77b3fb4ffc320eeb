//! A store, certificates and servers in a temporary directory, and curl.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take that takes milliseconds on an idle machine. Tests end by what they wait
/// for; this ends them when it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BLOB: &str =
    "blobs/sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.tar";
pub(crate) const BLOB_TAG: &str =
    "\"sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"";

/// A directory with `store/` and `tls/`.
pub(crate) struct Lab {
    directory: TempDir,
}

/// A server process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// `https://127.0.0.1:PORT/`
    pub(crate) url: String,
    stderr: PathBuf,
}

/// What curl brought.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What a command printed and exited with.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn sealboot() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealboot"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    Output {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits for `condition`, and fails with `what` when it does not come.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes without a pattern that a wrong offset could hide in.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Lab {
    /// An empty store and certificates for 127.0.0.1.
    pub(crate) fn new() -> Self {
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

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Puts a file into the store.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        fs::write(self.store().join(path), bytes).unwrap();
    }

    /// The command that serves the store on a free port.
    pub(crate) fn command(&self) -> Command {
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
    pub(crate) fn serve(&self, more: &[&str]) -> Running {
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
    pub(crate) fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--disable", "--silent", "--show-error", "--path-as-is"])
            .args(["--max-time", "60", "--cacert"])
            .arg(self.path("tls/ca.pem"));
        curl
    }

    /// Fetches a path with more arguments for curl.
    pub(crate) fn fetch(&self, server: &Running, path: &str, more: &[&str]) -> Fetched {
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

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// All headers but the date, as lines.
    pub(crate) fn header_lines(&self) -> String {
        self.headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect()
    }
}

impl Running {
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the server ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
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

pub(crate) fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
