use super::super::testing::{group, plain, signer};
use super::*;

/// A policy that alice signs; these keys sign host configs, so many in each group.
fn configured(groups: &[(&[&str], usize)], required: bool) -> TrustPolicy {
    let changed = plain(&["alice"]).with(|fields| {
        let names = groups.iter().flat_map(|(names, _)| *names);
        fields.keys.extend(names.map(|name| signer(name)));
        let groups: Vec<Group> = groups.iter().map(|(names, of)| group(*of, names)).collect();
        fields.roles.host_config = (!groups.is_empty()).then_some(groups);
        fields.host_config.required = required;
    });
    changed.expect("the fields agree")
}

fn warnings(old: &TrustPolicy, new: &TrustPolicy) -> Vec<String> {
    let old = Some(old);
    Roots { old, new }.warnings()
}

#[test]
fn host_configs_that_the_next_policy_refuses_are_found() {
    const PLAIN: Option<&str> = Some("plain host configs are refused");
    const SIGNED: Option<&str> = Some("signed host configs are refused");
    const TOO_FEW: Option<&str> = Some("host configs that too few of the remaining");
    type Role<'a> = (&'a [(&'a [&'a str], usize)], bool);
    let none: Role<'_> = (&[], false);
    let cases: &[(Role<'_>, Role<'_>, Option<&str>)] = &[
        (none, none, None),
        (none, (&[(&["dora"], 1)], false), None),
        (none, (&[(&["dora"], 1)], true), PLAIN),
        ((&[(&["dora"], 1)], false), none, SIGNED),
        ((&[(&["dora"], 1)], true), none, SIGNED),
        ((&[(&["dora"], 1)], false), (&[(&["dora"], 1)], true), PLAIN),
        ((&[(&["dora"], 1)], true), (&[(&["dora"], 1)], true), None),
        ((&[(&["dora"], 1)], true), (&[(&["dora"], 1)], false), None),
        (
            (&[(&["dora"], 1)], true),
            (&[(&["dora", "erin"], 1)], true),
            None,
        ),
        (
            (&[(&["dora"], 1)], true),
            (&[(&["erin"], 1)], true),
            TOO_FEW,
        ),
        (
            (&[(&["dora", "erin"], 1)], true),
            (&[(&["dora"], 1)], true),
            TOO_FEW,
        ),
        (
            (&[(&["dora", "erin"], 2)], true),
            (&[(&["dora"], 1)], true),
            None,
        ),
        (
            (&[(&["dora", "erin"], 2)], true),
            (&[(&["dora", "fay"], 2)], true),
            TOO_FEW,
        ),
        (
            (&[(&["dora"], 1), (&["erin"], 1)], true),
            (&[(&["dora", "erin"], 2)], true),
            None,
        ),
        (
            (&[(&["dora", "erin"], 2)], true),
            (&[(&["dora"], 1), (&["erin"], 1)], true),
            None,
        ),
        (
            (&[(&["dora"], 1)], true),
            (&[(&["dora"], 1), (&["erin"], 1)], true),
            TOO_FEW,
        ),
    ];
    for (old, new, expected) in cases {
        let (before, after) = (configured(old.0, old.1), configured(new.0, new.1));
        let found = warnings(&before, &after);
        match (expected, &found[..]) {
            (None, []) => {}
            (Some(start), [one]) if one.starts_with(start) => {}
            _ => panic!("{old:?} to {new:?}: {found:?}"),
        }
    }
}

#[test]
fn host_configs_from_before_a_later_date_are_found() {
    let old = configured(&[(&["dora"], 1)], true);
    let dated = |time: &str| {
        let changed = old.with(|fields| {
            fields.host_config.not_before = Some(time.parse().expect("a time"));
        });
        changed.expect("the fields agree")
    };
    let (first, second) = (dated("2026-01-01T00:00:00Z"), dated("2026-02-01T00:00:00Z"));
    for (old, new, count) in [
        (&old, &first, 1),
        (&first, &second, 1),
        (&second, &second, 0),
    ] {
        assert_eq!(warnings(old, new).len(), count);
    }
}

#[test]
fn images_that_the_old_keys_cannot_release_are_named() {
    let old = plain(&["alice", "bob"]);
    let changed = |release: &[Group]| {
        let changed = old.with(|fields| {
            fields.keys.push(signer("carol"));
            fields.roles.release = release.to_vec();
        });
        changed.expect("the fields agree")
    };
    for (release, is_named) in [
        (&[group(1, &["bob", "carol"])][..], false),
        (&[group(2, &["bob", "carol"])], true),
        (&[group(1, &["alice"]), group(1, &["carol"])], true),
        (&[group(1, &["alice"]), group(1, &["bob"])], false),
    ] {
        let found = warnings(&old, &changed(release));
        assert_eq!(found.len(), usize::from(is_named), "{release:?}");
        assert!(
            found.iter().all(|text| text.contains("for relay: ")),
            "{found:?}"
        );
    }
}

#[test]
fn a_renamed_key_is_still_the_same_key() {
    let old = plain(&["alice"]);
    let new = old.with(|fields| {
        fields.keys[0].name = "alice-2".parse().expect("a name");
        fields.roles.root = vec![group(1, &["alice-2"])];
        fields.roles.release = vec![group(1, &["alice-2"])];
    });
    let new = new.expect("the fields agree");
    assert_eq!(warnings(&old, &new), [""; 0]);
    let roots = Roots {
        old: Some(&old),
        new: &new,
    };
    assert!(roots.required().contains("counts for both    alice-2"));
    assert!(roots.have(old.keys()[0].key.known().expect("known")));
    assert!(!roots.have(signer("bob").key.known().expect("known")));
}
