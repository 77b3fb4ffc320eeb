//! `sealboot store`: looks after the directory that mirrors serve.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::support::{Failure, output, time};
use sealboot_core::failure::causes;
use sealboot_store::check::{Checked, Fault, Finding, Note};
use sealboot_store::policy::load;
use sealboot_store::{Store, StoreError};

/// Check the store that mirrors serve
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Check(CheckArgs),
}

/// Check everything in a store, and list all that is wrong
///
/// Every channel and release is read, and each release of a channel is compared with the one under its
/// own version. Every chunk list, archive and attachment is hashed and compared with the manifests, each
/// file in the archives too, and blobs/SHA256SUMS with the blobs. Each trust policy must be signed by
/// the one before it. With --policy, the newest policy that follows it in the store also judges each
/// channel, as a machine does, and each release. Without it, no signature of a release is checked.
///
/// Faults stop machines, mirrors or people. Notes do not: releases that machines refuse and do not need,
/// and files that belong to nothing. Nothing is changed.
///
/// Exits with 3 where a signature, hash, policy or freshness check says no, with 1 where only files are
/// missing or cannot be read, and with 0 where there is no fault.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Check as if it were this time, such as 2026-12-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    store: String,
    channels: usize,
    releases: usize,
    policies: usize,
    blobs: usize,
    /// Whether signatures of releases and statements were checked, and their dates.
    signatures_checked: bool,
    faults: Vec<FaultReport>,
    notes: Vec<NoteReport>,
}

#[derive(Serialize)]
struct FaultReport {
    path: String,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Serialize)]
struct NoteReport {
    path: String,
    message: String,
}

impl FaultReport {
    fn of((finding, fault): (&Finding, &Fault)) -> Self {
        let code = match fault {
            Fault::Store(error) => error.code(),
            _ => None,
        };
        Self {
            path: finding.path.display().to_string(),
            message: finding.to_string(),
            causes: causes(std::error::Error::source(fault)),
            code: code.map(|code| code.as_str()),
            hint: fault.hint(),
        }
    }

    fn lines(&self) -> String {
        let mut text = format!("fault: {}\n", self.message);
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        if let Some(code) = self.code {
            let _ = writeln!(text, "  code: {code}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

impl NoteReport {
    fn of((finding, _): (&Finding, &Note)) -> Self {
        Self {
            path: finding.path.display().to_string(),
            message: finding.to_string(),
        }
    }
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check(&args),
    }
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let policy = args.policy.as_deref().map(load).transpose()?;
    let now = args.at.unwrap_or_else(time::now);
    let checked: Result<Checked, StoreError> =
        output::with_progress(store.blob_bytes(), |_, progress| {
            store.check(policy.as_ref(), now, progress)
        });
    let checked = checked?;
    let report = Report {
        store: args.store.display().to_string(),
        channels: checked.channels,
        releases: checked.releases,
        policies: checked.policies,
        blobs: checked.blobs,
        signatures_checked: policy.is_some(),
        faults: checked.faults().map(FaultReport::of).collect(),
        notes: checked.notes().map(NoteReport::of).collect(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::data(&text(&report))?;
    }
    let count = report.faults.len();
    if count == 0 {
        return Ok(());
    }
    let plural = if count == 1 { "" } else { "s" };
    let failure = Failure::new(format!("{} has {count} fault{plural}", report.store));
    Err(if checked.faults().any(|(_, fault)| fault.is_refusal()) {
        failure.into_refusal(None)
    } else {
        failure
    })
}

fn text(report: &Report) -> String {
    let mut text: String = report.faults.iter().map(FaultReport::lines).collect();
    for note in &report.notes {
        let _ = writeln!(text, "note: {}", note.message);
    }
    let counted = |count: usize, one: &str, more: &str| {
        let what = if count == 1 { one } else { more };
        format!("{count} {what}")
    };
    let signatures = if report.signatures_checked {
        ""
    } else {
        "; no signature of a release was checked, see --policy"
    };
    let _ = writeln!(
        text,
        "checked {}: {}, {}, {}, {}{signatures}",
        report.store,
        counted(report.channels, "channel", "channels"),
        counted(report.releases, "release", "releases"),
        counted(report.policies, "trust policy", "trust policies"),
        counted(report.blobs, "blob", "blobs"),
    );
    text
}
