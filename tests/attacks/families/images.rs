//! Which image, for which machine, of which age: what is validly signed and still not what this machine
//! should boot.

use sealboot_core::failure::FailureCode::{
    ManifestArch, ManifestDenied, ManifestExpired, ManifestFuture, ManifestInvalid, ManifestName,
    ManifestRollback, ManifestValidity,
};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, Manifest};
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{AcceptedImage, ExpiryRule};

use super::{Case, good, manifest, policy, sealed, shown};

vectors! {
    /// Another image, which the policy accepts too, stands under this one's name.
    other_image_under_this_name => Err(ManifestName), {
        let exit = AcceptedImage::new("exit".parse().unwrap(), 1.try_into().unwrap());
        let both = vec![exit, policy().images()[0].clone()];
        Case::of(&with_images(both)).manifest(&changed(|manifest| manifest.name = "exit".parse().unwrap()))
    };

    /// The machine asks for an image that its policy does not accept: a host config cannot widen it.
    image_that_the_policy_does_not_accept => Err(ManifestName), {
        let exit = AcceptedImage::new("exit".parse().unwrap(), 1.try_into().unwrap());
        Case::of(&with_images(vec![exit])).manifest(&good())
    };

    /// An image for another architecture.
    other_architecture => Err(ManifestArch),
        shown(&changed(|manifest| manifest.arch = Arch::Aarch64)).archive();

    /// The last version below the policy's min_version, validly signed long ago.
    rollback_below_min_version => Err(ManifestRollback),
        shown(&sealed(&manifest(40), &["alice", "bob"]));

    /// The policy's min_version itself.
    min_version_itself => Ok(()), shown(&sealed(&manifest(41), &["alice", "bob"])).archive();

    /// A version that the policy denies, though it is validly signed and new enough.
    denied_version => Err(ManifestDenied), Case::of(&denying_version(42)).manifest(&good());

    /// The version after the one that the policy denies.
    version_after_a_denied_one => Ok(()),
        Case::of(&denying_version(41)).manifest(&good()).archive();

    /// A manifest that the policy denies by its digest.
    denied_manifest => Err(ManifestDenied),
        Case::of(&denying(Sha256Digest::of(&manifest(42).encode()))).manifest(&good());

    /// Another manifest of the same version, where the policy denies one by its digest.
    manifest_beside_a_denied_one => Ok(()),
        Case::of(&denying(Sha256Digest::of(&manifest(42).encode())))
            .manifest(&changed(|manifest| manifest.label = "repaired".parse().unwrap()))
            .archive();

    /// A new manifest over an archive that the policy denies by its digest.
    denied_archive => Err(ManifestDenied),
        Case::of(&denying(manifest(42).archive.chunks_sha256))
            .manifest(&changed(|manifest| manifest.label = "repacked".parse().unwrap()));

    /// The image expired yesterday.
    expired_image => Err(ManifestExpired), strict(Some("2026-01-14T00:00:00Z"));

    /// The image expired long ago, under a policy that does not require an expiry: one that is there
    /// counts.
    expired_image_where_none_is_required => Err(ManifestExpired),
        shown(&changed(|manifest| manifest.expires = Some("2026-01-14T00:00:00Z".parse().unwrap())));

    /// The image expires in time, as the policy requires.
    image_that_expires_in_time => Ok(()), strict(Some("2026-03-01T12:00:00Z")).archive();

    /// The image never expires, where the policy requires that it does.
    image_without_an_expiry => Err(ManifestValidity), strict(None);

    /// The image grants itself a hundred years.
    image_that_lives_too_long => Err(ManifestValidity), strict(Some("2126-01-01T12:00:00Z"));

    /// The image was made in the first year of the calendar and expires in its last.
    image_of_all_time => Err(ManifestValidity), {
        let rule = ExpiryRule { required: true, max_days: Some(36_500) };
        Case::of(&policy().with(|fields| fields.expiry = rule).unwrap()).manifest(&changed(|manifest| {
            manifest.created = "0000-01-01T00:00:00Z".parse().unwrap();
            manifest.expires = Some("9999-12-30T22:00:00Z".parse().unwrap());
        }))
    };

    /// The image expires before it was made.
    image_that_expires_before_it_was_made => Err(ManifestInvalid),
        strict(Some("2025-12-31T12:00:00Z"));

    /// The image was made tomorrow: whoever made it lies about the time, or this clock does.
    image_from_the_future => Err(ManifestFuture),
        shown(&changed(|manifest| manifest.created = "2026-01-16T00:00:00Z".parse().unwrap()));

    /// An expired image on a machine whose clock was set back to the image's youth: it boots, and by the
    /// image's own dates alone nothing can be known. This is what freshness and min_version are for.
    expired_image_on_a_clock_set_back => Ok(()),
        strict(Some("2026-01-14T00:00:00Z")).at("2026-01-10T00:00:00Z").archive();

    /// An expired image on a machine whose clock was set back, where min_version has moved on.
    old_image_on_a_clock_set_back_below_min_version => Err(ManifestRollback), {
        let mut old = manifest(40);
        old.expires = Some("2026-01-14T00:00:00Z".parse().unwrap());
        shown(&sealed(&old, &["alice", "bob"])).at("2026-01-10T00:00:00Z")
    };
}

fn changed(change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut manifest = manifest(42);
    change(&mut manifest);
    sealed(&manifest, &["alice", "bob"])
}

fn with_images(images: Vec<AcceptedImage>) -> TrustPolicy {
    let changed = policy().with(|fields| fields.images = images);
    changed.unwrap()
}

fn denying_version(version: u64) -> TrustPolicy {
    let relay = AcceptedImage {
        denied_versions: vec![version.try_into().unwrap()],
        ..policy().images()[0].clone()
    };
    with_images(vec![relay])
}

fn denying(digest: Sha256Digest) -> TrustPolicy {
    let changed = policy().with(|fields| fields.denied_digests = vec![digest]);
    changed.unwrap()
}

/// A policy that requires an expiry within 90 days, and an image, made on the first of January, that
/// expires then.
fn strict(expires: Option<&str>) -> Case {
    let rule = ExpiryRule {
        required: true,
        max_days: Some(90),
    };
    let image = changed(|manifest| manifest.expires = expires.map(|time| time.parse().unwrap()));
    Case::of(&policy().with(|fields| fields.expiry = rule).unwrap()).manifest(&image)
}
