//! What an initramfs trusts: whose keys can extend the chain of policies on its machines.

use std::path::Path;

use serde::Serialize;

use crate::cli::support::{Failure, output};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{Group, SignerName};
use sealboot_store::tally::{in_words, names};
use sealboot_store::{Fork, Store};

/// The trust policy that is baked in.
#[derive(Debug, Serialize)]
pub(super) struct Trust {
    version: PolicyVersion,
    sha256: Sha256Digest,
    /// The groups that must sign what follows it.
    root: Vec<Group>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
}

/// The newest policy of a store, and what it leaves of the baked-in one's root.
#[derive(Debug, Serialize)]
struct Newest {
    version: PolicyVersion,
    /// The keys of the baked-in root that it has removed.
    removed: Vec<SignerName>,
    fork: ForkAt,
}

/// The fork that is possible on machines with the initramfs.
#[derive(Debug, Serialize)]
struct ForkAt {
    /// The version with which it begins.
    version: PolicyVersion,
    #[serde(flatten)]
    fork: Fork,
}

impl Trust {
    /// Returns what the bytes of a baked-in policy say, compared with the newest policy in `store`.
    pub(super) fn read(json: &[u8], store: Option<&Path>) -> Result<Self, Failure> {
        let policy = TrustPolicy::parse(json).map_err(|error| {
            Failure::new("cannot use the trust policy of the initramfs")
                .because(&error)
                .hint("loaders of this version refuse it; build the initramfs again")
        })?;
        let newest = store.map(|store| Newest::of(&policy, store)).transpose()?;
        Ok(Self {
            version: policy.version(),
            sha256: Sha256Digest::of(json),
            root: policy.root_role().groups().to_vec(),
            newest,
        })
    }

    /// Returns it in lines, each with a mark that no entry of the list begins with.
    pub(super) fn lines(&self) -> String {
        let root = in_words(&self.root);
        let mut text = format!(
            "# trust policy version {}, sha256 {}\n# can extend the chain of policies from it: {root}\n",
            self.version, self.sha256
        );
        if let Some(newest) = &self.newest {
            text += &newest.lines(&root);
        }
        text
    }

    /// Returns what to do where removed keys could fork the chain.
    pub(super) fn warning(&self) -> Option<String> {
        let newest = self.newest.as_ref()?;
        (!newest.removed.is_empty()).then(|| {
            format!(
                "machines with this initramfs still count {}, which version {} has removed from root; build it again with version {}",
                names(&newest.removed),
                newest.version,
                newest.version
            )
        })
    }
}

impl Newest {
    fn of(baked_in: &TrustPolicy, store: &Path) -> Result<Self, Failure> {
        let store = Store::open(store)?;
        let newest = store.newest_policy(baked_in.clone(), &mut |notice| {
            if notice.is_warning() {
                output::say(notice);
            }
        })?;
        let fork = Fork::of(baked_in, &newest);
        let version = baked_in.version().next().unwrap_or(baked_in.version());
        Ok(Self {
            version: newest.version(),
            removed: fork.removed(),
            fork: ForkAt { version, fork },
        })
    }

    fn lines(&self, root: &str) -> String {
        let Self {
            version,
            removed,
            fork,
        } = self;
        let removed = match &removed[..] {
            [] => "none of these keys".to_owned(),
            removed => names(removed),
        };
        let enough = match fork.fork.lacking {
            0 => "the removed keys are enough".to_owned(),
            1 => "1 of them must still be in root".to_owned(),
            lacking => format!("{lacking} of them must still be in root"),
        };
        format!(
            "# the store's newest is version {version}, which has removed from root: {removed}\n# a fork of the chain at version {} needs {root}: {enough}\n",
            fork.version
        )
    }
}
