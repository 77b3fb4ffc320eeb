//! `sealboot key`: making signers' keys, and telling them apart. Also how every command reads one.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::files::{self, Existing};
use super::{Failure, output};
use crate::format::limits::LIMITS;
use crate::format::pem::{PemError, PrivateKey, public_key_from_pem, public_key_to_pem};
use crate::trust::PublicKey;

/// Make signers' keys, and tell them apart.
///
/// Keys are ed25519. Private keys are PKCS#8 PEM, public keys SPKI PEM: `openssl pkey` reads and
/// writes both. Each signer makes a key on a machine of their own and hands out only the public half.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Generate(GenerateArgs),
    Fingerprint(FingerprintArgs),
}

/// Make a new key pair: NAME.key, for its owner alone, and NAME.pub.
///
/// Creates both files or neither, and never replaces one. The private key is not encrypted: keep it
/// on an encrypted disk or a stick in a drawer, and never on a machine that serves or boots images.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Where to put the pair, without a suffix: DIR/NAME makes DIR/NAME.key and DIR/NAME.pub
    ///
    /// NAME becomes the signer's name in a trust policy, so let it say who holds the key.
    #[arg(long, value_name = "DIR/NAME")]
    out: PathBuf,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Print the ids of keys, from public or private key files.
///
/// A key id is the first 16 hex digits of SHA-256 of the key's 32 raw bytes. People compare it over
/// the telephone before they put a key into a trust policy; nothing is ever trusted by it.
#[derive(Debug, Args)]
pub(super) struct FingerprintArgs {
    /// Key files, public or private
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

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
    let private_path = files::with_suffix(&args.out, ".key");
    let public_path = files::with_suffix(&args.out, ".pub");
    if public_path.symlink_metadata().is_ok() {
        return Err(files::exists_already(&public_path));
    }
    let key = PrivateKey::generate()
        .map_err(|error| Failure::new("cannot make a key").because(&error))?;
    files::write(
        &private_path,
        key.to_pem().as_bytes(),
        0o600,
        Existing::Keep,
    )?;
    let public = key.public();
    let pem = public_key_to_pem(&public);
    if let Err(failure) = files::write(&public_path, pem.as_bytes(), 0o644, Existing::Keep) {
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
            let (kind, key) = match read(file)? {
                KeyFile::Private(key) => ("private", key.public()),
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

/// What a key file holds.
#[derive(Debug)]
pub(super) enum KeyFile {
    /// A private key, in a file that only its owner can read.
    Private(PrivateKey),
    /// A public key.
    Public(PublicKey),
}

/// Reads a key file of either kind; which it is, its PEM label says.
///
/// Refuses a private key that others than its owner can read.
pub(super) fn read(path: &Path) -> Result<KeyFile, Failure> {
    let mut file = File::open(path).map_err(|error| files::unreadable(path, &error))?;
    let limit = LIMITS.key_file_bytes;
    // Room for all from the start: a vector that grows leaves copies of the secret behind.
    let room = usize::try_from(limit).map_or(0, |limit| limit + 64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| files::unreadable(path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(files::too_large(path, limit));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if !text.contains("-----BEGIN ") {
        return Err(Failure::new(format!("{} is no PEM file", path.display()))
            .hint("give a file that `sealboot key generate` made"));
    }
    if !text.contains("PRIVATE KEY-----") {
        let key =
            public_key_from_pem(text).map_err(|error| unusable(path, &error, PUBLIC_KEY_HINT))?;
        return Ok(KeyFile::Public(key));
    }
    let mode = file
        .metadata()
        .map_err(|error| files::unreadable(path, &error))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::new(format!(
            "the private key {} is open to others (mode {mode:04o})",
            path.display()
        ))
        .hint(format!(
            "run `chmod 600 {}`; if somebody may have read it, make a new key and a new trust policy",
            path.display()
        )));
    }
    let hint = if text.contains("ENCRYPTED PRIVATE KEY") {
        "decrypt it with `openssl pkey -in FILE -out NEW`, in a directory that only you can read"
    } else {
        "use a key made by `sealboot key generate` or `openssl genpkey -algorithm ed25519`"
    };
    PrivateKey::from_pem(text)
        .map(KeyFile::Private)
        .map_err(|error| unusable(path, &error, hint))
}

/// Reads a private key.
pub(super) fn read_private(path: &Path) -> Result<PrivateKey, Failure> {
    match read(path)? {
        KeyFile::Private(key) => Ok(key),
        KeyFile::Public(_) => Err(Failure::new(format!("{} is a public key", path.display()))
            .hint("sign with the private key, NAME.key")),
    }
}

/// Reads a public key.
pub(super) fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    match read(path)? {
        KeyFile::Public(key) => Ok(key),
        KeyFile::Private(_) => Err(Failure::new(format!("{} is a private key", path.display()))
            .hint("give the public key, NAME.pub; a private key stays with its owner")),
    }
}

const PUBLIC_KEY_HINT: &str =
    "give a file that `sealboot key generate` made, or `openssl pkey -pubout` from an ed25519 key";

fn unusable(path: &Path, error: &PemError, hint: &str) -> Failure {
    Failure::new(format!("cannot use the key file {}", path.display()))
        .because(error)
        .hint(hint)
}
