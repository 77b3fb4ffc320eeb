//! The chunk list of an archive: asked of one mirror after the other, until one has what was signed.

use std::time::Instant;

use tracing::warn;

use super::archive::ArchiveError;
use super::client::Client;
use super::reputation::Reputation;
use sealboot_core::archive::ChunkCheck;
use sealboot_core::failure::{Diagnose as _, Report};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::Verified;

/// Fetches the chunk list of a manifest's archive. Asks `mirrors`, one at least, in their order; `reputation` learns
/// which of them sent another list than was signed.
///
/// # Errors
///
/// How the last mirror failed.
pub async fn fetch(
    client: &Client,
    mirrors: &[&MirrorUrl],
    manifest: &Verified<Manifest>,
    reputation: &mut Reputation,
) -> Result<ChunkCheck, ArchiveError> {
    let archive = &manifest.as_ref().archive;
    let mut failure = None;
    for mirror in mirrors {
        client.heartbeat().beat();
        (client.heartbeat()).wait_for(format!("{mirror} to show the chunk list"));
        let failed = match client.chunk_list(mirror, archive).await {
            Ok(list) => match ChunkCheck::new(manifest, list) {
                Ok(check) => return Ok(check),
                Err(mismatch) => {
                    reputation.add([(*mirror).clone()]);
                    ArchiveError::WrongList {
                        mirror: (*mirror).clone(),
                        source: Box::new(mismatch),
                    }
                }
            },
            Err(error) => {
                if let Some(time) = error.retry_after() {
                    reputation.add_busy(mirror, time, Instant::now());
                }
                ArchiveError::List(Box::new(error))
            }
        };
        if mirrors.len() > 1 {
            warn!("{}: {:#}", failed.code(), Report(&failed));
        }
        failure = Some(failed);
    }
    Err(failure.unwrap_or(ArchiveError::Unwanted))
}
