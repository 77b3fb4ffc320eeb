//! A QEMU that runs: its console, and how it ended.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use super::process::Process;
use super::{Cable, Error, Machine, Model, SLOT};
use sealboot_sys::child;

/// Bytes of a QMP line, and of QEMU's own messages, that are kept. QMP's greeting has 200.
const LINE_LIMIT: u64 = 64 << 10;

/// The memory of a VGA card in text mode: 32 KiB, of rows of 80 cells.
const SCREEN: u32 = 0xb_8000;
const SCREEN_BYTES: u32 = 32 << 10;
const COLUMNS: usize = 80;

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The guest powered itself off.
    PoweredOff,
    /// The guest reset itself. A kernel that panics under `panic=-1` does that.
    Reset,
    /// The guest told of its panic.
    Panicked,
    /// A signal to QEMU, or a command over its control connection.
    Stopped,
    /// QEMU itself failed; its status and its own words.
    Failed(ExitStatus, String),
}

/// A machine that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    process: Process,
    console: ChildStdout,
    keyboard: Option<ChildStdin>,
    events: BufReader<UnixStream>,
    /// Why the machine ends, once QEMU has said so.
    reason: Option<String>,
    messages: JoinHandle<String>,
}

impl Machine {
    /// Starts the machine, within a tokio runtime of a single thread.
    ///
    /// `input` is what the guest's console reads: [`Stdio::null`], [`Stdio::inherit`] at a terminal, or
    /// [`Stdio::piped`] for [`Running::type_in`].
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub async fn start(&self, input: Stdio) -> Result<Running, Error> {
        self.launch(input, None).await
    }

    /// Starts QEMU, which boots the machine, or reads its state from `incoming`.
    pub(super) async fn launch(
        &self,
        input: Stdio,
        incoming: Option<&str>,
    ) -> Result<Running, Error> {
        let (ours, theirs) = StdUnixStream::pair().map_err(Error::Connection)?;
        let mut command = self.command(|command| child::inherit(command, OwnedFd::from(theirs)));
        if let Some(incoming) = incoming {
            command.args(["-incoming", incoming]);
        }
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(command).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => Error::Spawn(error),
        })?;
        let (Some(console), Some(stderr)) = (process.take_stdout(), process.take_stderr()) else {
            return Err(Error::Connection(io::ErrorKind::BrokenPipe.into()));
        };
        let keyboard = process.take_stdin();
        let messages = tokio::spawn(collect(stderr));
        ours.set_nonblocking(true).map_err(Error::Connection)?;
        let stream = UnixStream::from_std(ours).map_err(Error::Connection)?;
        let mut running = Running {
            process,
            console,
            keyboard,
            events: BufReader::new(stream),
            reason: None,
            messages,
        };
        // QEMU ends instead of greeting where an option, a file or the memory is wrong; its end tells.
        let _ = running.negotiate().await;
        Ok(running)
    }
}

