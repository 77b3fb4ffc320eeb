//! Which keys could sign another chain of trust policies for machines that begin with an old one.
//!
//! A removed key counts for nothing once a machine has reached the policy that removed it. A machine begins at every
//! power-on with the policy that is baked in, and whatever that policy's root signs as the next version follows it. So
//! removed keys stay dangerous until the initramfs is built again.

use serde::Serialize;

use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{Group, Signer, SignerName};

/// The keys that can extend the chain from a baked-in policy, and which of them a later policy has removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// The groups of the baked-in policy's root. A fork needs signatures of each.
    pub groups: Vec<ForkGroup>,
    /// How many signatures a fork needs of keys that are still in root.
    pub lacking: usize,
}

/// A group of the baked-in policy's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkGroup {
    /// How many of its keys must sign.
    pub threshold: usize,
    /// Its keys.
    pub keys: Vec<SignerName>,
    /// Those that the newest policy's root does not have.
    pub removed: Vec<SignerName>,
}

impl Fork {
    /// Returns the fork that is possible on machines with `baked_in`, where `newest` follows it.
    #[must_use]
    pub fn of(baked_in: &TrustPolicy, newest: &TrustPolicy) -> Self {
        let is_kept = |name: &SignerName| {
            let key = |signer: &Signer| signer.name == *name;
            let signer = baked_in.keys().iter().find(|signer| key(signer));
            let mut root = newest.root_role().signers();
            signer.is_some_and(|signer| root.any(|other| other.key == signer.key))
        };
        let group = |group: &Group| ForkGroup {
            threshold: group.threshold,
            removed: (group.keys.iter())
                .filter(|name| !is_kept(name))
                .cloned()
                .collect(),
            keys: group.keys.clone(),
        };
        let groups: Vec<ForkGroup> = baked_in.root_role().groups().iter().map(group).collect();
        let lacking = |group: &ForkGroup| group.threshold.saturating_sub(group.removed.len());
        Self {
            lacking: groups.iter().map(lacking).sum(),
            groups,
        }
    }

    /// Returns the removed keys of all groups.
    #[must_use]
    pub fn removed(&self) -> Vec<SignerName> {
        let removed = self.groups.iter().flat_map(|group| &group.removed);
        removed.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{policy, signer, versioned};

    fn names(names: &[SignerName]) -> Vec<&str> {
        names.iter().map(SignerName::as_str).collect()
    }

    #[test]
    fn removed_keys_are_counted_by_group_and_threshold() {
        let first = policy(&["alice", "bob", "carol", "dora"]);
        let group = |threshold, keys: &[&str]| Group {
            keys: keys.iter().map(|name| name.parse().unwrap()).collect(),
            threshold,
        };
        let first = first
            .with(|fields| {
                fields.roles.root = vec![group(2, &["alice", "bob", "carol"]), group(1, &["dora"])];
            })
            .unwrap();
        let without = |gone: &[&str]| {
            let kept = |name: &SignerName| !gone.contains(&name.as_str());
            let second = versioned(&first, 2).with(|fields| {
                for group in &mut fields.roles.root {
                    group.keys.retain(kept);
                }
                fields.roles.root.retain(|group| !group.keys.is_empty());
                for group in &mut fields.roles.root {
                    group.threshold = group.threshold.min(group.keys.len());
                }
            });
            Fork::of(&first, &second.unwrap())
        };
        for (gone, lacking) in [
            (&[][..], 3),
            (&["alice"], 2),
            (&["alice", "bob"], 1),
            (&["alice", "bob", "carol"], 1),
            (&["alice", "bob", "dora"], 0),
        ] {
            let fork = without(gone);
            assert_eq!(names(&fork.removed()), gone);
            assert_eq!(fork.lacking, lacking, "{gone:?}");
        }
    }

    #[test]
    fn a_renamed_key_is_not_removed() {
        let first = policy(&["alice", "bob"]);
        let renamed = |fields: &mut sealboot_core::trust::policy::Fields| {
            fields.keys[0] = Signer {
                name: "alicia".parse().unwrap(),
                ..signer("alice")
            };
            for role in [&mut fields.roles.root, &mut fields.roles.release] {
                role[0].keys[0] = "alicia".parse().unwrap();
            }
        };
        let second = versioned(&first, 2).with(renamed).unwrap();
        let fork = Fork::of(&first, &second);
        assert_eq!(names(&fork.removed()), [""; 0]);
        assert_eq!(fork.lacking, 2);
    }
}
