//! One turn of a renewer: the state and the store are read, statements are decided on, signed, remembered, published.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::trust::{Chain, Channel, Refusal, TrustPolicy};

use super::floor::{FreshnessFloor, last_statement};
use super::known::Known;
use super::listing::{Change, Plan};
use super::state::{LockedState, Remembered, RememberedPolicy, Start, State, Stated};
use super::stored::{Judge, offer, offered};
use super::{Renewal, Renewer};
use crate::error::{Refused, StateError};
use crate::files::{self, Existing};
use crate::policy::check_in_force;
use crate::publish::read_channel;
use crate::{Notice, Store, StoreError};

/// One turn of a renewer. No other process with the same state takes one meanwhile.
#[derive(Debug)]
pub struct Turn<'r> {
    renewal: &'r mut Renewal,
    store: &'r Store,
    policy: TrustPolicy,
    state: LockedState,
    now: Timestamp,
}

impl Renewer {
    /// Begins a turn at `now`: waits for the state, reads it, and walks the store's trust policies by it. With
    /// [`Start::Init`], the state is created first, of what the store says, which is reported.
    ///
    /// # Errors
    ///
    /// [`StoreError::State`], [`StoreError::Behind`] where the store has lost a policy that the state remembers,
    /// [`StoreError::PolicyExpired`] where machines refuse every image under the newest one, and as for
    /// [`Store::walk`] and [`Renewal::check`].
    pub fn turn(
        &mut self,
        now: Timestamp,
        say: &mut dyn FnMut(Notice),
    ) -> Result<Turn<'_>, StoreError> {
        let mut state = self.state.lock(say)?;
        state.check(self.start)?;
        let policy = self.newest_policy(&state, say)?;
        check_in_force(&policy.0, now)?;
        self.renewal.check(&policy.0)?;
        if self.start == Start::Init {
            let images = of_store(&policy, &self.store, now, say)?;
            state.save(State {
                policy: policy.1,
                images,
            })?;
            self.start = Start::Existing;
        }
        let (policy, remembered) = policy;
        state.remember_policy(remembered);
        Ok(Turn {
            renewal: &mut self.renewal,
            store: &self.store,
            policy,
            state,
            now,
        })
    }

    /// Walks to the newest policy. The walk must lead through the one that the state remembers.
    fn newest_policy(
        &self,
        state: &LockedState,
        say: &mut dyn FnMut(Notice),
    ) -> Result<(TrustPolicy, RememberedPolicy), StoreError> {
        let (baked_in, file_sha256) = &self.baked_in;
        let mut chain = Chain::from(baked_in.clone());
        let digest = |chain: &Chain| *chain.newest_sha256().unwrap_or(file_sha256);
        // A file that a person wrote is signed with every field spelled out: two digests, one policy.
        let is_spelled_out = |chain: &Chain, known: &Sha256Digest| {
            chain.newest_sha256().is_none() && Sha256Digest::of(&baked_in.encode()) == *known
        };
        let known = state.state().map(|state| state.policy);
        if let Some(known) = known {
            let end = known.version.next();
            chain = self.store.walk(chain, end)?;
            let found = chain.newest().version();
            if found < known.version {
                let refusal = Refusal::StalePolicy {
                    found,
                    newest: known.version,
                };
                return Err(StoreError::Behind(Refused::at(state.path())(refusal)));
            }
            let is_known = digest(&chain) == known.sha256 || is_spelled_out(&chain, &known.sha256);
            if found == known.version && !is_known {
                return Err(StateError::OtherPolicy {
                    path: state.path().to_owned(),
                    version: found,
                    expected: Box::new(known.sha256),
                    found: Box::new(digest(&chain)),
                }
                .into());
            }
        }
        let chain = self.store.walk(chain, None)?;
        self.store.report_walk(baked_in.version(), &chain, say);
        let policy = chain.newest().clone();
        let newest = RememberedPolicy {
            version: policy.version(),
            sha256: digest(&chain),
        };
        let known = known.filter(|known| known.version == newest.version);
        Ok((policy, known.unwrap_or(newest)))
    }
}

/// Returns what the store says of each image that it has; reports it.
fn of_store(
    (policy, remembered): &(TrustPolicy, RememberedPolicy),
    store: &Store,
    now: Timestamp,
    say: &mut dyn FnMut(Notice),
) -> Result<BTreeMap<ImageName, Remembered>, StoreError> {
    say(Notice::StateBegins {
        policy: remembered.version,
    });
    let mut images = BTreeMap::new();
    for image in policy.images().iter().map(|image| &image.name) {
        if store.channel(image).exists() && policy.freshness_role(image).is_some() {
            let channel = read_channel(&store.channel(image))?;
            let judge = Judge {
                policy,
                store,
                image,
                now,
            };
            images.insert(image.clone(), of_channel(judge, &channel, say));
        }
    }
    Ok(images)
}

