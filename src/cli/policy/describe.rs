//! A trust policy in words: what it means, what is weak about it, and what another one changes.

use crate::cli::output;
use crate::trust::TrustPolicy;
use crate::trust::policy::{AcceptedImage, ExpiryRule, FreshnessRule, Signer};

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

fn rules(policy: &TrustPolicy) -> [[String; 2]; 5] {
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
    let mirrors = if policy.allows_http() {
        "https or plain http"
    } else {
        "https only"
    };
    let on_failure = policy.on_failure();
    let reboot = match on_failure.reboot_after {
        0 => "never reboot".to_owned(),
        1 => "reboot after the first failure".to_owned(),
        failures => format!("reboot after {failures} failures"),
    };
    [
        row("images", expiry),
        row("freshness", freshness),
        row(
            "clocks",
            format!(
                "may differ by {} seconds",
                policy.clock_tolerance().as_secs()
            ),
        ),
        row("mirrors", mirrors.to_owned()),
        row(
            "failures",
            format!(
                "wait {} to {} seconds, doubling; {reboot}",
                on_failure.first_wait_seconds, on_failure.longest_wait_seconds
            ),
        ),
    ]
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
        found.push("every signer must sign: one lost key stops every new image".to_owned());
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
    if policy.allows_http() {
        found.push(
            "plain http allowed: everybody between a machine and its mirror sees which image it fetches"
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
    facts.extend(rules(policy).map(|[name, value]| (name, value)));
    facts
}
