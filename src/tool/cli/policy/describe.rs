//! A trust policy in words: what it means, what is weak about it, and what another one changes.

use crate::cli::support::output;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, FreshnessRule, GiveUp, Signer,
};

/// What a policy means.
pub(super) fn describe(policy: &TrustPolicy) -> String {
    let images = policy
        .images()
        .iter()
        .map(|image| [image.name.to_string(), versions(image)]);
    let mut text = format!(
        "trust policy, version {}\nsigners, of whom {} of {} must sign\n{}images that may boot\n{}",
        policy.version(),
        policy.threshold(),
        policy.keys().len(),
        output::columns(policy.keys().iter().map(named)),
        output::columns(images),
    );
    if !policy.denied_digests().is_empty() {
        let denied = policy.denied_digests().iter();
        text.push_str("manifests and archives that never boot\n");
        text.push_str(&output::columns(
            denied.map(|digest| [format!("sha256 {digest}")]),
        ));
    }
    if let Some(rule) = policy.freshness() {
        text.push_str(&format!(
            "signers of freshness, of whom {} of {} must sign\n{}",
            rule.threshold,
            rule.keys.len(),
            output::columns(rule.keys.iter().map(named)),
        ));
    }
    if let Some(rule) = policy.host_config() {
        text.push_str(&format!(
            "signers of host configs, of whom {} of {} must sign\n{}",
            rule.threshold,
            rule.keys.len(),
            output::columns(rule.keys.iter().map(named)),
        ));
    }
    text + "rules\n" + &output::columns(rules(policy))
}

fn named(signer: &Signer) -> [String; 2] {
    [signer.name.to_string(), signer.key.id().to_string()]
}

fn versions(image: &AcceptedImage) -> String {
    let mut text = format!("version {} or newer", image.min_version);
    for (at, denied) in image.denied_versions.iter().enumerate() {
        text.push_str(if at == 0 { ", but not " } else { ", " });
        text.push_str(&denied.to_string());
    }
    text
}

fn rules(policy: &TrustPolicy) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let ExpiryRule { required, max_days } = policy.expiry();
    let expiry = match (required, max_days) {
        (true, Some(days)) => format!("must expire, at most {days} days after creation"),
        (true, None) => "must expire".to_owned(),
        (false, Some(days)) => {
            format!("need not expire; one that does lives at most {days} days")
        }
        (false, None) => "need not expire".to_owned(),
    };
    let freshness = match policy.freshness() {
        None => "not asked for".to_owned(),
        Some(rule) => {
            let required = if rule.required {
                "required"
            } else {
                "not required, but judged where a mirror has it"
            };
            format!(
                "{required}; a statement counts for at most {} hours",
                rule.max_hours
            )
        }
    };
    let mut mirrors = if policy.allows_http() {
        "https or plain http".to_owned()
    } else {
        "https only".to_owned()
    };
    match policy.mirror_keys() {
        [] => {}
        [key] => mirrors.push_str(&format!(", by the key {key} alone")),
        keys => mirrors.push_str(&format!(
            ", by {} keys alone, whatever their certificates say",
            keys.len()
        )),
    }
    let on_failure = policy.on_failure();
    let give_up = match on_failure.give_up {
        GiveUp::Reboot => "reboot",
        GiveUp::Fallback => "enter the fallback",
        GiveUp::PowerOff => "power off",
    };
    let mut last = match on_failure.reboot_after {
        0 => format!("never {give_up}"),
        1 => format!("{give_up} after the first failure"),
        failures => format!("{give_up} after {failures} failures"),
    };
    if on_failure.stall_seconds != FailurePolicy::default().stall_seconds {
        last.push_str(&format!(
            "; reset after {} seconds without progress",
            on_failure.stall_seconds
        ));
    }
    if on_failure.shell {
        last.push_str("; a shell at the console");
    }
    let mut rules = vec![
        row("images", expiry),
        row("freshness", freshness),
        row(
            "clocks",
            format!(
                "may differ by {} seconds",
                policy.clock_tolerance().as_secs()
            ),
        ),
        row("mirrors", mirrors),
        row(
            "failures",
            format!(
                "wait {} to {} seconds, doubling; {last}",
                on_failure.first_wait_seconds, on_failure.longest_wait_seconds
            ),
        ),
    ];
    if policy.disks() == Disks::Refuse {
        rules.push(row(
            "disks",
            "a boot ends where the kernel has found one".to_owned(),
        ));
    }
    if let Some(rule) = policy.host_config() {
        let says = if rule.required {
            "must be signed, and the kernel command line says nothing in their place"
        } else {
            "need not be signed, but one that is must be by the signers above"
        };
        rules.insert(2, row("host configs", says.to_owned()));
    }
    rules
}

