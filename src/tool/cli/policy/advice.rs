//! What a trust policy allows that its author may not have thought of.

use std::collections::BTreeSet;

use jiff::Timestamp;

use sealboot_core::trust::policy::{
    ExpiryRule, FailurePolicy, FinalAction, Group, OnExpiry, SignerName, TableKey,
};
use sealboot_core::trust::{Role, TrustPolicy};
use sealboot_store::tally::in_words;

/// A week: with longer statements, a frozen mirror hides old news.
const LONG_FRESHNESS_HOURS: u32 = 7 * 24;

/// Two weeks: time for people to sign the next policy.
const EXPIRES_SOON_DAYS: i64 = 14;

/// Returns the weaknesses of a policy at `now`, the worst first.
pub(super) fn weaknesses(policy: &TrustPolicy, now: Timestamp) -> Vec<String> {
    let fields = policy.fields();
    let mut found = signatures(policy);
    found.extend(unknown_keys(policy));
    found.extend(expiry(policy, now));
    found.extend(old_images(policy));
    found.extend(freshness(policy));
    if fields.roles.host_config.is_some() && !fields.host_config.required {
        found.push(
            "signed host configs not required: a plain one, or a kernel command line, can send a machine to any mirror; see --require-signed-host-config"
                .to_owned(),
        );
    }
    found.extend(failures(fields.on_failure));
    if fields.allow_http {
        found.push(
            "plain http allowed: everyone between a machine and its mirror sees which image it fetches"
                .to_owned(),
        );
    }
    found
}

/// Returns what to know of the end of a policy: that it is past, that it is near, or what it does.
fn expiry(policy: &TrustPolicy, now: Timestamp) -> Option<String> {
    let fields = policy.fields();
    let expires = fields.expires?;
    let refuses = fields.on_expiry == OnExpiry::Refuse;
    let seconds = expires.duration_since(now).as_secs();
    if seconds <= 0 {
        let then = if refuses {
            "refuses every image"
        } else {
            "prints a warning at each boot"
        };
        return Some(format!(
            "the policy expired at {expires}: a machine {then} until it finds a newer policy; give a later --expires"
        ));
    }
    let then = if refuses {
        "from then on, a machine refuses every image until it finds a newer policy"
    } else {
        "from then on, a machine prints a warning at each boot"
    };
    let day = 24 * 60 * 60;
    if seconds <= EXPIRES_SOON_DAYS * day {
        let left = match seconds / day {
            0 => "in less than a day".to_owned(),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        };
        return Some(format!(
            "the policy expires {left}, at {expires}: {then}; publish the next policy before"
        ));
    }
    refuses.then(|| {
        format!(
            "the policy expires: from {expires}, a machine refuses every image until it finds a newer policy; see --on-expiry"
        )
    })
}

/// Too few signatures, too many, and keys that can do more than their role says.
fn signatures(policy: &TrustPolicy) -> Vec<String> {
    let roles = &policy.fields().roles;
    let releases = releases(policy);
    let mut found = Vec::new();
    if roles.root == roles.release {
        match stress(&roles.root) {
            Some(Stress::OneSigns) => found.push("threshold 1: one stolen key is enough to change what runs and what machines trust".to_owned()),
            Some(Stress::AllSign(groups)) => found.push(format!("{} must sign: one lost key stops every new image, and every new policy that could replace it", in_words(&groups))),
            None => {}
        }
    } else {
        match stress(&roles.root) {
            Some(Stress::OneSigns) => found.push(
                "root has threshold 1: one stolen key is enough to replace what machines trust"
                    .to_owned(),
            ),
            Some(Stress::AllSign(groups)) => found.push(format!(
                "root needs {}: one lost key stops every new policy",
                in_words(&groups)
            )),
            None => {}
        }
    }
    for (name, groups) in &releases {
        if **groups == roles.root {
            continue;
        }
        match stress(groups) {
            Some(Stress::OneSigns) => found.push(format!(
                "{name} has threshold 1: one stolen key is enough to change what runs"
            )),
            Some(Stress::AllSign(groups)) => found.push(format!(
                "{name} needs {}: one lost key stops every new image until the next policy",
                in_words(&groups)
            )),
            None => {}
        }
    }
    found.extend(shared(&roles.root, &releases));
    found
}

/// Returns the roles that sign manifests, with their names.
fn releases(policy: &TrustPolicy) -> Vec<(String, &Vec<Group>)> {
    let mut all = vec![("release".to_owned(), &policy.fields().roles.release)];
    let own = policy.images().iter();
    all.extend(own.filter_map(|image| {
        let groups = image.release.as_ref()?;
        Some((format!("release of {}", image.name), groups))
    }));
    all
}

/// How the loss or theft of one key hits a role.
enum Stress {
    OneSigns,
    /// Every key of these groups must sign.
    AllSign(Vec<Group>),
}

fn stress(groups: &[Group]) -> Option<Stress> {
    let required: usize = groups.iter().map(|group| group.threshold).sum();
    if required == 1 {
        return Some(Stress::OneSigns);
    }
    let all_sign = |group: &&Group| group.threshold == group.keys.len();
    let groups: Vec<Group> = groups.iter().filter(all_sign).cloned().collect();
    (!groups.is_empty()).then_some(Stress::AllSign(groups))
}

