//! Two network namespaces, joined by a cable, with a DHCP and DNS server in one of them.
//!
//! A test runs twice: outside, where it makes the namespaces, and then, started again by itself,
//! inside the client's, where its second half connects and looks at what `ip` says.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The server's namespace, in the environment of a test that runs inside the client's.
const PEER: &str = "SEALBOOT_TEST_NET_PEER";

/// How long the half of a test that runs inside may take.
const INSIDE: Duration = Duration::from_secs(90);

/// Two namespaces, and the processes in the server's.
#[derive(Debug)]
pub struct Lab {
    /// The name of the client's namespace.
    pub client: String,
    /// The name of the server's.
    pub server: String,
    dnsmasq: Option<(Child, thread::JoinHandle<String>)>,
    files: tempfile::TempDir,
}

impl Lab {
    fn new(test: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "tests/net makes network namespaces and must run as root"
        );
        for (program, package) in [("ip", "iproute2"), ("dnsmasq", "dnsmasq-base")] {
            let found = Command::new(program)
                .arg(if program == "ip" { "-V" } else { "--version" })
                .output();
            assert!(
                found.is_ok_and(|output| output.status.success()),
                "tests/net runs {program}: install it with `apt-get install {package}`"
            );
        }
        let name = |side: &str| format!("sealboot-{}-{test}-{side}", std::process::id());
        let lab = Self {
            client: name("client"),
            server: name("server"),
            dnsmasq: None,
            files: tempfile::tempdir().unwrap(),
        };
        ip(&["netns", "add", &lab.client]);
        ip(&["netns", "add", &lab.server]);
        lab.join("wan0", "srv0");
        ip(&[
            "-n",
            &lab.server,
            "address",
            "add",
            "10.77.0.1/24",
            "dev",
            "srv0",
        ]);
        lab
    }

    /// Lays a cable between the two namespaces; only the server's end is up.
    pub fn join(&self, client_end: &str, server_end: &str) {
        ip(&[
            "link",
            "add",
            client_end,
            "netns",
            &self.client,
            "type",
            "veth",
            "peer",
            "name",
            server_end,
            "netns",
            &self.server,
        ]);
        ip(&["-n", &self.server, "link", "set", server_end, "up"]);
    }

    /// Starts dnsmasq on `srv0` and waits until it serves.
    pub fn serve(&mut self, options: &[&str]) {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.server, "dnsmasq"])
            .args([
                "--conf-file=/dev/null",
                "--keep-in-foreground",
                "--log-facility=-",
                "--log-dhcp",
                "--user=root",
                "--pid-file",
                "--no-resolv",
                "--no-hosts",
                "--interface=srv0",
                "--bind-dynamic",
                "--dhcp-authoritative",
                "--no-ping",
                "--host-record=mirror.lab.example,192.0.2.7",
                "--host-record=loop.lab.example,127.0.0.1",
                "--local=/lab.example/",
            ])
            .arg(format!(
                "--dhcp-leasefile={}",
                self.files.path().join("leases").display()
            ))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (ready, started) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut all = String::new();
            for line in log.lines().map_while(Result::ok) {
                if line.contains("DHCP, IP range") || line.contains("DHCP, static") {
                    let _ = ready.send(());
                }
                all.push_str(&line);
                all.push('\n');
            }
            all
        });
        let serves = started.recv_timeout(Duration::from_secs(20)).is_ok();
        self.dnsmasq = Some((child, reader));
        assert!(serves, "dnsmasq did not start:\n{}", self.stop());
    }

    /// Stops dnsmasq and returns its log.
    fn stop(&mut self) -> String {
        let Some((mut child, reader)) = self.dnsmasq.take() else {
            return String::new();
        };
        let _ = child.kill();
        let _ = child.wait();
        reader.join().unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let log = self.stop();
        if thread::panicking() && !log.is_empty() {
            eprintln!("dnsmasq said:\n{log}");
        }
        for namespace in [&self.client, &self.server] {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

/// Runs `prepare` outside, then this same test inside the client's namespace, where `inside` runs.
///
/// Returns dnsmasq's log, or `None` inside.
pub fn in_lab(
    test: &str,
    prepare: impl FnOnce(&mut Lab),
    inside: impl AsyncFnOnce(),
) -> Option<String> {
    if std::env::var_os(PEER).is_some() {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { tokio::time::timeout(INSIDE, inside()).await })
            .expect("the test inside the namespace takes too long");
        return None;
    }
    let mut lab = Lab::new(test);
    prepare(&mut lab);
    let output = Command::new("ip")
        .args(["netns", "exec", &lab.client])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PEER, &lab.server)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "inside the client's namespace:\n{stdout}{stderr}"
    );
    Some(lab.stop())
}

/// Runs `ip` and returns what it prints.
pub fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The name of the server's namespace, inside the client's.
pub fn peer() -> String {
    std::env::var(PEER).unwrap()
}

/// The IPv4 addresses of a link, as `10.77.0.50/24`.
pub fn addresses(link: &str) -> Vec<String> {
    let json: Value =
        serde_json::from_str(&ip(&["-j", "-4", "address", "show", "dev", link])).unwrap();
    let infos = json
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|link| link["addr_info"].as_array());
    infos
        .flatten()
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
        .collect()
}

/// The IPv4 routes but those that come with an address, as `ip route` prints them, sorted.
pub fn routes() -> Vec<String> {
    let mut routes: Vec<String> = ip(&["-4", "route", "show"])
        .lines()
        .filter(|route| !route.contains("proto kernel"))
        .map(|route| match route.split_once(" metric ") {
            // Each link has a metric of its own, by its number.
            Some((route, more)) => format!(
                "{route}{}",
                more.trim_start_matches(|c: char| c.is_ascii_digit())
            ),
            None => route.to_owned(),
        })
        .map(|route| route.trim_end().to_owned())
        .collect();
    routes.sort();
    routes
}

/// Returns `true` if the link is up.
pub fn is_up(link: &str) -> bool {
    ip(&["-o", "link", "show", "dev", link])
        .split(['<', '>', ','])
        .any(|flag| flag == "UP")
}
