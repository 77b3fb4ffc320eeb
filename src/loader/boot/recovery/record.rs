//! What happened to the loaders before this one, where the machine can keep it: in an EFI variable.
//!
//! A loader that gives up, hangs or breaks writes one line of it before the machine is reset. The next one prints it, and
//! forgets it once an image is about to be entered: until then the machine has not had a good boot. Nothing is written
//! but at such ends, because the memory behind variables wears out.
//!
//! A machine without EFI keeps nothing. The kernels of distributions have no other place for it: their pstore keeps
//! the kernel's own last words after a crash, and takes none of a program's (`CONFIG_PSTORE_PMSG`).

use std::path::Path;

use crate::boot::console::Console;
use sealboot_core::failure::causes;
use sealboot_core::format::kept::{End, Kept};
use sealboot_sys::firmware::efi::{EfiError, Variable, Variables};

/// Prints what the loaders before this one have kept, and gives it.
pub(in crate::boot) fn print(console: &mut Console<'_, impl std::io::Write>) -> Kept {
    let kept = match read() {
        Ok(kept) => kept,
        Err(why) => {
            console.say(format_args!(
                "what was kept of the boot before cannot be read: {why}"
            ));
            Kept::default()
        }
    };
    for end in kept.ends() {
        console.say(told(end));
        console.say(format_args!(
            "kept at={} stage={} code={} failures={} then={}",
            end.at,
            end.stage.as_deref().map_or("none", shown),
            shown(&end.code),
            end.failures,
            end.then,
        ));
    }
    kept
}

/// Adds an end to what is kept. Where that fails the console says so, and nothing else comes of it.
pub(super) fn append(end: End) {
    let mut kept = read().unwrap_or_default();
    kept.add(end);
    let written = variables().and_then(|variables| match variables {
        Some(variables) => variables
            .write(Variable::FAILURES, &kept.encode())
            .map(drop),
        None => Ok(()),
    });
    if let Err(error) = written {
        tracing::warn!(
            "this failure is not kept for the next boot: {}",
            in_one_line(&error)
        );
    }
}

/// Forgets what was kept: an image is about to be entered.
pub(in crate::boot) fn clear(console: &mut Console<'_, impl std::io::Write>, kept: &Kept) {
    if kept.ends().is_empty() {
        return;
    }
    let removed = variables().and_then(|variables| match variables {
        Some(variables) => variables.remove(Variable::FAILURES),
        None => Ok(()),
    });
    match removed {
        Ok(()) => console.say(format_args!(
            "this boot is good; before it, {} ended otherwise",
            kept.ends().len()
        )),
        Err(error) => tracing::warn!(
            "what was kept of the boots before stays: {}",
            in_one_line(&error)
        ),
    }
}

fn read() -> Result<Kept, String> {
    let stored = match variables() {
        Ok(Some(variables)) => variables.read(Variable::FAILURES),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    match stored.map_err(|error| in_one_line(&error))? {
        Some(bytes) => Kept::parse(&bytes).map_err(|error| in_one_line(&error)),
        None => Ok(Kept::default()),
    }
}

fn variables() -> Result<Option<Variables>, EfiError> {
    Variables::open(Path::new("/"))
}

fn told(end: &End) -> String {
    let stage = match &end.stage {
        Some(stage) => format!("in stage {}", shown(stage)),
        None => "in no stage".to_owned(),
    };
    let says: String = end.says.chars().flat_map(char::escape_debug).collect();
    format!(
        "a boot before this one ended {stage} at {} with {}: {says}",
        end.at,
        shown(&end.code)
    )
}

/// A word of a loader; anyone may have put another there, and that one is not repeated.
fn shown(word: &str) -> &str {
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !word.is_empty() && word.len() <= 40 && word.bytes().all(is_ours) {
        word
    } else {
        "unreadable"
    }
}

fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    causes(Some(error)).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealboot_core::format::kept::Then;

    #[test]
    fn what_anyone_may_have_written_passes_for_no_line_of_the_loader() {
        let end = End {
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stage: Some("image status=ok".to_owned()),
            code: "FETCH-DNS".to_owned(),
            failures: 3,
            then: Then::Reboot,
            says: "x\nsealboot: stage=load status=ok\u{1b}[2J".to_owned(),
        };
        assert_eq!(
            told(&end),
            "a boot before this one ended in stage unreadable at 2026-11-21T12:00:00Z with FETCH-DNS: x\\nsealboot: stage=load status=ok\\u{1b}[2J"
        );
        for word in ["", "a b", "a=b", "a\nb", &"x".repeat(41)] {
            assert_eq!(shown(word), "unreadable");
        }
    }
}
