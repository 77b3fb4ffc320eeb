use super::*;

fn round(renewer: &mut Renewer, hours: i64) -> Vec<String> {
    let mut said = Vec::new();
    let now = made() + SignedDuration::from_hours(hours);
    renewer.renew_due(now, &mut |notice: Notice| said.push(notice.to_string()));
    said
}

#[test]
fn a_restored_store_is_renewed_forward_in_the_next_round() {
    let desk = Desk::new();
    publish_by_hand(&desk.store, 42, &["alice"], None);
    let mut renewer = desk.renewer();
    assert_eq!(round(&mut renewer, 0).len(), 3);
    publish_by_hand(&desk.store, 41, &["alice"], None);
    let said = round(&mut renewer, 1);
    assert_eq!(
        said,
        ["image relay: version 42 (x86_64) is current until 2026-01-02T13:00:00Z"]
    );
    assert_eq!(desk.offered(), [42]);
    assert!(round(&mut renewer, 1).is_empty());
}

#[test]
fn what_cannot_be_renewed_is_reported_once() {
    let desk = Desk::new();
    publish_by_hand(&desk.store, 42, &["alice"], None);
    let mut renewer = desk.renewer();
    round(&mut renewer, 0);
    let path = release_file(&desk.store, 42, &["alice"]);
    fs::remove_file(&path).unwrap();
    let said = round(&mut renewer, 1);
    assert!(
        said[0].starts_with("image relay is not renewed: "),
        "{said:?}"
    );
    assert!(round(&mut renewer, 2).is_empty());
    release_file(&desk.store, 42, &["alice"]);
    assert!(round(&mut renewer, 3).is_empty(), "not due yet");
    assert_eq!(round(&mut renewer, 13).len(), 1);
}

#[test]
fn a_newer_release_that_does_not_count_is_named() {
    let desk = Desk::new();
    publish_by_hand(&desk.store, 42, &["alice"], None);
    let mut renewer = desk.renewer();
    round(&mut renewer, 0);
    publish_by_hand(&desk.store, 43, &["eve"], None);
    let said = round(&mut renewer, 1);
    assert!(
        said[0].starts_with("version 43 (x86_64) of image relay is not listed: "),
        "{said:?}"
    );
    assert_eq!(desk.offered(), [42]);
}

#[test]
fn a_renewed_statement_is_due_at_half_its_life() {
    let desk = Desk::new();
    publish_by_hand(&desk.store, 42, &["alice"], None);
    let mut renewer = desk.renewer();
    assert!(!round(&mut renewer, 0).is_empty());
    for (hours, due) in [(0, false), (12, false), (13, true), (13, false)] {
        assert_eq!(!round(&mut renewer, hours).is_empty(), due, "{hours}");
    }
    desk.publish_policy(&versioned(&policy_of(&desk), 2));
    assert!(!round(&mut renewer, 13).is_empty());
}
