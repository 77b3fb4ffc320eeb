//! The freshness statement: `JSON`, and behind a NUL, where there is one, a byte of [`bits`].
//!
//! | property | because |
//! |---|---|
//! | what is accepted reads back as it was encoded | the renewer and the loader see the same |
//! | signed by the key of its role, it counts exactly while and for what the policy lets it | a frozen mirror is noticed |
//! | signed by nobody, or by those who sign images, it counts for nothing | roles are apart |

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::Refusal;

use super::Verdict;
use super::input::Input;
use super::signed::{ALICE, BOB, CLOCKWORK, NOW, POLICY, is_current, seal};
use super::spoken;

/// What goes wrong before the statement is read.
mod bits {
    /// The signers of images sign, and not the key of the role.
    pub(super) const OTHER_ROLE: u8 = 0x01;
    /// It is sealed as another kind of statement.
    pub(super) const OTHER_KIND: u8 = 0x02;
}

/// The statement, and what goes wrong with it.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let payload = input.text();
    let wrong = input.byte();
    let parsed = Freshness::parse(payload);
    if let Ok(freshness) = &parsed {
        is_sound(freshness);
    }

    let keys: &[_] = if wrong & bits::OTHER_ROLE == 0 {
        &[&*CLOCKWORK]
    } else {
        &[&*ALICE, &*BOB]
    };
    let kind = if wrong & bits::OTHER_KIND == 0 {
        Freshness::PAYLOAD_TYPE
    } else {
        Manifest::PAYLOAD_TYPE
    };
    let envelope = seal(kind, payload, keys).encode();
    let name = "relay".parse().expect("a name");
    let signed = wrong & (bits::OTHER_ROLE | bits::OTHER_KIND) == 0;
    let counts = signed && parsed.as_ref().is_ok_and(is_current);
    match POLICY.verify_freshness(&envelope, &name, (*NOW).into()) {
        Ok(verified) => {
            assert!(counts, "{:?}", verified.as_ref());
            assert_eq!(Some(verified.as_ref()), parsed.as_ref().ok());
            Verdict::Taken
        }
        Err(refusal) => {
            assert!(!counts, "{refusal:?}");
            // A payload that is too large is refused before its signatures.
            let is_large = payload.len() as u64 > LIMITS.payload_bytes;
            assert_eq!(
                signed || (is_large && wrong & bits::OTHER_KIND == 0),
                !matches!(
                    refusal,
                    Refusal::Threshold { .. } | Refusal::PayloadType { .. }
                )
            );
            spoken::is_safe_to_print(&refusal);
            Verdict::Refused
        }
    }
}

fn is_sound(freshness: &Freshness) {
    assert_eq!(
        Freshness::parse(&freshness.encode()).expect("our own"),
        *freshness
    );
    assert!(freshness.created < freshness.expires);
    assert!((1..=LIMITS.number_max).contains(&freshness.trust.as_u64()));
    assert!((1..=LIMITS.current_releases).contains(&freshness.releases.len()));
    assert!(freshness.withdrawn.len() <= LIMITS.withdrawn_versions);
    assert!(
        freshness
            .releases
            .is_sorted_by(|one, next| one.version >= next.version)
    );
    for release in &freshness.releases {
        assert!(!freshness.withdrawn.contains(&release.version));
    }
}
