use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::testing::{image, sealed_freshness, sealed_manifest, store};

/// A directory beside a store, with a state in it.
fn desk() -> (TempDir, TempDir, StateFile) {
    let (of_store, store) = store();
    let own = tempfile::tempdir().unwrap();
    let file = StateFile::outside(&store, &own.path().join("state")).unwrap();
    (own, of_store, file)
}

fn state() -> State {
    let envelope = sealed_freshness((42, 1), &["clockwork"]);
    let freshness = Freshness::parse(envelope.unverified_payload()).unwrap();
    let published = freshness.releases.clone();
    let remembered = Remembered {
        statement: Some(Stated {
            envelope,
            freshness,
        }),
        published,
    };
    State {
        policy: RememberedPolicy {
            version: PolicyVersion::FIRST,
            sha256: Sha256Digest::of(b"policy"),
        },
        images: BTreeMap::from([
            (image(), remembered),
            ("exit".parse().unwrap(), Remembered::default()),
        ]),
    }
}

fn lock(file: &StateFile) -> Result<LockedState, StoreError> {
    file.lock(&mut |notice| panic!("{notice:?}"))
}

fn error_of(file: &StateFile) -> StateError {
    match lock(file) {
        Err(StoreError::State(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_saved_state_is_read_again_and_is_its_owners_alone() {
    let (own, _of_store, file) = desk();
    let mut locked = lock(&file).unwrap();
    assert_eq!(locked.state(), None);
    locked.save(state()).unwrap();
    assert_eq!(locked.state(), Some(&state()));
    drop(locked);
    assert_eq!(lock(&file).unwrap().state(), Some(&state()));
    for name in ["state", "state.lock"] {
        let metadata = fs::metadata(own.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn a_state_that_others_may_read_or_write_is_refused() {
    let (own, _of_store, file) = desk();
    lock(&file).unwrap().save(state()).unwrap();
    let path = own.path().join("state");
    for bit in [0o040, 0o020, 0o004, 0o002] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600 | bit)).unwrap();
        let error = error_of(&file);
        assert!(
            matches!(error, StateError::OpenToOthers { mode, .. } if mode == 0o600 | bit),
            "{error:?}"
        );
        let hint = error.hint();
        assert!(hint.contains("chmod 600 "), "{hint}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    lock(&file).unwrap();
}

#[test]
fn a_state_of_another_user_is_refused() {
    let (own, _of_store, file) = desk();
    lock(&file).unwrap().save(state()).unwrap();
    if std::os::unix::fs::chown(own.path().join("state"), Some(65_534), None).is_err() {
        // Only root can give a file away.
        assert!(!geteuid().is_root());
        return;
    }
    fs::remove_file(own.path().join("state.lock")).unwrap();
    let error = error_of(&file);
    assert!(!own.path().join("state.lock").exists());
    assert!(
        matches!(error, StateError::OfOther { owner: 65_534, .. }),
        "{error:?}"
    );
}

#[test]
fn a_state_in_the_store_is_refused_however_it_is_reached() {
    let (_of_store, store) = store();
    let own = tempfile::tempdir().unwrap();
    fs::write(store.root().join("there"), "").unwrap();
    symlink(store.root().join("there"), own.path().join("file")).unwrap();
    symlink(store.root(), own.path().join("directory")).unwrap();
    for path in [
        store.root().join("state"),
        store.images().join("relay.state"),
        own.path().join("file"),
        own.path().join("directory/state"),
    ] {
        let error = StateFile::outside(&store, &path).unwrap_err();
        assert!(
            matches!(error, StoreError::State(StateError::InStore { .. })),
            "{}: {error:?}",
            path.display()
        );
    }
    let nowhere = own.path().join("absent/state");
    let error = StateFile::outside(&store, &nowhere).unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error:?}");
}

#[test]
fn a_link_to_a_state_stays_a_link() {
    let (_of_store, store) = store();
    let own = tempfile::tempdir().unwrap();
    let (link, real) = (own.path().join("link"), own.path().join("real"));
    let at = |path: &Path| StateFile::outside(&store, path).unwrap();
    lock(&at(&real)).unwrap().save(state()).unwrap();
    symlink(&real, &link).unwrap();
    lock(&at(&link)).unwrap().save(state()).unwrap();
    assert!(link.is_symlink());
    assert_eq!(lock(&at(&real)).unwrap().state(), Some(&state()));
}

#[test]
fn a_damaged_state_is_refused() {
    let (own, _of_store, file) = desk();
    lock(&file).unwrap().save(state()).unwrap();
    let path = own.path().join("state");
    let whole = fs::read_to_string(&path).unwrap();
    let manifest = serde_json::to_string(&sealed_manifest(42, &["alice"])).unwrap();
    let manifest = format!("{{\"statement\": {manifest}, \"published\": []}}");
    let renamed = whole.replace("\"relay\"", "\"other\"");
    for (what, damaged) in [
        ("empty", String::new()),
        ("cut", whole[..whole.len() - 9].to_owned()),
        ("array", "[1]".to_owned()),
        (
            "newer",
            whole.replace("\"renewer_state\": 1", "\"renewer_state\": 2"),
        ),
        ("unknown field", whole.replacen('{', "{\"zone\": 1,", 1)),
        ("no policy", whole.replacen("\"policy\"", "\"polity\"", 1)),
        ("no name", whole.replace("\"relay\"", "\"../relay\"")),
        ("of another name", renamed),
        (
            "a manifest",
            whole.replacen("{\n      \"published\": []\n    }", &manifest, 1),
        ),
        (
            "no base64",
            whole.replacen("\"payload\": \"", "\"payload\": \"!", 1),
        ),
    ] {
        assert_ne!(damaged, whole, "{what}");
        fs::write(&path, damaged).unwrap();
        let error = error_of(&file);
        assert!(
            matches!(error, StateError::Damaged { .. }),
            "{what}: {error:?}"
        );
        let newer = error.hint().contains("newer version");
        assert_eq!(newer, what == "newer", "{what}");
    }
}

#[test]
fn a_second_process_waits_for_the_state() {
    let (_own, _of_store, file) = desk();
    let first = lock(&file).unwrap();
    let (send, receive) = mpsc::channel();
    let waiting = std::thread::spawn({
        let file = file.clone();
        move || {
            let waits = |notice| {
                send.send(matches!(notice, Notice::WaitsForState { .. }))
                    .unwrap()
            };
            let mut waits = waits;
            file.lock(&mut waits).unwrap().state().cloned()
        }
    });
    assert!(receive.recv().unwrap());
    let mut first = first;
    first.save(state()).unwrap();
    drop(first);
    // It reads what the first one has written.
    assert_eq!(waiting.join().unwrap(), Some(state()));
}