/// A week: with longer statements, nobody notices a frozen mirror before what it hides is old news.
const LONG_FRESHNESS_HOURS: u32 = 7 * 24;

/// What a policy allows that its author may not have thought of.
pub(super) fn weaknesses(policy: &TrustPolicy) -> Vec<String> {
    let ExpiryRule { required, max_days } = policy.expiry();
    let freshness = policy.freshness();
    // Then every image needs a statement of today, and old ones have none.
    let fresh = freshness.is_some_and(|rule| rule.required);
    let mut found = Vec::new();
    if policy.threshold() == 1 {
        found.push("threshold 1: one stolen key is enough to change what runs".to_owned());
    } else if policy.threshold() == policy.keys().len() {
        found.push("every signer must sign: one lost key stops every new image, and every new policy that could replace it".to_owned());
    }
    if !required && fresh {
        found.push(
            "no expiry required: whoever has the freshness role's keys can replay any old image that is at or above its min_version"
                .to_owned(),
        );
    } else if !required {
        found.push(
            "no expiry required: a stale or hostile mirror can replay any old image that is at or above its min_version"
                .to_owned(),
        );
    } else if max_days.is_none() {
        found.push(
            "no longest life: an image can grant itself an expiry in the far future; see --max-life"
                .to_owned(),
        );
    }
    found.extend(freshness_weakness(freshness, required));
    if policy.host_config().is_some_and(|rule| !rule.required) {
        found.push(
            "signed host configs not required: whoever gives a machine a plain one, or a kernel command line, decides whom it asks; see --require-signed-host-config"
                .to_owned(),
        );
    }
    found.extend(failure_weaknesses(policy.on_failure()));
    if policy.allows_http() {
        found.push(
            "plain http allowed: everybody between a machine and its mirror sees which image it fetches"
                .to_owned(),
        );
    }
    found
}

fn failure_weaknesses(rules: FailurePolicy) -> Vec<String> {
    let mut found = Vec::new();
    match rules.give_up {
        GiveUp::Reboot => {}
        GiveUp::Fallback | GiveUp::PowerOff if rules.reboot_after == 0 => {
            let end = match rules.give_up {
                GiveUp::PowerOff => "is powered off",
                _ => "enters its fallback",
            };
            found.push(format!(
                "no limit of failures: a machine never gives up, so it never {end}; see --reboot-after"
            ));
        }
        GiveUp::PowerOff => found.push(
            "power off at the end: a machine that has given up stays off until somebody switches it on; see --give-up"
                .to_owned(),
        ),
        GiveUp::Fallback => {}
    }
    if rules.shell {
        found.push(
            "a shell allowed: where the initramfs has one, whoever reaches a console of a machine can do anything to it before its image boots; without `initramfs build --shell` there is none"
                .to_owned(),
        );
    }
    found
}

