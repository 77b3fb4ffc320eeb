//! What the command line says of a policy besides its keys.

use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::keys::find_image;
use crate::cli::support::time::Expiry;
use crate::cli::support::{Failure, time};
use sealboot_core::format::Invalid;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::format::version::LoaderVersion;
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, Fields, FinalAction, FreshnessRule,
    HostConfigRule, OnExpiry,
};

/// What a policy says besides its keys, as far as the command line does.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub(super) struct Rules {
    /// Set the rules for people or for build machines; other options override them
    #[arg(long, value_name = "WHO", value_enum)]
    profile: Option<Profile>,

    /// Accept this image, from this version on (repeatable)
    ///
    /// Without a version, every version may boot. Name the oldest good one: a stale or hostile mirror can
    /// serve any version that was ever signed. With --from, the old policy's oldest version stays.
    #[arg(
        long = "image",
        value_name = "IMAGE[=MIN_VERSION]",
        required_unless_present = "from"
    )]
    images: Vec<ImageArgument>,

    /// Refuse this version of an image whatever its signatures: a bad release (repeatable)
    #[arg(long = "deny-version", value_name = "IMAGE=VERSION", value_parser = denied_version)]
    denied_versions: Vec<(ImageName, ImageVersion)>,

    /// Refuse the manifest, archive or file with this SHA-256 (repeatable)
    #[arg(long = "deny-digest", value_name = "HEX")]
    denied_digests: Vec<Sha256Digest>,

    /// Refuse images that have no expiry
    #[arg(long)]
    require_expiry: bool,

    /// Limit how long an image is valid, such as 90d
    #[arg(long, value_name = "DAYS", value_parser = time::days)]
    max_validity: Option<u32>,

    /// Refuse an image that no freshness statement lists
    #[arg(long)]
    require_freshness: bool,

    /// Limit how long a freshness statement is valid, such as 3d [default: 72h]
    #[arg(long, value_name = "SPAN", value_parser = time::hours)]
    max_freshness: Option<u32>,

    /// Limit how many current versions of an image a freshness statement lists [default: 1]
    ///
    /// Where it lists several, a mirror chooses among them: it can hold machines at an older one, or try a newer one on
    /// some.
    #[arg(long, value_name = "N")]
    max_releases: Option<u32>,

    /// Refuse host configs that are not signed
    ///
    /// Settings of the kernel command line that replace those of a host config are refused too.
    #[arg(long)]
    require_signed_host_config: bool,

    /// Refuse signed host configs that were created before this time
    ///
    /// A time such as 2026-12-31T23:59:59Z.
    #[arg(long, value_name = "TIME", value_parser = sealboot_core::format::time::parse)]
    host_config_not_before: Option<Timestamp>,

    /// Allow mirrors over plain http
    ///
    /// Signatures protect the image all the same, but everyone on the way sees which image is fetched.
    #[arg(long)]
    allow_http: bool,

    /// Allow https only, where the old policy allows plain http
    #[arg(long, requires = "from", conflicts_with = "allow_http")]
    https_only: bool,

    /// Let the clocks of a packer and a machine differ by this much, such as 5m [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = time::up_to_a_day)]
    clock_tolerance: Option<u32>,

    /// Let the policy itself expire after a span or at a time [default: never]
    ///
    /// A span such as 365d, or a time such as 2026-12-31T23:59:59Z. Publish the next policy before then;
    /// --on-expiry sets what happens otherwise.
    #[arg(long, value_name = "TIME|SPAN")]
    expires: Option<Expiry>,

    /// Warn, or refuse every image, once the policy has expired [default: warn]
    #[arg(long, value_name = "WHAT", value_parser = words(OnExpiry::ALL, OnExpiry::as_str))]
    on_expiry: Option<OnExpiry>,

    /// Let loaders older than this version print a warning, such as 1.2.0
    #[arg(long, value_name = "VERSION")]
    min_loader: Option<LoaderVersion>,

    /// Allow or refuse a boot where the kernel has found a disk [default: allow]
    #[arg(long, value_name = "WHAT", value_parser = words(Disks::ALL, Disks::as_str))]
    disks: Option<Disks>,

    /// Wait this long after the first failure, such as 2s; the wait then doubles [default: 2s]
    ///
    /// A real pause is half to all of it, at random, so that many machines do not come back together.
    #[arg(long, value_name = "SPAN", value_parser = time::retry_initial)]
    retry_initial: Option<u32>,

    /// Wait at most this long between two attempts, such as 60s or 5m [default: 60s]
    ///
    /// A real pause is half to all of it, at random; a mirror may ask for a longer one.
    #[arg(long, value_name = "SPAN", value_parser = time::retry_max)]
    retry_max: Option<u32>,

    /// Take the final action after this many failures; 0 means never [default: 20]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// Do this after the last attempt [default: reboot]
    ///
    /// The fallback is a kernel that is baked into the initramfs for this.
    #[arg(long, value_name = "WHAT", value_parser = words(FinalAction::ALL, FinalAction::as_str))]
    final_action: Option<FinalAction>,

    /// Reset a machine after this long without progress, at least 6m [default: 15m]
    #[arg(long, value_name = "SPAN", value_parser = time::stall)]
    stall: Option<u32>,

    /// Boot the next release after N unconfirmed boots of one (not acted upon yet) [default: 3]
    ///
    /// The OS of a release confirms a boot. 0 means that it need not.
    #[arg(long, value_name = "N")]
    unconfirmed_boots: Option<u32>,

    /// Keep the watchdog armed this long over the handover, such as 2m (not acted upon yet) [default: 0s]
    ///
    /// The machine is reset if its OS does not take over the watchdog in time. 0s disarms it.
    #[arg(long, value_name = "SPAN", value_parser = time::up_to_a_day)]
    handover_watchdog: Option<u32>,

    /// Allow a shell at the console after a failure
    ///
    /// An initramfs has one if it was built with --shell. It runs with all rights before an image boots: use it
    /// only for machines with guarded consoles.
    #[arg(long)]
    allow_shell: bool,

    /// Allow no shell, where the old policy allows one
    #[arg(long, requires = "from", conflicts_with = "allow_shell")]
    no_shell: bool,
}

