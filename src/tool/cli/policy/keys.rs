//! The keys of a policy and the roles that they have, as the command line gives them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::support::near::nearest;
use crate::cli::support::{Failure, key_file};
use sealboot_core::format::Invalid;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::trust::policy::{AcceptedImage, Fields, Group, Roles, Signer, SignerName};
use sealboot_store::files::quoted;

/// The keys, and the groups of them that have a role.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys and roles")]
pub(super) struct Keys {
    /// Add the public key of a person or a build machine (repeatable)
    ///
    /// The key has the name of its file without the suffix: alice.pub is alice. Another name is given
    /// before `=`: alice=keys/2026.pub. Compare key ids with the holders of the keys first.
    #[arg(
        long = "key",
        value_name = "[NAME=]FILE.pub",
        required_unless_present = "from"
    )]
    keys: Vec<KeyArgument>,

    /// Let the next policy and every image need N signatures by the keys of --key
    ///
    /// This is the short form of --root and --release with one group of all these keys. Then the keys
    /// that release images can also replace what machines trust.
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["root", "release"],
        required_unless_present_any = ["from", "root", "release"]
    )]
    threshold: Option<usize>,

    /// Let the next policy need N signatures by these keys (repeatable)
    ///
    /// Every group that is given must sign: machines accept no other next policy. Keep these keys offline, and
    /// apart from the keys that release images.
    #[arg(long, value_name = "N:NAME,NAME", value_parser = group)]
    root: Vec<Group>,

    /// Let images need N signatures by these keys (repeatable)
    ///
    /// Every group that is given must sign: `--release 1:build-1 --release 1:alice,bob` needs the build machine
    /// and one of two people.
    #[arg(long, value_name = "N:NAME,NAME", value_parser = group)]
    release: Vec<Group>,

    /// Add the public key of a machine that signs freshness statements (repeatable)
    ///
    /// A freshness statement lists the current releases for a few hours, so that machines notice a frozen
    /// mirror. Its keys sign nothing else: none of them may be in another role.
    #[arg(long = "freshness-key", value_name = "[NAME=]FILE.pub")]
    freshness_keys: Vec<KeyArgument>,

    /// Let a freshness statement need N of the --freshness-key keys [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "freshness")]
    freshness_threshold: Option<usize>,

    /// Let a freshness statement need N signatures by these keys (repeatable)
    ///
    /// Every group that is given must sign.
    #[arg(long, value_name = "N:NAME,NAME", value_parser = group)]
    freshness: Vec<Group>,

    /// Add the public key of a person who signs host configs (repeatable)
    ///
    /// With such a role, a host config may be signed (`sealboot host-config sign`); with
    /// --require-signed-host-config, it must be. Its keys sign nothing else: none of them may be in another role.
    #[arg(long = "host-config-key", value_name = "[NAME=]FILE.pub")]
    host_config_keys: Vec<KeyArgument>,

    /// Let a host config need N of the --host-config-key keys [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "host_config")]
    host_config_threshold: Option<usize>,

    /// Let a host config need N signatures by these keys (repeatable)
    ///
    /// Every group that is given must sign.
    #[arg(long, value_name = "N:NAME,NAME", value_parser = group)]
    host_config: Vec<Group>,

    /// Let this image need N signatures by these keys instead (repeatable)
    ///
    /// The groups take the place of --release for this image, and every one that is given must sign.
    #[arg(long, value_name = "IMAGE=N:NAME,NAME", value_parser = image_group)]
    image_release: Vec<(ImageName, Group)>,

    /// Let freshness statements of this image need these keys instead (repeatable)
    ///
    /// The groups take the place of --freshness for this image, and every one that is given must sign.
    #[arg(long, value_name = "IMAGE=N:NAME,NAME", value_parser = image_group)]
    image_freshness: Vec<(ImageName, Group)>,
}