fn freshness_weakness(rule: Option<&FreshnessRule>, must_expire: bool) -> Option<String> {
    match rule {
        None if must_expire => Some(
            "no freshness role: a frozen mirror is not noticed before its image expires; see --freshness-key"
                .to_owned(),
        ),
        None => Some("no freshness role: a frozen mirror is never noticed; see --freshness-key".to_owned()),
        Some(rule) if !rule.required => Some(
            "freshness not required: a mirror that hides the statement can serve an old image; see --require-freshness"
                .to_owned(),
        ),
        Some(rule) if rule.max_hours > LONG_FRESHNESS_HOURS => Some(format!(
            "freshness counts for up to {} hours: a frozen mirror is not noticed before; see --max-freshness",
            rule.max_hours
        )),
        Some(_) => None,
    }
}

/// What differs in `new`: one row a change, or two where there is an old and a new value.
pub(super) fn changes(old: &TrustPolicy, new: &TrustPolicy) -> Vec<[String; 2]> {
    let (old, new) = (facts(old), facts(new));
    let find = |facts: &[(String, String)], name: &str| {
        let fact = facts.iter().find(|(other, _)| other == name);
        fact.map(|(_, value)| value.clone())
    };
    let mut rows = Vec::new();
    for (name, now) in &new {
        match find(&old, name) {
            Some(was) if was == *now => {}
            Some(was) => {
                rows.push([name.clone(), format!("was {was}")]);
                rows.push([String::new(), format!("now {now}")]);
            }
            None => rows.push([name.clone(), format!("added: {now}")]),
        }
    }
    for (name, was) in old {
        if find(&new, &name).is_none() {
            rows.push([name, format!("removed: {was}")]);
        }
    }
    rows
}

