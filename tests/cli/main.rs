//! The operator's tool as its user sees it: whole outputs of the real binary, page by page.
//!
//! `tests/cli/*.trycmd` read as a manual. Each page runs in its own fresh copy of the world that
//! `support::world` builds, command after command. After a wanted change,
//! `TRYCMD=overwrite cargo test --test cli` writes the pages anew: read the difference.

mod inputs;
mod policies;
mod renewer;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sealboot_core::format::host_config::HostConfig;
use sealboot_core::trust::Envelope;
use support::world;
use tempfile::TempDir;

#[test]
fn every_page_of_the_manual_is_true() {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/cli");
    let pages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    match fs::remove_dir_all(&pages) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    fs::create_dir_all(&pages).expect("the target directory is writable");
    let mut count = 0;
    for entry in fs::read_dir(&source).expect("tests/cli is there") {
        let path = entry.expect("tests/cli can be read").path();
        if path.extension().is_none_or(|suffix| suffix != "trycmd") {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.expect("a page has a name");
        // A link, so that overwriting a page writes the page.
        symlink(&path, pages.join(format!("{name}.trycmd"))).expect("pages can be linked");
        // `NAME.in` is what the page starts with; that `NAME.out` is there makes it run in a copy.
        world::build_world(&pages.join(format!("{name}.in")));
        if name == "image-verify" {
            world::attacks::build(&pages.join(format!("{name}.in/attacks")));
        }
        if name.starts_with("rotation-") {
            world::policies::build(&pages.join(format!("{name}.in/policies")));
        }
        fs::create_dir(pages.join(format!("{name}.out"))).expect("the page has no directory yet");
        count += 1;
    }
    assert!(count >= 9, "only {count} pages were found");
    trycmd::TestCases::new()
        .case(pages.join("*.trycmd"))
        .register_bin("sealboot", Path::new(env!("CARGO_BIN_EXE_sealboot")))
        .register_bins(["cat", "cp", "ls", "mkdir", "rm"].map(|tool| {
            let path = Path::new("/bin").join(tool);
            (tool, trycmd::schema::Bin::Path(path))
        }))
        // Help texts are wrapped to the terminal's width where there is one.
        .env("COLUMNS", "100")
        .env("LC_ALL", "C")
        // Policies are created on the first of December, at noon.
        .env("SOURCE_DATE_EPOCH", "1796126400")
        // Nobody's agent signs for the pages.
        .env("SSH_AUTH_SOCK", "")
        .timeout(Duration::from_secs(60));
}

const SEALBOOT: &str = env!("CARGO_BIN_EXE_sealboot");

/// A world of its own, for what a page cannot show.
fn world() -> TempDir {
    let world = TempDir::new().expect("a temporary directory");
    world::build_world(world.path());
    world
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sealboot(world: &TempDir) -> Command {
    let mut command = Command::new(SEALBOOT);
    command.current_dir(world);
    command
}

#[track_caller]
fn succeeded(output: std::io::Result<Output>) -> Output {
    let output = output.expect("the program can be run");
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

#[test]
fn modes_of_new_files_do_not_depend_on_the_umask() {
    for umask in ["000", "077", "777"] {
        let world = world();
        let script = format!("umask {umask} && exec \"$0\" \"$@\"",);
        let run = |arguments: &[&str]| {
            let mut command = Command::new("bash");
            command.current_dir(&world).args(["-c", &script, SEALBOOT]);
            succeeded(command.args(arguments).output())
        };
        run(&["key", "generate", "--out", "dora"]);
        run(&[
            "policy",
            "create",
            "--threshold",
            "1",
            "--key",
            "dora.pub",
            "--image",
            "relay",
            "--out",
            "new.json",
        ]);
        run(&[
            "image",
            "sign",
            "--key",
            "dora.key",
            "store/images/relay/42/x86_64.json",
        ]);
        fs::create_dir(world.path().join("fresh")).expect("ours");
        let newer = "staging/images/relay/43/x86_64.json";
        run(&[
            "image",
            "publish",
            "--policy",
            "trust.json",
            "--store",
            "fresh",
            newer,
        ]);
        let blob = fs::read_dir(world.path().join("fresh/blobs"))
            .expect("published")
            .next();
        let blob = blob.expect("one").expect("readable").file_name();
        let blob = format!("fresh/blobs/{}", blob.to_str().expect("a text"));
        for (file, mode) in [
            ("fresh/images", 0o755),
            ("fresh/images/relay", 0o755),
            ("fresh/blobs", 0o755),
            ("fresh/images/relay.json", 0o644),
            ("fresh/images/relay/43/x86_64.json", 0o644),
            (blob.as_str(), 0o644),
            ("dora.key", 0o600),
            ("dora.pub", 0o644),
            ("new.json", 0o644),
            ("store/images/relay/42/x86_64.json", 0o644),
        ] {
            let metadata = fs::metadata(world.path().join(file)).expect(file);
            assert_eq!(
                metadata.permissions().mode() & 0o7777,
                mode,
                "{file}, umask {umask}"
            );
        }
    }
}

#[test]
fn nothing_is_left_beside_what_was_written() {
    let world = world();
    let names = || {
        let entries = fs::read_dir(world.path().join("store/images/relay")).expect("there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    succeeded(
        sealboot(&world)
            .args([
                "image",
                "sign",
                "--key",
                "test-only-keys/alice.key",
                "store/images/relay/42/x86_64.json",
            ])
            .output(),
    );
    assert_eq!(names(), before);
}

#[test]
fn signers_who_sign_in_the_same_moment_all_keep_their_signatures() {
    for _ in 0..8 {
        let world = world();
        let signers = ["alice", "bob", "carol", "mallory"].map(|name| {
            sealboot(&world)
                .args([
                    "image",
                    "sign",
                    "--key",
                    &format!("test-only-keys/{name}.key"),
                ])
                .arg("store/images/relay/42/x86_64.json")
                .stderr(Stdio::null())
                .spawn()
                .expect("the program can be run")
        });
        for mut signer in signers {
            assert!(signer.wait().expect("it ends").success());
        }
        let envelope =
            fs::read(world.path().join("store/images/relay/42/x86_64.json")).expect("there");
        let envelope = Envelope::parse(&envelope).expect("valid");
        assert_eq!(envelope.signatures().len(), 4);
    }
}

#[test]
fn signing_through_a_link_changes_the_file_and_keeps_the_link() {
    let world = world();
    let link = world.path().join("link.json");
    symlink("store/images/relay/42/x86_64.json", &link).expect("a link can be made");
    succeeded(
        sealboot(&world)
            .args([
                "image",
                "sign",
                "--key",
                "test-only-keys/alice.key",
                "link.json",
            ])
            .output(),
    );
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    let envelope = fs::read(world.path().join("store/images/relay/42/x86_64.json")).expect("there");
    assert_eq!(
        Envelope::parse(&envelope)
            .expect("valid")
            .signatures()
            .len(),
        1
    );
}

/// Runs the tool as a user to whom permissions apply, which they do not to root.
fn sealboot_as_nobody(world: &TempDir) -> Command {
    const NOBODY: u32 = 65_534;
    let binary: PathBuf = world.path().join("sealboot");
    fs::copy(SEALBOOT, &binary).expect("the program can be copied");
    let mut command = Command::new(binary);
    command.current_dir(world);
    if nix::unistd::geteuid().is_root() {
        fs::set_permissions(world, Permissions::from_mode(0o755)).expect("ours");
        let key = world.path().join("test-only-keys/alice.key");
        std::os::unix::fs::chown(key, Some(NOBODY), Some(NOBODY)).expect("root may");
        for place in ["store/images/relay", "store/images/relay/42/x86_64.json"] {
            std::os::unix::fs::chown(world.path().join(place), Some(NOBODY), Some(NOBODY))
                .expect("root may");
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn a_write_protected_envelope_is_not_replaced() {
    let world = world();
    let envelope = world.path().join("store/images/relay/42/x86_64.json");
    let before = fs::read(&envelope).expect("there");
    let mut command = sealboot_as_nobody(&world);
    fs::set_permissions(&envelope, Permissions::from_mode(0o444)).expect("ours");
    let output = command
        .args([
            "image",
            "sign",
            "--key",
            "test-only-keys/alice.key",
            "store/images/relay/42/x86_64.json",
        ])
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: store/images/relay/42/x86_64.json is write-protected\n  \
         caused by: EACCES: Permission denied\n\
         hint: signatures are added in place: make the file writable, or work on a copy, which `sealboot image merge` joins\n"
    );
    assert_eq!(fs::read(&envelope).expect("there"), before);

    fs::copy(&envelope, world.path().join("copy.json")).expect("ours");
    fs::set_permissions(
        world.path().join("copy.json"),
        Permissions::from_mode(0o644),
    )
    .expect("ours");
    let sign = [
        "image",
        "sign",
        "--key",
        "test-only-keys/alice.key",
        "copy.json",
    ];
    succeeded(sealboot(&world).args(sign).output());
    let merge = sealboot_as_nobody(&world)
        .args([
            "image",
            "merge",
            "store/images/relay/42/x86_64.json",
            "copy.json",
        ])
        .output()
        .expect("the program can be run");
    assert_eq!(merge.status.code(), Some(1));
    assert_eq!(
        text(&merge.stderr),
        "error: store/images/relay/42/x86_64.json is write-protected\n  \
         caused by: EACCES: Permission denied\n\
         hint: signatures are added in place: make the file writable, or work on a copy, which `sealboot image merge` joins\n"
    );
    assert_eq!(fs::read(&envelope).expect("there"), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let world = world();
    let mut command = sealboot_as_nobody(&world);
    let directory = world.path().join("store/images/relay/42");
    fs::set_permissions(&directory, Permissions::from_mode(0o555)).expect("ours");
    let output = command
        .args([
            "image",
            "sign",
            "--key",
            "test-only-keys/alice.key",
            "store/images/relay/42/x86_64.json",
        ])
        .output()
        .expect("the program can be run");
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("ours");
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let (_, error) = stderr.split_once("error: ").expect("an error");
    let directory = directory.canonicalize().expect("there");
    let directory = directory.display();
    assert_eq!(
        error,
        format!(
            "cannot write {directory}/x86_64.json\n  \
             caused by: Permission denied (os error 13)\n\
             hint: a file is written beside its place and then renamed, so the directory {directory} must be writable\n"
        )
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(SEALBOOT)
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_full_disk_under_standard_output_is_a_failure() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let output = Command::new(SEALBOOT)
        .arg("man")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: cannot write to standard output\n  caused by: No space left on device (os error 28)\n"
    );
}

#[test]
fn colours_appear_only_where_they_are_wanted() {
    let stderr = |name: &str, value: &str| {
        let output = Command::new(SEALBOOT)
            .args(["image", "inspect", "/absent"])
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .env(name, value)
            .output()
            .expect("the program can be run");
        text(&output.stderr)
    };
    assert!(stderr("CLICOLOR_FORCE", "1").starts_with("\x1b[1m\x1b[31merror\x1b[0m: "));
    assert!(stderr("NO_COLOR", "1").starts_with("error: "));
    assert!(
        stderr("UNRELATED", "1").starts_with("error: "),
        "stderr is no terminal here"
    );
}

#[test]
fn bash_completes_commands_and_options() {
    let script = format!(
        "source <({SEALBOOT} completions bash) || exit 1
         complete -p sealboot >/dev/null || exit 1
         complete_line() {{
             COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMPREPLY=()
             _sealboot sealboot \"${{@: -1}}\" \"${{@: -2:1}}\"
             echo \"${{COMPREPLY[*]}}\"
         }}
         complete_line sealboot host
         complete_line sealboot image ver
         complete_line sealboot image verify --man"
    );
    let output = succeeded(Command::new("bash").args(["-c", &script]).output());
    assert_eq!(
        text(&output.stdout),
        "host-config\nverify\n--manifest-only\n"
    );
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = TempDir::new().expect("a temporary directory");
    let output = succeeded(
        Command::new(SEALBOOT)
            .args(["man", "--out"])
            .arg(directory.path())
            .output(),
    );
    let mut listed: Vec<PathBuf> = text(&output.stdout).lines().map(PathBuf::from).collect();
    let entries = fs::read_dir(&directory).expect("there");
    let mut written: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    listed.sort();
    written.sort();
    assert_eq!(listed, written);

    // As --help lists them, down the tree.
    let mut expected = Vec::new();
    let mut commands = vec![Vec::new()];
    while let Some(command) = commands.pop() {
        let help = succeeded(Command::new(SEALBOOT).args(&command).arg("-h").output());
        let under = text(&help.stdout);
        let under = under.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        let under = under.lines().take_while(|line| !line.is_empty());
        for name in under.filter_map(|line| line.split_whitespace().next()) {
            if name != "help" {
                commands.push([command.as_slice(), &[name.to_owned()]].concat());
            }
        }
        let name = [&["sealboot".to_owned()], command.as_slice()]
            .concat()
            .join("-");
        expected.push(directory.path().join(format!("{name}.1")));
    }
    expected.sort();
    assert_eq!(written, expected);
    for page in &written {
        let page = fs::read_to_string(page).expect("there");
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(page.contains(section), "{page}");
        }
    }
}

#[test]
fn every_signer_of_a_host_config_signs_the_same_date() {
    let world = world();
    let sign = |key: &str, epoch: &str| {
        let output = sealboot(&world)
            .args([
                "host-config",
                "sign",
                "--key",
                key,
                "host-configs/dhcp.json",
            ])
            .env("SOURCE_DATE_EPOCH", epoch)
            .output()
            .expect("the program can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
    };
    sign("test-only-keys/alice.key", "1796169600");
    sign("test-only-keys/bob.key", "1796256000");
    let path = world.path().join("host-configs/dhcp.signed.json");
    let envelope = Envelope::parse(&fs::read(path).expect("there")).expect("an envelope");
    assert_eq!(envelope.signatures().len(), 2);
    let config = HostConfig::parse(envelope.unverified_payload()).expect("a host config");
    let created = config.created.expect("a date");
    assert_eq!(created.as_second(), 1_796_169_600);
}
