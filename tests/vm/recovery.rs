//! What becomes of a machine that cannot have its image, or whose loader stands still.

use std::fs;
use std::path::{Path, PathBuf};

use sealboot::vm::{Firmware, Model, Nic, Reset, os};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::lab::{IMAGE, Lab, MIN_VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// A port at which connections are refused for as long as this lives.
struct Nobody(tokio::net::TcpSocket);

impl Nobody {
    fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// A server that accepts and says nothing, for ever.
struct Silence {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Silence {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            let mut held: Vec<TcpStream> = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Self { port, accepting }
    }

    async fn end(self) -> u16 {
        self.accepting.abort();
        let _ = self.accepting.await;
        self.port
    }
}

/// The options of a policy that grants a shell, in pauses that are long enough for one.
#[rustfmt::skip]
const SHELL: [&str; 5] = ["--retry-initial", "60s", "--retry-max", "60s", "--allow-shell"];

/// An initramfs with a policy of its own: these options of `policy create`, and of `initramfs build`.
fn initramfs(desk: &Path, policy: &[&str], build: &[&str]) -> PathBuf {
    let lab = Lab::get();
    let at = |name: &str| lab.path(name).to_str().unwrap().to_owned();
    let own = |name: &str| desk.join(name).to_str().unwrap().to_owned();
    let (alice, bob) = (at("keys/alice.pub"), at("keys/bob.pub"));
    let accepted = format!("{IMAGE}={MIN_VERSION}");
    let trust = own("trust.json");
    #[rustfmt::skip]
    let words = [
        &["policy", "create", "--threshold", "2", "--key", &alice, "--key", &bob,
          "--image", &accepted, "--out", &trust],
        policy,
    ]
    .concat();
    lab.run_all(desk, &[], &words);
    let (host, roots, out) = (at("host.json"), at("tls/ca.pem"), own("own.initramfs"));
    let (loader, modules) = (lab.loader.to_str().unwrap(), lab.modules.to_str().unwrap());
    #[rustfmt::skip]
    let words = [
        &["initramfs", "build", "--loader", loader, "--policy", &trust, "--host-config", &host,
          "--tls-roots", &roots, "--modules-dir", modules, "--out", &out],
        build,
    ]
    .concat();
    lab.run_all(desk, &[], &words);
    PathBuf::from(out)
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_by_a_deadline_and_told_of_on_the_next_boot() {
    let desk = TempDir::new().unwrap();
    let policy = [
        "--retry-initial",
        "1s",
        "--retry-max",
        "1s",
        "--max-attempts",
        "1",
    ];
    let store = Store::published();
    let silence = Silence::new().await;
    let options = Options {
        initramfs: Some(initramfs(desk.path(), &policy, &[])),
        firmware: Firmware::uefi(desk.path().join("vars.fd")).unwrap(),
        on_reset: Reset::Reboots,
        ..Options::default()
    };
    let mut machine = Machine::boot_with(silence.port, options).await;
    machine
        .until_said("failure 1 of 1, FETCH-CONNECT: rebooting in", 0)
        .await;
    let why = "caused by: operation timed out";
    assert!(machine.console().contains(why), "{}", machine.console());
    let port = silence.end().await;
    let _server = Server::start_at(&store, port, "tls").await;
    machine.until_said("sealboot: last_failure at=", 0).await;
    let console = machine.runs_the_os().await;
    for said in [
        "sealboot: a previous boot failed in stage manifest at 20",
        " stage=manifest code=FETCH-CONNECT attempts=1 action=reboot",
        "sealboot: the image is verified and loaded; cleared the record of failed boots: 1",
    ] {
        assert_eq!(console.matches(said).count(), 1, "{said}\n{console}");
    }
}

#[tokio::test]
async fn a_machine_that_gives_up_enters_its_fallback_which_knows_why() {
    let desk = TempDir::new().unwrap();
    let lab = Lab::get();
    let initrd = desk.path().join("rescue.initrd");
    let busybox = fs::read(&lab.busybox).unwrap();
    fs::write(&initrd, os::initrd(&busybox, "the fallback").unwrap()).unwrap();
    let (kernel, initrd) = (lab.kernel.to_str().unwrap(), initrd.to_str().unwrap());
    let policy = [
        "--retry-initial",
        "1s",
        "--retry-max",
        "1s",
        "--max-attempts",
        "2",
        "--final-action",
        "fallback",
    ];
    #[rustfmt::skip]
    let build = [
        "--fallback-kernel", kernel, "--fallback-initrd", initrd,
        "--fallback-cmdline", "console=ttyS0 panic=-1 no_timer_check tsc=unstable",
    ];
    let nobody = Nobody::new();
    let options = Options {
        initramfs: Some(initramfs(desk.path(), &policy, &build)),
        ..Options::default()
    };
    let machine = Machine::boot_with(nobody.port(), options).await;
    let console = machine.runs_the_os().await;
    assert!(
        console.contains("failure 1 of 2, FETCH-CONNECT: trying again in"),
        "{console}"
    );
    assert!(
        console.contains("failure 2 of 2, FETCH-CONNECT: entering the fallback in"),
        "{console}"
    );
    assert!(console.contains("the fallback"), "{console}");
    let line = "command line  console=ttyS0 panic=-1 no_timer_check tsc=unstable sealboot.failed=FETCH-CONNECT";
    assert!(console.contains(line), "{console}");
    assert!(!console.contains("for a shell"), "{console}");
}

#[tokio::test]
async fn a_fallback_that_was_damaged_after_its_build_is_not_entered_and_the_next_boot_knows() {
    let desk = TempDir::new().unwrap();
    let lab = Lab::get();
    let rescue = os::initrd(&fs::read(&lab.busybox).unwrap(), "the fallback").unwrap();
    let initrd = desk.path().join("rescue.initrd");
    fs::write(&initrd, &rescue).unwrap();
    let (kernel, initrd) = (lab.kernel.to_str().unwrap(), initrd.to_str().unwrap());
    #[rustfmt::skip]
    let policy = [
        "--retry-initial", "1s", "--retry-max", "1s", "--max-attempts", "1", "--final-action", "fallback",
    ];
    #[rustfmt::skip]
    let build = [
        "--fallback-kernel", kernel, "--fallback-initrd", initrd,
        "--fallback-cmdline", "console=ttyS0 panic=-1", "--compress", "none",
    ];
    let damaged = initramfs(desk.path(), &policy, &build);
    let mut bytes = fs::read(&damaged).unwrap();
    let at = bytes
        .windows(rescue.len())
        .position(|window| window == rescue)
        .unwrap();
    bytes[at + rescue.len() / 2] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let nobody = Nobody::new();
    let options = Options {
        initramfs: Some(damaged),
        firmware: Firmware::uefi(desk.path().join("vars.fd")).unwrap(),
        on_reset: Reset::Reboots,
        ..Options::default()
    };
    let mut machine = Machine::boot_with(nobody.port(), options).await;
    let damage = "/etc/sealboot/fallback/initrd is damaged";
    let said = format!("sealboot: the fallback is not entered: {damage}");
    machine.until_said(&said, 0).await;
    machine.until_said("sealboot: rebooting instead", 0).await;
    machine
        .until_said(&format!(": FETCH-CONNECT: {damage}, expected sha256"), 0)
        .await;
    machine.until_said("attempts=1 action=reboot", 0).await;
    let console = machine.console();
    assert!(
        !console.contains("entering the fallback's kernel"),
        "{console}"
    );
}

#[tokio::test]
async fn a_machine_that_gives_up_powers_itself_off_and_says_the_same_on_every_console() {
    let desk = TempDir::new().unwrap();
    let policy = [
        "--retry-initial",
        "8s",
        "--retry-max",
        "8s",
        "--max-attempts",
        "1",
        "--final-action",
        "power-off",
    ];
    let nobody = Nobody::new();
    let options = Options {
        initramfs: Some(initramfs(desk.path(), &policy, &[])),
        // The last one alone is /dev/console, and it is the other one.
        append: "console=tty0".to_owned(),
        screen: true,
        ..Options::default()
    };
    let mut machine = Machine::boot_with(nobody.port(), options).await;
    let last = "failure 1 of 1, FETCH-CONNECT: powering off in";
    machine.until_said(last, 0).await;
    let screen = machine.screen().await;
    let console = machine.powers_off().await;
    let said: Vec<&str> = console
        .lines()
        .filter(|line| line.starts_with("sealboot: "))
        .take_while(|line| !line.contains(last))
        .collect();
    assert!(said.len() > 10, "{console}");
    for line in said {
        // A row has 80 characters, and shows no spaces at its end.
        let row = line.get(..80).unwrap_or(line).trim_end();
        assert!(screen.contains(row), "{row}\nthe screen:\n{screen}");
    }
}

#[tokio::test]
async fn whoever_stands_at_the_console_may_have_a_shell_where_policy_and_initramfs_have_one() {
    let desk = TempDir::new().unwrap();
    let shell = Lab::get().busybox.to_str().unwrap();
    let nobody = Nobody::new();
    let store = Store::published();
    let port = nobody.port();
    let options = Options {
        initramfs: Some(initramfs(desk.path(), &SHELL, &["--shell", shell])),
        ..Options::default()
    };
    let mut machine = Machine::boot_with(port, options).await;
    // What was typed before anything was asked opens nothing, and Ctrl-D does not either.
    machine.until_said("sealboot: version ", 0).await;
    machine.type_in("\n").await;
    machine.until_said("press Enter for a shell", 0).await;
    machine.type_in("\u{4}").await;
    machine
        .until_said("waiting for the end of a pause", 0)
        .await;
    assert!(!machine.console().contains("a shell is open"));
    machine.opens_a_shell().await;
    machine
        .type_in("echo PID $$ is the $((6*7))nd; ls /etc/sealboot\n")
        .await;
    machine.until_said("is the 42nd", 0).await;
    machine.until_said("tls-roots.pem", 0).await;
    drop(nobody);
    let _server = Server::start_at(&store, port, "tls").await;
    machine.type_in("sleep 10000 &\n").await;
    machine.type_in("exit\n").await;
    let ended = "the shell exited; killed 1 leftover process";
    machine.until_said(ended, 0).await;
    machine.runs_the_os().await;
}

#[tokio::test]
async fn a_loader_that_stands_still_is_reset_by_the_machines_watchdog_and_the_next_one_knows() {
    let desk = TempDir::new().unwrap();
    let shell = Lab::get().busybox.to_str().unwrap();
    let build = ["--module", "common-nics", "--shell", shell];
    let nobody = Nobody::new();
    let store = Store::published();
    let port = nobody.port();
    let options = Options {
        initramfs: Some(initramfs(desk.path(), &SHELL, &build)),
        nics: vec![Nic::user(Model::E1000e)],
        watchdog: true,
        on_reset: Reset::Reboots,
        ..Options::default()
    };
    let mut machine = Machine::boot_with(port, options).await;
    machine.opens_a_shell().await;
    // Whatever makes a loader hang stops some thread of it; the kernel's freezer stops them all.
    machine
        .type_in(
            "mkdir /g && mount -t cgroup2 g /g && mkdir /g/still && echo 1 >/g/still/cgroup.procs && \
             echo 1 >/g/still/cgroup.freeze && echo frozen $?\n",
        )
        .await;
    machine.until_said("frozen 0", 0).await;
    drop(nobody);
    let _server = Server::start_at(&store, port, "tls").await;
    let begins = "sealboot: version ";
    assert_eq!(machine.console().matches(begins).count(), 1);
    let console = machine.runs_the_os().await;
    assert_eq!(console.matches(begins).count(), 2, "{console}");
    for said in ["the watchdog is i6300ESB timer, 60 s", "e1000e"] {
        assert!(console.contains(said), "{said}\n{console}");
    }
    let knows = "the watchdog, i6300ESB timer, has reset this machine";
    assert_eq!(console.matches(knows).count(), 1, "{console}");
}

#[tokio::test]
async fn published_failure_policy_governs_every_later_failure() {
    // Baked in: a shell, and 20 failures. Published: no shell, and the machine is powered off after the third failure.
    let desk = TempDir::new().unwrap();
    let lab = Lab::get();
    let shell = lab.busybox.to_str().unwrap();
    #[rustfmt::skip]
    let baked = ["--retry-initial", "3s", "--retry-max", "3s", "--allow-shell"];
    let initramfs = initramfs(desk.path(), &baked, &["--shell", shell]);
    let store = Store::empty();
    let trust = desk.path().join("trust.json");
    let trust = trust.to_str().unwrap();
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "policy", "create", "--from", trust, "--no-shell", "--max-attempts", "3",
        "--final-action", "power-off", "--out", "next.json",
    ]);
    let mut envelope = String::new();
    for signer in ["alice", "bob"] {
        let key = lab.path(&format!("keys/{signer}.key"));
        let key = key.to_str().unwrap();
        envelope = lab.run(store.desk(), ["policy", "sign", "--key", key, "next.json"]);
    }
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "policy", "publish", "--policy", trust, "--store", "store", envelope.trim_end(),
    ]);
    // The store has no image, so the attempt that proves the published policy fails in the stage `manifest`.
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(initramfs),
        ..Options::default()
    };
    let mut machine = Machine::boot_with(server.port, options).await;
    machine.until_said("sealboot: failure 1", 0).await;
    // The later attempts never reach a mirror.
    server.kill().await;
    let console = machine.powers_off().await;
    for said in [
        "shows version 2 of the trust policy",
        "sealboot: failure 1 of 3, ",
        "sealboot: failure 2 of 3, ",
        "sealboot: failure 3 of 3, ",
    ] {
        assert!(console.contains(said), "{said}\n{console}");
    }
    assert!(!console.contains("for a shell"), "{console}");
}
