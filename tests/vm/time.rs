//! Machines whose clock is decades off, with a time server and without.

use std::fs;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use sealboot::assemble::tls::Authority;
use sealboot::vm::{HOST_ADDRESS, os};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab, VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Seconds from the epoch of NTP, 1900, to that of Unix.
const NTP_EPOCH: i128 = 2_208_988_800;
/// Units of an NTP timestamp in a second.
const NTP_SECOND: i128 = 1 << 32;

/// A time server on this host's loopback. Ends with the test.
struct TimeServer {
    port: u16,
    task: JoinHandle<()>,
}

impl TimeServer {
    /// Starts one that answers with the time of this host.
    async fn start() -> Self {
        Self::answering(|_| Timestamp::now()).await
    }

    /// Starts one that answers with what `say` makes of the client's time.
    async fn answering(mut say: impl FnMut(Timestamp) -> Timestamp + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut request = [0; 128];
            while let Ok((length, from)) = socket.recv_from(&mut request).await {
                if length >= 48 {
                    let sent = request[40..48].try_into().unwrap();
                    let now = say(from_ntp(sent));
                    let _ = socket.send_to(&answer(sent, now), from).await;
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

/// Reads an NTP timestamp: units of 2^-32 s since 1900.
fn from_ntp(bytes: [u8; 8]) -> Timestamp {
    let units = i128::from(u64::from_be_bytes(bytes)) - NTP_EPOCH * NTP_SECOND;
    Timestamp::from_nanosecond(units * 1_000_000_000 / NTP_SECOND).unwrap()
}

fn to_ntp(time: Timestamp) -> [u8; 8] {
    let units = time.as_nanosecond() * NTP_SECOND / 1_000_000_000 + NTP_EPOCH * NTP_SECOND;
    u64::try_from(units).unwrap().to_be_bytes()
}

/// Answers `now` to a question that was sent at `sent` (RFC 5905, section 7.3).
fn answer(sent: [u8; 8], now: Timestamp) -> [u8; 48] {
    let now = to_ntp(now);
    let mut answer = [0; 48];
    // Version 4, a server; the second stratum.
    (answer[0], answer[1]) = (0x24, 2);
    answer[16..24].copy_from_slice(&now);
    answer[24..32].copy_from_slice(&sent);
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
async fn a_clock_decades_off_reaches_a_mirror_that_is_known_by_its_key() {
    // Later than any loader that is built by now, and than this host's clock when the last machine boots.
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    let (lab, store) = (Lab::get(), Store::packed_at(&[], soon));
    let file = |name: &str| lab.path(name).to_str().unwrap().to_owned();
    let (alice, bob) = (file("keys/alice.pub"), file("keys/bob.pub"));
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "policy", "create", "--threshold", "2", "--key", &alice, "--key", &bob, "--image", IMAGE,
        "--retry-initial", "1s", "--retry-max", "2s",
        "--out", "pinned.json",
    ]);
    let pin = lab.run(store.desk(), ["tls", "pin", &file("tls/server.pem")]);
    let host = std::fs::read_to_string(lab.path("host.json")).unwrap();
    let pinned = format!("{{\"mirror_keys\": [\"{}\"],", pin.trim_end());
    let host = host.replacen('{', &pinned, 1);
    std::fs::write(store.desk().join("pinned-host.json"), host).unwrap();
    let (loader, modules) = (lab.loader.to_str().unwrap(), lab.modules.to_str().unwrap());
    let built = Timestamp::now().as_second().to_string();
    #[rustfmt::skip]
    lab.run_with(store.desk(), &[("SOURCE_DATE_EPOCH", &built)], [
        "initramfs", "build", "--loader", loader, "--policy", "pinned.json",
        "--host-config", "pinned-host.json", "--tls-roots", &file("other-tls/ca.pem"),
        "--modules-dir", modules, "--out", "pinned.initramfs",
    ]);
    let server = Server::start(&store).await;
    let boot = async |clock: Option<&str>| {
        let options = Options {
            initramfs: Some(store.desk().join("pinned.initramfs")),
            clock: clock.map(|clock| clock.parse().unwrap()),
            ..Options::default()
        };
        Machine::boot_with(server.port, options).await
    };
    for (clock, why) in [
        (
            "2050-01-01T00:00:00Z",
            "more than five years after this loader was built",
        ),
        ("1970-01-02T00:00:00Z", "before this loader was built"),
    ] {
        let console = boot(Some(clock)).await.runs_the_os().await;
        assert_every_stage_passed(&console);
        assert!(console.contains(why), "{console}");
        assert!(console.contains("and counts as unset"), "{console}");
    }
    // A clock that counts as set reaches the mirror too; but this image is from the future by it.
    let machine = boot(None).await;
    let console = machine.refuses("manifest", "MANIFEST-FUTURE").await;
    assert!(console.contains("and counts as set"), "{console}");
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

#[tokio::test]
async fn two_lies_of_a_time_server_never_take_a_set_clock_back() {
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let (built, day) = (Timestamp::now(), days(1));
    // The machine's clock is right: three weeks after the build. The image ended ten days ago.
    let (created, now) = (built + days(10), built + days(21));
    let store = Store::packed_at(&["--expires", "1d"], created);
    let server = Server::start(&store).await;
    let mut asked = 0;
    let liar = TimeServer::answering(move |client| {
        asked += 1;
        match asked {
            // Every certificate has expired then.
            1 => client + days(6 * 365),
            2 => created + day / 2,
            _ => client,
        }
    });
    let liar = liar.await;
    let append = format!("sealboot.ntp={HOST_ADDRESS}:{}", liar.port);
    let mut machine = Machine::boot_with(server.port, at(&now.to_string(), append)).await;
    machine
        .until("two refusals", |machine| machine.failures().len() >= 2)
        .await;
    let failures = machine.failures();
    let codes: Vec<_> = failures.iter().map(|failure| failure.code()).collect();
    let expected = [Some("FETCH-TLS-CLOCK"), Some("MANIFEST-EXPIRED")];
    assert_eq!(codes[..2], expected, "{}", machine.console());
    assert!(!machine.console().contains(os::LAST_WORDS));
}

#[tokio::test]
async fn a_dead_clock_accepts_a_renewed_certificate_and_a_new_image() {
    let lab = Lab::get();
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    let store = Store::empty();
    let manifest = store.sign(IMAGE, VERSION, later, &["alice", "bob"]);
    // One freshness key alone claims a year that must count for nothing.
    let claimed = "2099-01-01T00:00:00Z".parse().unwrap();
    store.show(&manifest, Some(store.freshness(&manifest, claimed)));
    let authority = Authority::from_pem(
        &fs::read(lab.path("tls/ca.pem")).unwrap(),
        &fs::read_to_string(lab.path("tls/ca.key")).unwrap(),
    );
    let hosts = [HOST_ADDRESS.parse().unwrap()];
    let renewed = authority.unwrap().issue(&hosts, 365, later).unwrap();
    fs::write(store.desk().join("server.pem"), renewed.certificate).unwrap();
    fs::write(store.desk().join("server.key"), renewed.key.as_bytes()).unwrap();
    let server = Server::start_at(&store, 0, store.desk().to_str().unwrap()).await;
    let boot = async |clock| {
        let options = Options {
            initramfs: Some(lab.fresh_initramfs()),
            clock,
            ..Options::default()
        };
        Machine::boot_with(server.port, options).await
    };
    let console = boot(Some(Timestamp::UNIX_EPOCH)).await.runs_the_os().await;
    assert_every_stage_passed(&console);
    let judged_at = Timestamp::from_second(later.as_second()).unwrap();
    assert!(console.contains(&format!(" now={judged_at} ")), "{console}");
    // A clock that counts as set refuses the same certificate.
    let machine = boot(None).await;
    machine.refuses("manifest", "FETCH-TLS-CLOCK").await;
}
