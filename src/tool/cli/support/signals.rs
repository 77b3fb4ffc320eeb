//! Ending well when told to.

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// Resolves at the first Ctrl-C, SIGTERM or hang-up after this call.
pub(in crate::cli) fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new("cannot listen for signals").because(&error))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hang_up.recv() => (),
        }
    })
}
