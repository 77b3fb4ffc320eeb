//! The check of a whole store: everything that is wrong with it, not just the first.
//!
//! Without a policy, the files are compared with each other: releases with their archives, the chain of trust policies step
//! by step. With a policy, its newest successor judges what machines would say. A finding is a fault, which machines or
//! mirrors stumble over, or a note. Nothing is changed, and a note never asks for anything to be deleted: only the names of
//! our own unfinished files are known here.

mod blobs;
mod finding;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Manifest};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Channel, Envelope, Refusal, TrustPolicy};

pub use self::finding::{Checked, Fault, Finding, Note, What};
use crate::error::Refused;
use crate::image::{StoredImage, unverified_manifest};
use crate::kind::Kind;
use crate::path::StorePath;
use crate::policy::unverified;
use crate::tally::Missing;
use crate::{Store, StoreError, files};

impl Store {
    /// Checks everything in the store; with a policy that machines have, also what they would say of it at `now`.
    /// `progress` is called with the bytes of blobs that were read so far.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] where a directory cannot be listed. Everything else is a finding.
    pub fn check(
        &self,
        policy: Option<&TrustPolicy>,
        now: Timestamp,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked, StoreError> {
        let mut check = Check {
            store: self,
            now,
            checked: Checked::default(),
            named: Vec::new(),
            sums: BTreeMap::new(),
            done: 0,
            progress,
        };
        let files = check.files()?;
        check.policies(&files, policy);
        let newest = policy.map(|policy| check.newest(policy));
        let newest = newest.as_ref();
        for file in &files {
            match file {
                StorePath::Newest(name) => check.channel(name, newest),
                StorePath::Version(name, version, arch) => {
                    check.version(name, *version, arch, newest);
                }
                _ => {}
            }
        }
        check.blobs(&files);
        check.sums(&files);
        Ok(check.checked)
    }
}

/// A check that is under way.
struct Check<'a> {
    store: &'a Store,
    now: Timestamp,
    checked: Checked,
    /// What the store's releases say of their archives and attachments, each once.
    named: Vec<Manifest>,
    /// The SHA-256 of intact blobs, by their names.
    sums: BTreeMap<String, Sha256Digest>,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn fault(&mut self, path: &Path, fault: impl Into<Fault>) {
        let what = What::Fault(fault.into());
        let path = path.to_owned();
        self.checked.findings.push(Finding { path, what });
    }

    fn note(&mut self, path: &Path, note: Note) {
        let what = What::Note(note);
        let path = path.to_owned();
        self.checked.findings.push(Finding { path, what });
    }

