//! `sealboot initramfs`.

use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::support::{Failure, time};
use crate::assemble::emergency::{Emergency, Fallback};
use crate::assemble::initramfs::{self, BuildError, Built, Request, UnknownFields};
use crate::assemble::initrd::{self, Archive, Compression};
use crate::assemble::modules::{self, BuiltIn, Disk, Module, Selection};
use crate::cpio::{Entry, Kind};
use sealboot_core::format::cmdline::Cmdline;
use sealboot_store::files;

/// Build the initramfs that machines boot first, and look into one
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Build(Box<BuildArgs>),
    Inspect(InspectArgs),
}

/// Bake the loader and all that it is to trust into an initramfs
///
/// The initramfs and a kernel are all that a machine needs to boot. Baked in are the loader, the trust
/// policy, the host config, the certificate authorities of the mirrors, and kernel modules with
/// everything that they need, firmware included. Of the modules, a machine loads those that its devices
/// ask for, so one initramfs can serve machines of many kinds.
///
/// What the loader would refuse is refused here: a policy that does not load, or that has expired and
/// then refuses every image, a host config that is not signed as the policy asks, a mirror that it does
/// not allow, a loader that is not static, a module of another kernel's architecture. Modules of disks and file systems are not baked in, unless
/// --allow-disk-module names each. Drivers of disks that the kernel has built in are named, with the words
/// of the kernel command line that disable them.
///
/// The same inputs give the same bytes. With SOURCE_DATE_EPOCH set, that time is baked in, and the
/// loader never lets its clock be earlier.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  sealboot initramfs build --loader sealboot-init --policy trust.json --host-config host.json \\
    --tls-roots ca.pem --modules-dir /lib/modules/$(uname -r) --module common-nics --module qede --out loader.img")]
pub(super) struct BuildArgs {
    /// The loader: sealboot-init, linked statically
    #[arg(long, value_name = "BIN")]
    loader: PathBuf,

    /// The trust policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The host config, plain or signed; without it, machines must be told by sealboot.mirror=, sealboot.image= and ip=
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,

    /// The certificate authorities of the mirrors, as PEM; nothing else is trusted for TLS
    #[arg(long, value_name = "PEM")]
    tls_roots: PathBuf,

    /// The modules directory of the kernel that boots the initramfs, /lib/modules/VERSION
    #[arg(long = "modules-dir", value_name = "DIR")]
    modules: PathBuf,

    /// A kernel module, or a set of them; can be given several times. Sets: virtio (QEMU and clouds with
    /// virtio), common-nics (what servers and clouds have most), all-nics (every Ethernet card)
    #[arg(long = "module", value_name = "NAME|SET", default_value = modules::DEFAULT_SET)]
    wanted: Vec<String>,

    /// A kernel module that is baked in although it is a driver of disks or a file system; can be given
    /// several times, and what it needs of its kind must be named too
    #[arg(long = "allow-disk-module", value_name = "NAME")]
    disks: Vec<String>,

    /// Where the firmware is that the modules ask for, plain or compressed; what is not there is left out
    /// [default: the directory firmware beside the one of --modules-dir, such as /lib/firmware]
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,

    /// The kernel that is entered where the image cannot be had, if the trust policy says so (--final-action fallback)
    #[arg(long, value_name = "FILE", requires = "fallback_initrd")]
    fallback_kernel: Option<PathBuf>,

    /// Its initrd
    #[arg(long, value_name = "FILE", requires = "fallback_kernel")]
    fallback_initrd: Option<PathBuf>,

    /// Its command line, to which the loader adds sealboot.failed=CODE
    #[arg(
        long,
        value_name = "LINE",
        requires = "fallback_kernel",
        default_value = ""
    )]
    fallback_cmdline: Cmdline,

    /// A static program that is a shell when it is called sh, such as busybox, for operators at a console. The
    /// trust policy must allow it (--allow-shell)
    #[arg(long, value_name = "BIN")]
    shell: Option<PathBuf>,

    /// Bake in a trust policy or a host config that has fields which this version of sealboot does not know
    #[arg(long)]
    unknown_fields: bool,

    /// How the initramfs is compressed
    #[arg(long, value_enum, default_value_t = CompressArg::Zstd)]
    compress: CompressArg,

    /// Where the initramfs goes; one that is there is replaced in one step
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressArg {
    /// With zstd; the kernel needs CONFIG_RD_ZSTD, since Linux 5.9
    Zstd,
    /// Not at all
    None,
}

/// List what an initramfs holds
///
/// Shows every archive that the kernel would unpack, in its order; a later one overwrites what an
/// earlier one unpacked. Reads plain and zstd-compressed archives, also of other tools. Nothing is
/// verified: the list tells what is there, not who put it there.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Print JSON: {"archives": [{"compression", "entries": [{"name", "type", "mode", "size", …}]}]}
    #[arg(long)]
    json: bool,

    /// The initramfs
    file: PathBuf,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(args) => build(*args),
        Command::Inspect(args) => inspect(&args),
    }
}

