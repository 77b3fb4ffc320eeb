use super::*;

#[test]
fn the_newest_versions_that_the_policy_allows_are_listed() {
    for (most, expected) in [(1, &[43][..]), (2, &[43, 42]), (8, &[43, 42, 41])] {
        let desk = Desk::of_versions(most);
        let mut offered = Vec::new();
        for (version, by) in [(41, "alice"), (45, "eve"), (43, "alice"), (42, "alice")] {
            release_file(&desk.store, version, &[by]);
            offered.push(sealed_manifest(version, &[by]));
        }
        // Staged: it is in the store, and not in the channel.
        release_file(&desk.store, 44, &["alice"]);
        let path = desk.store.channel(&image());
        fs::write(path, Channel::new(offered, []).encode()).unwrap();
        assert_eq!(listed(&desk.renew().unwrap()), expected);
        // The channel offers what is listed, in the order in which it did.
        let mut offered = desk.offered();
        offered.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(offered, expected);
    }
}

#[test]
fn a_version_below_the_listed_one_is_not_listed_for_its_mark() {
    let desk = Desk::of_versions(8);
    publish_by_hand(&desk.store, 43, &["alice"], None);
    assert_eq!(listed(&desk.renew().unwrap()), [43]);
    publish_by_hand(&desk.store, 42, &["alice"], None);
    assert_eq!(listed(&desk.renew().unwrap()), [43]);
    assert_eq!(desk.offered(), [43]);
    publish_by_hand(&desk.store, 44, &["alice"], None);
    assert_eq!(listed(&desk.renew().unwrap()), [44, 43]);
}

#[test]
fn a_withdrawn_version_stays_withdrawn_until_the_policy_denies_it() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    let before = desk.channel().freshness;
    let before = policy_of(&desk).stated(&image(), &before[0]).unwrap();
    let stated = desk.withdraw(43).unwrap();
    assert_eq!(
        (listed(&stated), numbers(&stated.withdrawn)),
        (vec![42], vec![43])
    );
    assert_eq!(
        stated.created,
        before.created + SignedDuration::from_secs(1)
    );
    let stated = desk.renew().unwrap();
    assert_eq!(numbers(&stated.withdrawn), [43]);
    let denying = policy_of(&desk).with(|fields| {
        fields.images[0]
            .denied_versions
            .push(43.try_into().unwrap())
    });
    desk.publish_policy(&versioned(&denying.unwrap(), 2));
    assert!(desk.renew().unwrap().withdrawn.is_empty());
}

#[test]
fn going_back_withdraws_what_was_newer() {
    let desk = Desk::new();
    desk.publish(43, Older::Refuse).unwrap();
    let error = desk.publish(42, Older::Refuse).unwrap_err();
    assert!(matches!(error, StoreError::Older { .. }), "{error:?}");
    desk.publish(42, Older::Allow).unwrap();
    let stated = desk.renew().unwrap();
    assert_eq!(
        (listed(&stated), numbers(&stated.withdrawn)),
        (vec![42], vec![43])
    );
    // The channel shows less than the state remembers.
    publish_by_hand(&desk.store, 41, &["alice"], None);
    let error = desk.publish(43, Older::Refuse).unwrap_err();
    assert!(matches!(error, StoreError::Behind(_)), "{error:?}");
    let error = desk.publish(41, Older::Refuse).unwrap_err();
    assert!(matches!(error, StoreError::Behind(_)), "{error:?}");
}

#[test]
fn going_back_without_a_statement_stops_nothing() {
    let desk = Desk::new();
    desk.publish(43, Older::Refuse).unwrap();
    let older = release_file(&desk.store, 42, &["alice"]);
    let before = fs::read(desk.store.channel(&image())).unwrap();
    let policy = policy_of(&desk);
    let release = Release::read(&older, &policy, made()).unwrap();
    let error = (desk.store)
        .publish(&release, Older::Allow, None, &mut |_| {}, &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, StoreError::StillCurrent { .. }),
        "{error:?}"
    );
    assert_eq!(fs::read(desk.store.channel(&image())).unwrap(), before);
}

#[test]
fn a_version_that_is_not_published_is_not_withdrawn() {
    let desk = Desk::new();
    desk.publish(43, Older::Refuse).unwrap();
    release_file(&desk.store, 34, &["alice"]);
    let error = desk.withdraw(34).unwrap_err();
    assert!(matches!(error, StoreError::NotOffered { .. }), "{error:?}");
}

#[test]
fn a_release_without_its_archive_takes_no_others_place() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    fs::remove_dir_all(desk.store.blobs()).unwrap();
    let error = desk.withdraw(43).unwrap_err();
    assert!(matches!(error, StoreError::NothingLeft { .. }), "{error:?}");
}

#[test]
fn the_only_release_is_not_withdrawn() {
    let desk = Desk::new();
    desk.publish(43, Older::Refuse).unwrap();
    let before = fs::read(desk.store.channel(&image())).unwrap();
    let error = desk.withdraw(43).unwrap_err();
    assert!(matches!(error, StoreError::NothingLeft { .. }), "{error:?}");
    assert_eq!(fs::read(desk.store.channel(&image())).unwrap(), before);
}

#[test]
fn a_release_that_the_policy_denies_gives_way_to_the_one_before() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    let denying = policy_of(&desk).with(|fields| {
        fields.images[0]
            .denied_versions
            .push(43.try_into().unwrap())
    });
    desk.publish_policy(&versioned(&denying.unwrap(), 2));
    let stated = desk.renew().unwrap();
    assert_eq!((listed(&stated), stated.withdrawn), (vec![42], vec![]));
}