    /// Returns the files that a store has, in the order of their paths, policies by their versions; notes the others.
    fn files(&mut self) -> Result<Vec<StorePath>, StoreError> {
        let root = self.store.root().to_owned();
        let mut files = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let path = root.join(&directory);
            let entries = fs::read_dir(&path).map_err(StoreError::unreadable(&path))?;
            let mut names = Vec::new();
            for entry in entries {
                names.push(entry.map_err(StoreError::unreadable(&path))?.file_name());
            }
            names.sort();
            for name in names {
                let relative = directory.join(&name);
                let path = root.join(&relative);
                let known = relative.to_str();
                let known = known.and_then(|path| StorePath::parse(&format!("/{path}")));
                match known {
                    Some(file) => files.push(file),
                    None if path.is_dir() && is_directory(&relative) => directories.push(relative),
                    None if is_leftover(&name.to_string_lossy()) => {
                        self.note(&path, Note::Leftover);
                    }
                    None => self.note(&path, Note::Stray),
                }
            }
        }
        files.sort_by_cached_key(|file| match file {
            StorePath::Newest(name) => (format!("images/{name}"), 0, String::new()),
            StorePath::Version(name, version, arch) => {
                (format!("images/{name}"), version.as_u64(), arch.to_string())
            }
            StorePath::Policy(version) => ("trust".to_owned(), version.as_u64(), String::new()),
            blob => ("blobs".to_owned(), 0, blob.to_string()),
        });
        Ok(files)
    }

    /// Checks each trust policy, and that it follows the one before it.
    fn policies(&mut self, files: &[StorePath], given: Option<&TrustPolicy>) {
        let mut before: Option<TrustPolicy> = None;
        for file in files {
            let StorePath::Policy(version) = file else {
                continue;
            };
            self.checked.policies += 1;
            let path = self.store.path(file);
            match self.policy(&path, *version, before.as_ref(), given) {
                Ok(policy) => before = Some(policy),
                Err(fault) => {
                    self.fault(&path, fault);
                    // Those after it are compared with what it says, if it says anything.
                    before = Kind::Policy
                        .read(&path)
                        .and_then(|envelope| unverified(&path, &envelope))
                        .ok()
                        .map(|read| read.value);
                }
            }
        }
    }

    fn policy(
        &self,
        path: &Path,
        version: PolicyVersion,
        before: Option<&TrustPolicy>,
        given: Option<&TrustPolicy>,
    ) -> Result<TrustPolicy, Fault> {
        let envelope = Kind::Policy.read(path)?;
        let policy = unverified(path, &envelope)?.value;
        let refused = |refusal| StoreError::Refused(Refused::at(path)(refusal));
        if policy.version() != version {
            let (found, expected) = (policy.version(), version);
            return Err(refused(Refusal::PolicyVersion { found, expected }).into());
        }
        if let Some(given) = given.filter(|given| given.version() == version && **given != policy) {
            return Err(StoreError::OtherPolicy {
                path: path.to_owned(),
                version,
                given: Box::new(Sha256Digest::of(&given.encode())),
                published: Box::new(Sha256Digest::of(&policy.encode())),
            }
            .into());
        }
        let follows = |policy: &&TrustPolicy| policy.version().next() == Some(version);
        let from = given.filter(follows).or(before.filter(follows));
        if let Some(from) = from {
            from.verify_successor(&envelope.encode()).map_err(refused)?;
            return Ok(policy);
        }
        let last = [before, given].into_iter().flatten();
        let last = last
            .map(TrustPolicy::version)
            .filter(|last| *last < version);
        if let Some(missing) = last.max().and_then(PolicyVersion::next) {
            let (root, later) = (self.store.root().to_owned(), version);
            return Err(StoreError::PolicyGap {
                root,
                later,
                missing,
            }
            .into());
        }
        // What it follows is baked in somewhere, and not known here.
        match Missing::of(version, policy.root_role(), &envelope) {
            Some(missing) => Err(Fault::Unsigned(missing)),
            None => Ok(policy),
        }
    }

    /// Returns the last policy that machines reach; why they stop is a finding already.
    fn newest(&mut self, policy: &TrustPolicy) -> TrustPolicy {
        let mut chain = Chain::from(policy.clone());
        while let Some(version) = chain.next() {
            let path = self.store.policy(version);
            let Ok(bytes) = files::read_stored(&path, LIMITS.policy_envelope_bytes) else {
                break;
            };
            match chain.step(&bytes) {
                Ok(()) => {}
                Err(refusal @ Refusal::ChainTooLong { .. }) => {
                    self.fault(&path, StoreError::Refused(Refused::at(&path)(refusal)));
                    break;
                }
                Err(_) => break,
            }
        }
        let newest = chain.newest().clone();
        if let Err(refusal) = newest.check_expiry(self.now) {
            let path = self.store.policy(newest.version());
            self.fault(&path, StoreError::Refused(Refused::at(&path)(refusal)));
        }
        newest
    }

    fn expected<'n>(&self, name: &'n ImageName, arch: Option<Arch>) -> Expected<'n> {
        Expected {
            name,
            arch,
            now: self.now.into(),
        }
    }

    fn channel(&mut self, name: &ImageName, policy: Option<&TrustPolicy>) {
        self.checked.channels += 1;
        let path = self.store.channel(name);
        let bytes = match files::read_stored(&path, LIMITS.channel_bytes) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(&path, error),
        };
        let channel = match Channel::parse(&bytes) {
            Ok(channel) => channel,
            Err(source) => {
                let error = StoreError::NotChannel {
                    path: path.clone(),
                    source,
                };
                return self.fault(&path, error);
            }
        };
        let mut arches = BTreeSet::new();
        for release in &channel.releases {
            let envelope = &release.manifest;
            // Other types are for newer machines.
            if envelope.payload_type() != Manifest::PAYLOAD_TYPE {
                continue;
            }
            match self.release(&path, envelope, name) {
                Ok(manifest) => {
                    arches.insert(manifest.arch.clone());
                    self.compare(&path, envelope, &manifest);
                    self.named.push(manifest);
                }
                Err(error) => self.fault(&path, error),
            }
        }
        for envelope in &channel.freshness {
            if envelope.payload_type() != Freshness::PAYLOAD_TYPE {
                continue;
            }
            if let Err(source) = Freshness::parse(envelope.unverified_payload()) {
                let path = path.clone();
                self.fault(&path.clone(), StoreError::NoFreshness { path, source });
            }
        }
        if let Some(policy) = policy {
            self.judge(&path, &bytes, name, arches, policy);
        }
    }

    /// Reads the manifest of a release in a file that is of this image.
    fn release(
        &self,
        path: &Path,
        envelope: &Envelope,
        name: &ImageName,
    ) -> Result<Manifest, StoreError> {
        let manifest = unverified_manifest(path, envelope)?;
        if manifest.name == *name {
            return Ok(manifest);
        }
        Err(StoreError::OtherName {
            path: path.to_owned(),
            found: manifest.name,
            expected: name.clone(),
        })
    }

    /// Compares a release of a channel with the one under its own version.
    fn compare(&mut self, channel: &Path, envelope: &Envelope, manifest: &Manifest) {
        let Manifest {
            name,
            version,
            arch,
            ..
        } = manifest;
        let path = self.store.version(name, *version, arch);
        if matches!(path.try_exists(), Ok(false)) {
            return self.note(channel, Note::NotStored(path.display().to_string()));
        }
        // What is wrong with that file is found when it is read.
        let Ok(StoredImage::Envelope(there)) = StoredImage::read(&path) else {
            return;
        };
        let sha256 = |envelope: &Envelope| Sha256Digest::of(envelope.unverified_payload());
        let (expected, found) = (sha256(envelope), sha256(&there));
        if found != expected {
            let error = StoreError::OtherVersion {
                image: name.clone(),
                version: *version,
                path,
                expected: Box::new(expected),
                found: Box::new(found),
            };
            self.fault(channel, error);
        }
    }

    /// Judges a channel as machines of each architecture do.
    fn judge(
        &mut self,
        path: &Path,
        bytes: &[u8],
        name: &ImageName,
        arches: BTreeSet<Arch>,
        policy: &TrustPolicy,
    ) {
        let arches: Vec<Option<Arch>> = match arches.is_empty() {
            true => vec![None],
            false => arches.into_iter().map(Some).collect(),
        };
        let mut said = BTreeSet::new();
        for arch in arches {
            match policy.verify_channel(bytes, &self.expected(name, arch)) {
                Ok(_) => {}
                // Another fleet's.
                Err(refusal @ Refusal::NameNotAccepted { .. }) => {
                    return self.note(path, Note::Refused(refusal));
                }
                Err(refusal) => {
                    if said.insert(refusal.to_string()) {
                        self.fault(path, StoreError::Refused(Refused::at(path)(refusal)));
                    }
                }
            }
        }
    }

    fn version(
        &mut self,
        name: &ImageName,
        version: ImageVersion,
        arch: &Arch,
        policy: Option<&TrustPolicy>,
    ) {
        self.checked.releases += 1;
        let path = self.store.version(name, version, arch);
        let read = files::read_stored(&path, LIMITS.envelope_bytes).and_then(|bytes| {
            let envelope = Kind::Image.parse(&path, &bytes)?;
            let manifest = unverified_manifest(&path, &envelope)?;
            Ok((bytes, manifest))
        });
        let (bytes, manifest) = match read {
            Ok(read) => read,
            Err(error) => return self.fault(&path, error),
        };
        let belongs = StorePath::Version(
            manifest.name.clone(),
            manifest.version,
            manifest.arch.clone(),
        );
        let here = StorePath::Version(name.clone(), version, arch.clone());
        if belongs != here {
            let belongs = belongs.to_string();
            return self.fault(&path, Fault::Misplaced { belongs });
        }
        self.named.push(manifest);
        let refused =
            policy.map(|policy| policy.verify_manifest(&bytes, &self.expected(name, None)));
        if let Some(Err(refusal)) = refused {
            self.note(&path, Note::Refused(refusal));
        }
    }
}

/// Returns `true` if a store has a directory of this path.
fn is_directory(relative: &Path) -> bool {
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    match parts.as_deref() {
        Some(["images" | "trust" | "blobs"]) => true,
        Some(["images", name]) => name.parse::<ImageName>().is_ok(),
        Some(["images", name, version]) => {
            name.parse::<ImageName>().is_ok() && version.parse::<ImageVersion>().is_ok()
        }
        _ => false,
    }
}

/// Returns `true` for the temporary names of [`PendingFile`](crate::pending::PendingFile).
fn is_leftover(name: &str) -> bool {
    name.strip_prefix(".sealboot-").is_some_and(|rest| {
        rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests;
