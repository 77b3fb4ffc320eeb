use super::*;

#[test]
fn a_restored_state_keeps_what_the_store_withdrew() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    let before = fs::read(desk.path("state")).unwrap();
    let withdrawal = desk.withdraw(43).unwrap();
    fs::write(desk.path("state"), before).unwrap();
    let stated = desk.renew().unwrap();
    assert_eq!(
        (listed(&stated), numbers(&stated.withdrawn)),
        (vec![42], vec![43])
    );
    assert_eq!(
        stated.created,
        withdrawal.created + SignedDuration::from_secs(1)
    );
}

#[test]
fn a_statement_of_a_second_renewer_undoes_no_withdrawal() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    let before = fs::read(desk.store.channel(&image())).unwrap();
    desk.withdraw(43).unwrap();
    // One that takes what an attacker has put back, and signs it again.
    fs::write(desk.store.channel(&image()), before).unwrap();
    let mut second = (desk.renewer_of("clockwork", "second", Start::Init)).unwrap();
    let later = made() + SignedDuration::from_hours(1);
    let mut turn = second.turn(later, &mut |_| {}).unwrap();
    let (_, stated) = turn.renew(&image(), &mut |_| {}).unwrap();
    assert_eq!(listed(&stated), [43]);
    let stated = desk.renew_at(later).unwrap();
    assert_eq!(
        (listed(&stated), numbers(&stated.withdrawn)),
        (vec![42], vec![43])
    );
}

#[test]
fn a_new_key_of_the_role_keeps_list_and_withdrawals() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    desk.publish(43, Older::Refuse).unwrap();
    desk.withdraw(43).unwrap();
    let other = policy_of(&desk).with(|fields| {
        fields.keys.retain(|key| key.name.as_str() != "clockwork");
        let mut spare = signer("spare");
        spare.name = "clockwork".parse().unwrap();
        fields.keys.push(spare);
    });
    desk.publish_policy(&versioned(&other.unwrap(), 2));
    publish_by_hand(&desk.store, 43, &["alice"], None);
    let mut renewer = (desk.renewer_of("spare", "state", Start::Existing)).unwrap();
    let mut turn = renewer.turn(made(), &mut |_| {}).unwrap();
    let (_, stated) = turn.renew(&image(), &mut |_| {}).unwrap();
    assert_eq!(
        (listed(&stated), numbers(&stated.withdrawn)),
        (vec![42], vec![43])
    );
    // What the old key signed does not hold the new one's time up.
    assert_eq!(stated.created, made());
}

#[test]
fn another_policy_of_the_remembered_version_is_refused() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    let second = versioned(&policy_of(&desk), 2);
    desk.publish_policy(&second);
    desk.renew().unwrap();
    // A fork, and one that has gone on.
    let fork = second
        .with(|fields| fields.freshness.max_hours = 24)
        .unwrap();
    desk.publish_policy(&fork);
    for longer in [false, true] {
        if longer {
            desk.publish_policy(&versioned(&fork, 3));
        }
        let error = desk.renew().unwrap_err();
        assert!(
            matches!(&error, StoreError::State(StateError::OtherPolicy { .. })),
            "{error:?}"
        );
        assert!(error.is_refusal());
    }
    fs::remove_file(desk.store.policy(version(3))).unwrap();
    desk.publish_policy(&second);
    desk.renew().unwrap();
}

#[test]
fn a_state_begins_only_once_and_only_on_purpose() {
    let desk = Desk::new();
    let statement = sealed_freshness((42, 1), &["clockwork"]);
    publish_by_hand(&desk.store, 42, &["alice"], Some(statement));
    let turn = |start| {
        let mut said = Vec::new();
        let mut renewer = desk.renewer_of("clockwork", "state", start).unwrap();
        let turn = renewer.turn(made(), &mut |notice| said.push(notice.to_string()));
        turn.map(drop).map(|()| said)
    };
    let error = turn(Start::Existing).unwrap_err();
    assert!(matches!(
        error,
        StoreError::State(StateError::Missing { .. })
    ));
    assert_eq!(
        turn(Start::Init).unwrap(),
        [
            "the renewer begins with version 1 of the trust policy and with what the store says:",
            "  image relay: by a statement of 2026-01-01T12:00:00Z, version 42 (x86_64) is current until 2026-01-02T12:00:00Z",
        ]
    );
    let error = turn(Start::Init).unwrap_err();
    assert!(matches!(
        error,
        StoreError::State(StateError::Exists { .. })
    ));
    assert!(turn(Start::Existing).unwrap().is_empty());
}

#[test]
fn an_expired_policy_that_refuses_stops_every_renewal() {
    let ended = fresh(policy(&["alice"])).with(|fields| {
        fields.on_expiry = sealboot_core::trust::policy::OnExpiry::Refuse;
        fields.expires = Some(made() + SignedDuration::from_hours(24));
    });
    let desk = Desk::of(&ended.unwrap());
    publish_by_hand(&desk.store, 42, &["alice"], None);
    desk.renew().unwrap();
    let later = made() + SignedDuration::from_hours(48);
    let error = desk.renew_at(later).unwrap_err();
    assert!(matches!(error, StoreError::PolicyExpired(_)), "{error:?}");
    let mut said = Vec::new();
    desk.renewer()
        .renew_due(later, &mut |notice| said.push(notice.to_string()));
    assert!(
        said.iter().any(|said| said.contains("TRUST-EXPIRED")),
        "{said:?}"
    );
}

#[test]
fn a_policy_of_a_person_is_the_one_that_was_signed() {
    let desk = Desk::new();
    desk.publish(42, Older::Refuse).unwrap();
    let second = versioned(&policy_of(&desk), 2);
    desk.publish_policy(&second);
    desk.renew().unwrap();
    // Baked into the next machines, as a person wrote it.
    let json = String::from_utf8(second.encode()).unwrap();
    fs::write(desk.path("trust.json"), json.replace("\n", "\n ")).unwrap();
    desk.renew().unwrap();
    let other = second
        .with(|fields| fields.freshness.max_hours = 24)
        .unwrap();
    fs::write(desk.path("trust.json"), other.encode()).unwrap();
    let error = desk.renew().unwrap_err();
    assert!(
        matches!(&error, StoreError::State(StateError::OtherPolicy { .. })),
        "{error:?}"
    );
}