impl Running {
    /// QEMU's process id; none once its end was seen.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The next bytes of the console; none at its end. Cancelling it loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.console.read(buffer).await.map_err(Error::Connection)
    }

    /// Types at the guest's console.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`], also where the machine was not started with a pipe.
    pub async fn type_in(&mut self, keys: &str) -> Result<(), Error> {
        let keyboard = self.keyboard.as_mut();
        let keyboard =
            keyboard.ok_or_else(|| Error::Connection(io::ErrorKind::NotConnected.into()))?;
        keyboard
            .write_all(keys.as_bytes())
            .await
            .map_err(Error::Connection)
    }

    /// Waits for the end, which has come once [`Running::read`] gives nothing more.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`].
    pub async fn ending(mut self) -> Result<Ending, Error> {
        while let Ok(Some(_)) = self.next_message().await {}
        let status = self.process.wait().await.map_err(Error::Connection)?;
        Ok(match self.reason.as_deref() {
            Some("guest-shutdown") => Ending::PoweredOff,
            Some("guest-reset") => Ending::Reset,
            Some("guest-panic") => Ending::Panicked,
            Some("host-signal" | "host-qmp-quit" | "host-ui") => Ending::Stopped,
            _ => Ending::Failed(status, self.messages.await.unwrap_or_default()),
        })
    }

    /// Puts a network card into the slot of a machine that was started without one.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where there is no such slot, or QEMU has no such card.
    pub async fn plug(&mut self, model: Model) -> Result<(), Error> {
        let card = json!({"driver": model.driver(), "netdev": "net0", "romfile": "", "bus": SLOT});
        self.execute("device_add", &card).await.map(drop)
    }

    /// Cuts what the card with this number hangs on, or mends it. Of a cable between two machines this is one end:
    /// the other machine's card keeps its carrier until the same is done there.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where there is no such card.
    pub async fn set_cable(&mut self, nic: usize, cable: Cable) -> Result<(), Error> {
        let link = json!({"name": format!("net{nic}"), "up": cable == Cable::Whole});
        self.execute("set_link", &link).await.map(drop)
    }

    /// What stands in the memory of a screen in text mode, a row a line; what has scrolled off it too, as far as the
    /// memory has it still, and in the memory's order.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where QEMU cannot read the memory.
    pub async fn screen(&mut self) -> Result<String, Error> {
        let directory = tempfile::tempdir().map_err(Error::Connection)?;
        let file = directory.path().join("screen");
        let memory = json!({"val": SCREEN, "size": SCREEN_BYTES, "filename": file});
        self.execute("pmemsave", &memory).await?;
        let cells = fs::read(&file).map_err(Error::Connection)?;
        let row = |row: &[u8]| -> String {
            // A character and its colours.
            let text = row.iter().step_by(2).map(|&byte| char::from(byte));
            text.collect::<String>().trim_end().to_owned() + "\n"
        };
        Ok(cells.chunks(2 * COLUMNS).map(row).collect())
    }

    /// Waits for QEMU's end, and gives its own words.
    pub(super) async fn last_messages(self) -> String {
        match self.ending().await {
            Ok(Ending::Failed(_, words)) => words,
            other => format!("{other:?}"),
        }
    }

    /// Has QEMU carry out a QMP command, and waits for its answer.
    pub(super) async fn execute(
        &mut self,
        command: &'static str,
        arguments: &Value,
    ) -> Result<Value, Error> {
        let mut line =
            json!({"execute": command, "arguments": arguments, "id": command}).to_string();
        line.push('\n');
        self.events
            .write_all(line.as_bytes())
            .await
            .map_err(Error::Connection)?;
        while let Some(message) = self.next_message().await.map_err(Error::Connection)? {
            if message.id.as_deref() == Some(command) {
                return match message.error {
                    None => Ok(message.returned.unwrap_or_default()),
                    Some(error) => Err(Error::Refused {
                        command,
                        words: error.desc,
                    }),
                };
            }
        }
        Err(Error::Connection(io::ErrorKind::UnexpectedEof.into()))
    }

    /// QMP's handshake, after which events are sent.
    async fn negotiate(&mut self) -> io::Result<()> {
        let greeting = self.next_line().await?;
        if !greeting.is_some_and(|line| line.contains("\"QMP\"")) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.events
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n")
            .await
    }

    /// The next message, of which the machine's end is kept; none where QEMU has ended.
    async fn next_message(&mut self) -> io::Result<Option<Message>> {
        let Some(line) = self.next_line().await? else {
            return Ok(None);
        };
        let mut message: Message = serde_json::from_str(&line)?;
        if message.event.as_deref() == Some("SHUTDOWN") {
            self.reason = message.data.take().and_then(|data| data.reason);
        }
        Ok(Some(message))
    }

    async fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = (&mut self.events)
            .take(LINE_LIMIT)
            .read_line(&mut line)
            .await?;
        Ok((read > 0).then_some(line))
    }
}

/// An event, of which only the end of the machine matters here, or the answer to a command.
#[derive(Deserialize)]
struct Message {
    event: Option<String>,
    data: Option<EventData>,
    id: Option<String>,
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<CommandError>,
}

#[derive(Deserialize)]
struct CommandError {
    desc: String,
}

#[derive(Deserialize)]
struct EventData {
    reason: Option<String>,
}

/// Reads QEMU's own messages to their end, keeping the first of them.
async fn collect(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    // What cannot be read is not kept; the messages only explain.
    let _ = (&mut stderr).take(LINE_LIMIT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).trim_end().to_owned()
}