#[test]
fn an_expired_release_brings_no_older_one_back() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    let mut manifest = support::world::manifest(43);
    manifest.expires = Some(made() + SignedDuration::from_hours(24 * 30));
    let envelope = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    write(&release_file(&desk.store, 43, &["alice"]), &envelope);
    let channel = Channel::new([envelope], desk.channel().freshness);
    fs::write(desk.store.channel(&image()), channel.encode()).unwrap();
    assert_eq!(listed(&desk.renew().unwrap()), [43]);
    let later = made() + SignedDuration::from_hours(24 * 31);
    let error = desk.renew_at(later).unwrap_err();
    let code = error.code().map(|code| code.as_str());
    assert_eq!(code, Some("MANIFEST-EXPIRED"), "{error:?}");
}

#[test]
fn another_signed_manifest_of_a_listed_version_stops_the_renewal() {
    let desk = Desk::new();
    desk.publish(43, Older::Refuse).unwrap();
    let mut manifest = support::world::manifest(43);
    manifest.label = "another".parse().unwrap();
    let other = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    write(&release_file(&desk.store, 43, &["alice"]), &other);
    let error = desk.renew().unwrap_err();
    assert!(
        matches!(&error, StoreError::NotAsListed { source, .. }
            if matches!(**source, StoreError::OtherVersion { .. })),
        "{error:?}"
    );
    assert!(error.is_refusal());
}

#[test]
fn more_withdrawals_than_a_statement_lists_are_refused() {
    let desk = Desk::of_versions(8);
    desk.publish(1, Older::Refuse).unwrap();
    for number in 2..=66 {
        desk.publish(number, Older::Refuse).unwrap();
        if number < 66 {
            desk.withdraw(number).unwrap();
        }
    }
    let error = desk.withdraw(66).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooManyWithdrawn {
                found: 65,
                limit: 64,
                ..
            }
        ),
        "{error:?}"
    );
    let hint = error.hint().unwrap();
    assert!(hint.contains("--deny-version relay=N"), "{hint}");
    // What was refused is not remembered.
    assert_eq!(listed(&desk.renew().unwrap()), [66, 1]);
}

#[test]
fn a_release_for_another_architecture_is_counted_by_itself() {
    let desk = Desk::new();
    desk.publish(43, Older::Refuse).unwrap();
    let mut manifest = support::world::manifest(42);
    manifest.arch = "aarch64".parse().unwrap();
    let envelope = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    let path = (desk.store).version(&image(), manifest.version, &manifest.arch);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path, &envelope);
    let mut channel = desk.channel();
    channel.releases.push(envelope.into());
    fs::write(desk.store.channel(&image()), channel.encode()).unwrap();
    let stated = desk.renew().unwrap();
    let arches = |release: &CurrentRelease| release.arch.to_string();
    let arches: Vec<String> = stated.releases.iter().map(arches).collect();
    assert_eq!(
        (listed(&stated), arches),
        (
            vec![43, 42],
            vec!["x86_64".to_owned(), "aarch64".to_owned()]
        )
    );
    // Going back with one architecture withdraws the version for both.
    let error = desk.withdraw(42).unwrap_err();
    assert!(matches!(error, StoreError::NothingLeft { .. }), "{error:?}");
}

#[test]
fn a_channel_offers_what_is_listed_until_the_next_statement() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    let policy = policy_of(&desk);
    for version in [43, 44, 45] {
        let path = release_file(&desk.store, version, &["alice"]);
        let release = Release::read(&path, &policy, made()).unwrap();
        (desk.store)
            .publish(&release, Older::Refuse, None, &mut |_| {}, &mut |_| {})
            .unwrap();
        assert!(desk.offered().contains(&42), "{version}");
    }
    assert_eq!(listed(&desk.renew().unwrap()), [45]);
    // What was published meanwhile, and offered at the end, counts as published.
    let stated = desk.withdraw(45).unwrap();
    assert_eq!(listed(&stated), [44]);
}

#[test]
fn an_entry_for_newer_machines_stays_beside_its_twin() {
    let desk = Desk::of_versions(2);
    publish_by_hand(&desk.store, 42, &["alice"], None);
    let mut stated = desk.renew().unwrap();
    let mut newer = stated.releases[0].clone();
    newer.payload_type = "application/vnd.sealboot.manifest.v2+json".parse().unwrap();
    // One without a twin is for a version that this renewer does not list.
    let alone = CurrentRelease {
        version: 43.try_into().unwrap(),
        ..newer.clone()
    };
    stated.releases = vec![alone, stated.releases[0].clone(), newer.clone()];
    stated.created += SignedDuration::from_secs(1);
    let envelope = sealed(Freshness::PAYLOAD_TYPE, stated.encode(), &["clockwork"]);
    publish_by_hand(&desk.store, 42, &["alice"], Some(envelope));
    for _ in 0..2 {
        let renewed = desk.renew().unwrap();
        assert_eq!(renewed.releases, stated.releases[1..]);
    }
}

#[test]
fn a_release_that_was_listed_until_now_brings_no_older_one_back() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    let mut stated = desk.renew().unwrap();
    stated.created += SignedDuration::from_secs(1);
    let hours = |hours| made() + SignedDuration::from_hours(hours);
    stated.releases[0].until = Some(hours(1));
    let envelope = sealed(Freshness::PAYLOAD_TYPE, stated.encode(), &["clockwork"]);
    let channel = Channel::new([sealed_manifest(43, &["alice"])], [envelope]);
    fs::write(desk.store.channel(&image()), channel.encode()).unwrap();
    let renewed = desk.renew_at(made()).unwrap();
    assert_eq!(renewed.releases, stated.releases);
    let error = desk.renew_at(hours(1)).unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
}
