//! Machines whose clock is decades off, with a time server and without.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};
use sealboot::vm::HOST_ADDRESS;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Seconds from the epoch of NTP, 1900, to that of Unix.
const NTP_EPOCH: u64 = 2_208_988_800;

/// A time server on this host's loopback that says what time it is here. Ends with the test.
struct TimeServer {
    port: u16,
    task: JoinHandle<()>,
}

impl TimeServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut request = [0; 128];
            while let Ok((length, from)) = socket.recv_from(&mut request).await {
                if length >= 48 {
                    let _ = socket.send_to(&answer(&request[40..48]), from).await;
                }
            }
        });
        Self { port, task }
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer to a question that was sent at `sent` (RFC 5905, section 7.3).
fn answer(sent: &[u8]) -> [u8; 48] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // In units of 2^-32 s, of which the highest 64 bits count from 1900.
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    let now = ((now.as_secs() + NTP_EPOCH) << 32 | fraction).to_be_bytes();
    let mut answer = [0; 48];
    // Version 4, a server; the second stratum.
    (answer[0], answer[1]) = (0x24, 2);
    answer[16..24].copy_from_slice(&now);
    answer[24..32].copy_from_slice(sent);
    answer[32..40].copy_from_slice(&now);
    answer[40..48].copy_from_slice(&now);
    answer
}

fn at(clock: &str, append: String) -> Options {
    Options {
        clock: Some(clock.parse::<Timestamp>().unwrap()),
        append,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_clock_decades_off_is_set_by_a_time_server() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let time = TimeServer::start().await;
    for (clock, way) in [
        ("1970-01-02T00:00:00Z", "the clock was set forward by"),
        ("2050-01-01T00:00:00Z", "the clock was set back by"),
    ] {
        // One of two servers is silent: the boot is not held up, and the other one is believed.
        let append = format!(
            "sealboot.ntp={HOST_ADDRESS}:{} sealboot.ntp={HOST_ADDRESS}:1",
            time.port
        );
        let machine = Machine::boot_with(server.port, at(clock, append)).await;
        let console = machine.runs_the_os().await;
        assert_every_stage_passed(&console);
        assert!(console.contains(way), "{console}");
        assert!(console.contains("by 1 time server"), "{console}");
    }
}

#[tokio::test]
async fn a_clock_decades_off_reaches_a_mirror_that_the_policy_knows_by_its_key() {
    // Made later than any loader that is built by now, by more than clocks may differ.
    let soon = Timestamp::now() + SignedDuration::from_mins(10);
    let (lab, store) = (Lab::get(), Store::packed_at(&[], soon));
    let file = |name: &str| lab.path(name).to_str().unwrap().to_owned();
    let (alice, bob) = (file("keys/alice.pub"), file("keys/bob.pub"));
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "policy", "create", "--threshold", "2", "--key", &alice, "--key", &bob, "--name", IMAGE,
        "--mirror-key", &file("tls/server.pem"), "--first-wait", "1s", "--longest-wait", "2s",
        "--out", "pinned.json",
    ]);
    let (loader, modules) = (lab.loader.to_str().unwrap(), lab.modules.to_str().unwrap());
    let build = |environment: &[(&str, &str)], out: &str| {
        #[rustfmt::skip]
        lab.run_all(store.desk(), environment, &[
            "initramfs", "build", "--loader", loader, "--policy", "pinned.json",
            "--host-config", &file("host.json"), "--tls-roots", &file("other-tls/ca.pem"),
            "--modules", modules, "--out", out,
        ]);
    };
    build(&[], "pinned.initramfs");
    let later = (soon + SignedDuration::from_mins(1))
        .as_second()
        .to_string();
    build(&[("SOURCE_DATE_EPOCH", &later)], "later.initramfs");
    let server = Server::start(&store).await;
    let boot = async |clock, initramfs: &str| {
        let options = Options {
            initramfs: Some(store.desk().join(initramfs)),
            ..at(clock, String::new())
        };
        Machine::boot_with(server.port, options).await
    };
    for (clock, initramfs) in [
        ("2050-01-01T00:00:00Z", "pinned.initramfs"),
        // Raised to when the initramfs was built, which was after the image.
        ("1970-01-02T00:00:00Z", "later.initramfs"),
    ] {
        let console = boot(clock, initramfs).await.runs_the_os().await;
        assert_every_stage_passed(&console);
    }
    // Raised to when the loader was built, it reaches the mirror too; but this image was made after that.
    let machine = boot("1970-01-02T00:00:00Z", "pinned.initramfs").await;
    let console = machine.refuses("manifest", "MANIFEST-FUTURE").await;
    let raised = "the clock said 1970-01-02T00:00:";
    assert!(console.contains(raised), "{console}");
}

#[tokio::test]
async fn a_clock_decades_ahead_is_refused_where_nobody_corrects_it() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let append = format!("sealboot.ntp={HOST_ADDRESS}:1");
    let machine = Machine::boot_with(server.port, at("2050-01-01T00:00:00Z", append)).await;
    let console = machine.refuses("manifest", "FETCH-TLS-CLOCK").await;
    assert!(
        console.contains("no time server answered, of 1; the clock stays as it is"),
        "{console}"
    );
}
