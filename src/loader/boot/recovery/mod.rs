//! Handling of failed attempts, panics and hangs.
//!
//! | event | action |
//! |---|---|
//! | a stage fails | a pause by the [`policy`], in which a shell may be had; another attempt |
//! | as many stages as the policy grants | reboot, fallback or power off, as the policy says |
//! | the loader panics | after the policy's longest wait, reboot |
//! | the loader hangs | reboot at once; the [`watchdog`] has waited for long enough |
//!
//! The failure that ends this run of the loader is recorded where the machine can keep it, and printed by the next one.

pub mod failure_log;
pub mod fallback;
pub mod policy;
pub mod shell;
pub mod watchdog;

use std::convert::Infallible;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot};

use self::fallback::FallbackError;
use self::policy::{Failures, Next};
use super::console::{Console, Consoles, StageFailure};
use super::loader::Loader;
use crate::{jitter, net};
use sealboot_core::failure::{FailureCode, Report, causes};
use sealboot_core::format::failure_log::FailureRecord;
use sealboot_core::trust::policy::FinalAction;

/// How long consoles are waited for before the machine is left: a serial line of 9600 baud shows fifty lines in it.
pub(super) const LAST_LINES: Duration = Duration::from_secs(5);

/// Pauses before another attempt, or gives up, as the policy has it.
///
/// `rest` is how long all mirrors have asked to be left alone.
pub(super) fn after_failure(
    loader: &Loader,
    console: &mut Console<'_, &Consoles>,
    failure: &StageFailure,
    rest: Duration,
    failures: &mut Failures,
) {
    let policy = loader.failure_policy();
    let next = failures.add(&policy, jitter::random()).at_least(rest);
    let (code, told) = (failure.code(), failures.told(&policy));
    match next {
        Next::Wait(wait) => {
            let seconds = wait.as_secs_f64();
            console.say(format_args!(
                "{told}, {code}: trying again in {seconds:.1} s"
            ));
            let end = format!("the end of a pause of {seconds:.1} s after {told}, {code}");
            pause(loader, console, wait, end, policy.shell);
        }
        Next::GiveUp(wait) => {
            let seconds = wait.as_secs_f64();
            let doing = match policy.final_action {
                FinalAction::Reboot => "rebooting",
                FinalAction::Fallback => "entering the fallback",
                FinalAction::PowerOff => "powering off",
            };
            console.say(format_args!("{told}, {code}: {doing} in {seconds:.1} s"));
            let end = format!("the end: {doing} {seconds:.1} s after {told}, {code}");
            pause(loader, console, wait, end, policy.shell);
            let record = FailureRecord {
                at: net::clock::now(),
                stage: Some(failure.stage.to_string()),
                code: code.to_string(),
                attempts: failures.count(),
                action: policy.final_action.to_string(),
                message: format!("{:#}", Report(&*failure.error)),
            };
            give_up(loader, console, policy.final_action, record, code);
        }
    }
}

/// Waits, and offers a shell on the consoles if `with_shell` is set and the initramfs has one.
fn pause(
    loader: &Loader,
    console: &mut Console<'_, &Consoles>,
    wait: Duration,
    end: String,
    with_shell: bool,
) {
    let deadline = Instant::now() + wait;
    loader.heartbeat.expect_quiet_until(deadline);
    loader.heartbeat.wait_for(end);
    if with_shell && shell::is_baked_in() {
        console.say("press Enter for a shell");
        if let Some(terminal) = shell::asked_for(deadline, &loader.consoles) {
            loader.heartbeat.clear_wait();
            console.say(format_args!(
                "a shell is open on {}; another boot attempt follows when it exits, or after {} minutes without input",
                terminal.name,
                shell::IDLE.as_secs() / 60,
            ));
            loader.consoles.drain(LAST_LINES);
            match shell::run(&terminal.device, &loader.heartbeat) {
                Ok(0) => console.say("the shell exited"),
                Ok(1) => console.say("the shell exited; killed 1 leftover process"),
                Ok(left) => console.say(format_args!(
                    "the shell exited; killed {left} leftover processes"
                )),
                Err(error) => console.say(format_args!("cannot start the shell: {error}")),
            }
        }
    } else {
        sleep(wait);
    }
    loader.heartbeat.clear_wait();
}

/// Records the failure, and takes the final action.
fn give_up(
    loader: &Loader,
    console: &mut Console<'_, &Consoles>,
    action: FinalAction,
    record: FailureRecord,
    code: FailureCode,
) -> ! {
    match action {
        FinalAction::Reboot => {
            failure_log::append(record);
            leave(loader, RebootMode::RB_AUTOBOOT)
        }
        FinalAction::PowerOff => {
            failure_log::append(record);
            leave(loader, RebootMode::RB_POWER_OFF)
        }
        FinalAction::Fallback => {
            // Cards write to memory until their links are down.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(net::disconnect());
            }
            match fallback::load(std::path::Path::new("/"), code) {
                Ok(()) => {
                    failure_log::append(record);
                    loader.watchdog.disarm();
                    console.say("entering the fallback's kernel");
                    leave(loader, RebootMode::RB_KEXEC)
                }
                Err(error) => {
                    console.say(format_args!(
                        "the fallback is not entered: {}\n  hint: {}",
                        causes(Some(&error)).join("\n  caused by: "),
                        error.hint()
                    ));
                    console.say("rebooting instead");
                    failure_log::append(without_fallback(record, &in_one_line(&error)));
                    leave(loader, RebootMode::RB_AUTOBOOT)
                }
            }
        }
    }
}