impl Keys {
    /// Puts the keys and roles that are given in the place of those that `fields` has. The images must be there.
    pub(super) fn apply(self, fields: &mut Fields) -> Result<(), Failure> {
        let is_first = fields.roles.root.is_empty();
        let keys = signers(self.keys)?;
        let freshness_keys = signers(self.freshness_keys)?;
        let host_config_keys = signers(self.host_config_keys)?;
        let [people, renewers, installers] =
            [&keys, &freshness_keys, &host_config_keys].map(|signers| names(signers));

        let given: Vec<Signer> = [keys, freshness_keys, host_config_keys].concat();
        let given_names = names(&given);
        put_all(&mut fields.keys, given)?;

        let own_groups = !self.image_release.is_empty() || !self.image_freshness.is_empty();
        if self.root.is_empty() && self.release.is_empty() {
            if is_first && own_groups {
                return Err(Failure::new(
                    "an image has a group of its own, so --threshold does not say which keys are root and release",
                )
                .hint("give --root N:NAMES and --release N:NAMES in place of --threshold"));
            }
            // Then the keys are given for the groups.
            let people = if own_groups { Vec::new() } else { people };
            all_people(&mut fields.roles, people, self.threshold, is_first)?;
        } else {
            for (given, role, option, other) in [
                (self.root, &mut fields.roles.root, "--root", "--release"),
                (
                    self.release,
                    &mut fields.roles.release,
                    "--release",
                    "--root",
                ),
            ] {
                if !given.is_empty() {
                    *role = given;
                } else if is_first {
                    return Err(
                        Failure::new(format!("{other} is given without {option}")).hint(format!(
                            "give {option} N:NAMES too, or --threshold N in place of both"
                        )),
                    );
                }
            }
        }
        replace(
            &mut fields.roles.freshness,
            self.freshness,
            renewers,
            self.freshness_threshold,
            "freshness",
        )?;
        replace(
            &mut fields.roles.host_config,
            self.host_config,
            installers,
            self.host_config_threshold,
            "host-config",
        )?;
        own_roles(&mut fields.images, self.image_release, |image| {
            &mut image.release
        })?;
        own_roles(&mut fields.images, self.image_freshness, |image| {
            &mut image.freshness
        })?;
        check_names(fields)?;
        drop_unused(fields, &given_names)
    }
}

/// Puts keys into a table, in the place of those of the same name.
fn put_all(table: &mut Vec<Signer>, given: Vec<Signer>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for signer in given {
        if !seen.insert(signer.name.clone()) {
            return Err(Failure::new(format!("two keys have the name {}", signer.name))
                .hint("give each key once, and another name where its file has the same: --key NAME=FILE.pub; a key of freshness or of host configs has no other role"));
        }
        match table.iter_mut().find(|old| old.name == signer.name) {
            Some(old) => *old = signer,
            None => table.push(signer),
        }
    }
    Ok(())
}

/// Lets root and release be one group of the same people.
fn all_people(
    roles: &mut Roles,
    people: Vec<SignerName>,
    threshold: Option<usize>,
    is_first: bool,
) -> Result<(), Failure> {
    if is_first {
        let group = Group {
            keys: people,
            threshold: threshold.unwrap_or_default(),
        };
        roles.root = vec![group.clone()];
        roles.release = vec![group];
        return Ok(());
    }
    if people.is_empty() && threshold.is_none() {
        return Ok(());
    }
    let set = |group: &Group| BTreeSet::from_iter(group.keys.clone());
    match (&mut roles.root[..], &mut roles.release[..]) {
        ([root], [release]) if set(root) == set(release) => {
            for group in [root, release] {
                if !people.is_empty() {
                    group.keys.clone_from(&people);
                }
                group.threshold = threshold.unwrap_or(group.threshold);
            }
            Ok(())
        }
        _ => {
            let option = if threshold.is_some() {
                "--threshold"
            } else {
                "--key"
            };
            Err(Failure::new(format!(
                "{option} is given without --root and --release, which are different groups in the old policy"
            ))
            .hint("give the role that changes: --root N:NAMES or --release N:NAMES"))
        }
    }
}

/// Replaces a role by the groups that are given, or by one group of its own keys.
fn replace(
    role: &mut Option<Vec<Group>>,
    groups: Vec<Group>,
    keys: Vec<SignerName>,
    threshold: Option<usize>,
    option: &str,
) -> Result<(), Failure> {
    if !groups.is_empty() {
        *role = Some(groups);
        return Ok(());
    }
    match role.as_deref_mut() {
        _ if keys.is_empty() && threshold.is_none() => {}
        None if keys.is_empty() => {
            return Err(
                Failure::new(format!("--{option}-threshold is given without a key")).hint(format!(
                    "give the keys of this role: --{option}-key FILE.pub"
                )),
            );
        }
        None => {
            let threshold = threshold.unwrap_or(1);
            *role = Some(vec![Group { keys, threshold }]);
        }
        Some([group]) => {
            if !keys.is_empty() {
                group.keys = keys;
            }
            group.threshold = threshold.unwrap_or(group.threshold);
        }
        Some(_) => {
            return Err(Failure::new(format!(
                "the role of --{option}-key has several groups in the old policy"
            ))
            .hint(format!("give every group of it: --{option} N:NAMES")));
        }
    }
    Ok(())
}

/// Gives images the groups that are theirs alone.
fn own_roles(
    images: &mut [AcceptedImage],
    given: Vec<(ImageName, Group)>,
    role: fn(&mut AcceptedImage) -> &mut Option<Vec<Group>>,
) -> Result<(), Failure> {
    let mut replaced = BTreeSet::new();
    for (name, group) in given {
        let role = role(find_image(images, &name)?);
        if replaced.insert(name.as_str().to_owned()) {
            *role = None;
        }
        role.get_or_insert_default().push(group);
    }
    Ok(())
}