/// How images are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// People sign: images must expire, within 7 days; a freshness statement is required where the policy
    /// has a role for it
    People,
    /// Build machines sign: two groups must release, as two machines of different owners; images must expire, within 2
    /// days; a freshness statement is required, and valid for at most 48 hours
    Unattended,
}

impl Rules {
    /// Puts the images that are given in the place of those that `fields` has, and adds the denials.
    pub(super) fn apply_images(&self, fields: &mut Fields) -> Result<(), Failure> {
        if !self.images.is_empty() {
            let old = std::mem::take(&mut fields.images);
            let images = self.images.iter().map(|given| given.accepted(&old));
            fields.images = images.collect();
        }
        for (name, version) in &self.denied_versions {
            add(
                &mut find_image(&mut fields.images, name)?.denied_versions,
                *version,
            );
        }
        for digest in &self.denied_digests {
            add(&mut fields.denied_digests, *digest);
        }
        Ok(())
    }

    /// Puts the rules that are given in the place of those that `fields` has. Keys and images must be there.
    pub(super) fn apply(self, fields: &mut Fields) -> Result<(), Failure> {
        if let Some(profile) = self.profile {
            profile.apply(fields)?;
        }
        let ExpiryRule { required, max_days } = &mut fields.expiry;
        *required |= self.require_expiry;
        *max_days = self.max_validity.or(*max_days);
        let FreshnessRule {
            required,
            max_hours,
            max_releases,
        } = &mut fields.freshness;
        *required |= self.require_freshness;
        set(max_hours, self.max_freshness);
        set(max_releases, self.max_releases);
        let HostConfigRule {
            required,
            not_before,
        } = &mut fields.host_config;
        *required |= self.require_signed_host_config;
        *not_before = self.host_config_not_before.or(*not_before);
        fields.allow_http = (fields.allow_http || self.allow_http) && !self.https_only;
        set(&mut fields.clock_tolerance_seconds, self.clock_tolerance);
        if let Some(expires) = self.expires {
            fields.expires = Some(moment(expires, fields.created)?);
        }
        set(&mut fields.on_expiry, self.on_expiry);
        fields.min_loader = self.min_loader.or(fields.min_loader);
        set(&mut fields.disks, self.disks);
        let FailurePolicy {
            retry_initial_seconds,
            retry_max_seconds,
            max_attempts,
            final_action,
            stall_seconds,
            shell,
            unconfirmed_boots,
            handover_watchdog_seconds,
        } = &mut fields.on_failure;
        set(retry_initial_seconds, self.retry_initial);
        set(retry_max_seconds, self.retry_max);
        set(max_attempts, self.max_attempts);
        set(final_action, self.final_action);
        set(stall_seconds, self.stall);
        *shell = (*shell || self.allow_shell) && !self.no_shell;
        set(unconfirmed_boots, self.unconfirmed_boots);
        set(handover_watchdog_seconds, self.handover_watchdog);
        check_roles(fields)
    }
}

