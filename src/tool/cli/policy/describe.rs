//! A trust policy in words, and what another one changes.
//!
//! Both come from one list of facts, so that no field is shown by one and forgotten by the other.

use crate::cli::support::output;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, Fields, FinalAction, FreshnessRule, Group,
    HostConfigRule, OnExpiry, Signer, TableKey,
};
use sealboot_store::tally::in_words;

/// One thing that a policy says.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    section: Section,
    name: String,
    value: String,
    /// What is too long to be shown, but must not change unseen.
    detail: Option<String>,
}

/// The part of the description in which a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Policy,
    Keys,
    Roles,
    Images,
    Digests,
    Rules,
}

impl Section {
    const ALL: [Self; 6] = [
        Self::Policy,
        Self::Keys,
        Self::Roles,
        Self::Images,
        Self::Digests,
        Self::Rules,
    ];

    const fn title(self) -> Option<&'static str> {
        match self {
            Self::Policy => None,
            Self::Keys => Some("keys"),
            Self::Roles => Some("roles, and the signatures that each needs"),
            Self::Images => Some("images that may boot"),
            Self::Digests => Some("manifests, archives and files that are refused"),
            Self::Rules => Some("rules"),
        }
    }

    /// What stands before a name where its section's title does not.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Policy | Self::Rules => "",
            Self::Keys => "key ",
            Self::Roles => "role ",
            Self::Images => "image ",
            Self::Digests => "refused ",
        }
    }
}

impl Fact {
    fn new(section: Section, name: impl ToString, value: impl ToString) -> Self {
        Self {
            section,
            name: name.to_string(),
            value: value.to_string(),
            detail: None,
        }
    }

    fn row(&self) -> [String; 2] {
        [self.name.clone(), self.value.clone()]
    }

    fn in_full(&self) -> String {
        match &self.detail {
            None => self.value.clone(),
            Some(detail) => format!("{} ({detail})", self.value),
        }
    }
}

/// Returns what a policy means.
pub(super) fn describe(policy: &TrustPolicy) -> String {
    let facts = facts(policy.fields());
    let mut text = format!("trust policy, version {}\n", policy.version());
    for section in Section::ALL {
        let rows = facts.iter().filter(|fact| fact.section == section);
        let rows = output::columns(rows.map(Fact::row));
        if let Some(title) = section.title().filter(|_| !rows.is_empty()) {
            text.push_str(title);
            text.push('\n');
        }
        text.push_str(&rows);
    }
    text
}

/// Returns what differs in `new`: a row for each change, or two where there is an old and a new value.
pub(super) fn changes(old: &TrustPolicy, new: &TrustPolicy) -> Vec<[String; 2]> {
    let facts = |policy: &TrustPolicy| {
        let version = Fact::new(Section::Policy, "version", policy.version());
        let mut all = vec![version];
        all.extend(facts(policy.fields()));
        all
    };
    let (old, new) = (facts(old), facts(new));
    let find = |facts: &[Fact], wanted: &Fact| -> Option<String> {
        let fact = facts
            .iter()
            .find(|fact| fact.section == wanted.section && fact.name == wanted.name);
        fact.map(Fact::in_full)
    };
    let name = |fact: &Fact| format!("{}{}", fact.section.prefix(), fact.name);
    let alone = |word: &str, value: String| match value.as_str() {
        "" => word.to_owned(),
        value => format!("{word}: {value}"),
    };
    let mut rows = Vec::new();
    for fact in &new {
        let now = fact.in_full();
        match find(&old, fact) {
            Some(was) if was == now => {}
            Some(was) => {
                rows.push([name(fact), format!("was {was}")]);
                rows.push([String::new(), format!("now {now}")]);
            }
            None => rows.push([name(fact), alone("added", now)]),
        }
    }
    for fact in &old {
        if find(&new, fact).is_none() {
            rows.push([name(fact), alone("removed", fact.in_full())]);
        }
    }
    rows
}

/// Returns what differs from the policy before, in words.
pub(super) fn compared(old: &TrustPolicy, new: &TrustPolicy) -> String {
    format!(
        "compared with version {} of the trust policy\n{}",
        old.version(),
        output::columns(changes(old, new)).trim_end()
    )
}

