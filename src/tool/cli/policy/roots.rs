//! The two roots that must sign a policy: that of the policy before, and its own.

use crate::cli::support::output;
use sealboot_core::format::shown;
use sealboot_core::trust::policy::{Group, Signer, SignerName, TableKey};
use sealboot_core::trust::{Envelope, PublicKey, Role, TrustPolicy, Verifications};
use sealboot_store::tally::{Missing, in_words, names};

/// The two policies whose roots must sign the newer of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roots<'a> {
    /// The policy before, where it is known.
    pub(super) old: Option<&'a TrustPolicy>,
    /// The policy that is signed.
    pub(super) new: &'a TrustPolicy,
}

impl<'a> Roots<'a> {
    /// Returns the policies, the older first.
    fn policies(self) -> impl Iterator<Item = &'a TrustPolicy> {
        self.old.into_iter().chain([self.new])
    }

    /// Returns the roots, the older first.
    pub(super) fn each(self) -> impl Iterator<Item = Role<'a>> {
        self.policies().map(TrustPolicy::root_role)
    }

    /// Returns `true` if a signature by `key` counts for one of the two.
    pub(super) fn have(self, key: &PublicKey) -> bool {
        let mut signers = self.each().flat_map(|role| role.signers());
        signers.any(|signer| signer.key.known() == Some(key))
    }

    /// Returns which signatures are needed, and the keys whose one signature counts for both roots.
    pub(super) fn required(self) -> String {
        let mut rows: Vec<[String; 2]> = self
            .policies()
            .map(|policy| {
                [
                    format!("root of version {}", policy.version()),
                    in_words(policy.root_role().groups()),
                ]
            })
            .collect();
        let old = self.old.map(|old| keys_of(old.root_role()));
        let both: Vec<SignerName> = (self.new.root_role().signers())
            .filter(|signer| old.iter().flatten().any(|key| **key == signer.key))
            .map(|signer| signer.name.clone())
            .collect();
        if !both.is_empty() {
            rows.push(["counts for both".to_owned(), names(&both)]);
        }
        format!(
            "signatures that version {} needs\n{}",
            self.new.version(),
            output::columns(rows)
        )
    }

    /// Returns which keys have signed, for each root, and the signatures that count for neither.
    pub(super) fn standing(self, envelope: &Envelope) -> String {
        let row = |policy: &TrustPolicy| {
            let role = policy.root_role();
            let signers = count(role, envelope);
            let signed = if signers.is_empty() {
                "no key".to_owned()
            } else {
                names(&signers)
            };
            let missing = match Missing::of(policy.version(), role, envelope) {
                None => String::new(),
                Some(missing) => format!(", missing {missing}"),
            };
            [
                format!("signed for root of version {}", policy.version()),
                format!("{signed} ({} required{missing})", role.required()),
            ]
        };
        let mut rows: Vec<[String; 2]> = self.policies().map(row).collect();
        for signature in envelope.signatures() {
            let alone = envelope.with_only(signature.clone());
            if self.each().any(|role| !count(role, &alone).is_empty()) {
                continue;
            }
            let why = match self.old {
                Some(_) => "no key of either root made it",
                None => {
                    "no key of this root made it; --policy shows whether one of the root before did"
                }
            };
            rows.push([
                "ignored".to_owned(),
                format!(
                    "signature under key id \"{}\": {why}",
                    shown(&signature.key_id, 64)
                ),
            ]);
        }
        output::columns(rows)
    }

    /// Returns what the next policy refuses that the one before accepts, for its author to know before it is signed.
    pub(super) fn warnings(self) -> Vec<String> {
        let Some(old) = self.old else {
            return Vec::new();
        };
        let images = orphaned_images(old, self.new);
        let images = (!images.is_empty()).then(|| {
            let version = self.new.version();
            format!(
                "too few release keys of version {} stay in version {version} for {}: what they have signed is refused once it is published; have the new release keys sign the published images first",
                old.version(),
                images.join(", ")
            )
        });
        let host_configs = refused_host_configs(old, self.new).map(|what| {
            let version = self.new.version();
            format!(
                "{what} are refused once version {version} is published, and machines that have them do not boot: first bake version {version}, with host configs that it accepts, into their initramfs"
            )
        });
        images.into_iter().chain(host_configs).collect()
    }
}

fn count(role: Role<'_>, envelope: &Envelope) -> Vec<SignerName> {
    role.count(envelope, &mut Verifications::default()).signers
}

fn keys_of(role: Role<'_>) -> Vec<&TableKey> {
    role.signers().map(|signer| &signer.key).collect()
}

/// Returns the images of both policies that cannot be signed well enough for `new` by the release keys of `old`.
fn orphaned_images<'a>(old: &TrustPolicy, new: &'a TrustPolicy) -> Vec<&'a str> {
    let is_orphaned = |name| {
        let (Some(before), Some(after)) = (old.release_role(name), new.release_role(name)) else {
            return false;
        };
        let keys = keys_of(before);
        let stay = |group: &Group| {
            let of_group = in_group(after, group);
            of_group
                .filter(|signer| keys.contains(&&signer.key))
                .count()
        };
        let mut groups = after.groups().iter();
        groups.any(|group| stay(group) < group.threshold)
    };
    let images = new.images().iter().map(|image| &image.name);
    images
        .filter(|name| is_orphaned(name))
        .map(|name| name.as_str())
        .collect()
}

fn in_group<'a>(role: Role<'a>, group: &'a Group) -> impl Iterator<Item = &'a Signer> {
    role.signers()
        .filter(|signer| group.keys.contains(&signer.name))
}

/// Returns which host configs that machines have under `old` may be refused by `new`: one is baked in, or lies where
/// no store reaches.
fn refused_host_configs(old: &TrustPolicy, new: &TrustPolicy) -> Option<String> {
    let (was, is) = (old.fields().host_config, new.fields().host_config);
    if is.required && !was.required {
        return Some("plain host configs".to_owned());
    }
    let before = old.host_config_role()?;
    let Some(after) = new.host_config_role() else {
        return Some("signed host configs".to_owned());
    };
    if let Some(time) = is.not_before.filter(|_| is.not_before > was.not_before) {
        return Some(format!("signed host configs from before {time}"));
    }
    // Any threshold of the old keys may have signed one.
    let surely_in = |group: &Group| -> usize {
        let stay = keys_in(after, group);
        let least = before.groups().iter().map(|old| {
            let gone = in_group(before, old)
                .filter(|signer| !stay.contains(&&signer.key))
                .count();
            old.threshold.saturating_sub(gone)
        });
        least.sum()
    };
    let mut groups = after.groups().iter();
    groups
        .any(|group| surely_in(group) < group.threshold)
        .then(|| "host configs that too few of the remaining keys have signed".to_owned())
}

fn keys_in<'a>(role: Role<'a>, group: &'a Group) -> Vec<&'a TableKey> {
    in_group(role, group).map(|signer| &signer.key).collect()
}

#[cfg(test)]
mod tests;