impl Profile {
    fn apply(self, fields: &mut Fields) -> Result<(), Failure> {
        fields.expiry.required = true;
        match self {
            Self::People => {
                fields.expiry.max_days = Some(7);
                fields.freshness.required = without_freshness(fields).is_none();
            }
            Self::Unattended => {
                fields.expiry.max_days = Some(2);
                fields.freshness.required = true;
                fields.freshness.max_hours = 48;
                if fields.roles.release.len() < 2 {
                    return Err(Failure::new(
                        "--profile unattended needs two groups that release, and there is one",
                    )
                    .hint("give the build machines of two owners: --release 1:build-1 --release 1:build-2"));
                }
                let one = |image: &&AcceptedImage| {
                    image
                        .release
                        .as_ref()
                        .is_some_and(|groups| groups.len() < 2)
                };
                if let Some(AcceptedImage { name, .. }) = fields.images.iter().find(one) {
                    return Err(Failure::new(format!(
                        "--profile unattended needs two groups that release image {name}, and there is one"
                    ))
                    .hint(format!("give the build machines of two owners: --image-release {name}=1:build-1 --image-release {name}=1:build-2")));
                }
            }
        }
        Ok(())
    }
}

/// Checks that a statement which is required has a role to sign it.
fn check_roles(fields: &Fields) -> Result<(), Failure> {
    if let Some(image) = without_freshness(fields).filter(|_| fields.freshness.required) {
        return Err(Failure::new(format!(
            "freshness is required, and no key signs freshness statements of {}",
            image.name
        ))
        .hint("give the key of the machine that signs them: --freshness-key FILE.pub"));
    }
    if fields.host_config.required && fields.roles.host_config.is_none() {
        return Err(
            Failure::new("signed host configs are required, and no key signs them")
                .hint("give the key of the person who signs them: --host-config-key FILE.pub"),
        );
    }
    Ok(())
}

/// Returns an image that has no role for freshness.
fn without_freshness(fields: &Fields) -> Option<&AcceptedImage> {
    let mut images = fields.images.iter();
    images.find(|image| image.freshness.is_none() && fields.roles.freshness.is_none())
}

fn moment(expires: Expiry, created: Timestamp) -> Result<Timestamp, Failure> {
    match expires {
        Expiry::At(moment) => Ok(moment),
        Expiry::After(span) => created.checked_add(span).map_err(|error| {
            Failure::new("cannot set the expiry")
                .because(&error)
                .hint("give a shorter span with --expires")
        }),
    }
}

/// Replaces a value by one that is given.
fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// Adds what is not there yet: what is denied twice is denied once.
fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Returns a parser for the words of a field, which it also lists in help texts.
fn words<T>(all: &'static [T], word: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = Invalid> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|one| word(*one))).try_map(|word| word.parse::<T>())
}

/// `IMAGE[=MIN_VERSION]`.
#[derive(Debug, Clone)]
struct ImageArgument {
    name: ImageName,
    min_version: Option<ImageVersion>,
}

impl ImageArgument {
    /// Returns the image, with what an old policy says of it.
    fn accepted(&self, old: &[AcceptedImage]) -> AcceptedImage {
        let old = old.iter().find(|image| image.name == self.name).cloned();
        let first = || AcceptedImage::new(self.name.clone(), ImageVersion::FIRST);
        let mut image = old.unwrap_or_else(first);
        set(&mut image.min_version, self.min_version);
        image
    }
}

impl FromStr for ImageArgument {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (name, min_version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            name: name.parse()?,
            min_version,
        })
    }
}

fn denied_version(text: &str) -> Result<(ImageName, ImageVersion), Invalid> {
    let (name, version) = text
        .split_once('=')
        .ok_or_else(|| Invalid::new("denied version", text, "IMAGE=VERSION, such as relay=43"))?;
    Ok((name.parse()?, version.parse()?))
}
