//! The header of the zstd frame that an archive is (RFC 8878, section 3.1.1.1).
//!
//! It is checked before any decoder sees it, so that what it asks for is refused before it is given. A
//! frame has no dictionary, says how long its content is (which is what was signed), ends in a checksum of
//! it, and asks for a window within [`LIMITS`]: a decoder's memory is then bounded whatever follows. The
//! reference encoder writes nothing else when it is told the length and asked for a checksum.

use super::limits::LIMITS;

/// What a frame begins with.
const MAGIC: u32 = 0xfd2f_b528;

/// What skippable frames begin with: readers pass over what is in them.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

/// Not the header that an archive's frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Other bytes.
    #[error("it does not begin with a zstd frame")]
    NoFrame,
    /// A frame that holds data for nobody.
    #[error("it begins with a skippable frame, and an archive is one frame that holds all of it")]
    Skippable,
    /// Less than a header.
    #[error("the header of its frame is cut off")]
    Cut,
    /// The bit that RFC 8878 reserves.
    #[error("the header of its frame has the bit set that zstd reserves")]
    Reserved,
    /// A dictionary, which no machine has.
    #[error("its frame asks for a dictionary")]
    Dictionary,
    /// Nothing to check the content by.
    #[error("its frame has no checksum")]
    NoChecksum,
    /// No length of the content.
    #[error("its frame does not say how long its content is")]
    NoContentSize,
    /// Another length of the content than was signed.
    #[error(
        "its frame says another length than was signed\n  expected {expected} bytes\n  found    {found} bytes"
    )]
    ContentSize {
        /// The length of the tar that was signed.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// A decoder would have to hold too much.
    #[error("its frame asks for a window of {found} bytes, more than {}", LIMITS.zstd_window)]
    Window {
        /// Bytes of the window.
        found: u64,
    },
}

