//! The trust policies in a store: from the one that an operator gives to the one that machines end with.

use std::path::{Path, PathBuf};

use super::support::{Failure, output};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::{Chain, TrustPolicy};
use sealboot_store::files;

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
    go_on(Chain::from(policy), store, None)
}

/// Goes on with a walk that began earlier, up to the last version below `end`, or to the last there is.
pub(super) fn go_on(
    mut chain: Chain,
    store: &Path,
    end: Option<PolicyVersion>,
) -> Result<Chain, Failure> {
    while let Some(version) = chain
        .next()
        .filter(|next| end.is_none_or(|end| *next < end))
    {
        let path = place(store, version);
        if matches!(path.try_exists(), Ok(false)) {
            check_no_gap(store, version)?;
            break;
        }
        let envelope = files::read_stored(&path, LIMITS.policy_envelope_bytes)?;
        chain
            .step(&envelope)
            .map_err(|refusal| Failure::refused(&refusal).context(path.display()))?;
    }
    Ok(chain)
}

/// Fails where a store lacks a policy but has a later one: machines would stop at the gap, and so would
/// who speaks for the store.
fn check_no_gap(store: &Path, missing: PolicyVersion) -> Result<(), Failure> {
    let entries = std::fs::read_dir(store.join("trust")).into_iter().flatten();
    let versions = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".json")?.parse().ok()
    });
    match versions
        .filter(|version: &PolicyVersion| *version > missing)
        .max()
    {
        None => Ok(()),
        Some(later) => Err(Failure::new(format!(
            "the store {} has version {later} of the trust policy, but not version {missing}",
            store.display()
        ))
        .hint(format!(
            "copy trust/{missing}.json from another copy of the store: machines stop before a gap"
        ))),
    }
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