/// Returns the image of this name.
pub(super) fn find_image<'a>(
    images: &'a mut [AcceptedImage],
    name: &ImageName,
) -> Result<&'a mut AcceptedImage, Failure> {
    match images.iter().position(|image| image.name == *name) {
        Some(at) => Ok(&mut images[at]),
        None => {
            let names = images.iter().map(|image| image.name.as_str());
            let hint = match nearest(name.as_str(), names) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("an image that may boot is given by --image {name}"),
            };
            Err(Failure::new(format!("the trust policy accepts no image \"{name}\"")).hint(hint))
        }
    }
}

/// Checks that every group has keys of the table.
fn check_names(fields: &Fields) -> Result<(), Failure> {
    let table: Vec<&str> = fields.keys.iter().map(|key| key.name.as_str()).collect();
    let unknown = named(fields).find(|name| !table.contains(&name.as_str()));
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let hint = match nearest(unknown.as_str(), table.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!(
            "give the key: --key {unknown}=FILE.pub; there are {}",
            table.join(", ")
        ),
    };
    Err(Failure::new(format!("no key has the name {unknown}")).hint(hint))
}

/// Drops the keys that no role has, but for those that were just given: these are a mistake.
fn drop_unused(fields: &mut Fields, given: &[SignerName]) -> Result<(), Failure> {
    let used: BTreeSet<SignerName> = named(fields).cloned().collect();
    if let Some(unused) = given.iter().find(|name| !used.contains(name)) {
        return Err(Failure::new(format!("no role has the key {unused}"))
            .hint(format!("name it in a group, as in --release 1:{unused}")));
    }
    fields.keys.retain(|signer| used.contains(&signer.name));
    Ok(())
}

/// Returns the names in all groups.
fn named(fields: &Fields) -> impl Iterator<Item = &SignerName> {
    let roles = &fields.roles;
    let images = fields.images.iter();
    let own = images.flat_map(|image| image.release.iter().chain(&image.freshness));
    [&roles.root, &roles.release]
        .into_iter()
        .chain(&roles.freshness)
        .chain(&roles.host_config)
        .chain(own)
        .flatten()
        .flat_map(|group| &group.keys)
}

fn names(signers: &[Signer]) -> Vec<SignerName> {
    signers.iter().map(|signer| signer.name.clone()).collect()
}

fn signers(keys: Vec<KeyArgument>) -> Result<Vec<Signer>, Failure> {
    keys.into_iter().map(KeyArgument::signer).collect()
}

/// Reads `N:NAME,NAME`.
fn group(text: &str) -> Result<Group, Invalid> {
    let takes = "N:NAME,NAME, such as 2:alice,bob,carol";
    let invalid = || Invalid::new("group", text, takes);
    let (threshold, names) = text.split_once(':').ok_or_else(invalid)?;
    let names = names.split(',').map(str::parse);
    Ok(Group {
        keys: names.collect::<Result<_, _>>()?,
        threshold: threshold.parse().map_err(|_| invalid())?,
    })
}

/// Reads `IMAGE=N:NAME,NAME`.
fn image_group(text: &str) -> Result<(ImageName, Group), Invalid> {
    let takes = "IMAGE=N:NAME,NAME, such as relay=1:alice,bob";
    let (image, of) = text
        .split_once('=')
        .ok_or_else(|| Invalid::new("group of an image", text, takes))?;
    Ok((image.parse()?, group(of)?))
}

/// `[NAME=]FILE`.
#[derive(Debug, Clone)]
struct KeyArgument {
    name: Option<SignerName>,
    file: PathBuf,
}

impl FromStr for KeyArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // A `=` in a path: `./a=b.pub`, for no signer's name has a slash.
        let named = text
            .split_once('=')
            .and_then(|(name, file)| Some((name.parse().ok()?, file)));
        let (name, file) = match named {
            Some((name, file)) => (Some(name), file),
            None => (None, text),
        };
        let file = file.into();
        Ok(Self { name, file })
    }
}

impl KeyArgument {
    fn signer(self) -> Result<Signer, Failure> {
        let key = key_file::read_public(&self.file)?;
        let name = match self.name {
            Some(name) => name,
            None => self
                .file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default()
                .parse()
                .map_err(|error: Invalid| {
                    let file = &self.file;
                    Failure::new(format!("the name of {} cannot name a key", file.display()))
                        .because(&error)
                        .hint(format!("give a name: --key NAME={}", quoted(file)))
                })?,
        };
        Ok(Signer::new(name, key))
    }
}
