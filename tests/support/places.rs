//! Where things lie: found at run time, so that every package finds them, from wherever it is built.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut above = package.ancestors();
    let root = above.find(|directory| directory.join("Cargo.lock").is_file());
    root.unwrap().to_owned()
}

/// cargo's target directory, of which the running test is a part.
#[must_use]
pub fn target() -> PathBuf {
    let test = env::current_exe().unwrap();
    // cargo marks it, for backups to leave it out.
    let mut above = test.ancestors();
    let target = above.find(|directory| directory.join("CACHEDIR.TAG").is_file());
    target.unwrap().to_owned()
}

/// Where cargo lets tests keep files.
#[must_use]
pub fn scratch() -> PathBuf {
    target().join("tmp")
}

/// The operator's tool as cargo built it for this test: `target/PROFILE/sealboot`.
#[must_use]
pub fn tool() -> PathBuf {
    // `target/PROFILE/deps/TEST-HASH`
    let test = env::current_exe().unwrap();
    let tool = test.ancestors().nth(2).unwrap().join("sealboot");
    assert!(tool.is_file(), "no {}; run `cargo build`", tool.display());
    tool
}

/// A file of the target directory that `make TARGET` built before the test began, no older than its
/// sources.
#[must_use]
pub fn built(place: &str, make: &str) -> PathBuf {
    let modified = |file: &Path| -> io::Result<SystemTime> { fs::metadata(file)?.modified() };
    let binary = target().join(place);
    let since = modified(&binary)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make {make}`", binary.display()));
    // cargo's own list of what the binary was made of, beside it: `BINARY: SOURCE SOURCE …`.
    let sources = fs::read_to_string(binary.with_extension("d")).unwrap();
    for source in sources.split_whitespace().skip(1) {
        assert!(
            modified(Path::new(source)).is_ok_and(|changed| changed <= since),
            "{} is older than {source}; run `make {make}`",
            binary.display()
        );
    }
    binary
}
