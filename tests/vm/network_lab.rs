//! Many networks in one guest: each [`Case`] is two network namespaces that are joined by cables. In one of them the
//! loader runs as it is shipped, PID 1 with its initramfs as its root; in the other is what its scenario lays out.
//!
//! `network/lab` runs the cases, some at a time, and ends each as soon as its loader has come as far as the case asks.
//! What a machine needs a network for after that is for [`networks`](crate::networks).

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sealboot::vm::StageLine;
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::host_config::HostConfig;
use tokio::time::{Instant, timeout_at};

use crate::far_side::{self, Files};
use crate::lab::{IMAGE, Lab};
use crate::machine::take_slot;
use crate::network_cases::{Case, Expected, LONG, SHORT};
use crate::networks::connected;
use crate::store::Store;

/// How long all cases together may take.
const LIMIT: Duration = Duration::from_secs(540);

/// The codes of a mirror that is too slow, as one of many is on a busy host: a TLS handshake takes more than a second of
/// an emulated processor, and both ends give up after ten. The loader tries again, so they do not end a case that is to
/// connect.
const TOO_SLOW: [&str; 2] = ["FETCH-CONNECT", "FETCH-TRUNCATED"];

/// The two as a pattern of the shell.
const TOO_SLOW_PATTERN: &str = "sealboot: failure *FETCH-C[OU]*";

/// What was said in a case.
struct Said<'a> {
    /// How the case ended: `reached` or `failed`, and after how many seconds.
    how: &'a str,
    /// The loader's console.
    near: &'a str,
    /// What stood at the other ends of the cables.
    far: &'a str,
    /// What the case looked at in the end.
    looked: &'a str,
}

impl<'a> Said<'a> {
    fn of(case: &Case, console: &'a str) -> Option<Self> {
        let part = |part: &str| {
            let (_, rest) = console.split_once(&format!("=== {part} of {}\n", case.name))?;
            rest.split("=== ").next()
        };
        Some(Self {
            how: part("how")?,
            near: part("near")?,
            far: part("far")?,
            looked: part("looked")?,
        })
    }

    /// Says why it is not as expected.
    fn judge(&self, case: &Case) -> Result<(), String> {
        let stages: Vec<StageLine> = self.near.lines().filter_map(StageLine::find).collect();
        match case.expected {
            Expected::Connects(link, start) => {
                if !self.how.starts_with("reached") {
                    return Err(format!("it ended early: {}", self.how));
                }
                let is_bad = |line: &&StageLine| {
                    line.status() != "ok"
                        && line.code().is_none_or(|code| !TOO_SLOW.contains(&code))
                };
                if let Some(bad) = stages.iter().find(is_bad) {
                    return Err(format!("{bad:?}"));
                }
                let (found, addresses) = connected(self.near);
                let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                if found != link || !text.iter().all(|address| address.starts_with(start)) {
                    return Err(format!("connected over {found}, {text:?}"));
                }
            }
            Expected::Fails(stage, code) => {
                let last = stages.last().ok_or("no stage has ended")?;
                if (last.stage(), last.code()) != (stage, Some(code)) {
                    return Err(format!("expected {code} in {stage}, found {last:?}"));
                }
            }
        }
        if let Some(words) = case.never.iter().find(|words| self.near.contains(**words)) {
            return Err(format!("the loader says: {words}"));
        }
        for (who, said, expected) in [
            ("the loader", self.near, case.says),
            ("the other side", self.far, case.far_says),
            ("a look at the links", self.looked, case.shows),
        ] {
            if let Some(missing) = expected.iter().find(|words| !said.contains(**words)) {
                return Err(format!("{who} never says: {missing}"));
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn every_network_case_ends_as_expected() {
    let console = run().await;
    let mut failures = String::new();
    for case in LONG.iter().chain(SHORT) {
        let said = Said::of(case, &console);
        let judged = match &said {
            Some(said) => said.judge(case),
            None => Err("the guest ended before it".to_owned()),
        };
        match (judged, said) {
            (Ok(()), _) => eprintln!("as expected  {}", case.name),
            (Err(why), said) => {
                eprintln!("FAILED       {}", case.name);
                let _ = write!(failures, "\n--- {}: {why}\n", case.name);
                if let Some(Said {
                    near, far, looked, ..
                }) = said
                {
                    let _ = write!(
                        failures,
                        "the loader's console:\n{near}the other side:\n{far}the look:\n{looked}"
                    );
                }
            }
        }
    }
    if !console.contains("=== end\n") {
        let _ = write!(failures, "\n--- the whole console of the guest:\n{console}");
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Runs all cases in one guest; gives its console, also where it did not come to its end.
async fn run() -> String {
    let store = Store::published();
    let _slot = take_slot();
    let directory = tempfile::tempdir().unwrap();
    let mut running = far_side::start(of_all_cases(&store), &directory).await;
    let deadline = Instant::now() + LIMIT;
    let (mut console, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(Ok(read @ 1..)) = timeout_at(deadline, running.read(&mut buffer)).await {
        console.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&console).replace('\r', "")
}

/// Puts together what the guest does.
fn of_all_cases(store: &Store) -> Files {
    // Modules by name, and no set of them: those have drivers of watchdogs, and a loader that is ended leaves one armed.
    #[rustfmt::skip]
    let words = ["--module", "bonding", "--module", "8021q", "--compress", "none"];
    let initramfs = Lab::get().initramfs_with(store.desk(), &words);
    let mut files = far_side::work(store, include_str!("network/lab"));
    files.copy("loader.cpio", Path::new(&initramfs));
    let long = LONG.iter().map(|case| (case, "long"));
    let short = SHORT.iter().map(|case| (case, "short"));
    for (case, kind) in long.chain(short) {
        let at = format!("cases/{kind}/{}", case.name);
        let again = match case.expected {
            Expected::Connects(..) => TOO_SLOW_PATTERN.to_owned(),
            Expected::Fails(..) => String::new(),
        };
        for (name, text) in [
            ("cables", format!("{}\n", case.cables)),
            ("scenario", case.scenario.to_owned()),
            ("until", case.until.to_owned()),
            ("again", again),
            ("look", case.look.to_owned()),
        ] {
            files.text(&format!("{at}/{name}"), &text);
        }
        files.bytes(&format!("{at}/host.json"), host_config(case));
    }
    files
}

/// Writes what a case has on its command line as a host config: a guest has one command line.
fn host_config(case: &Case) -> Vec<u8> {
    let mirrors = case.mirrors.iter();
    let mirrors: String = mirrors
        .map(|url| format!(" sealboot.mirror={url}"))
        .collect();
    let line = format!("sealboot.image={IMAGE}{mirrors} {}", case.cmdline);
    let config = HostConfig::with_cmdline(None, &Parameters::parse(&line));
    config
        .unwrap_or_else(|error| panic!("{}: {error}", case.name))
        .encode()
}
