//! How long a download bears with its mirrors.

use std::time::Duration;

/// How long faults are borne, and what counts as one.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Without a new chunk for so long, the download gives up.
    pub give_up: Duration,
    /// How long a mirror rests after its first failure; it doubles with each.
    pub first_wait: Duration,
    /// The longest rest that we choose ourselves.
    pub longest_wait: Duration,
    /// The longest rest that a mirror can ask for.
    pub longest_retry_after: Duration,
    /// A mirror that sends nothing for so long has failed.
    pub stall: Duration,
    /// A mirror that sends nothing for so long is not waited for alone: another one is asked beside it.
    pub lively: Duration,
    /// How long a mirror's speed is looked at before it is judged.
    pub slow_after: Duration,
    /// What a mirror must send within that time where another could be asked, in bytes.
    pub slow_bytes: u64,
    /// How long the speed of all is measured before another mirror joins them, and after.
    pub measure: Duration,
}

impl Patience {
    /// Those of a real machine.
    pub const DEFAULT: Self = Self {
        // A server that is moved to another machine takes some minutes. To begin anew, with another
        // lease and another manifest, costs what has arrived.
        give_up: Duration::from_secs(600),
        first_wait: Duration::from_secs(1),
        // A thousand machines that wait for one server ask it 60 to 120 times a second at this.
        longest_wait: Duration::from_secs(16),
        // Half of the time to give up, so that whoever asks for more is still asked once.
        longest_retry_after: Duration::from_secs(300),
        // Longer than TCP needs to get over a second of loss, short enough that a dead mirror costs less
        // than the wait for a rack's switch.
        stall: Duration::from_secs(20),
        // Two retransmissions of a lost SYN, or a busy server's handshake.
        lively: Duration::from_secs(2),
        // Longer than TCP takes to get over a loss; below 128 kbit/s, even a small image takes a quarter
        // of an hour.
        slow_after: Duration::from_secs(30),
        slow_bytes: 480 << 10,
        // A few round trips across an ocean.
        measure: Duration::from_millis(300),
    };
}
