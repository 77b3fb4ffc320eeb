//! What to do about each error.

use std::io::ErrorKind;

use sealboot_core::failure::Diagnose as _;
use sealboot_core::trust::Refusal;

use super::{Damaged, NotNext, Refused, StoreError};
use crate::envelope_file;
use crate::files::{directory, signed_path};
use crate::kind::Kind;
use crate::tally::Missing;

impl StoreError {
    /// Returns what to do next, where that is known: one or two sentences, no full stop at the end.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { source, .. } => match source.kind() {
                ErrorKind::NotFound => "check the path".to_owned(),
                ErrorKind::IsADirectory => "give a file in it".to_owned(),
                ErrorKind::PermissionDenied => {
                    "run this as a user who can read it, or correct its permissions".to_owned()
                }
                _ => return None,
            },
            Self::TooLarge { .. } => "is this the file that you meant?".to_owned(),
            Self::NotRegular { .. } => {
                "name a regular file; a store holds nothing else, so find out who put it there".to_owned()
            }
            Self::NotFile { .. } => "save what it gives to a file, and give that".to_owned(),
            Self::Unwritable { path, source } => {
                let directory = directory(path).display();
                match source.kind() {
                    ErrorKind::NotFound => format!("create the directory {directory} first"),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!(
                        "a file is written beside its place and then renamed, so the directory {directory} must be writable"
                    ),
                    _ => return None,
                }
            }
            Self::Exists { .. } => {
                "nothing was changed; look at what is there, or choose another name"
                    .to_owned()
            }
            Self::NoDirectory { .. } => return None,
            Self::Refused(refused) => refused.refusal.hint(),
            Self::UnsignedPolicy { path } => format!(
                "sign it with `sealboot policy sign`, and give {}",
                signed_path(path).display()
            ),
            Self::PolicyNotNewer { .. } => "machines only go on: make the next version with `sealboot policy create --from`, and --store".to_owned(),
            Self::PolicySkips(Refused { refusal, .. }) => match &**refusal {
                Refusal::PolicyVersion { expected, .. } => format!(
                    "machines take one step after the other: publish version {expected} first"
                ),
                refusal => refusal.hint(),
            },
            Self::NotNext(not_next) => not_next.hint(),
            Self::OtherPolicy { .. } => "machines may have gone on to it: make the next version with `sealboot policy create --from`, of what the machines have, and --store".to_owned(),
            Self::PolicyExpired(_) => "machines refuse every image under it: sign and publish a next policy with a later date, which `sealboot policy create --from FILE --store DIR --expires 365d` creates; if the time above is wrong, set this machine's clock".to_owned(),
            Self::WouldStop { images, .. } => {
                let options = images.iter().map(|name| format!("--let-stop {name}"));
                format!(
                    "nothing was changed; first publish images that both policies accept, signed by whom both ask for; or let those machines stop, with {}",
                    options.collect::<Vec<_>>().join(" ")
                )
            }
            Self::FirstPolicy { .. } => "a first policy needs no signature, it is baked in; make the next with `sealboot policy create --from`".to_owned(),
            Self::OtherStatement { path, kind, .. } => format!(
                "nothing was changed; if the {} was changed after it was signed, move {} away and sign anew",
                kind.what(),
                path.display()
            ),
            Self::Replaced { kind, .. } => {
                format!("nothing was changed; look at it again with `{}`", kind.show())
            }
            Self::WriteProtected { kind, .. } => format!(
                "signatures are added in place: make the file writable, or work on a copy, which `sealboot {} merge` joins",
                kind.command()
            ),
            Self::Full { kind, source } => envelope_file::full(*kind, source),
            Self::NoSignature { kind, .. } => {
                format!("sign it first, with `sealboot {} sign`", kind.command())
            }
            Self::OverOther { path, .. } => format!(
                "nothing was changed; was {} signed in another version, or changed since?",
                path.display()
            ),
            Self::NotSignable { .. } => "give the envelope that `sealboot image pack` created, or FILE.signed.json beside a policy or a host config, which `--print-signed-bytes` writes".to_owned(),
            Self::UnknownStatement { .. } => "give the envelope of an image, a policy or a host config".to_owned(),
            Self::NotSigned(not_signed) => not_signed.hint(),
            Self::ByNoSigner { .. } => "nothing was changed; ask who sent that file what they signed, and with which key".to_owned(),
            Self::IsChannel { .. } => "give the envelope of a version, such as STORE/images/NAME/VERSION/ARCH.json".to_owned(),
            Self::NoManifest { source, .. }
            | Self::NoFreshness { source, .. }
            | Self::UnusablePolicy { source, .. }
            | Self::NoPolicy { source, .. }
                if source.needs_upgrade() =>
            {
                "use a newer version of sealboot, in the loaders too".to_owned()
            }
            Self::NoManifest { .. } => "pack the image again with `sealboot image pack`".to_owned(),
            Self::NoFreshness { .. } => "renew it with `sealboot freshness renew`".to_owned(),
            Self::Damaged(Damaged { path, .. }) => format!(
                "bring {} back from another copy of the store: it says which version machines have seen, and without it an older one could be published",
                path.display()
            ),
            Self::OtherName { .. } => "the store was rearranged by hand: move that file to where it belongs".to_owned(),
            Self::Older { .. } => "pack the image again under a higher version, or go back with --allow-rollback".to_owned(),
            Self::OtherVersion { .. } => "pack the image again under a higher version".to_owned(),
            Self::LeadsOut { .. } => "put the archive itself in its place".to_owned(),
            Self::NoArchive(_) => "copy the archive and its .chunks file into the store, or name the store that holds them with --store DIR".to_owned(),
            Self::StillCurrent { current, .. } => format!(
                "withdraw it with `sealboot freshness withdraw --version {current}`, or publish with --freshness-key, which withdraws it too"
            ),
            Self::NotOffered { .. } => "`sealboot image inspect` on the channel shows what is published".to_owned(),
            Self::NothingLeft { .. } => "publish another version first, with `sealboot image publish`".to_owned(),
            Self::NoAttachment { .. } => "copy it from the store in which the image was packed".to_owned(),
            Self::ArchiveRefused(refused) => refused.refusal.hint(),
            Self::Copy { .. } => return None,
            Self::State(error) => error.hint(),
            Self::NotAsListed { image, version, .. } => format!(
                "bring it back from another copy of the store, and find out who changed it; or take the version back with `sealboot freshness withdraw --version {version} … {image}`"
            ),
            Self::BlobSize { .. } => "bring it back from another copy of the store".to_owned(),
            Self::TooManyWithdrawn { image, .. } => format!(
                "publish a next policy that denies withdrawn versions (`sealboot policy create --deny-version {image}=N`) or raises min_version above them (`--image {image}=N`): statements then leave them out"
            ),
            Self::NotChannel { .. } => {
                "publish the image again with `sealboot image publish`".to_owned()
            }
            Self::Behind(Refused { refusal, .. }) => match &**refusal {
                Refusal::StalePolicy { newest, .. } => format!(
                    "the last statement names version {newest}: bring trust/{newest}.json back from another copy of the store, and find out who removed it"
                ),
                Refusal::Stale { newest, .. } => format!(
                    "publish version {newest} again; if machines are to go back on purpose, say so with --allow-rollback"
                ),
                refusal => refusal.hint(),
            },
            Self::NoImages { .. } => "publish one first, with `sealboot image publish`".to_owned(),
            Self::NoFreshnessRole { .. } => {
                "make a policy that has: `sealboot policy create --freshness-key`".to_owned()
            }
            Self::NotOfFreshnessRole { .. } => "renew with a key that the policy names under freshness; `sealboot policy check` shows them".to_owned(),
            Self::LifeTooLong { max_hours, .. } => format!("make it {max_hours}h, or less"),
            Self::LifeUnusable(_) => return None,
            Self::Sign(error) => return error.hint().map(str::to_owned),
            Self::NotEnvelope { kind, .. } => match kind {
                Kind::Image => "give the file that `sealboot image pack` made, or the channel that `sealboot image publish` made",
                Kind::Policy => "give the file that `sealboot policy sign` made",
                Kind::HostConfig => "give the file that `sealboot host-config sign` made",
            }
            .to_owned(),
            Self::PayloadType { kind, .. } => match kind {
                Kind::Image => "give an envelope that this version of `sealboot image pack` made",
                Kind::Policy => "give a policy that `sealboot policy create` made, or an envelope that `sealboot policy sign` did",
                Kind::HostConfig => "give a host config, or an envelope that `sealboot host-config sign` made",
            }
            .to_owned(),
            Self::UnusablePolicy { .. } => {
                "check the file with `sealboot policy check`".to_owned()
            }
            Self::NoPolicy { .. } => {
                "make the policy again with `sealboot policy create --from`".to_owned()
            }
            Self::SignedPolicy { .. } => "give the policy that the machines have, and --store DIR: from it, the newest in the store is found as machines find it".to_owned(),
            Self::PolicyGap { missing, .. } => format!(
                "copy trust/{missing}.json from another copy of the store: machines stop before a gap"
            ),
            Self::NoStore { .. } => {
                "give the store that the server serves; `sealboot image pack --store` makes one"
                    .to_owned()
            }
        })
    }
}

impl NotNext {
    fn hint(&self) -> String {
        let missing = self.missing.iter().map(|missing| {
            let Missing { version, .. } = missing;
            format!("{missing}, as version {version} requires")
        });
        match &*self.refused.refusal {
            _ if !self.missing.is_empty() => format!(
                "`sealboot policy sign` must still be run by {}",
                missing.collect::<Vec<_>>().join(", and by ")
            ),
            Refusal::PayloadType { .. } => {
                "give the envelope that `sealboot policy sign` made".to_owned()
            }
            Refusal::Policy(error) if !error.needs_upgrade() => {
                "make the policy with `sealboot policy create --from`, and have that one signed"
                    .to_owned()
            }
            refusal => refusal.hint(),
        }
    }
}