/// Checks the header at the start of `frame`, whose content is to be `content` bytes long.
///
/// # Errors
///
/// The first thing that the header should not say, or should.
pub fn check(frame: &[u8], content: u64) -> Result<(), FrameError> {
    let (magic, rest) = frame.split_first_chunk().ok_or(FrameError::Cut)?;
    match u32::from_le_bytes(*magic) {
        MAGIC => {}
        magic if SKIPPABLE.contains(&magic) => return Err(FrameError::Skippable),
        _ => return Err(FrameError::NoFrame),
    }
    let (&descriptor, mut rest) = rest.split_first().ok_or(FrameError::Cut)?;
    let is_set = |bit: u8| descriptor & (1 << bit) != 0;
    if is_set(3) {
        return Err(FrameError::Reserved);
    }
    // An id of 0 means none; there is no need to write that.
    if descriptor & 0b11 != 0 {
        return Err(FrameError::Dictionary);
    }
    if !is_set(2) {
        return Err(FrameError::NoChecksum);
    }
    // A single segment has its content for a window.
    let is_single_segment = is_set(5);
    let window = if is_single_segment {
        None
    } else {
        let (&descriptor, after) = rest.split_first().ok_or(FrameError::Cut)?;
        rest = after;
        let base = 1_u64 << (10 + (descriptor >> 3));
        Some(base + base / 8 * u64::from(descriptor & 0b111))
    };
    let (len, offset) = match (descriptor >> 6, is_single_segment) {
        (0, false) => return Err(FrameError::NoContentSize),
        (0, true) => (1, 0),
        (1, _) => (2, 256),
        (2, _) => (4, 0),
        (_, _) => (8, 0),
    };
    let size = rest.get(..len).ok_or(FrameError::Cut)?;
    let mut bytes = [0; 8];
    bytes[..len].copy_from_slice(size);
    let found = u64::from_le_bytes(bytes) + offset;
    if found != content {
        return Err(FrameError::ContentSize {
            expected: content,
            found,
        });
    }
    let window = window.unwrap_or(found);
    if window > LIMITS.zstd_window {
        return Err(FrameError::Window { found: window });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame's magic, and these bytes after it.
    fn checked(header: &[u8], content: u64) -> Result<(), FrameError> {
        check(&[&MAGIC.to_le_bytes(), header].concat(), content)
    }

    /// A single segment with a checksum, by the length of the field that says its own.
    const SINGLE: [u8; 4] = [0x24, 0x64, 0xa4, 0xe4];
    /// The same with a window; the first says no length.
    const WINDOWED: [u8; 4] = [0x04, 0x44, 0x84, 0xc4];

    #[test]
    fn the_length_of_the_content_has_four_spellings() {
        for (header, content) in [
            (&[SINGLE[0], 0][..], 0),
            (&[SINGLE[0], 255], 255),
            (&[SINGLE[1], 0, 0], 256),
            (&[SINGLE[1], 0xff, 0xff], 65_791),
            (&[SINGLE[2], 1, 2, 3, 0], 0x0003_0201),
            (&[SINGLE[3], 1, 2, 3, 0, 0, 0, 0, 0], 0x0003_0201),
            (&[WINDOWED[1], 0, 0, 12], 256 + 12 * 256),
            (&[WINDOWED[2], 0, 1, 2, 3, 4], 0x0403_0201),
            (
                &[WINDOWED[3], 0, 1, 2, 3, 4, 5, 6, 7, 8],
                0x0807_0605_0403_0201,
            ),
        ] {
            assert_eq!(checked(header, content), Ok(()), "{header:?}");
            let found = content;
            for expected in [content + 1, content.wrapping_sub(1)] {
                assert_eq!(
                    checked(header, expected),
                    Err(FrameError::ContentSize { expected, found }),
                    "{header:?}"
                );
            }
        }
        assert_eq!(
            checked(&[WINDOWED[0], 0, 0, 0, 0], 0),
            Err(FrameError::NoContentSize)
        );
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_refused() {
        let whole = [
            &MAGIC.to_le_bytes()[..],
            &[WINDOWED[3], 0, 1, 2, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(check(&whole, 0x201), Ok(()));
        for len in 0..whole.len() {
            assert_eq!(check(&whole[..len], 0x201), Err(FrameError::Cut), "{len}");
        }
        let single = [&MAGIC.to_le_bytes()[..], &[SINGLE[1], 1]].concat();
        assert_eq!(check(&single, 257), Err(FrameError::Cut));
    }

    #[test]
    fn a_window_has_at_most_4_mib_by_itself_and_in_a_single_segment() {
        let windowed = |window| checked(&[WINDOWED[2], window, 1, 0, 0, 0], 1);
        // Exponent and mantissa: 2^(10 + exponent), and so many eighths of it more.
        for window in 0..=u8::MAX {
            let (exponent, mantissa) = (window >> 3, u64::from(window & 7));
            let bytes = (8 + mantissa) << (7 + exponent);
            let expected = if bytes <= 4 << 20 {
                Ok(())
            } else {
                Err(FrameError::Window { found: bytes })
            };
            assert_eq!(windowed(window), expected, "{window:#04x}");
        }
        assert_eq!(windowed(12 << 3), Ok(()));
        assert_eq!(
            windowed((12 << 3) + 1),
            Err(FrameError::Window {
                found: (4 << 20) + (512 << 10)
            })
        );

        for (len, expected) in [
            (4 << 20, Ok(())),
            (
                (4 << 20) + 1,
                Err(FrameError::Window {
                    found: (4 << 20) + 1,
                }),
            ),
        ] {
            let [a, b, c, d] = u32::to_le_bytes(len);
            assert_eq!(
                checked(&[SINGLE[2], a, b, c, d], u64::from(len)),
                expected,
                "{len}"
            );
        }
    }

    #[test]
    fn what_no_archive_asks_for_is_refused() {
        for id in 1..=3 {
            assert_eq!(
                checked(&[SINGLE[0] | id, 0, 0, 0, 0, 0], 0),
                Err(FrameError::Dictionary)
            );
        }
        assert_eq!(
            checked(&[SINGLE[0] & !4, 1], 1),
            Err(FrameError::NoChecksum)
        );
        assert_eq!(checked(&[SINGLE[0] | 8, 1], 1), Err(FrameError::Reserved));
        // The bit that RFC 8878 calls unused is not to be interpreted.
        assert_eq!(checked(&[SINGLE[0] | 16, 1], 1), Ok(()));
    }

    #[test]
    fn what_does_not_begin_with_a_frame_is_refused() {
        let begins = |magic: u32| check(&[&magic.to_le_bytes()[..], &[SINGLE[0], 1]].concat(), 1);
        assert_eq!(begins(MAGIC), Ok(()));
        for magic in 0x184d_2a50..=0x184d_2a5f {
            assert_eq!(begins(magic), Err(FrameError::Skippable));
        }
        // On both sides of the skippable ones, the zstd of before version 0.8, gzip, and nothing.
        for magic in [0x184d_2a4f, 0x184d_2a60, 0xfd2f_b527, 0x0008_8b1f, 0] {
            assert_eq!(begins(magic), Err(FrameError::NoFrame), "{magic:#x}");
        }
    }
}
