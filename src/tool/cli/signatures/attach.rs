//! `sealboot signature attach`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};

use super::now_holds;
use super::sign::nothing_to_do;
use crate::cli::support::key_file::read_public;
use crate::cli::support::{Failure, output};
use sealboot_store::attach::Attached;
use sealboot_store::{EnvelopeFile, StoreError};

/// Add signatures of a KMS or an HSM
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    Attach(AttachArgs),
}

/// Add the signature of a KMS or an HSM to an envelope
///
/// `--print-signed-bytes` of `sealboot image sign`, `policy sign` and `host-config sign` writes the bytes
/// that the key must sign. The signature is verified before it is added; one that is not by this key over
/// exactly those bytes is refused, and then nothing is changed. Other signatures stay. Attaching again
/// with the same key changes nothing.
///
/// Whether the key counts, a trust policy says: see `sealboot image verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct AttachArgs {
    /// The public key: SPKI PEM, as `openssl pkey -pubout` writes it, or OpenSSH's
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The signature: its 64 bytes, or their base64; `-` for standard input
    #[arg(long, value_name = "FILE")]
    sig: PathBuf,

    /// The envelope of an image, a policy or a host config
    envelope: PathBuf,
}

/// More than any signature has in base64: what is longer is another file.
const LONGEST: u64 = 1024;

pub(super) fn run(args: &AttachArgs) -> Result<(), Failure> {
    let key = read_public(&args.key)?;
    let signature = read(&args.sig)?;
    let file = EnvelopeFile::open_any(&args.envelope)?;
    match file.attach(&key, &signature)? {
        Attached::Added { signatures } => {
            output::talk(format!("attached: {}", now_holds(&file, signatures)));
        }
        Attached::AlreadyThere => nothing_to_do(&file, &key),
    }
    Ok(())
}

fn read(path: &Path) -> Result<[u8; 64], Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(StoreError::unreadable(path))?;
    signature(&bytes).ok_or_else(|| {
        let found = match bytes.len() as u64 {
            0..=LONGEST => format!("{} bytes", bytes.len()),
            _ => format!("more than {LONGEST} bytes"),
        };
        Failure::new(format!(
            "{} is not a signature\n  expected 64 bytes, or their base64\n  found    {found}",
            path.display()
        ))
        .hint("nothing was changed; give the signature alone, of an ed25519 key, as the KMS or HSM returned it")
    })
}

/// Reads a signature out of its 64 bytes, or out of their base64, which may be broken into lines.
fn signature(bytes: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    let mut text = bytes.to_vec();
    text.retain(|byte| !byte.is_ascii_whitespace());
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_64_bytes_or_their_base64() {
        let raw: [u8; 64] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let text = STANDARD.encode(raw);
        let lines = format!("{}\n{}\r\n", &text[..76], &text[76..]);
        for good in [&raw[..], text.as_bytes(), lines.as_bytes()] {
            assert_eq!(signature(good), Some(raw));
        }
        // 64 bytes are never read as base64.
        let ascii = [b'A'; 64];
        assert_eq!(signature(&ascii), Some(ascii));
        let short = STANDARD.encode(&raw[1..]);
        let hex = "00".repeat(64);
        for bad in [
            &raw[1..],
            &[&raw[..], &[0]].concat(),
            b"",
            short.as_bytes(),
            hex.as_bytes(),
            format!("vault:v1:{text}").as_bytes(),
        ] {
            assert_eq!(signature(bad), None, "{bad:?}");
        }
    }
}
