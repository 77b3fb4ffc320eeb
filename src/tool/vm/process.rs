//! A child process that never outlives its owner.

use std::io;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use sealboot_sys::child;

/// What a process may take to end by itself after SIGTERM. QEMU and `sealboot` need milliseconds;
/// this is for a machine that is under heavy load.
const GRACE: Duration = Duration::from_secs(5);

/// A running child process. Dropping it ends the process and waits for its end: with SIGTERM, so that
/// it can clean up, then with SIGKILL. Should this process itself be killed, the kernel kills the child.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command, within a tokio runtime.
    ///
    /// The child also ends with the *thread* that calls this, so the runtime has to be one of a
    /// single thread.
    ///
    /// # Errors
    ///
    /// Those of [`Command::spawn`].
    pub fn start(mut command: Command) -> io::Result<Self> {
        child::die_with_parent(&mut command);
        let child = tokio::process::Command::from(command).spawn()?;
        Ok(Self { child })
    }

    /// The process id; none once its end was seen.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The child's piped stdin, at the first call.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The child's piped stdout, at the first call.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's piped stderr, at the first call.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    ///
    /// Those of waitpid(2).
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the process at once, as a power cut would.
    ///
    /// # Errors
    ///
    /// Those of kill(2) and waitpid(2).
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    fn signal(&self, signal: Signal) {
        // While `id` is some, the child is not reaped, so the number cannot be another process's.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended by itself just now.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) | Err(_) => return true,
                Ok(None) if begin.elapsed() >= limit => return false,
                // Dropping cannot wait asynchronously; this is a handful of turns.
                Ok(None) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if self.ended_within(Duration::ZERO) {
                return;
            }
            self.signal(signal);
            if self.ended_within(GRACE) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    /// Runs the script until it has written a line, and returns its guard.
    async fn ready(script: &str) -> Process {
        let mut process = Process::start(shell(script)).unwrap();
        let mut stdout = process.take_stdout().unwrap();
        stdout.read_u8().await.unwrap();
        process
    }

    fn exists(id: u32) -> bool {
        kill(Pid::from_raw(i32::try_from(id).unwrap()), None).is_ok()
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let process = ready("echo; exec sleep 600").await;
        let id = process.id().unwrap();
        assert!(exists(id));
        drop(process);
        assert!(!exists(id));
    }

    #[tokio::test]
    async fn a_dropped_process_may_clean_up_first() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("cleaned");
        let script = format!(
            "trap 'touch {}; exit' TERM; echo; while :; do sleep 0.05; done",
            mark.display()
        );
        drop(ready(&script).await);
        assert!(mark.exists());
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_gone_too() {
        let process = ready("trap '' TERM; echo; while :; do sleep 0.05; done").await;
        let id = process.id().unwrap();
        drop(process);
        assert!(!exists(id));
    }

    #[test]
    fn a_process_does_not_survive_the_thread_that_started_it() {
        let id = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let process = runtime.block_on(ready("echo; exec sleep 600"));
            let id = process.id().unwrap();
            // As a killed parent: no destructor runs.
            std::mem::forget(process);
            id
        })
        .join()
        .unwrap();
        let begin = Instant::now();
        while exists(id) && state(id) != Some('Z') {
            assert!(begin.elapsed() < Duration::from_secs(10), "{id} still runs");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process's state by `/proc`: Z is an ended process that nobody has waited for.
    fn state(id: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}
