//! At a terminal: what is asked, what is echoed, and what an answer does.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::{ENVELOPE, World, succeeded};
use support::patience::eventually;

const LOCKED: &str = "test-only-keys/encrypted.key";
const PROMPT: &str = "Passphrase of test-only-keys/encrypted.key: ";
const QUESTION: &str = "Sign this? [y/N] ";

/// The tool, run on a terminal of its own.
struct Session {
    process: Child,
    master: File,
    /// Kept open so that echo can be asked for after the tool has ended.
    _slave: OwnedFd,
    shown: String,
    /// How much of `shown` was waited for already.
    seen: usize,
}

impl Session {
    fn start(world: &World, arguments: &[&str]) -> Self {
        Self::of(
            world,
            &[&[env!("CARGO_BIN_EXE_sealboot")], arguments].concat(),
        )
    }

    /// Runs another program on the terminal.
    fn of(world: &World, command: &[&str]) -> Self {
        let terminal = openpty(None, None).unwrap();
        let slave = || Stdio::from(terminal.slave.try_clone().unwrap());
        // Makes the terminal the controlling one: passphrases are asked for on /dev/tty.
        let process = world
            .command("setsid")
            .arg("--ctty")
            .args(command)
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        Self {
            process,
            master: File::from(terminal.master),
            _slave: terminal.slave,
            shown: String::new(),
            seen: 0,
        }
    }

