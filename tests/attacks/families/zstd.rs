//! Archives in zstd: frames that are none, that hold something else than they say, that ask for memory, and
//! that stand beside others.

use sealboot_core::failure::FailureCode::{ImageArchive, ImageChunk, ImageFile, ManifestInvalid};
use sealboot_core::format::manifest::Encoding;

use super::archives::{Files, all_kinds, good_tar, signed};
use super::{Case, files};
use support::world::zstd::{
    BLOCK_MAX, Block, Frame, LARGEST_WINDOW, checksum, raw, skippable, zeros,
};
use support::world::{self, gzip};

vectors! {
    /// Two initrds, a file beside them and an empty one, in zstd.
    zstd_archive_of_every_kind_of_member => Ok(()),
        signed(&Frame::raw(&world::tar(&all_kinds())).encode(), Encoding::Zstd, &all_kinds());

    /// The same frame with the largest window that is given, in place of a single segment.
    zstd_window_of_the_largest_size => Ok(()),
        frame(Frame { window: Some(LARGEST_WINDOW), ..good() });

    /// An archive that is larger than the window: 9 MiB in a few hundred bytes.
    zstd_archive_larger_than_its_window => Ok(()), {
        let (files, frame) = large();
        signed(&frame.encode(), Encoding::Zstd, &files)
    };

    /// What a compressor makes of an archive: Huffman and FSE coded, with matches.
    zstd_archive_of_a_compressor => Ok(()), signed(COMPRESSED, Encoding::Zstd, &repeating());

    /// One bit of the frame is flipped on the way.
    zstd_bit_flipped => Err(ImageChunk), {
        let mut case = frame(good());
        let blob = case.files.iter_mut().find(|(path, _)| path.contains(".tar")).unwrap();
        blob.1[40] ^= 1;
        case
    };

    /// A kernel that is not the signed one, in a good frame.
    other_kernel_in_a_zstd_archive => Err(ImageFile),
        frame(Frame::raw(&world::attacks::flipped(&good_tar(), 512)));

    /// A plain archive that is signed as zstd.
    plain_archive_as_zstd => Err(ImageArchive), stored(&good_tar());

    /// A gzip archive that is signed as zstd.
    gzip_archive_as_zstd => Err(ImageArchive), stored(&gzip(&good_tar()));

    /// A zstd archive that is signed as gzip.
    zstd_archive_as_gzip => Err(ImageArchive),
        signed(&good().encode(), Encoding::Gzip, &files());

    /// A zstd archive that is signed as plain.
    zstd_archive_as_plain => Err(ManifestInvalid),
        signed(&good().encode(), Encoding::None, &files());

    /// A frame of the zstd of before its format was settled.
    zstd_of_old => Err(ImageArchive), {
        let mut stored = good().encode();
        stored[0] = 0x27;
        self::stored(&stored)
    };

    /// A megabyte of zeros after the members, in a few dozen bytes; the header says the signed length.
    zstd_bomb => Err(ImageArchive),
        frame(Frame { content_size: good().content_size, ..bomb() });

    /// The same bomb, and the header says how large it is.
    zstd_bomb_that_says_so => Err(ImageArchive), frame(bomb());

    /// The header says a byte more than there is, and was signed.
    zstd_content_size_larger_than_signed => Err(ImageArchive), content_size(1);

    /// The header says a byte less than there is, and was signed.
    zstd_content_size_smaller_than_signed => Err(ImageArchive), content_size(-1);

    /// The header does not say how long the content is.
    zstd_without_a_content_size => Err(ImageArchive),
        frame(Frame { content_size: None, window: Some(LARGEST_WINDOW), ..good() });

    /// The header says the signed length, and the frame ends before it.
    zstd_content_that_ends_early => Err(ImageArchive), {
        let tar = good_tar();
        frame(Frame { content_size: good().content_size, ..Frame::raw(&tar[..tar.len() - 512]) })
    };

    /// A window of 4.5 MiB: a machine would have to hold it.
    zstd_window_past_the_largest => Err(ImageArchive),
        frame(Frame { window: Some(LARGEST_WINDOW + 1), ..good() });

    /// The largest window that zstd can write, 3.75 TiB.
    zstd_window_of_terabytes => Err(ImageArchive), frame(Frame { window: Some(0xff), ..good() });

    /// An archive of 9 MiB as a single segment, which is its own window.
    zstd_single_segment_past_the_largest_window => Err(ImageArchive), {
        let (files, frame) = large();
        signed(&Frame { window: None, ..frame }.encode(), Encoding::Zstd, &files)
    };

    /// A block that is longer than blocks may be.
    zstd_block_past_the_largest => Err(ImageArchive), {
        let (files, mut frame) = large();
        let longer = frame.blocks.iter_mut().find(|block| matches!(block, Block::Repeated(..)));
        *longer.unwrap() = Block::Repeated(0, BLOCK_MAX + 1);
        signed(&frame.encode(), Encoding::Zstd, &files)
    };

    /// A block that is longer than the frame's window.
    zstd_block_longer_than_its_window => Err(ImageArchive), frame(Frame { window: Some(0), ..good() });

    /// A block of the kind that is reserved.
    zstd_block_of_no_kind => Err(ImageArchive), {
        let mut stored = good().encode();
        stored[9] |= 0b110;
        self::stored(&stored)
    };

    /// The frame asks for a dictionary.
    zstd_with_a_dictionary => Err(ImageArchive), frame(Frame { dictionary: Some(1), ..good() });

    /// The frame says that it has no dictionary, in the field for it.
    zstd_with_a_dictionary_of_zero => Err(ImageArchive),
        frame(Frame { dictionary: Some(0), ..good() });

    /// The bit of the header that is reserved is set.
    zstd_reserved_bit => Err(ImageArchive), {
        let mut stored = good().encode();
        stored[4] |= 8;
        self::stored(&stored)
    };

    /// The frame has no checksum: there is one kind of frame, with it.
    zstd_without_a_checksum => Err(ImageArchive), frame(Frame { checksum: None, ..good() });

    /// The frame's checksum is wrong.
    zstd_with_a_wrong_checksum => Err(ImageArchive),
        frame(Frame { checksum: Some(checksum(&good_tar()) ^ 1), ..good() });

    /// The frame ends in the middle of its header.
    zstd_cut_in_its_header => Err(ImageArchive), cut(7);

    /// The frame ends in the middle of its data.
    zstd_cut_in_its_data => Err(ImageArchive), cut(good().encode().len() / 2);

    /// The frame ends before its checksum.
    zstd_cut_before_its_checksum => Err(ImageArchive), cut(good().encode().len() - 4);

    /// The frame ends in the middle of its checksum.
    zstd_cut_in_its_checksum => Err(ImageArchive), cut(good().encode().len() - 1);

    /// No block of the frame is the last: the checksum would be read as another.
    zstd_without_a_last_block => Err(ImageArchive), {
        let mut stored = good().encode();
        stored[9] &= !1;
        self::stored(&stored)
    };

    /// A byte follows the frame.
    byte_after_zstd => Err(ImageArchive), stored(&[good().encode(), vec![0]].concat());

    /// A second frame follows.
    second_zstd_frame => Err(ImageArchive),
        stored(&[good().encode(), Frame::raw(b"x").encode()].concat());

    /// A second frame follows that holds nothing.
    empty_second_zstd_frame => Err(ImageArchive),
        stored(&[good().encode(), Frame::raw(b"").encode()].concat());

    /// An empty frame stands before the archive's.
    empty_zstd_frame_first => Err(ImageArchive),
        stored(&[Frame::raw(b"").encode(), good().encode()].concat());

    /// The archive stands in two frames, which together are what was signed: an archive is one.
    archive_in_two_zstd_frames => Err(ImageArchive), {
        let tar = good_tar();
        let (first, second) = tar.split_at(1024);
        stored(&[Frame::raw(first).encode(), Frame::raw(second).encode()].concat())
    };

    /// A skippable frame stands before the archive's: readers pass over it, whatever it holds.
    skippable_frame_before_zstd => Err(ImageArchive),
        stored(&[skippable(), good().encode()].concat());

    /// A skippable frame follows the archive's.
    skippable_frame_after_zstd => Err(ImageArchive),
        stored(&[good().encode(), skippable()].concat());

    /// Zeros after the tar's end, as tar pads to a record.
    zeros_after_the_end_in_zstd => Err(ImageArchive),
        frame(Frame::raw(&[good_tar(), vec![0; 7168]].concat()));
}

