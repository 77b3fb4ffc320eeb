//! What becomes of the machine when an attempt has failed, or the loader itself has.
//!
//! | what | then |
//! |---|---|
//! | a stage fails | a pause by the [`policy`], in which a shell may be had; another attempt |
//! | as many stages as the policy grants | reboot, fallback or power off, as the policy says |
//! | the loader panics | after the policy's longest wait, reboot |
//! | the loader hangs | reboot at once; the [`watchdog`] has waited for long enough |
//!
//! Whatever ends this run of the loader is kept where the machine can keep it, and told by the next one.

pub mod fallback;
pub mod policy;
pub mod record;
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
use sealboot_core::format::kept::{End, Then};
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
            let (then, doing) = match policy.final_action {
                FinalAction::Reboot => (Then::Reboot, "rebooting"),
                FinalAction::Fallback => (Then::Fallback, "entering the fallback"),
                FinalAction::PowerOff => (Then::PowerOff, "powering off"),
            };
            console.say(format_args!("{told}, {code}: {doing} in {seconds:.1} s"));
            let end = format!("the end: {doing} {seconds:.1} s after {told}, {code}");
            pause(loader, console, wait, end, policy.shell);
            let end = End {
                at: net::clock::now(),
                stage: Some(failure.stage.to_string()),
                code: code.to_string(),
                failures: failures.count(),
                then,
                says: format!("{:#}", Report(&*failure.error)),
            };
            give_up(loader, console, end, code);
        }
    }
}

/// Waits, and lets somebody at a console have a shell where `with_shell` and the initramfs have one.
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
                "a shell is open on {}; the boot begins anew when it ends, or when nobody has used it for {} minutes",
                terminal.name,
                shell::IDLE.as_secs() / 60,
            ));
            loader.consoles.drain(LAST_LINES);
            match shell::run(&terminal.device, &loader.heartbeat) {
                Ok(0) => console.say("the shell has ended"),
                Ok(1) => {
                    console.say("the shell has ended, and so was a process that it left running")
                }
                Ok(left) => console.say(format_args!(
                    "the shell has ended, and so were {left} processes that it left running"
                )),
                Err(error) => console.say(format_args!("there is no shell: {error}")),
            }
        }
    } else {
        sleep(wait);
    }
    loader.heartbeat.clear_wait();
}

/// Does what `end` says, and keeps it.
fn give_up(
    loader: &Loader,
    console: &mut Console<'_, &Consoles>,
    end: End,
    code: FailureCode,
) -> ! {
    match end.then {
        Then::Reboot => {
            record::append(end);
            leave(loader, RebootMode::RB_AUTOBOOT)
        }
        Then::PowerOff => {
            record::append(end);
            leave(loader, RebootMode::RB_POWER_OFF)
        }
        Then::Fallback => {
            // Cards write to memory until their links are down.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(net::disconnect());
            }
            match fallback::load(std::path::Path::new("/"), code) {
                Ok(()) => {
                    record::append(end);
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
                    record::append(without_fallback(end, &in_one_line(&error)));
                    leave(loader, RebootMode::RB_AUTOBOOT)
                }
            }
        }
    }
}

/// An error and its causes; two aligned digests are no lines of their own.
fn in_one_line(error: &FallbackError) -> String {
    let why = causes(Some(error)).join(": ");
    let lines: Vec<&str> = why.lines().map(str::trim).collect();
    lines.join(", ")
}

/// What is kept where the fallback could not be entered: that comes first, for only so much is kept.
fn without_fallback(end: End, why: &str) -> End {
    End {
        then: Then::Reboot,
        says: format!("{why}; before that, {}", end.says),
        ..end
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
    keep(loader, code, panic);
    leave(loader, RebootMode::RB_AUTOBOOT)
}

/// The loader hangs: nothing has happened for `silence`.
pub(super) fn after_stall(loader: &Loader, silence: Duration) -> Infallible {
    let code = FailureCode::LoaderStalled;
    let mut console = loader.console();
    console.say(format_args!("status=failed code={code}"));
    let doing = match (loader.stage(), loader.heartbeat.waiting()) {
        (Some(stage), Some(waiting)) => format!("stage {stage}, waiting for {}", waiting.what),
        (Some(stage), None) => format!("stage {stage}"),
        (None, _) => "no stage".to_owned(),
    };
    let says = format!(
        "nothing has happened for {} s, in {doing}",
        silence.as_secs()
    );
    console.say(format_args!("{says}\n  hint: {}", code.remedy()));
    console.say("rebooting");
    keep(loader, code, &says);
    leave(loader, RebootMode::RB_AUTOBOOT)
}

fn keep(loader: &Loader, code: FailureCode, says: &str) {
    record::append(End {
        at: net::clock::now(),
        stage: loader.stage().map(|stage| stage.to_string()),
        code: code.to_string(),
        failures: 0,
        then: Then::Reboot,
        says: says.to_owned(),
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
    fn a_damaged_fallback_is_kept_in_one_line() {
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
    fn a_fallback_that_was_not_entered_is_not_kept_as_one_that_was() {
        let end = End {
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stage: Some("connect".to_owned()),
            code: "CONNECT-DHCP".to_owned(),
            failures: 20,
            then: Then::Fallback,
            says: "no lease".to_owned(),
        };
        let kept = without_fallback(end.clone(), "the fallback's kernel cannot be loaded");
        assert_eq!(
            kept,
            End {
                then: Then::Reboot,
                says: "the fallback's kernel cannot be loaded; before that, no lease".to_owned(),
                ..end
            }
        );
    }
}
