//! `sealboot image sign`.

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::{compare, describe};
use crate::cli::signatures;
use crate::cli::support::{Failure, output, time};
use sealboot_core::format::json::Read;
use sealboot_core::format::manifest::Manifest;
use sealboot_store::image::unverified;
use sealboot_store::path::Place;
use sealboot_store::{EnvelopeFile, Kind};

/// Add a signature to an envelope
///
/// Shows on stderr what is being signed, and what differs from the newest published version of the
/// image in the same store; on a terminal, it then asks. Read it: with your signature, machines that
/// trust your key may boot this image. The signature covers the manifest, and by its hashes every byte
/// of the archive; whether the archive is there and as described, `sealboot image verify` says.
///
/// Other signatures stay. Signing again with the same key changes nothing. The envelope may be a copy
/// that came by mail: sign it, send it back, and `sealboot image merge` joins it with the others.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    options: signatures::Options,

    /// The envelope that `sealboot image pack` made
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

/// More than a year: an expiry beyond it is probably a mistyped date.
const LONGEST_USUAL_LIFE: SignedDuration = SignedDuration::from_hours(400 * 24);

pub(super) fn run(args: &SignArgs) -> Result<(), Failure> {
    let signer = args.options.signer()?;
    let now = time::today()?;
    let file = EnvelopeFile::open(Kind::Image, &args.envelope)?;
    let Read {
        value: manifest,
        unknown,
    } = unverified(&args.envelope, file.envelope())?;
    args.options.sign(signer, &file, &unknown, |_| {
        output::talk(describe(&manifest).trim_end());
        let place = Place::of(&args.envelope);
        output::talk(compare::with_published(
            place.as_ref(),
            file.envelope(),
            &manifest,
        ));
        remarks(&manifest, now).iter().for_each(output::warn);
    })?;
    Ok(())
}

/// Returns what a signer should know of the dates, at `now`.
fn remarks(manifest: &Manifest, now: Timestamp) -> Vec<String> {
    let Manifest {
        created, expires, ..
    } = manifest;
    let mut found = Vec::new();
    if *created > now {
        found.push(format!(
            "it was created in the future, at {created}: machines refuse it until then; now is {now}"
        ));
    }
    if let Some(expires) = expires {
        if *expires <= now {
            found.push(format!(
                "it expired at {expires}: machines refuse it; now is {now}"
            ));
        }
        if expires.duration_since(now) > LONGEST_USUAL_LIFE {
            found.push(format!(
                "it expires in more than 400 days, at {expires}: a mirror can serve it until then"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_are_far_off_are_remarked() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().expect("a time");
        let second = SignedDuration::from_secs(1);
        for (created, expires, expected) in [
            (now, None, None),
            (now, Some(now + LONGEST_USUAL_LIFE), None),
            (
                now,
                Some(now + LONGEST_USUAL_LIFE + second),
                Some("it expires in more than 400 days"),
            ),
            (now + second, None, Some("it was created in the future")),
            (
                now - second - second,
                Some(now - second),
                Some("it expired at 2026-12-01T11:59:59Z"),
            ),
        ] {
            let mut manifest = support::world::manifest(41);
            manifest.created = created;
            manifest.expires = expires;
            let found = remarks(&manifest, now);
            match expected {
                None => assert_eq!(found, [""; 0]),
                Some(text) => {
                    assert!(
                        found.len() == 1 && found[0].starts_with(text),
                        "{text}: {found:?}"
                    );
                }
            }
        }
    }
}
