//! apt with a configuration and a state of its own, so that packages of any release of Debian can be had on any
//! machine with apt, without root and without a change to the machine.
//!
//! Where Debian is, the machine's own sources say. Debian's keys, which the machine has, say whether it is: the indexes
//! are signed, and name each package by its SHA-256.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

use super::{PackagesError, Show, run, unwritable};
use sealboot_core::format::digest::Sha256Digest;

/// The keys of Debian's releases, where Debian's package `debian-archive-keyring` puts them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What a source of Debian itself may call its suite. Other archives use these names too; the signature tells them apart.
const SUITES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// A release of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    Bookworm,
    Trixie,
}

impl Release {
    const fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// A package as the signed index names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) digest: Sha256Digest,
}

/// apt that knows the packages of one release.
#[derive(Debug)]
pub(super) struct Apt {
    configuration: PathBuf,
}

impl Apt {
    /// Fetches the indexes of a release into a state under `directory`, which is empty.
    pub(super) async fn update(
        directory: &Path,
        release: Release,
        show: Show<'_>,
    ) -> Result<Self, PackagesError> {
        let apt = Self::configured_in(directory)?;
        let sources = sources_of_this_machine(directory, show).await?;
        let mut last = PackagesError::NoMirror;
        for mirror in &sources.mirrors {
            let text = list(mirror, sources.security.as_deref(), release);
            write(&directory.join("sources.list"), &text)?;
            match run(apt.command("apt-get").args(["-qq", "update"]), show).await {
                Ok(_) => return Ok(apt),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn configured_in(directory: &Path) -> Result<Self, PackagesError> {
        for part in ["lists/partial", "archives/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).map_err(|error| unwritable(&part, error))?;
        }
        write(&directory.join("status"), "")?;
        let at = directory.display();
        // apt as root would drop to a user that may not write here, and warn of it.
        let sandbox = match geteuid().is_root() {
            true => "APT::Sandbox::User \"root\";\n",
            false => "",
        };
        let configuration = directory.join("apt.conf");
        let text = format!(
            "Dir::Etc::SourceList \"{at}/sources.list\";
Dir::Etc::SourceParts \"/dev/null\";
Dir::Etc::Preferences \"/dev/null\";
Dir::Etc::PreferencesParts \"/dev/null\";
Dir::State::Lists \"{at}/lists\";
Dir::State::Status \"{at}/status\";
Dir::Cache::Archives \"{at}/archives\";
Dir::Cache::PkgCache \"\";
Dir::Cache::SrcPkgCache \"\";
Acquire::Languages \"none\";
Acquire::Retries \"3\";
APT::Update::Error-Mode \"any\";
{sandbox}"
        );
        write(&configuration, &text)?;
        Ok(Self { configuration })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.configuration);
        command
    }

    /// Returns the kernel's package that this package depends on, which is the newest of its kind.
    pub(super) async fn newest_kernel(
        &self,
        metapackage: &str,
        show: Show<'_>,
    ) -> Result<String, PackagesError> {
        let mut command = self.command("apt-cache");
        command.args(["depends", "--important", metapackage]);
        let output = run(&mut command, show).await?;
        depended_on(&output)
            .map(str::to_owned)
            .ok_or(PackagesError::Unexpected("kernel"))
    }

    /// Returns what the index says of these packages.
    pub(super) async fn look_up(
        &self,
        names: &[&str],
        show: Show<'_>,
    ) -> Result<Vec<Package>, PackagesError> {
        let mut command = self.command("apt-get");
        command
            .args(["-qq", "download", "--print-uris"])
            .args(names);
        let output = run(&mut command, show).await?;
        let packages: Vec<Package> = output.lines().filter_map(package).collect();
        match packages.len() == names.len() {
            true => Ok(packages),
            false => Err(PackagesError::Unexpected("SHA-256 of each package")),
        }
    }

    /// Downloads these packages into `directory`.
    pub(super) async fn download(
        &self,
        names: &[&str],
        directory: &Path,
        show: Show<'_>,
    ) -> Result<(), PackagesError> {
        let mut command = self.command("apt-get");
        command
            .args(["-qq", "download"])
            .args(names)
            .current_dir(directory);
        run(&mut command, show).await.map(drop)
    }
}

/// Where this machine gets its packages from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sources {
    /// What may be mirrors of Debian.
    mirrors: Vec<String>,
    /// The archive of security updates.
    security: Option<String>,
}

/// Asks apt for this machine's sources. apt says what it would fetch if it had fetched nothing yet, and fetches nothing.
async fn sources_of_this_machine(
    directory: &Path,
    show: Show<'_>,
) -> Result<Sources, PackagesError> {
    let nothing = directory.join("nothing");
    fs::create_dir(&nothing).map_err(|error| unwritable(&nothing, error))?;
    let mut lists = OsStr::new("Dir::State::Lists=").to_owned();
    lists.push(&nothing);
    let mut command = Command::new("apt-get");
    command
        .arg("-o")
        .arg(lists)
        .args(["update", "--print-uris"]);
    run(&mut command, show).await.map(|output| sources(&output))
}

/// Reads the output of `apt-get update --print-uris`: `'https://HOST/debian/dists/trixie/InRelease' …`.
fn sources(output: &str) -> Sources {
    let mut found = Sources::default();
    let releases = output.lines().filter_map(|line| {
        let (uri, _) = line.strip_prefix('\'')?.split_once('\'')?;
        uri.strip_suffix("/InRelease")?.split_once("/dists/")
    });
    for (mirror, suite) in releases {
        if suite.ends_with("-security") {
            found.security.get_or_insert_with(|| mirror.to_owned());
        } else if SUITES.contains(&suite) && !found.mirrors.iter().any(|known| known == mirror) {
            found.mirrors.push(mirror.to_owned());
        }
    }
    found
}

/// Returns the sources.list(5) of a release.
fn list(mirror: &str, security: Option<&str>, release: Release) -> String {
    let suite = release.suite();
    let source = |uri: &str, suite: &str| {
        format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n")
    };
    let mut list = source(mirror, suite);
    if let Some(security) = security {
        list.push_str(&source(security, &format!("{suite}-security")));
    }
    list
}

/// Finds the kernel's package in the output of `apt-cache depends`.
fn depended_on(output: &str) -> Option<&str> {
    output
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

/// Reads a line of `apt-get download --print-uris`: `'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX`.
fn package(line: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let (name, _) = words.nth(1)?.split_once('_')?;
    let digest = words.nth(1)?.strip_prefix("SHA256:")?;
    Some(Package {
        name: name.to_owned(),
        digest: digest.parse().ok()?,
    })
}

fn write(path: &Path, text: &str) -> Result<(), PackagesError> {
    fs::write(path, text).map_err(|error| unwritable(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_debian_are_found_among_others() {
        let output = "\
'https://download.example/linux/debian/dists/bookworm/InRelease' download.example_x 0
'https://packages.example/apt/dists/cloud-sdk/InRelease' packages.example_x 0
'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_x 0
'http://mirror.example/debian/dists/bookworm-updates/InRelease' mirror.example_x 0
'http://mirror.example/debian-security/dists/bookworm-security/InRelease' mirror.example_x 0
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror.example_x 0
";
        let expected = Sources {
            mirrors: vec![
                "https://download.example/linux/debian".to_owned(),
                "http://mirror.example/debian".to_owned(),
            ],
            security: Some("http://mirror.example/debian-security".to_owned()),
        };
        assert_eq!(sources(output), expected);
        assert_eq!(sources(""), Sources::default());
    }

    #[test]
    fn every_source_names_debians_keys() {
        let both = list(
            "http://a.example",
            Some("http://b.example"),
            Release::Trixie,
        );
        assert_eq!(
            both,
            "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://b.example trixie-security main
"
        );
        let one = list("http://a.example", None, Release::Bookworm);
        assert_eq!(one.lines().count(), 1);
    }

    #[test]
    fn the_kernel_is_the_dependency_and_not_another_line() {
        let output = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: linux-image-other\n";
        assert_eq!(
            depended_on(output),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(
            depended_on("linux-image-cloud-amd64\n  Depends: kmod\n"),
            None
        );
        assert_eq!(depended_on(""), None);
    }

    #[test]
    fn a_package_has_the_digest_of_the_index() {
        let digest = Sha256Digest::of(b"a package");
        let line = format!(
            "'http://a.example/b_1%3a2_amd64.deb' busybox-static_1%3a2_amd64.deb 955316 SHA256:{digest}"
        );
        let expected = Package {
            name: "busybox-static".to_owned(),
            digest,
        };
        assert_eq!(package(&line), Some(expected));
        for other in [
            line.replace("SHA256", "MD5Sum"),
            String::new(),
            line[..60].to_owned(),
        ] {
            assert_eq!(package(&other), None, "{other}");
        }
    }
}
