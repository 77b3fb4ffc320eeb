//! The stages of a boot, and how each is reported on the console.
//!
//! A stage that is done prints one line for people and one for machines:
//!
//! ```text
//! sealboot: image: 178 MB in 171 chunks from https://boot.example/, all as signed
//! sealboot: stage=image status=ok ms=1834 bytes=178257920 url=https://boot.example/
//! ```
//!
//! One that fails prints the machine's line first, so that it stands next to the stages before it, then
//! the fact, its causes and the hint.

use std::fmt;
use std::io::Write;
use std::time::Instant;

use crate::boot::loader::Loader;
use sealboot_core::failure::{Diagnose, FailureCode, Report};

/// A named step of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Mounts, console, clock, kernel modules.
    Prepare,
    /// Baked-in files and the command line.
    Configure,
    /// Link, address, name servers.
    Connect,
    /// The envelope, fetched and verified.
    Manifest,
    /// The archive, fetched, checked and unpacked.
    Image,
    /// kexec_file_load.
    Load,
    /// The TPM, where there is one. After it there is no way on but the handover or a reset: an extended PCR cannot be
    /// taken back.
    Measure,
    /// Into the new kernel.
    Handover,
}

impl Stage {
    /// Every stage, in the order of a boot.
    pub const ALL: [Self; 8] = [
        Self::Prepare,
        Self::Configure,
        Self::Connect,
        Self::Manifest,
        Self::Image,
        Self::Load,
        Self::Measure,
        Self::Handover,
    ];

    /// Returns what the stage waits for, until it sets something more exact.
    pub(in crate::boot) const fn waits_for(self) -> Option<&'static str> {
        match self {
            Self::Prepare => Some("the drivers of the machine's devices"),
            Self::Configure => Some("the firmware's variables"),
            Self::Connect => Some("a network"),
            Self::Manifest => Some("a mirror's answer"),
            // It says how far it has come.
            Self::Image => None,
            Self::Load => Some("the kernel to take the image"),
            Self::Measure => Some("the TPM"),
            Self::Handover => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Configure => "configure",
            Self::Connect => "connect",
            Self::Manifest => "manifest",
            Self::Image => "image",
            Self::Load => "load",
            Self::Measure => "measure",
            Self::Handover => "handover",
        })
    }
}

/// A stage's result: the value for the next stage, and what the console prints about it.
#[derive(Debug)]
pub struct Done<T> {
    value: T,
    status: &'static str,
    says: String,
    fields: Vec<(&'static str, String)>,
}

impl<T> Done<T> {
    /// Returns the result of a stage that has done its work. `says` is for people: what was done, in the past tense or
    /// as a fact.
    pub fn new(value: T, says: impl Into<String>) -> Self {
        Self::with_status(value, "ok", says.into())
    }

    /// Returns the result of a stage that had nothing to do; `says` gives the reason.
    pub fn skipped(value: T, says: impl Into<String>) -> Self {
        Self::with_status(value, "skipped", says.into())
    }

    fn with_status(value: T, status: &'static str, says: String) -> Self {
        Self {
            value,
            status,
            says,
            fields: Vec::new(),
        }
    }

    /// Adds `name=value` to the machine's line.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// The value alone.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }

    /// Hands on another value and says the same.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Done<U> {
        Done {
            value: change(self.value),
            status: self.status,
            says: self.says,
            fields: self.fields,
        }
    }
}

/// Why, and in which stage, an attempt at booting ended.
#[derive(Debug)]
pub struct StageFailure {
    /// The stage.
    pub stage: Stage,
    /// The reason.
    pub error: Box<dyn Diagnose>,
}

impl StageFailure {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        self.error.code()
    }
}

/// The loader's output: the machine's consoles, or a buffer in a test.
///
/// A console that cannot be written to stops no boot, so write errors are dropped.
#[derive(Debug)]
pub struct Console<'a, W> {
    out: W,
    loader: &'a Loader,
}

impl<'a, W> Console<'a, W> {
    /// Returns a console that prints on `out` and records in `loader` which stage runs.
    pub const fn new(out: W, loader: &'a Loader) -> Self {
        Self { out, loader }
    }
}

impl<W: Write> Console<'_, W> {
    /// Prints one line.
    pub fn say(&mut self, text: impl fmt::Display) {
        // In one piece: others write to the same console.
        let _ = self.out.write_all(format!("sealboot: {text}\n").as_bytes());
        let _ = self.out.flush();
    }

    /// Runs a stage and reports how it ended.
    ///
    /// # Errors
    ///
    /// The stage's own, reported already.
    pub fn stage<T, E: Diagnose + 'static>(
        &mut self,
        stage: Stage,
        run: impl FnOnce() -> Result<Done<T>, E>,
    ) -> Result<T, StageFailure> {
        let started = Instant::now();
        self.loader.set_stage(Some(stage));
        let result = run();
        self.loader.set_stage(None);
        let ms = started.elapsed().as_millis();
        match result {
            Ok(done) => {
                self.say(format_args!("{stage}: {}", done.says));
                let mut line = format!("stage={stage} status={} ms={ms}", done.status);
                for (name, value) in &done.fields {
                    line.push_str(&format!(" {name}={}", field(value)));
                }
                self.say(line);
                Ok(done.value)
            }
            Err(error) => {
                self.say(format_args!(
                    "stage={stage} status=failed code={} ms={ms}",
                    error.code()
                ));
                self.say(Report(&error));
                Err(StageFailure {
                    stage,
                    error: Box::new(error),
                })
            }
        }
    }
}

/// A field's value, quoted where a reader that splits at spaces would break it.
fn field(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !value.is_empty() && value.bytes().all(plain) {
        value.to_owned()
    } else {
        format!("\"{}\"", value.escape_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealboot_core::format::host_config::HostConfigError;

    fn printed(run: impl FnOnce() -> Result<Done<()>, HostConfigError>) -> String {
        let mut out = Vec::new();
        let _ = Console::new(&mut out, &Loader::new()).stage(Stage::Configure, run);
        let text = String::from_utf8(out).unwrap();
        let ms = text
            .split("ms=")
            .nth(1)
            .unwrap()
            .split_ascii_whitespace()
            .next()
            .unwrap();
        text.replace(&format!("ms={ms}"), "ms=N")
    }

    #[test]
    fn a_stage_that_is_done_prints_a_line_for_people_and_one_for_machines() {
        let text = printed(|| {
            Ok(Done::new((), "2 keys")
                .with("keys", 2)
                .with("label", "two words"))
        });
        assert_eq!(
            text,
            "sealboot: configure: 2 keys\nsealboot: stage=configure status=ok ms=N keys=2 label=\"two words\"\n"
        );
    }

    #[test]
    fn a_stage_that_fails_prints_code_fact_and_hint() {
        let text = printed(|| Err(HostConfigError::Incomplete { missing: "ip" }));
        assert_eq!(
            text,
            format!(
                "sealboot: stage=configure status=failed code=CONFIGURE-HOST ms=N\n\
                 sealboot: there is no host config, and the kernel command line has no ip=\n  \
                 hint: {}\n",
                FailureCode::ConfigureHost.remedy()
            )
        );
    }

    #[test]
    fn a_field_cannot_forge_another() {
        assert_eq!(field("https://a/"), "https://a/");
        assert_eq!(field("a b=c"), "\"a b=c\"");
        assert_eq!(
            field("a\nsealboot: stage=load"),
            "\"a\\nsealboot: stage=load\""
        );
        assert_eq!(field(""), "\"\"");
    }
}
