//! Whether gzip around the whole archive is worth it.
//!
//! Seldom: kernel and initrd are compressed already. It costs every machine time at boot, so by itself
//! it is chosen only where it saves more than a twentieth of what is sent.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::members::Member;
use super::{Compress, PackError};
use crate::format::manifest::Encoding;

/// One part in so many must be saved.
const WORTH: u64 = 20;

/// Chooses an encoding, and says why.
pub(super) fn choose(
    compress: Compress,
    members: &mut [Member],
    tar_size: u64,
) -> Result<(Encoding, String), PackError> {
    match compress {
        Compress::None => return Ok((Encoding::None, "as asked".to_owned())),
        Compress::Gzip => return Ok((Encoding::Gzip, "as asked".to_owned())),
        Compress::Auto => {}
    }
    let mut plain = 0;
    let mut packed = Counter(0);
    let compressible = |member: &&mut Member| member.treatment.is_compressible();
    let possible: u64 = members
        .iter_mut()
        .filter(compressible)
        .map(|member| member.size)
        .sum();
    if possible <= tar_size / WORTH {
        return Ok((
            Encoding::None,
            "kernel and initrd are compressed already".to_owned(),
        ));
    }
    for member in members.iter_mut().filter(compressible) {
        plain += member.size;
        let mut encoder = GzEncoder::new(&mut packed, Compression::best());
        let never = |error: io::Error| -> PackError {
            unreachable!("counting bytes does not fail: {error}")
        };
        member.read(&mut |bytes| encoder.write_all(bytes).map_err(never))?;
        encoder.finish().map_err(never)?;
    }
    let saved = plain.saturating_sub(packed.0);
    let share = saved * 100 / tar_size;
    if saved > tar_size / WORTH {
        Ok((Encoding::Gzip, format!("gzip saves {share} %")))
    } else {
        Ok((Encoding::None, format!("gzip would save only {share} %")))
    }
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