/// Returns everything that a policy says but for its version. Taken apart field by field: a new one must find its
/// place here.
fn facts(fields: &Fields) -> Vec<Fact> {
    let Fields {
        version: _,
        created,
        expires,
        on_expiry,
        min_loader,
        keys,
        roles,
        images,
        denied_digests,
        expiry,
        freshness,
        host_config,
        allow_http,
        clock_tolerance_seconds,
        on_failure,
        disks,
    } = fields;
    let then = match on_expiry {
        OnExpiry::Warn => "the loader then prints a warning",
        OnExpiry::Refuse => "the loader then refuses every image",
    };
    let expires = match (expires, on_expiry) {
        (Some(expires), _) => format!("{expires}; {then}"),
        (None, OnExpiry::Warn) => "never".to_owned(),
        (None, OnExpiry::Refuse) => format!("never; if it did, {then}"),
    };
    let mut facts = vec![
        Fact::new(Section::Policy, "created", created),
        Fact::new(Section::Policy, "expires", expires),
    ];
    if let Some(version) = min_loader {
        let value = format!("{version} or newer; an older one prints a warning");
        facts.push(Fact::new(Section::Policy, "loader", value));
    }
    facts.extend(keys.iter().map(key));
    let role = |name: &str, groups: &[Group]| Fact::new(Section::Roles, name, in_words(groups));
    facts.push(role("root", &roles.root));
    facts.push(role("release", &roles.release));
    let freshness_role = roles.freshness.iter();
    facts.extend(freshness_role.map(|groups| role("freshness", groups)));
    let host_config_role = roles.host_config.iter();
    facts.extend(host_config_role.map(|groups| role("host config", groups)));
    let image = |image: &AcceptedImage| Fact::new(Section::Images, &image.name, versions(image));
    facts.extend(images.iter().map(image));
    for image in images {
        let own = [("release", &image.release), ("freshness", &image.freshness)];
        for (what, groups) in own {
            let name = format!("{what} of {}", image.name);
            facts.extend(groups.iter().map(|groups| role(&name, groups)));
        }
    }
    facts.extend(denied_digests.iter().map(|digest| {
        let name = format!("sha256 {digest}");
        Fact::new(Section::Digests, name, "")
    }));
    let rule = |name: &str, value: String| Fact::new(Section::Rules, name, value);
    facts.push(rule("images", expiry_in_words(*expiry)));
    facts.push(rule("freshness", freshness_in_words(*freshness)));
    facts.push(rule("host configs", host_config_in_words(*host_config)));
    facts.push(rule(
        "clocks",
        format!("may differ by {clock_tolerance_seconds} seconds"),
    ));
    let mirrors = if *allow_http {
        "https or plain http"
    } else {
        "https only"
    };
    facts.push(rule("mirrors", mirrors.to_owned()));
    let disks = match disks {
        Disks::Allow => "a machine in which the kernel finds one boots",
        Disks::Refuse => "a machine in which the kernel finds one does not boot",
    };
    facts.push(rule("disks", disks.to_owned()));
    let on_failure = failure_in_words(*on_failure);
    facts.extend(on_failure.map(|(name, value)| rule(name, value)));
    facts
}

fn key(signer: &Signer) -> Fact {
    let value = match &signer.key {
        TableKey::Ed25519(key) => key.id().to_string(),
        TableKey::Unknown(key) => format!(
            "of type {}, which this version of sealboot does not know",
            key.split(':').next().unwrap_or_default()
        ),
    };
    Fact {
        // Two keys could share a key ID.
        detail: Some(signer.key.to_string()),
        ..Fact::new(Section::Keys, &signer.name, value)
    }
}

fn versions(image: &AcceptedImage) -> String {
    let mut text = format!("version {} or newer", image.min_version);
    for (at, denied) in image.denied_versions.iter().enumerate() {
        text.push_str(if at == 0 { ", but not " } else { ", " });
        text.push_str(&denied.to_string());
    }
    text
}

fn expiry_in_words(ExpiryRule { required, max_days }: ExpiryRule) -> String {
    match (required, max_days) {
        (true, Some(days)) => format!("must expire, at most {days} days after creation"),
        (true, None) => "must expire".to_owned(),
        (false, Some(days)) => {
            format!("need not expire; one that does is valid for at most {days} days")
        }
        (false, None) => "need not expire".to_owned(),
    }
}

fn freshness_in_words(rule: FreshnessRule) -> String {
    let required = if rule.required {
        "required"
    } else {
        "not required"
    };
    let current = match rule.max_releases {
        1 => "1 current version".to_owned(),
        versions => format!("at most {versions} current versions"),
    };
    let hours = rule.max_hours;
    format!("{required}; a statement is valid for at most {hours} hours and lists {current}")
}

fn host_config_in_words(rule: HostConfigRule) -> String {
    let required = if rule.required {
        "must be signed; the kernel command line replaces none of their settings"
    } else {
        "need not be signed"
    };
    match rule.not_before {
        None => required.to_owned(),
        Some(time) => format!("{required}; a signed one must be created at {time} or later"),
    }
}

fn failure_in_words(rules: FailurePolicy) -> [(&'static str, String); 4] {
    let FailurePolicy {
        retry_initial_seconds: initial,
        retry_max_seconds: max,
        max_attempts,
        final_action,
        stall_seconds,
        shell,
        unconfirmed_boots,
        handover_watchdog_seconds: handover,
    } = rules;
    let action = match final_action {
        FinalAction::Reboot => "reboot",
        FinalAction::Fallback => "enter the fallback",
        FinalAction::PowerOff => "power off",
    };
    let last = match max_attempts {
        0 => format!("never {action}"),
        1 => format!("{action} after the first failure"),
        failures => format!("{action} after {failures} failures"),
    };
    let handover = match handover {
        0 => "the watchdog is off during the handover".to_owned(),
        seconds => format!("the OS must take over the watchdog within {seconds} seconds"),
    };
    let shell = if shell {
        "at a console after a failure, where the initramfs has one"
    } else {
        "none"
    };
    let unconfirmed = match unconfirmed_boots {
        0 => "the OS need not confirm a boot".to_owned(),
        1 => "the next release after 1 boot that the OS did not confirm".to_owned(),
        boots => format!("the next release after {boots} boots that the OS did not confirm"),
    };
    [
        (
            "failures",
            format!("wait {initial} to {max} seconds, doubling; {last}"),
        ),
        (
            "hangs",
            format!("reset after {stall_seconds} seconds without progress; {handover}"),
        ),
        ("bad releases", unconfirmed),
        ("shell", shell.to_owned()),
    ]
}

#[cfg(test)]
mod tests;