    /// Reads what is shown until `text` is, which stands after all that was waited for before.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(
                self.read_before(deadline),
                "in vain: {text}\n{}",
                self.shown
            );
        }
    }

    /// Reads a little; false where nothing came.
    fn read_before(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap();
        if poll(&mut fds, timeout).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        let count = self.master.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]).replace('\r', "");
        self.shown.push_str(&text);
        count > 0
    }

    fn type_line(&mut self, line: &str) {
        self.master
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// Types a line once the terminal does not echo it.
    fn type_secret(&mut self, line: &str) {
        eventually("the terminal stops echoing", || {
            let flags = tcgetattr(self.master.as_fd()).unwrap().local_flags;
            !flags.contains(LocalFlags::ECHO)
        });
        self.type_line(line);
    }

    /// Waits for the end, and gives all that was shown.
    fn end(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("the tool ends", || {
            // What it shows has to be read, or it waits for room.
            while self.read_before(Instant::now()) {}
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        while self.read_before(Instant::now()) {}
        let flags = tcgetattr(self.master.as_fd()).unwrap().local_flags;
        assert!(
            flags.contains(LocalFlags::ECHO),
            "the terminal echoes again"
        );
        (status.unwrap(), std::mem::take(&mut self.shown))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn only_yes_signs() {
    for (answer, signatures) in [
        ("y", 1),
        ("YES", 1),
        ("n", 0),
        ("", 0),
        ("yess", 0),
        ("\x04", 0),
    ] {
        let world = World::new();
        let mut session = Session::start(
            &world,
            &[
                "image",
                "sign",
                "--key",
                "test-only-keys/alice.key",
                ENVELOPE,
            ],
        );
        // What is to be signed stands before the question.
        session.wait_for("cmdline  console=ttyS0 quiet");
        session.wait_for("now 2026.01.42-debian12");
        session.wait_for(QUESTION);
        assert_eq!(world.signatures(), 0, "{answer:?}");
        session.type_line(answer);
        let (status, shown) = session.end();
        assert_eq!(world.signatures(), signatures, "{answer:?}: {shown}");
        assert_eq!(
            status.code(),
            Some(1 - i32::try_from(signatures).unwrap()),
            "{shown}"
        );
        if signatures == 0 {
            assert!(
                shown.ends_with("error: not signed\nhint: nothing was changed\n"),
                "{shown:?}"
            );
        }
    }
}

const PUBLISH: [&str; 7] = [
    "policy",
    "publish",
    "--policy",
    "policies/1.json",
    "--store",
    "store",
    "policies/good.json",
];

#[test]
fn only_yes_publishes_a_policy_that_stops_machines() {
    for (answer, published) in [("y", true), ("n", false), ("", false), ("\x04", false)] {
        let world = World::new();
        support::world::policies::build(&world.path("policies"));
        let mut session = Session::start(&world, &PUBLISH);
        session.wait_for(
            "release 41 of image relay (x86_64) will be refused by version 2 of the trust policy",
        );
        session.wait_for("Machines that need relay=41 will not boot. Publish all the same? [y/N] ");
        assert!(!world.path("store/trust").exists(), "{answer:?}");
        session.type_line(answer);
        let (status, shown) = session.end();
        assert_eq!(
            world.path("store/trust/2.json").exists(),
            published,
            "{answer:?}: {shown}"
        );
        assert_eq!(
            status.code(),
            Some(if published { 0 } else { 3 }),
            "{shown}"
        );
    }
}

#[test]
fn only_yes_signs_a_policy() {
    for (answer, signed) in [("yes", true), ("", false)] {
        let world = World::new();
        support::world::policies::build(&world.path("policies"));
        let sign = ["policy", "sign", "--policy", "policies/1.json", "--key"];
        let alice = ["test-only-keys/alice.key", "policies/2.json"];
        let mut session = Session::start(&world, &[&sign[..], &alice].concat());
        // What it changes, and who must sign, stands before the question.
        session.wait_for("key alice     removed");
        session.wait_for("root of version 1  2 of alice, bob");
        session.wait_for(QUESTION);
        session.type_line(answer);
        let (status, shown) = session.end();
        let envelope = world.path("policies/2.signed.json");
        assert_eq!(envelope.exists(), signed, "{answer:?}: {shown}");
        assert_eq!(status.code(), Some(i32::from(!signed)), "{shown}");
    }
}

#[test]
fn bytes_to_sign_are_not_written_to_a_terminal() {
    let world = World::new();
    let print = ["host-config", "sign", "--print-signed-bytes"];
    let plain = "host-configs/dhcp.json";
    let (status, shown) = Session::start(&world, &[&print[..], &[plain]].concat()).end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        shown,
        "error: the bytes to sign are not for a terminal: standard output is one\n\
         hint: write them to a file: `--print-signed-bytes … > FILE`\n"
    );
    assert!(!world.path("host-configs/dhcp.signed.json").exists());
}

#[test]
fn only_yes_prints_the_bytes_to_sign() {
    for (answer, printed) in [("y", true), ("n", false), ("", false)] {
        let world = World::new();
        let script =
            "exec \"$0\" host-config sign --print-signed-bytes host-configs/dhcp.json >bytes";
        let command = ["bash", "-c", script, env!("CARGO_BIN_EXE_sealboot")];
        let mut session = Session::of(&world, &command);
        session.wait_for("https://boot2.example/store/");
        session.wait_for(QUESTION);
        session.type_line(answer);
        let (status, shown) = session.end();
        assert_eq!(status.code(), Some(i32::from(!printed)), "{shown}");
        let bytes = std::fs::read(world.path("bytes")).unwrap();
        assert_eq!(bytes.starts_with(b"DSSEv1 44 application/"), printed);
        assert_eq!(bytes.is_empty(), !printed);
        let envelope = world.path("host-configs/dhcp.signed.json");
        assert_eq!(envelope.exists(), printed, "{answer:?}");
    }
}

#[test]
fn who_said_yes_on_the_command_line_is_not_asked() {
    let world = World::new();
    let session = Session::start(
        &world,
        &[
            "image",
            "sign",
            "--yes",
            "--key",
            "test-only-keys/alice.key",
            ENVELOPE,
        ],
    );
    let (status, shown) = session.end();
    assert!(status.success(), "{shown}");
    assert!(!shown.contains(QUESTION), "{shown}");
    assert_eq!(world.signatures(), 1);
}

#[test]
fn a_passphrase_is_asked_for_after_the_question_and_never_shown() {
    let world = World::new();
    let mut session = Session::start(&world, &["image", "sign", "--key", LOCKED, ENVELOPE]);
    session.wait_for(QUESTION);
    session.type_line("y");
    session.wait_for(PROMPT);
    session.type_secret("mistyped");
    session.wait_for("that is not its passphrase; try again");
    session.wait_for(PROMPT);
    session.type_secret("test-only");
    let (status, shown) = session.end();
    assert!(status.success(), "{shown}");
    assert_eq!(world.signatures(), 1);
    assert!(!shown.contains("mistyped"), "{shown}");
    // The name of the key's directory holds the passphrase too.
    assert!(!shown.replace(LOCKED, "").contains("test-only"), "{shown}");
}

#[test]
fn three_wrong_passphrases_are_enough() {
    let world = World::new();
    let mut session = Session::start(
        &world,
        &["image", "sign", "--yes", "--key", LOCKED, ENVELOPE],
    );
    for _ in 0..3 {
        session.wait_for(PROMPT);
        session.type_secret("mistyped");
    }
    let (status, shown) = session.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("error: cannot unlock test-only-keys/encrypted.key\n  caused by: the passphrase is wrong\n"),
        "{shown}"
    );
    assert_eq!(shown.matches(PROMPT).count(), 3);
    assert_eq!(world.signatures(), 0);
}

#[test]
fn a_new_passphrase_is_typed_twice_the_same() {
    for (second, made) in [("a battery", true), ("a staple", false)] {
        let world = World::new();
        let mut session =
            Session::start(&world, &["key", "generate", "--encrypt", "--out", "frank"]);
        session.wait_for("New passphrase of frank.key: ");
        session.type_secret("a battery");
        session.wait_for("The same again: ");
        session.type_secret(second);
        let (status, shown) = session.end();
        assert_eq!(status.success(), made, "{shown}");
        assert_eq!(world.path("frank.key").exists(), made);
        assert_eq!(world.path("frank.pub").exists(), made);
        assert!(
            !shown.contains("battery") && !shown.contains("staple"),
            "{shown}"
        );
        if !made {
            assert!(shown.contains(
                "error: the two passphrases differ\nhint: nothing was made; try again\n"
            ));
        }
    }
}

#[test]
fn what_others_do_while_a_signer_reads_is_not_lost_and_not_signed() {
    let world = World::new();
    let sign = [
        "image",
        "sign",
        "--key",
        "test-only-keys/alice.key",
        ENVELOPE,
    ];
    // Bob signs meanwhile: both signatures stay.
    let mut session = Session::start(&world, &sign);
    session.wait_for(QUESTION);
    let bobs = ["image", "sign", "--key", "test-only-keys/bob.key", ENVELOPE];
    succeeded(world.sealboot(&bobs).output().unwrap());
    session.type_line("y");
    let (status, shown) = session.end();
    assert!(status.success(), "{shown}");
    assert!(shown.ends_with("now holds 2 signatures\n"), "{shown}");

    // Somebody puts another statement there: it gets no signature.
    let sign = [
        "image",
        "sign",
        "--key",
        "test-only-keys/carol.key",
        ENVELOPE,
    ];
    let mut session = Session::start(&world, &sign);
    session.wait_for(QUESTION);
    std::fs::copy(
        world.path("odd-envelopes/another-42.json"),
        world.path(ENVELOPE),
    )
    .unwrap();
    let before = world.envelope();
    session.type_line("y");
    let (status, shown) = session.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(
        shown.ends_with(
            "error: store/images/relay/42/x86_64.json was replaced by another statement meanwhile\n\
             hint: nothing was changed; look at it again with `sealboot image inspect`\n"
        ),
        "{shown}"
    );
    assert_eq!(world.envelope(), before);
}

#[test]
fn control_c_at_the_passphrase_signs_nothing_and_gives_the_terminal_back() {
    let world = World::new();
    let mut session = Session::start(
        &world,
        &["image", "sign", "--yes", "--key", LOCKED, ENVELOPE],
    );
    session.wait_for(PROMPT);
    session.type_secret("\x03");
    let (status, shown) = session.end();
    assert_eq!(status.signal(), Some(2), "{shown}");
    assert_eq!(world.signatures(), 0);
}