/// Returns what the keys that release images can do as root.
fn shared(root: &[Group], releases: &[(String, &Vec<Group>)]) -> Option<String> {
    let releasing: BTreeSet<&SignerName> = releases
        .iter()
        .flat_map(|(_, groups)| groups.iter())
        .flat_map(|group| &group.keys)
        .collect();
    let in_both = |group: &Group| {
        group
            .keys
            .iter()
            .filter(|name| releasing.contains(name))
            .count()
    };
    let shared: Vec<&str> = root
        .iter()
        .flat_map(|group| &group.keys)
        .filter(|name| releasing.contains(name))
        .map(SignerName::as_str)
        .collect();
    if shared.is_empty() {
        return None;
    }
    let lacking: usize = root
        .iter()
        .map(|group| group.threshold.saturating_sub(in_both(group)))
        .sum();
    let shared = shared.join(", ");
    Some(match lacking {
        0 => format!(
            "root and release share {shared}: the keys that release images can also replace what machines trust; see --root"
        ),
        more => format!(
            "root and release share {shared}: the keys that release images need only {more} more of root to replace what machines trust; see --root"
        ),
    })
}

/// Keys and roles that this version cannot verify by.
fn unknown_keys(policy: &TrustPolicy) -> Vec<String> {
    let unknown = policy.keys().iter().filter_map(|signer| match &signer.key {
        TableKey::Ed25519(_) => None,
        TableKey::Unknown(key) => Some(format!(
            "key {} is of type {}: it counts for nothing in loaders of this version",
            signer.name,
            key.split(':').next().unwrap_or_default()
        )),
    });
    let mut found: Vec<String> = unknown.collect();
    let mut check = |name: &str, role: Option<Role<'_>>, then: &str| {
        if role.is_some_and(|role| !role.is_reachable()) {
            found.push(format!(
                "the {name} needs keys of types that this version does not know: loaders of this version {then}"
            ));
        }
    };
    check(
        "role root",
        Some(policy.root_role()),
        "refuse this policy and stay with the one before",
    );
    for image in policy.images() {
        let name = &image.name;
        check(
            &format!("release role of {name}"),
            policy.release_role(name),
            "refuse every release of it",
        );
        check(
            &format!("freshness role of {name}"),
            policy.freshness_role(name),
            "use no freshness statement of it",
        );
    }
    check(
        "role host config",
        policy.host_config_role(),
        "refuse every signed host config",
    );
    found
}

fn old_images(policy: &TrustPolicy) -> Option<String> {
    let ExpiryRule { required, max_days } = policy.fields().expiry;
    // Then every image needs a statement of today, and old ones have none.
    let fresh = policy.fields().freshness.required;
    if !required && fresh {
        Some("no expiry required: the freshness keys can replay any old image from its min_version on; see --require-expiry".to_owned())
    } else if !required {
        Some("no expiry required: a stale or hostile mirror can replay any old image from its min_version on; see --require-expiry".to_owned())
    } else if max_days.is_none() {
        Some("no longest validity: an image can set its expiry in the far future; see --max-validity".to_owned())
    } else {
        None
    }
}

fn freshness(policy: &TrustPolicy) -> Option<String> {
    let fields = policy.fields();
    let rule = fields.freshness;
    let without: Vec<&str> = policy
        .images()
        .iter()
        .filter(|image| policy.freshness_role(&image.name).is_none())
        .map(|image| image.name.as_str())
        .collect();
    if !without.is_empty() {
        let of = if without.len() == policy.images().len() {
            String::new()
        } else {
            format!(" for {}", without.join(", "))
        };
        let noticed = if fields.expiry.required {
            "is not noticed before its image expires"
        } else {
            "is never noticed"
        };
        return Some(format!(
            "no freshness role{of}: a frozen mirror {noticed}; see --freshness-key"
        ));
    }
    if !rule.required {
        return Some("freshness not required: a mirror that hides the statement can serve an old image; see --require-freshness".to_owned());
    }
    (rule.max_hours > LONG_FRESHNESS_HOURS).then(|| {
        format!(
            "a freshness statement is valid for up to {} hours: a frozen mirror is not noticed before; see --max-freshness",
            rule.max_hours
        )
    })
}

fn failures(rules: FailurePolicy) -> Vec<String> {
    let mut found = Vec::new();
    let end = match rules.final_action {
        FinalAction::Reboot => None,
        FinalAction::Fallback => Some("enters its fallback"),
        FinalAction::PowerOff => Some("is powered off"),
    };
    if let (Some(end), 0) = (end, rules.max_attempts) {
        found.push(format!(
            "no limit of failures: a machine retries for ever and never {end}; see --max-attempts"
        ));
    } else if rules.final_action == FinalAction::PowerOff {
        found.push(
            "power off as the final action: the machine stays off until a person switches it on; see --final-action"
                .to_owned(),
        );
    }
    if rules.shell {
        found.push(
            "a shell allowed: where the initramfs has one, a person at a console can do anything to the machine before its image boots; without `initramfs build --shell` there is none"
                .to_owned(),
        );
    }
    found
}

#[cfg(test)]
mod tests;