fn build(args: BuildArgs) -> Result<(), Failure> {
    let mut selection = Selection::default();
    args.wanted.iter().for_each(|name| selection.add(name));
    args.disks.iter().for_each(|name| selection.add_disk(name));
    let fallback = match (args.fallback_kernel, args.fallback_initrd) {
        (Some(kernel), Some(initrd)) => Some(Fallback {
            kernel,
            initrd,
            cmdline: args.fallback_cmdline,
        }),
        _ => None,
    };
    let build_time = time::source_date_epoch()?;
    let request = Request {
        loader: args.loader,
        policy: args.policy,
        host_config: args.host_config,
        tls_roots: args.tls_roots,
        modules: args.modules,
        selection,
        firmware: args.firmware,
        emergency: Emergency {
            fallback,
            shell: args.shell,
        },
        compression: match args.compress {
            CompressArg::Zstd => Compression::Zstd,
            CompressArg::None => Compression::None,
        },
        now: build_time.unwrap_or_else(time::now),
        unknown_fields: match args.unknown_fields {
            true => UnknownFields::Accept,
            false => UnknownFields::Refuse,
        },
        build_time,
        out: args.out,
    };
    let built = initramfs::build(&request)?;
    tell(&built);
    #[expect(clippy::print_stdout, reason = "the path is this command's data")]
    {
        println!("{}", request.out.display());
    }
    Ok(())
}

/// Says on stderr what was baked in, and what was not.
fn tell(built: &Built) {
    let order = &built.modules;
    for (name, reason) in &order.left_out {
        anstream::eprintln!("module {name}: left out, {reason}");
    }
    if !order.absent.is_empty() {
        anstream::eprintln!("not in this kernel: {}", order.absent.join(" "));
    }
    if !order.builtin.is_empty() {
        anstream::eprintln!("built into this kernel: {}", order.builtin.join(" "));
    }
    for module in &order.modules {
        if module.disk == Disk::Allowed {
            anstream::eprintln!(
                "warning: module {} makes the disks of a machine reachable, or readable, for the loader",
                module.name()
            );
        }
    }
    tell_builtin(&built.builtin, &built.kernel_version);
    let names: Vec<&str> = order.modules.iter().map(Module::name).collect();
    anstream::eprintln!(
        "{} modules of kernel {}: {}",
        names.len(),
        built.kernel_version,
        names.join(" ")
    );
    tell_firmware(built);
    if let Some(bytes) = built.fallback {
        anstream::eprintln!("a fallback of {bytes} bytes");
        if let Some(warning) = fallback_warning(bytes) {
            anstream::eprintln!("warning: {warning}");
        }
    }
    for unused in &built.unused {
        anstream::eprintln!("warning: {unused}");
    }
    anstream::eprintln!("{} bytes, sha256 {}", built.size, built.sha256);
}

/// Says which drivers of disks the kernel has built in, and what disables them.
fn tell_builtin(builtin: &BuiltIn, version: &str) {
    if builtin.drivers.is_empty() {
        return;
    }
    anstream::eprintln!(
        "warning: kernel {version} has drivers of disks built in: {}; it reads the disks of a machine before the loader runs",
        builtin.drivers.join(", ")
    );
    let line = builtin.line();
    if let Some(line) = &line {
        anstream::eprintln!(
            "hint: add this to the kernel command line of the machines, and of images with this kernel; or take a kernel that has these drivers as modules\n  {line}"
        );
    }
    if !builtin.unknown.is_empty() {
        let unknown = builtin.unknown.join(", ");
        let so = match line {
            Some(_) => "the line above does not disable it",
            None => "take a kernel that has it as a module",
        };
        anstream::eprintln!("warning: no init function is known of {unknown}: {so}");
    }
    let file_systems = match builtin.file_systems.as_slice() {
        [] => String::new(),
        names => format!(", built-in file systems: {}", names.join(", ")),
    };
    anstream::eprintln!(
        "warning: an attacker who controls the kernel command line can leave that out and start another OS from a disk (root={file_systems}); no initramfs can stop that"
    );
}

/// From how many bytes on a fallback is told of: a machine with little memory, 512 MiB, then misses it.
const LARGE_FALLBACK: u64 = 32 << 20;

fn fallback_warning(bytes: u64) -> Option<String> {
    let mib = bytes.div_ceil(1 << 20);
    (bytes >= LARGE_FALLBACK).then(|| {
        format!(
            "the fallback takes {mib} MiB of a machine's memory for as long as the loader runs, and {} MiB more when it is entered, for kexec holds it twice",
            2 * mib
        )
    })
}