/// Returns what a channel says of an image that the state does not have; reports it.
fn of_channel(judge: Judge<'_>, channel: &Channel, say: &mut dyn FnMut(Notice)) -> Remembered {
    let statement = last_statement(judge.policy, judge.image, channel);
    let offered = offered(judge.image, channel).into_iter();
    let published = offered.filter(|release| judge.load(release, channel).is_ok());
    let published = published.collect();
    say(Notice::TakenFromStore {
        image: judge.image.clone(),
        statement: statement.as_ref().map(|stated| stated.freshness.clone()),
    });
    Remembered {
        statement,
        published,
    }
}

impl Turn<'_> {
    /// Returns the trust policy that judges.
    #[must_use]
    pub const fn policy(&self) -> &TrustPolicy {
        &self.policy
    }

    /// Returns the images that these keys sign for and that the store has, or had.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoImages`] where there is none.
    pub fn images(&self) -> Result<Vec<ImageName>, StoreError> {
        let is_known = |name: &ImageName| {
            let state = self.state.state();
            state.is_some_and(|state| state.images.contains_key(name))
        };
        let names = self.policy.images().iter().map(|image| &image.name);
        let names: Vec<ImageName> = names
            .filter(|name| self.renewal.signs_for(&self.policy, name))
            .filter(|name| self.store.channel(name).exists() || is_known(name))
            .cloned()
            .collect();
        if names.is_empty() {
            return Err(StoreError::NoImages {
                root: self.store.root().to_owned(),
            });
        }
        Ok(names)
    }

    /// Signs a new statement about an image, remembers it, and puts it into the image's channel; returns the channel's
    /// path and the statement.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotAsListed`] where the store lacks what the last statement lists, [`StoreError::NotChannel`],
    /// [`StoreError::TooManyWithdrawn`], [`StoreError::Refused`] where a machine would refuse the channel, and where the
    /// keys do not sign or a file cannot be read or written. Nothing is published then.
    pub fn renew(
        &mut self,
        image: &ImageName,
        say: &mut dyn FnMut(Notice),
    ) -> Result<(PathBuf, Freshness), StoreError> {
        let _lock = files::lock(&self.store.versions(image));
        let channel = self.channel(image)?;
        self.restate(image, channel, &Change::Nothing, say)
    }

    /// Withdraws a version of an image: no machine boots it from then on. Where nothing else is listed for an
    /// architecture, the newest release that was published before takes its place.
    ///
    /// # Errors
    ///
    /// As for [`Turn::renew`], [`StoreError::NotOffered`], and [`StoreError::NothingLeft`] where no other release is
    /// left for an architecture.
    pub fn withdraw(
        &mut self,
        image: &ImageName,
        version: ImageVersion,
        say: &mut dyn FnMut(Notice),
    ) -> Result<(PathBuf, Freshness), StoreError> {
        let _lock = files::lock(&self.store.versions(image));
        let channel = self.channel(image)?;
        self.restate(image, channel, &Change::Withdraw(version), say)
    }

    /// Renews the statement about an image if that is due: it is not in the channel, lists other releases than it would
    /// now, is about an older policy, or more than half of its life has passed.
    ///
    /// # Errors
    ///
    /// As for [`Turn::renew`].
    pub fn renew_due(
        &mut self,
        image: &ImageName,
        say: &mut dyn FnMut(Notice),
    ) -> Result<Option<Freshness>, StoreError> {
        let _lock = files::lock(&self.store.versions(image));
        let channel = self.channel(image)?;
        let remembered = self.remembered(image, &channel, &mut |_| {});
        let known = Known::of(self.judge(image), &channel, &remembered);
        let last = known.last.clone();
        let plan = known.plan(&Change::Nothing)?;
        if last.is_some_and(|last| !self.is_due(image, &last, &channel, &plan)) {
            plan.notices.into_iter().for_each(say);
            return Ok(None);
        }
        let renewed = self.restate(image, channel, &Change::Nothing, say)?;
        Ok(Some(renewed.1))
    }

    fn is_due(&self, image: &ImageName, last: &Stated, channel: &Channel, plan: &Plan) -> bool {
        let Stated {
            envelope,
            freshness,
        } = last;
        let signed = envelope.signed_bytes();
        let mut shown = channel.freshness.iter();
        let is_shown = shown.any(|shown| shown.signed_bytes() == signed)
            && self.policy.stated(image, envelope).is_some();
        let mut rewritten = channel.clone();
        offer(&mut rewritten, &plan.listed);
        let left = freshness.expires.duration_since(self.now);
        !is_shown
            || rewritten.releases != channel.releases
            || plan.releases() != freshness.releases
            || plan.withdrawn != freshness.withdrawn
            || freshness.trust != self.policy.version()
            || left * 2 < freshness.expires.duration_since(freshness.created)
    }

    /// Returns what may not be published behind.
    pub(crate) fn floor(&self, image: &ImageName, channel: &Channel) -> Option<FreshnessFloor> {
        let remembered = self.remembered(image, channel, &mut |_| {});
        let known = Known::of(self.judge(image), channel, &remembered);
        known.floor().map(Into::into)
    }

    fn judge<'a>(&'a self, image: &'a ImageName) -> Judge<'a> {
        Judge {
            policy: &self.policy,
            store: self.store,
            image,
            now: self.now,
        }
    }

    /// Reads an image's channel; an empty one where it is gone though it was there.
    fn channel(&self, image: &ImageName) -> Result<Channel, StoreError> {
        let path = self.store.channel(image);
        let state = self.state.state();
        let is_known = state.is_some_and(|state| state.images.contains_key(image));
        if is_known && matches!(path.try_exists(), Ok(false)) {
            return Ok(Channel::new([], []));
        }
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        Channel::parse(&bytes).map_err(|source| StoreError::NotChannel { path, source })
    }

    /// Returns what is remembered of an image; what its channel says where that is nothing.
    fn remembered(
        &self,
        image: &ImageName,
        channel: &Channel,
        say: &mut dyn FnMut(Notice),
    ) -> Remembered {
        let state = self.state.state();
        match state.and_then(|state| state.images.get(image)) {
            Some(remembered) => remembered.clone(),
            None => of_channel(self.judge(image), channel, say),
        }
    }

    /// Signs a new statement about an image, remembers it, then writes it into the channel, in this order. The caller has
    /// locked the image's versions.
    pub(crate) fn restate(
        &mut self,
        image: &ImageName,
        mut channel: Channel,
        change: &Change,
        say: &mut dyn FnMut(Notice),
    ) -> Result<(PathBuf, Freshness), StoreError> {
        let path = self.store.channel(image);
        let remembered = self.remembered(image, &channel, say);
        let known = Known::of(self.judge(image), &channel, &remembered);
        if let Some(floor) = known.floor() {
            FreshnessFloor::from(floor).check_policy(&self.policy, &path)?;
        }
        let earliest = known.created;
        let plan = known.plan(change)?;
        let (found, limit) = (plan.withdrawn.len(), LIMITS.withdrawn_versions);
        if found > limit {
            let image = image.clone();
            return Err(StoreError::TooManyWithdrawn {
                image,
                found,
                limit,
            });
        }
        let earliest = earliest.map(|last| last + SignedDuration::from_secs(1));
        let created = earliest.map_or(self.now, |earliest| earliest.max(self.now));
        let freshness = Freshness {
            name: image.clone(),
            trust: self.policy.version(),
            created,
            expires: self.renewal.expiry(&self.policy, created)?,
            releases: plan.releases(),
            withdrawn: plan.withdrawn,
        };
        let refused = |refusal| StoreError::Refused(Refused::at(&path)(refusal));
        Freshness::parse(&freshness.encode())
            .map_err(|source| refused(Refusal::Freshness(source)))?;
        let envelope = self.renewal.sign(&freshness)?;
        // What is about to be served is judged as a machine will judge it.
        let signed = envelope.encode();
        let judged = self
            .policy
            .verify_freshness(&signed, image, self.now.into());
        judged.map_err(refused)?;
        offer(&mut channel, &plan.listed);
        // What is of another type is for newer machines, and stays.
        (channel.freshness).retain(|other| other.payload_type() != Freshness::PAYLOAD_TYPE);
        channel.freshness.push(envelope.clone());
        let bytes = channel.encode();
        let judge = self.judge(image);
        let judged = self.policy.verify_channel(&bytes, &judge.expected());
        judged.map_err(refused)?;
        let statement = Stated {
            envelope,
            freshness: freshness.clone(),
        };
        self.remember(image, statement, plan.published)?;
        files::create_directory(&self.store.images())?;
        files::write(&path, &bytes, 0o644, Existing::Replace)?;
        plan.notices.into_iter().for_each(say);
        Ok((path, freshness))
    }

    fn remember(
        &mut self,
        image: &ImageName,
        statement: Stated,
        published: Vec<CurrentRelease>,
    ) -> Result<(), StoreError> {
        let Some(mut state) = self.state.state().cloned() else {
            unreachable!("a turn begins with a state");
        };
        let remembered = Remembered {
            statement: Some(statement),
            published,
        };
        state.images.insert(image.clone(), remembered);
        self.state.save(state)
    }
}
