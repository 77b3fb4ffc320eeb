//! Why a machine has reset itself, by what its console said last: QEMU only says that it has.

/// Whose doing a reset was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetBy {
    /// The loader, which has said that it reboots the machine.
    Loader,
    /// The kernel, which has panicked.
    Panic,
}

/// Reads a console as it comes, in pieces of any length.
#[derive(Debug, Default)]
pub struct LastWords {
    line: Vec<u8>,
    reset_by: Option<ResetBy>,
}

impl LastWords {
    /// Bytes of a line that are looked at; what matters stands at its beginning.
    const LINE: usize = 1024;

    /// Reads what the console says next.
    pub fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < Self::LINE {
                self.line.push(byte);
            }
        }
    }

    /// Who has reset the machine, if it was reset now; none where neither has said so.
    #[must_use]
    pub fn reset_by(mut self) -> Option<ResetBy> {
        self.end_line();
        self.reset_by
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let said = line.find("sealboot: ").map(|at| &line[at..]);
        if line.contains("Kernel panic - not syncing") {
            self.reset_by = Some(ResetBy::Panic);
        } else if said.is_some_and(|said| said.contains("rebooting")) {
            self.reset_by = Some(ResetBy::Loader);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset_by(console: &str, piece: usize) -> Option<ResetBy> {
        let mut words = LastWords::default();
        console
            .as_bytes()
            .chunks(piece)
            .for_each(|piece| words.read(piece));
        words.reset_by()
    }

    #[test]
    fn a_reset_is_told_by_what_the_console_said_last() {
        let gives_up = "sealboot: failure 2 of 2, FETCH-CONNECT: rebooting in 0.8 s\r\n";
        let panics = "[    1.2] Kernel panic - not syncing: Attempted to kill init!\r\n";
        let restarts = "[    2.0] reboot: Restarting system\r\n";
        for (console, expected) in [
            (String::new(), None),
            (restarts.to_owned(), None),
            (format!("{gives_up}{restarts}"), Some(ResetBy::Loader)),
            (format!("[    1.0] {gives_up}"), Some(ResetBy::Loader)),
            (
                "sealboot: rebooting instead".to_owned(),
                Some(ResetBy::Loader),
            ),
            (
                "sealboot: rebooting in 60 s\n".to_owned(),
                Some(ResetBy::Loader),
            ),
            (panics.to_owned(), Some(ResetBy::Panic)),
            (panics.trim_end().to_owned(), Some(ResetBy::Panic)),
            (
                format!("{gives_up}{panics}{restarts}"),
                Some(ResetBy::Panic),
            ),
            (
                "sealboot: failure 1 of 2, X: trying again in 1 s".to_owned(),
                None,
            ),
            ("an OS says: rebooting\n".to_owned(), None),
            ("x".repeat(100_000), None),
        ] {
            for piece in [1, 7, 4096] {
                assert_eq!(reset_by(&console, piece), expected, "{console}");
            }
        }
    }
}
