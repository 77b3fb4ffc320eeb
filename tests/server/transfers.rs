//! Transfers that are slow, large, interrupted or in the way of a stop.

use std::fs::{self, File};
use std::process::{Child, ExitStatus, Stdio};

use nix::sys::signal::Signal;

use support::noise::noise;
use support::patience::eventually;
use support::server::{BLOB, Lab, Running, size};

/// Starts a download at `rate` bytes a second into `file`.
fn download(lab: &Lab, server: &Running, rate: &str, file: &str, more: &[&str]) -> Download {
    let child = lab
        .curl()
        .args(["--limit-rate", rate, "--output"])
        .arg(lab.path(file))
        .args(more)
        .arg(format!("{}{BLOB}", server.url))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Download(child)
}

struct Download(Child);

impl Download {
    fn wait(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    fn running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(lab: &Lab, file: &str, bytes: u64) {
    eventually("the download is on its way", || {
        size(&lab.path(file)) >= bytes
    });
}

/// More than the sockets of both ends hold, so that the server is still sending.
const LARGE: usize = 24 << 20;

#[test]
fn a_slow_client_gets_all_the_bytes_while_others_are_served() {
    let lab = Lab::new();
    let blob = noise(LARGE, 1);
    lab.put(BLOB, &blob);
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let mut slow = download(&lab, &server, "6M", "slow", &[]);
    has(&lab, "slow", 1 << 20);
    for _ in 0..5 {
        assert_eq!(lab.fetch(&server, "images/relay.json", &[]).body, b"{}");
    }
    assert!(lab.fetch(&server, BLOB, &[]).body == blob);
    assert!(slow.running(), "the others were to be served meanwhile");
    assert!(slow.wait().success());
    assert!(fs::read(lab.path("slow")).unwrap() == blob);
}

#[test]
fn a_stop_lets_a_transfer_finish_and_takes_no_new_ones() {
    let lab = Lab::new();
    let blob = noise(LARGE, 1);
    lab.put(BLOB, &blob);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = lab.serve(&[]);
        let mut slow = download(&lab, &server, "8M", signal.as_str(), &[]);
        has(&lab, signal.as_str(), 1 << 20);
        server.signal(signal);
        eventually("new connections are refused", || {
            let status = lab
                .curl()
                .arg(format!("{}{BLOB}", server.url))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            // 7: could not connect.
            status.unwrap().code() == Some(7)
        });
        assert!(slow.running(), "the transfer was to be under way");
        assert!(slow.wait().success());
        assert!(fs::read(lab.path(signal.as_str())).unwrap() == blob);
        assert_eq!(server.wait().code(), Some(0));
        let said = server.stderr();
        assert!(
            said.ends_with(
                "stopping: transfers may go on for 30 s; another signal stops at once\n"
            ),
            "{said}"
        );
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let lab = Lab::new();
    lab.put(BLOB, &noise(LARGE, 1));
    let mut server = lab.serve(&[]);
    let slow = download(&lab, &server, "100K", "slow", &[]);
    has(&lab, "slow", 1 << 10);
    server.signal(Signal::SIGTERM);
    eventually("the first signal has arrived", || {
        server.stderr().contains("stopping")
    });
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait().code(), Some(0));
    assert!(size(&lab.path("slow")) < LARGE as u64);
    drop(slow);
}

#[test]
fn a_stop_without_transfers_is_immediate() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let mut server = lab.serve(&[]);
    assert_eq!(lab.fetch(&server, "images/relay.json", &[]).status, 200);
    let start = std::time::Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn a_download_resumes_after_the_server_was_killed() {
    let lab = Lab::new();
    let blob = noise(LARGE, 1);
    lab.put(BLOB, &blob);
    let server = lab.serve(&[]);
    let cut = download(&lab, &server, "6M", "file", &[]);
    has(&lab, "file", 1 << 20);
    server.kill();
    assert!(!cut.wait().success());
    let had = size(&lab.path("file"));
    assert!((1 << 20..LARGE as u64).contains(&had), "{had}");

    let server = lab.serve(&["--access-log"]);
    let resumed = download(&lab, &server, "100M", "file", &["--continue-at", "-"]);
    assert!(resumed.wait().success());
    assert!(fs::read(lab.path("file")).unwrap() == blob);
    let rest = LARGE as u64 - had;
    let line = format!("GET /{BLOB} 206 {rest}/{rest}\n");
    eventually("the log says that only the rest was sent", || {
        server.stderr().ends_with(&line)
    });
}

#[test]
fn a_file_that_becomes_shorter_ends_in_a_cut_connection() {
    let lab = Lab::new();
    let file = File::create(lab.store().join(BLOB)).unwrap();
    file.set_len(LARGE as u64).unwrap();
    let server = lab.serve(&[]);
    let slow = download(&lab, &server, "6M", "slow", &[]);
    has(&lab, "slow", 1 << 20);
    file.set_len(1 << 20).unwrap();
    // 18: partial file, 56: the connection was reset.
    let status = slow.wait();
    assert!(matches!(status.code(), Some(18 | 56)), "{status}");
    let said = server.stderr();
    let warning =
        format!("WARN cannot go on sending {BLOB}: it became shorter while it was being sent\n");
    assert!(said.ends_with(&warning), "{said}");
}

#[test]
fn a_large_file_is_not_read_into_memory() {
    const SIZE: u64 = 256 << 20;
    let lab = Lab::new();
    let file = File::create(lab.store().join(BLOB)).unwrap();
    file.set_len(SIZE).unwrap();
    let server = lab.serve(&[]);
    let url = format!("{}{BLOB}", server.url);
    let downloads: Vec<Child> = (0..3)
        .map(|_| {
            lab.curl()
                .args(["--output", "/dev/null", "--write-out", "%{size_download}"])
                .arg(&url)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for download in downloads {
        let output = download.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), SIZE.to_string());
    }
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .and_then(|kilobytes| kilobytes.parse().ok())
        .unwrap();
    assert!(peak < 64 << 10, "{peak} kB at its peak");
}

#[test]
fn nothing_is_recorded_by_default() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    lab.put(BLOB, &noise(1000, 1));
    let mut server = lab.serve(&[]);
    let started = format!("serving {} on {}\n", lab.store().display(), server.url);
    lab.fetch(&server, "images/relay.json", &[]);
    lab.fetch(&server, BLOB, &["--range", "5-10"]);
    lab.fetch(&server, BLOB, &["--range", "5000-"]);
    lab.fetch(&server, "absent", &[]);
    lab.fetch(&server, "images/relay.json", &["--request", "DELETE"]);
    server.signal(Signal::SIGTERM);
    server.wait();
    let stopped = "stopping: transfers may go on for 30 s; another signal stops at once\n";
    assert_eq!(server.stderr(), format!("{started}{stopped}"));
}

