//! The operator's tool as its user sees it: whole outputs of the real binary, page by page.
//!
//! `tests/cli/*.trycmd` read as a manual. Each page runs in its own fresh copy of the world that
//! `tests/lab` builds, command after command. After a wanted change,
//! `TRYCMD=overwrite cargo test --test cli` writes the pages anew: read the difference.

mod lab;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

#[test]
fn every_page_of_the_manual_is_true() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
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
        lab::build_world(&pages.join(format!("{name}.in")));
        if name == "image-verify" {
            lab::attacks::build(&pages.join(format!("{name}.in/attacks")));
        }
        fs::create_dir(pages.join(format!("{name}.out"))).expect("the page has no directory yet");
        count += 1;
    }
    assert!(count >= 7, "only {count} pages were found");
    trycmd::TestCases::new()
        .case(pages.join("*.trycmd"))
        .register_bin("sealboot", Path::new(env!("CARGO_BIN_EXE_sealboot")))
        .register_bin("chmod", Path::new("/bin/chmod"))
        .register_bin("cat", Path::new("/bin/cat"))
        .register_bin("cp", Path::new("/bin/cp"))
        .register_bin("ls", Path::new("/bin/ls"))
        .register_bin("mv", Path::new("/bin/mv"))
        .register_bin("rm", Path::new("/bin/rm"))
        // Help texts are wrapped to the terminal's width where there is one.
        .env("COLUMNS", "100")
        .env("LC_ALL", "C")
        .timeout(Duration::from_secs(60));
}
