//! What a trust policy takes for a machine's host config.
//!
//! A host config may be plain JSON, or an envelope whose payload is that JSON. Which of them it is shows in its
//! outermost object; nothing else of an envelope is read before those of the policy's role have signed it. Where the
//! policy requires that, a plain one is refused, and so is every setting of the kernel command line that would say
//! something in its place: nobody signs a command line.
//!
//! [`Presented`] keeps what was found as it was found, so that a newer policy can judge it again.

use super::envelope::{Envelope, is_envelope};
use super::judging_time::JudgingTime;
use super::policy::{SignerName, TrustPolicy};
use super::refusal::Refusal;
use super::role::Verifications;
use super::statement::Statement;
use super::verified::Verified;
use crate::format::cmdline::Parameters;
use crate::format::host_config::{HostConfig, KnownAs};
use crate::format::limits::LIMITS;
use crate::format::payload::PayloadError;
use crate::format::shown;

/// Characters of a setting's name that are shown.
const NAME_SHOWN: usize = 64;

/// What a machine makes its host config of, and into which nobody has looked yet.
#[derive(Debug, Clone, Default)]
pub struct Presented {
    /// What was found, plain or signed.
    pub stored: Option<Vec<u8>>,
    /// The kernel command line, whose settings override it.
    pub cmdline: Parameters,
    /// What the machine is known by; `None` asks of no machine, as a workstation does.
    pub machine: Option<KnownAs>,
}

/// A host config that satisfied a trust policy. [`TrustPolicy::judge_host_config`] alone makes one.
#[derive(Debug, Clone)]
pub struct Judged {
    config: HostConfig,
    signers: Option<Vec<SignerName>>,
    overridden: Option<String>,
    ignored: Vec<String>,
}

impl Judged {
    /// The host config.
    #[must_use]
    pub const fn config(&self) -> &HostConfig {
        &self.config
    }

    /// The host config alone.
    #[must_use]
    pub fn into_config(self) -> HostConfig {
        self.config
    }

    /// Who signed what was found, by the policy's names; `None` where it was plain, or nothing was found.
    #[must_use]
    pub fn signers(&self) -> Option<&[SignerName]> {
        self.signers.as_deref()
    }

    /// Returns the fields of a plain host config that this version does not know, escaped.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The first setting of the command line that says something in place of what was found, escaped.
    #[must_use]
    pub fn overridden(&self) -> Option<&str> {
        self.overridden.as_deref()
    }
}

impl TrustPolicy {
    /// Judges what a machine makes its host config of and, if the policy takes it, gives the host config.
    ///
    /// # Errors
    ///
    /// Where the policy requires a signed host config: a setting of the command line that says something in its
    /// place, no host config, or a plain one. Everywhere: an envelope that fewer keys of the role than its threshold
    /// have signed, or that the policy has no role for; and what is no host config.
    pub fn judge_host_config(
        &self,
        presented: &Presented,
        now: &JudgingTime,
    ) -> Result<Judged, Refusal> {
        let required = self.fields().host_config.required;
        let setting = HostConfig::setting(&presented.cmdline);
        let setting = setting.map(|name| shown(name, NAME_SHOWN));
        if let (true, Some(name)) = (required, &setting) {
            return Err(Refusal::HostSetting { name: name.clone() });
        }
        let mut ignored = Vec::new();
        let (found, signers) = match &presented.stored {
            None if required => return Err(Refusal::HostMissing),
            None => (None, None),
            Some(bytes) if is_envelope(bytes) => {
                let verified = self.verify_host_config(bytes)?;
                let signers = verified.signers().to_vec();
                (Some(verified.into_statement()), Some(signers))
            }
            Some(_) if required => return Err(Refusal::HostUnsigned),
            Some(bytes) => {
                let plain = HostConfig::parse_plain(bytes).map_err(Refusal::HostConfig)?;
                ignored = plain.unknown;
                (Some(plain.value), None)
            }
        };
        if let Some(found) = &found {
            self.check_host(found, presented.machine.as_ref(), now)?;
        }
        let config = match found {
            // Nothing that is overlooked above is carried out.
            Some(signed) if required => signed,
            found => {
                HostConfig::with_cmdline(found, &presented.cmdline).map_err(Refusal::HostCmdline)?
            }
        };
        Ok(Judged {
            config,
            signers,
            overridden: setting,
            ignored,
        })
    }

    /// Checks what a host config says of itself: when it ends, and which machines it is for.
    fn check_host(
        &self,
        config: &HostConfig,
        machine: Option<&KnownAs>,
        now: &JudgingTime,
    ) -> Result<(), Refusal> {
        if let Some(expires) = config.expires
            && now.is_after(expires, self.tolerance())
        {
            let now = now.at();
            return Err(Refusal::HostExpired { expires, now });
        }
        match machine {
            Some(machine)
                if !config.machines.is_empty() && !machine.is_one_of(&config.machines) =>
            {
                Err(Refusal::HostMachine {
                    known_as: machine.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks the envelope of a host config and, if everything holds, gives the host config in it.
    ///
    /// # Errors
    ///
    /// The first check that fails; [`Refusal::HostRole`] where the policy has no role for host configs.
    pub fn verify_host_config(&self, envelope: &[u8]) -> Result<Verified<HostConfig>, Refusal> {
        let role = self.host_config_role().ok_or(Refusal::HostRole)?;
        // As it stands, it is bounded as a plain one is.
        if !u64::try_from(envelope.len()).is_ok_and(|len| len <= LIMITS.host_config_bytes) {
            let limit = LIMITS.host_config_bytes;
            return Err(Refusal::HostConfig(PayloadError::TooLarge { limit }.into()));
        }
        let envelope = Envelope::parse(envelope).map_err(|source| Refusal::Envelope {
            statement: Statement::HostConfig,
            source,
        })?;
        let (payload, signers) = role.open(
            Statement::HostConfig,
            &envelope,
            &mut Verifications::default(),
        )?;
        let config = HostConfig::parse(payload).map_err(Refusal::HostConfig)?;
        let created = config.created.ok_or(Refusal::HostUndated)?;
        match self.fields().host_config.not_before {
            Some(not_before) if created < not_before => Err(Refusal::HostRevoked {
                created,
                not_before,
            }),
            _ => Ok(Verified::new(config, signers, payload)),
        }
    }
}

#[cfg(test)]
mod tests;
