//! Machines that are saved once and restored often, where a boot would come to the same point again.
//!
//! A saved state is all of a machine at that point: its memory, its clock, its keys and its seed of random numbers. So it
//! is for machines that a test needs beside what it is about, never for what begins with a boot of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::running::Running;
use super::{Error, Machine, QEMU, Wire};
use sealboot_core::format::digest::Sha256Digest;

/// Between two looks at what QEMU is about; it has no event for either end.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes a second, and the milliseconds that the machine may stand still: no limit.
const BANDWIDTH: u64 = 1 << 40;
const DOWNTIME: u64 = 60_000;

impl Machine {
    /// Starts the machine where [`Running::save`] has left one of the same [`Machine::make`]. What its disks hold may
    /// differ, as far as it had not read it. What is typed before this returns is lost.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where the state is not one of such a machine.
    pub async fn restore(&self, state: &Path, input: Stdio) -> Result<Running, Error> {
        let unusable = |words: String| Error::State {
            path: state.to_owned(),
            words,
        };
        File::open(state).map_err(|error| unusable(error.to_string()))?;
        // Not the file as a descriptor: QEMU 7.2 crashes on those that are large.
        let incoming = format!("exec:cat < {}", quoted(state));
        let mut running = self.launch(input, Some(&incoming)).await?;
        loop {
            match running.execute("query-status", &json!({})).await {
                Ok(status) if status["status"] == "inmigrate" => sleep(LOOK).await,
                Ok(_) => return Ok(running),
                Err(Error::Connection(_)) => return Err(unusable(running.last_messages().await)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Names what a saved state depends on: QEMU, the kernel, the initramfs and the whole description, but not where
    /// wires lead and what disks hold.
    ///
    /// # Errors
    ///
    /// Where QEMU cannot be asked for its version, or a file cannot be read.
    pub fn make(&self) -> Result<Sha256Digest, Error> {
        let asked = Command::new(QEMU).arg("--version").output();
        let version = asked.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => Error::Spawn(error),
        })?;
        let digest = |path: &Path| {
            let digest = File::open(path).and_then(Sha256Digest::of_rest);
            digest.map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            })
        };
        let files = [digest(&self.kernel)?, digest(&self.initramfs)?];
        let mut shape = self.clone();
        for path in [&mut shape.kernel, &mut shape.initramfs] {
            *path = PathBuf::new();
        }
        for nic in &mut shape.nics {
            match &mut nic.wire {
                Wire::User => {}
                Wire::First(path) | Wire::Second(path) => *path = PathBuf::new(),
            }
        }
        for disk in &mut shape.disks {
            *disk.image_mut() = PathBuf::new();
        }
        let version = String::from_utf8_lossy(&version.stdout);
        Ok(Sha256Digest::of(
            format!("{version}\n{files:?}\n{shape:?}").as_bytes(),
        ))
    }
}

impl Running {
    /// Writes all of the machine's state to a file, and ends it.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where QEMU cannot write it.
    pub async fn save(mut self, state: &Path) -> Result<(), Error> {
        let limits = json!({"max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME});
        self.execute("migrate-set-parameters", &limits).await?;
        let uri = format!("exec:cat > {}", quoted(state));
        self.execute("migrate", &json!({"uri": uri})).await?;
        loop {
            let migration = self.execute("query-migrate", &json!({})).await?;
            match migration["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") | None => {
                    return Err(Error::State {
                        path: state.to_owned(),
                        words: migration.to_string(),
                    });
                }
                Some(_) => sleep(LOOK).await,
            }
        }
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Disk, Model, Nic};
    use super::*;

    #[test]
    fn make_depends_on_the_machine_and_not_on_where_it_stands() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (kernel, initramfs) = (file("k", "kernel"), file("i", "initramfs"));
        let with = |change: &dyn Fn(&mut Machine)| {
            let mut machine = Machine::new(&kernel, &initramfs);
            machine.nics = vec![Nic {
                model: Model::Virtio,
                wire: Wire::First("/a".into()),
            }];
            machine.disks = vec![Disk::Virtio("/a".into())];
            change(&mut machine);
            machine.make().unwrap()
        };
        let make = with(&|_| {});
        let same: [&dyn Fn(&mut Machine); 3] = [
            &|machine| machine.kernel = file("another", "kernel"),
            &|machine| machine.nics[0].wire = Wire::First("/b".into()),
            &|machine| machine.disks = vec![Disk::Virtio("/b".into())],
        ];
        for change in same {
            assert_eq!(with(change), make);
        }
        let others: [&dyn Fn(&mut Machine); 6] = [
            &|machine| machine.kernel = file("newer", "kernel 2"),
            &|machine| machine.initramfs = file("newer", "initramfs 2"),
            &|machine| machine.memory_mib += 1,
            &|machine| machine.append.push('a'),
            &|machine| machine.nics[0].model = Model::E1000e,
            &|machine| machine.disks = vec![Disk::Nvme("/a".into())],
        ];
        for (number, change) in others.into_iter().enumerate() {
            assert_ne!(with(change), make, "{number}");
        }
    }
}