/// Returns an error and its causes in one line, with two aligned digests.
fn in_one_line(error: &FallbackError) -> String {
    let why = causes(Some(error)).join(": ");
    let lines: Vec<&str> = why.lines().map(str::trim).collect();
    lines.join(", ")
}

/// Returns the record of a machine that could not enter its fallback. That comes first, because a long message is cut.
fn without_fallback(record: FailureRecord, why: &str) -> FailureRecord {
    FailureRecord {
        action: FinalAction::Reboot.to_string(),
        message: format!("{why}; before that, {}", record.message),
        ..record
    }
}

/// A bug in the loader: nothing of this run can be trusted to go on, so the machine reboots, after the
/// policy's longest wait so that the message can be read and a bug does not make a hot loop.
pub(super) fn after_panic(loader: &Loader, panic: &str) -> ! {
    let wait = Duration::from_secs(u64::from(loader.failure_policy().retry_max_seconds));
    loader.heartbeat.expect_quiet_until(Instant::now() + wait);
    let code = FailureCode::LoaderPanic;
    let mut console = loader.console();
    console.say(format_args!("status=failed code={code}"));
    console.say(format_args!("{panic}\n  hint: {}", code.remedy()));
    console.say(format_args!("rebooting in {} s", wait.as_secs()));
    sleep(wait);
    append_record(loader, code, panic);
    leave(loader, RebootMode::RB_AUTOBOOT)
}

/// The loader hangs: nothing has happened for `silence`.
pub(super) fn after_hang(loader: &Loader, silence: Duration) -> Infallible {
    let code = FailureCode::LoaderHung;
    let mut console = loader.console();
    console.say(format_args!("status=failed code={code}"));
    let doing = match (loader.stage(), loader.heartbeat.waiting()) {
        (Some(stage), Some(waiting)) => format!("stage {stage}, waiting for {}", waiting.what),
        (Some(stage), None) => format!("stage {stage}"),
        (None, _) => "no stage".to_owned(),
    };
    let message = format!(
        "nothing has happened for {} s, in {doing}",
        silence.as_secs()
    );
    console.say(format_args!("{message}\n  hint: {}", code.remedy()));
    console.say("rebooting");
    append_record(loader, code, &message);
    leave(loader, RebootMode::RB_AUTOBOOT)
}

fn append_record(loader: &Loader, code: FailureCode, message: &str) {
    failure_log::append(FailureRecord {
        at: net::clock::now(),
        stage: loader.stage().map(|stage| stage.to_string()),
        code: code.to_string(),
        attempts: 0,
        action: FinalAction::Reboot.to_string(),
        message: message.to_owned(),
    });
}

/// Leaves this kernel; where even that fails, waits for ever, because PID 1 must not end. A watchdog then is fed no
/// more.
fn leave(loader: &Loader, mode: RebootMode) -> ! {
    loader.consoles.drain(LAST_LINES);
    let Err(errno) = reboot(mode);
    loader
        .console()
        .say(format_args!("the kernel refuses {mode:?}: {errno}"));
    if mode != RebootMode::RB_AUTOBOOT {
        let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
        loader
            .console()
            .say(format_args!("the machine cannot be rebooted: {errno}"));
    }
    loop {
        sleep(Duration::from_secs(3600));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealboot_core::format::digest::Sha256Digest;
    use sealboot_core::format::layout::FALLBACK_INITRD_FILE;

    #[test]
    fn a_damaged_fallback_is_recorded_in_one_line() {
        let error = FallbackError::Damaged {
            path: FALLBACK_INITRD_FILE.into(),
            expected: Sha256Digest::of(b"1"),
            found: Sha256Digest::of(b"2"),
        };
        assert_eq!(
            in_one_line(&error),
            format!(
                "{} is damaged, expected sha256 {}, found    sha256 {}",
                FALLBACK_INITRD_FILE,
                Sha256Digest::of(b"1"),
                Sha256Digest::of(b"2")
            )
        );
    }

    #[test]
    fn a_fallback_that_was_not_entered_is_recorded_as_a_reboot() {
        let record = FailureRecord {
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stage: Some("connect".to_owned()),
            code: "CONNECT-DHCP".to_owned(),
            attempts: 20,
            action: FinalAction::Fallback.to_string(),
            message: "no lease".to_owned(),
        };
        let why = "the fallback's kernel cannot be loaded";
        assert_eq!(
            without_fallback(record.clone(), why),
            FailureRecord {
                action: "reboot".to_owned(),
                message: format!("{why}; before that, no lease"),
                ..record
            }
        );
    }
}
