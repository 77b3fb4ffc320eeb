//! The trust policies in a store: from the one that an operator gives to the one that machines end with.

use std::path::{Path, PathBuf};

use super::{Failure, files, output};
use crate::format::limits::LIMITS;
use crate::format::version::PolicyVersion;
use crate::trust::{Chain, TrustPolicy};

/// Fails where a store that is to be changed is not there.
pub(super) fn check_store(store: &Path) -> Result<(), Failure> {
    if store.is_dir() {
        return Ok(());
    }
    Err(
        Failure::new(format!("the store {} is no directory", store.display()))
            .hint("give the store that the server serves; `sealboot image pack --store` makes one"),
    )
}

/// Where a store keeps this version of the trust policy.
pub(super) fn place(store: &Path, version: PolicyVersion) -> PathBuf {
    store.join("trust").join(format!("{version}.json"))
}

/// Walks from `policy` along the policies in `store`, as a loader does that has `policy` baked in.
pub(super) fn walk(policy: TrustPolicy, store: &Path) -> Result<Chain, Failure> {
    let mut chain = Chain::from(policy);
    while let Some(version) = chain.next() {
        let path = place(store, version);
        if matches!(path.try_exists(), Ok(false)) {
            break;
        }
        let envelope = files::read(&path, LIMITS.policy_envelope_bytes)?;
        chain
            .step(&envelope)
            .map_err(|refusal| Failure::refused(&refusal).context(path.display()))?;
    }
    Ok(chain)
}

/// The policy by which machines judge what stands in `store`, where they have `policy` baked in; says so
/// where that is another one.
pub(super) fn newest(policy: TrustPolicy, store: Option<&Path>) -> Result<TrustPolicy, Failure> {
    let Some(store) = store else {
        return Ok(policy);
    };
    let from = policy.version();
    let newest = walk(policy, store)?.newest().clone();
    if newest.version() != from {
        output::talk(format!(
            "judged by version {} of the trust policy, {}, which follows from version {from}",
            newest.version(),
            place(store, newest.version()).display()
        ));
    }
    Ok(newest)
}