fn good() -> Frame {
    Frame::raw(&good_tar())
}

/// Exactly these bytes are signed, as zstd of the good files.
fn stored(bytes: &[u8]) -> Case {
    signed(bytes, Encoding::Zstd, &files())
}

/// Exactly this frame is signed, as zstd of the good files.
fn frame(frame: Frame) -> Case {
    stored(&frame.encode())
}

/// The good frame, cut to so many bytes.
fn cut(len: usize) -> Case {
    stored(&good().encode()[..len])
}

/// The good frame, whose header says so many bytes more than there are.
fn content_size(more: i32) -> Case {
    let size = good().content_size.unwrap().checked_add_signed(more);
    frame(Frame {
        content_size: size,
        ..good()
    })
}

/// The good tar, and a megabyte of zeros.
fn bomb() -> Frame {
    Frame::of([raw(&good_tar()), zeros(1 << 20)].concat())
}

/// An image whose initrd is 9 MiB of zeros, and its frame.
fn large() -> (Files, Frame) {
    let initrd = vec![0; 9 << 20];
    let files = vec![files()[0].clone(), ("boot/initrd", initrd)];
    let tar = world::tar(&files);
    let (headers, rest) = tar.split_at(3 * 512);
    let frame = Frame::of([raw(headers), zeros(rest.len())].concat());
    (files, frame)
}

/// Files in which a compressor finds something.
fn repeating() -> Files {
    let words = |times| (0..times).map(|line| format!("line {line} of an initrd\n"));
    vec![
        files()[0].clone(),
        ("boot/initrd", words(400).collect::<String>().into_bytes()),
    ]
}

/// The tar of [`repeating`], as the reference encoder once compressed it; another version may do it otherwise.
const COMPRESSED: &[u8] = include_bytes!("repeating.tar.zst");

/// The reference decoder takes what is accepted here, and the bombs: they are no nonsense.
#[test]
fn the_reference_decoder_takes_the_good_frames() {
    let unpacked = |frame: &[u8]| ::zstd::decode_all(frame).unwrap();
    assert_eq!(unpacked(&good().encode()), good_tar());
    assert_eq!(unpacked(COMPRESSED), world::tar(&repeating()));
    let (files, large) = large();
    assert_eq!(unpacked(&large.encode()), world::tar(&files));
    let bomb = bomb().encode();
    assert!(unpacked(&bomb).len() > 1 << 20 && bomb.len() < good_tar().len() + 100);
    let skipped = [skippable(), good().encode(), skippable()].concat();
    assert_eq!(unpacked(&skipped), good_tar());
}
