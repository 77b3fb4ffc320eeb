//! `sealboot key`: making signers' keys, and telling them apart.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::support::key_file::{self, KeyFile};
use super::support::{Failure, output, passphrase, secrecy};
use crate::keys::locked::StoredKey;
use crate::keys::pem::{PrivateKey, public_key_to_pem};
use sealboot_store::StoreError;
use sealboot_store::files::{self, Existing};

/// Make signers' keys, and tell them apart.
///
/// Keys are ed25519. Private keys are PKCS#8 PEM, public keys SPKI PEM: `openssl pkey` reads and
/// writes both. OpenSSH's ed25519 keys serve as well, and so do keys in an ssh-agent. Each signer makes
/// a key on a machine of their own and hands out only the public half.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Generate(GenerateArgs),
    Fingerprint(FingerprintArgs),
}

/// Make a new key pair: NAME.key, for its owner alone, and NAME.pub.
///
/// Creates both files or neither, and never replaces one. Without --encrypt, keep the private key on an
/// encrypted disk or a stick in a drawer; either way, never on a machine that serves or boots images.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Where to put the pair, without a suffix: DIR/NAME makes DIR/NAME.key and DIR/NAME.pub
    ///
    /// NAME becomes the signer's name in a trust policy, so let it say who holds the key.
    #[arg(long, value_name = "DIR/NAME")]
    out: PathBuf,

    /// Encrypt the private key with a passphrase, which is asked for on the terminal
    ///
    /// The form is PKCS#8 with scrypt and AES-256-CBC, which `openssl pkey` reads.
    #[arg(long)]
    encrypt: bool,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Print the ids of keys, from public or private key files, PEM or OpenSSH's.
///
/// A key id is the first 16 hex digits of SHA-256 of the key's 32 raw bytes. People compare it over
/// the telephone before they put a key into a trust policy; nothing is ever trusted by it.
#[derive(Debug, Args)]
pub(super) struct FingerprintArgs {
    /// Key files, public or private
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Generate(args) => generate(&args),
        Command::Fingerprint(args) => fingerprint(&args),
    }
}

#[derive(Serialize)]
struct Generated {
    key_id: String,
    key: String,
    private_key: PathBuf,
    public_key: PathBuf,
}

fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let suffix = args.out.extension().and_then(|suffix| suffix.to_str());
    if let Some(suffix @ ("key" | "pub")) = suffix {
        return Err(
            Failure::new(format!("--out {} has a suffix", args.out.display())).hint(format!(
                "leave .{suffix} away: two files are made, NAME.key and NAME.pub"
            )),
        );
    }
    if args.out.file_name().is_none() || args.out.is_dir() {
        return Err(
            Failure::new(format!("--out {} names a directory", args.out.display()))
                .hint("add the signer's name: --out DIR/NAME"),
        );
    }
    if args.passphrase.is_given() && !args.encrypt {
        return Err(Failure::new(
            "--passphrase-fd without --encrypt: the key would not be encrypted",
        )
        .hint("add --encrypt, or leave --passphrase-fd away"));
    }
    let private_path = files::with_suffix(&args.out, ".key");
    let public_path = files::with_suffix(&args.out, ".pub");
    if public_path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists { path: public_path }.into());
    }
    if private_path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists { path: private_path }.into());
    }
    let cannot = |error: std::io::Error| Failure::new("cannot make a key").because(&error);
    secrecy::protect()?;
    let key = PrivateKey::generate().map_err(cannot)?;
    let pem = if args.encrypt {
        let passphrase = args.passphrase.of_new_key(&private_path)?;
        key.to_encrypted_pem(passphrase.as_bytes())
            .map_err(cannot)?
    } else {
        key.to_pem()
    };
    files::write(&private_path, pem.as_bytes(), 0o600, Existing::Keep)?;
    let public = key.public();
    let pem = public_key_to_pem(&public);
    if let Err(error) = files::write(&public_path, pem.as_bytes(), 0o644, Existing::Keep) {
        let failure = Failure::from(error);
        // Both or neither. This process has just made the file, so nothing else can be in it.
        return Err(match std::fs::remove_file(&private_path) {
            Ok(()) => failure,
            Err(error) => failure.because(&error),
        });
    }
    let generated = Generated {
        key_id: public.id().to_string(),
        key: public.to_string(),
        private_key: private_path,
        public_key: public_path,
    };
    if args.json {
        return output::json(&generated);
    }
    output::data(&format!(
        "key id       {}\nprivate key  {}\npublic key   {}\n",
        generated.key_id,
        generated.private_key.display(),
        generated.public_key.display()
    ))
}

#[derive(Serialize)]
struct Fingerprint<'a> {
    file: &'a Path,
    kind: &'static str,
    key_id: String,
    key: String,
}

fn fingerprint(args: &FingerprintArgs) -> Result<(), Failure> {
    let fingerprints = args
        .files
        .iter()
        .map(|file| {
            let (kind, key) = match key_file::read(file)? {
                KeyFile::Private(StoredKey::Open(key)) => ("private", key.public()),
                KeyFile::Private(StoredKey::Locked(key)) => {
                    let public = match key.public() {
                        Some(public) => public,
                        None => args.passphrase.unlock(file, &key)?.public(),
                    };
                    ("private", public)
                }
                KeyFile::Public(key) => ("public", key),
            };
            Ok(Fingerprint {
                file,
                kind,
                key_id: key.id().to_string(),
                key: key.to_string(),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    if args.json {
        return output::json(&fingerprints);
    }
    let lines = fingerprints.iter().map(|found| {
        format!(
            "{}  {:7}  {}\n",
            found.key_id,
            found.kind,
            found.file.display()
        )
    });
    output::data(&lines.collect::<String>())
}