#[test]
fn the_access_log_has_a_line_for_each_request_without_its_query() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    lab.put(BLOB, &noise(1000, 1));
    let server = lab.serve(&["--access-log"]);
    lab.fetch(&server, "images/relay.json?token=secret", &[]);
    lab.fetch(&server, BLOB, &["--range", "5-10"]);
    lab.fetch(&server, BLOB, &["--head", "--output", "/dev/null"]);
    lab.fetch(&server, "images/%0aforged", &["--user-agent", "secret"]);
    lab.fetch(&server, "images/relay.json", &["--request", "DELETE"]);
    eventually("five requests are logged", || {
        server.stderr().lines().count() == 6
    });
    let said = server.stderr();
    assert!(!said.contains("secret"), "{said}");
    let (times, lines): (Vec<&str>, Vec<&str>) = said
        .lines()
        .skip(1)
        .map(|line| line.split_once(' ').unwrap())
        .unzip();
    assert!(
        times
            .iter()
            .all(|time| time.parse::<jiff::Timestamp>().is_ok()),
        "{times:?}"
    );
    assert_eq!(
        lines,
        [
            "127.0.0.1 GET /images/relay.json 200 2/2",
            &format!("127.0.0.1 GET /{BLOB} 206 6/6"),
            &format!("127.0.0.1 HEAD /{BLOB} 200 0/0"),
            "127.0.0.1 GET /images/%0aforged 404 14/14",
            "127.0.0.1 DELETE /images/relay.json 405 23/23",
        ]
    );
}