/// Everything that a policy says, by name. Keys stand whole: two of them could share a key id.
fn facts(policy: &TrustPolicy) -> Vec<(String, String)> {
    let signer = |role: &str, signer: &Signer| {
        (
            format!("{role} {}", signer.name),
            format!("{} ({})", signer.key.id(), signer.key),
        )
    };
    let mut facts = vec![
        ("version".to_owned(), policy.version().to_string()),
        ("threshold".to_owned(), policy.threshold().to_string()),
    ];
    facts.extend(policy.keys().iter().map(|key| signer("signer", key)));
    let images = policy.images().iter();
    facts.extend(images.map(|image| (format!("image {}", image.name), versions(image))));
    let denied = policy.denied_digests().iter();
    facts.extend(denied.map(|digest| {
        (
            "denied".to_owned() + " " + &digest.to_string(),
            "sha256".to_owned(),
        )
    }));
    if let Some(rule) = policy.freshness() {
        facts.push(("freshness threshold".to_owned(), rule.threshold.to_string()));
        facts.extend(rule.keys.iter().map(|key| signer("freshness signer", key)));
    }
    if let Some(rule) = policy.host_config() {
        let threshold = rule.threshold.to_string();
        facts.push(("host config threshold".to_owned(), threshold));
        facts.extend(
            rule.keys
                .iter()
                .map(|key| signer("host config signer", key)),
        );
    }
    facts.extend(rules(policy).into_iter().map(|[name, value]| (name, value)));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl Fn(String) -> String) -> TrustPolicy {
        let json = r#"{
            "version": 1,
            "keys": [{"name": "alice", "key": "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"},
                     {"name": "bob", "key": "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"}],
            "threshold": 1,
            "images": [{"name": "relay", "min_version": 1}],
            "denied_digests": [],
            "expiry": {"required": true, "max_days": 90},
            "freshness": {"keys": [{"name": "clockwork", "key": "ed25519:fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"}],
                          "threshold": 1, "required": true, "max_hours": 72},
            "host_config": {"keys": [{"name": "dora", "key": "ed25519:ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"}],
                            "threshold": 1, "required": true},
            "allow_http": false,
            "clock_tolerance_seconds": 300,
            "on_failure": {"first_wait_seconds": 2, "longest_wait_seconds": 60, "reboot_after": 20}
        }"#;
        TrustPolicy::parse(change(json.to_owned()).as_bytes()).expect("agrees with itself")
    }

    #[test]
    fn no_change_of_a_policy_goes_unsaid() {
        let old = policy(|json| json);
        assert_eq!(changes(&old, &old), Vec::<[String; 2]>::new());
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"alice\"", "\"anne\""),
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
            ),
            (
                "\"threshold\": 1,\n            \"images",
                "\"threshold\": 2,\n            \"images",
            ),
            ("\"relay\"", "\"exit\""),
            ("\"min_version\": 1", "\"min_version\": 2"),
            ("\"min_version\": 1", "\"denied_versions\": [7]"),
            (
                "\"denied_digests\": []",
                "\"denied_digests\": [\"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"]",
            ),
            (
                "\"required\": true, \"max_days\"",
                "\"required\": false, \"max_days\"",
            ),
            ("\"max_days\": 90", "\"max_days\": 91"),
            ("\"clockwork\"", "\"timer\""),
            (
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
            ),
            (
                "\"required\": true, \"max_hours\"",
                "\"required\": false, \"max_hours\"",
            ),
            ("\"max_hours\": 72", "\"max_hours\": 73"),
            ("\"dora\"", "\"dorothy\""),
            (
                "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
                "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
            ),
            ("\"required\": true}", "\"required\": false}"),
            ("\"allow_http\": false", "\"allow_http\": true"),
            ("300", "301"),
            ("\"first_wait_seconds\": 2", "\"first_wait_seconds\": 3"),
            (
                "\"longest_wait_seconds\": 60",
                "\"longest_wait_seconds\": 61",
            ),
            ("\"reboot_after\": 20", "\"reboot_after\": 21"),
            (
                "\"reboot_after\"",
                "\"give_up\": \"fallback\", \"reboot_after\"",
            ),
            (
                "\"reboot_after\"",
                "\"give_up\": \"power-off\", \"reboot_after\"",
            ),
            (
                "\"reboot_after\"",
                "\"stall_seconds\": 601, \"reboot_after\"",
            ),
            ("\"reboot_after\"", "\"shell\": true, \"reboot_after\""),
            ("\"on_failure\"", "\"disks\": \"refuse\", \"on_failure\""),
        ] {
            let new = policy(|json| {
                assert!(json.contains(from), "{from}");
                json.replace(from, to)
            });
            assert_ne!(old, new, "{to}");
            assert!(!changes(&old, &new).is_empty(), "{to}");
            assert!(!changes(&new, &old).is_empty(), "{to}");
            assert!(describe(&old) != describe(&new), "{to}");
        }
    }

    #[test]
    fn a_frozen_mirror_is_a_weakness_for_as_long_as_nobody_would_notice() {
        let warns = |policy: &TrustPolicy, text: &str| {
            let all = weaknesses(policy);
            assert!(all.iter().any(|found| found.contains(text)), "{all:?}");
        };
        let sound = policy(|json| {
            json.replace(
                "\"threshold\": 1,\n            \"images",
                "\"threshold\": 2,\n            \"images",
            )
        });
        assert_eq!(weaknesses(&sound).len(), 1, "every signer must sign");
        warns(
            &sound.clone().with_freshness(None).expect("agrees"),
            "not noticed before its image expires",
        );
        warns(
            &policy(|json| json.replace("\"required\": true}", "\"required\": false}")),
            "signed host configs not required",
        );
        warns(
            &policy(|json| json.replace("\"required\": true", "\"required\": false")),
            "freshness not required",
        );
        warns(
            &policy(|json| json.replace("\"max_hours\": 72", "\"max_hours\": 169")),
            "up to 169 hours",
        );
        warns(
            &policy(|json| {
                json.replace(
                    "\"required\": true, \"max_days\"",
                    "\"required\": false, \"max_days\"",
                )
            }),
            "whoever has the freshness role's keys",
        );
    }
}