fn tell_firmware(built: &Built) {
    let files = &built.firmware.files;
    if !files.is_empty() {
        let bytes: usize = files.values().map(Vec::len).sum();
        let plural = if files.len() == 1 { "" } else { "s" };
        anstream::eprintln!("{} file{plural} of firmware, {bytes} bytes", files.len());
    }
    let missing: Vec<String> = built
        .firmware
        .missing()
        .map(|(module, names)| match names.as_slice() {
            [one] => format!("{module} ({one})"),
            [first, others @ ..] => format!("{module} ({first} and {} more)", others.len()),
            [] => module.to_owned(),
        })
        .collect();
    if !missing.is_empty() {
        anstream::eprintln!(
            "not in {}, so some cards of these modules may not work: {}",
            built.firmware_dir.display(),
            missing.join(", ")
        );
        anstream::eprintln!(
            "hint: Debian has firmware in firmware-misc-nonfree, firmware-realtek, firmware-bnx2, firmware-bnx2x and the like (`apt-file search NAME`); elsewhere it is linux-firmware"
        );
    }
}

fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let archives = read_archives(&args.file)?;
    let text = if args.json {
        let mut json = serde_json::to_string_pretty(&Listing::of(&archives))
            .map_err(|error| Failure::new("the list cannot be written as JSON").because(&error))?;
        json.push('\n');
        json
    } else {
        list(&archives)
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::new("cannot write the list").because(&error)),
    }
}

fn read_archives(path: &Path) -> Result<Vec<Archive>, Failure> {
    let file = files::open(path)?;
    initrd::archives(BufReader::new(file)).map_err(|error| {
        Failure::new(format!(
            "{} is no initramfs that can be listed",
            path.display()
        ))
        .because(&error)
        .hint("give a newc cpio archive, plain or compressed with zstd")
    })
}

/// Writes the list as `ls -l` would.
fn list(archives: &[Archive]) -> String {
    let mut text = String::new();
    for (number, archive) in (1..).zip(archives) {
        if archives.len() > 1 {
            let compression = compression(archive.compression);
            text.push_str(&format!("# archive {number}, compression {compression}\n"));
        }
        for entry in &archive.entries {
            let size = match entry.kind {
                Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                    format!("{major}, {minor}")
                }
                _ => entry.size.to_string(),
            };
            let name = entry.name.escape_ascii();
            text.push_str(&format!("{} {size:>10} {name}", mode(entry)));
            if let Kind::Symlink { target } = &entry.kind {
                text.push_str(&format!(" -> {}", target.escape_ascii()));
            }
            text.push('\n');
        }
    }
    text
}

/// The ten characters of `ls -l`.
fn mode(entry: &Entry) -> String {
    let mut mode = String::from(match entry.kind {
        Kind::Directory => 'd',
        Kind::File => '-',
        Kind::Symlink { .. } => 'l',
        Kind::CharDevice { .. } => 'c',
        Kind::BlockDevice { .. } => 'b',
        Kind::Other(_) => '?',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = entry.permissions >> shift;
        mode.push(if bits & 4 != 0 { 'r' } else { '-' });
        mode.push(if bits & 2 != 0 { 'w' } else { '-' });
        mode.push(match (entry.permissions & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    mode
}

const fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Zstd => "zstd",
    }
}

#[derive(Serialize)]
struct Listing {
    archives: Vec<ListedArchive>,
}

#[derive(Serialize)]
struct ListedArchive {
    compression: &'static str,
    entries: Vec<ListedEntry>,
}

#[derive(Serialize)]
struct ListedEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Permissions as four octal digits.
    mode: String,
    uid: u32,
    gid: u32,
    mtime: u32,
    size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<[u32; 2]>,
}

impl Listing {
    fn of(archives: &[Archive]) -> Self {
        let archives = archives.iter().map(|archive| ListedArchive {
            compression: compression(archive.compression),
            entries: archive.entries.iter().map(ListedEntry::of).collect(),
        });
        Self {
            archives: archives.collect(),
        }
    }
}

impl ListedEntry {
    fn of(entry: &Entry) -> Self {
        let (kind, target, device) = match &entry.kind {
            Kind::Directory => ("directory", None, None),
            Kind::File => ("file", None, None),
            Kind::Symlink { target } => {
                let target = String::from_utf8_lossy(target).into_owned();
                ("symlink", Some(target), None)
            }
            Kind::CharDevice { major, minor } => ("char-device", None, Some([*major, *minor])),
            Kind::BlockDevice { major, minor } => ("block-device", None, Some([*major, *minor])),
            Kind::Other(_) => ("other", None, None),
        };
        Self {
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            kind,
            mode: format!("{:04o}", entry.permissions),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.size,
            target,
            device,
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = match &error {
            BuildError::HostConfigRefused { source, .. } => {
                return Self::refused(&**source).context(&error);
            }
            _ => Self::from_error(&error, error.hint()),
        };
        match error.code() {
            None if !error.is_forbidden() => failure,
            code => failure.into_refusal(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_is_warned_of_from_32_mib_on() {
        assert_eq!(fallback_warning(LARGE_FALLBACK - 1), None);
        assert_eq!(
            fallback_warning(LARGE_FALLBACK + 1).as_deref(),
            Some(
                "the fallback takes 33 MiB of a machine's memory for as long as the loader runs, and 66 MiB more when it is entered, for kexec holds it twice"
            )
        );
    }
}
