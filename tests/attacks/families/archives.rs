//! Archives: other bytes than were signed, and signed bytes that are not the one tar that the manifest
//! describes. What a signer was tricked into signing must not be unpacked either.

use flate2::Crc;
use sealboot_core::failure::FailureCode::{
    FetchTooLarge, FetchTruncated, ImageArchive, ImageChunk, ImageFile, ManifestInvalid,
};
use sealboot_core::format::manifest::{Encoding, Manifest};
use tar::{EntryType, Header};

use super::{
    Case, accepted_by_the_loader, describing, edited, files, keys, manifest, sealed, shown,
};
use support::world::{self, gzip};

pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

vectors! {
    /// Two initrds, in a plain tar.
    archive_of_every_kind_of_member => Ok(()),
        signed(&world::tar(&all_kinds()), Encoding::None, &all_kinds());

    /// Two initrds, in gzip.
    gzip_archive_of_every_kind_of_member => Ok(()),
        signed(&gzip(&world::tar(&all_kinds())), Encoding::Gzip, &all_kinds());

    /// One bit of the archive's first byte is flipped.
    first_bit_flipped => Err(ImageChunk), served(&flipped(0));

    /// One bit of the archive's last byte is flipped.
    last_bit_flipped => Err(ImageChunk), served(&flipped(good_tar().len() - 1));

    /// Another archive of the same length.
    other_archive => Err(ImageChunk),
        served(&world::tar(&[("boot/vmlinuz", b"A KERNEL\n".to_vec()), files()[1].clone()]));

    /// The archive ends a byte early.
    archive_cut_short => Err(FetchTruncated), served(&good_tar()[..good_tar().len() - 1]);

    /// The archive is empty.
    archive_empty => Err(FetchTruncated), served(b"");

    /// The archive goes on after what was signed.
    archive_that_goes_on => Err(FetchTooLarge), served(&[good_tar(), b"x".to_vec()].concat());

    /// One bit of the chunk list is flipped.
    bit_of_the_chunk_list_flipped => Err(ImageChunk), {
        let mut list = world::chunk_list(&good_tar());
        list[31] ^= 1;
        listed(&list, &good_tar())
    };

    /// The chunk list of another archive, which is there too: together they would pass.
    chunk_list_of_another_archive => Err(ImageChunk), {
        let other = world::tar(&[("boot/vmlinuz", b"A KERNEL\n".to_vec()), files()[1].clone()]);
        listed(&world::chunk_list(&other), &other)
    };

    /// The chunk list ends a byte early.
    chunk_list_cut_short => Err(FetchTruncated), listed(&world::chunk_list(&good_tar())[..31], &good_tar());

    /// The chunk list goes on after what was signed.
    chunk_list_that_goes_on => Err(FetchTooLarge),
        listed(&[world::chunk_list(&good_tar()), vec![0]].concat(), &good_tar());

    /// A kernel that is not the signed one, in a plain archive that is: a signer's mistake, which is not published. A
    /// machine to which it is shown has the bytes that were signed, by their chunks, and boots them.
    other_kernel_in_a_signed_archive => Err(ImageFile),
        accepted_by_the_loader(signed_tar(&flipped(512)));

    /// A kernel that is not the signed one, in a compressed archive that is.
    other_kernel_in_a_signed_gzip_archive => Err(ImageFile), zipped(&flipped(512));

    /// A member whose path climbs out of the directory that it is unpacked in.
    member_path_that_climbs => Err(ImageArchive),
        with_header(|header| name(header, b"../../etc/shadow"));

    /// A member with an absolute path.
    member_with_an_absolute_path => Err(ImageArchive),
        with_header(|header| name(header, b"/boot/initrd"));

    /// A member whose path climbs in the field that ustar puts before the name.
    member_prefix_that_climbs => Err(ImageArchive),
        with_header(|header| header.as_mut_bytes()[345..350].copy_from_slice(b"../.."));

    /// A member whose name goes on after a NUL, where some readers stop.
    member_name_with_a_nul => Err(ImageArchive),
        with_header(|header| name(header, b"boot/initrd\0/../../etc/shadow"));

    /// A member whose path says the same in another way.
    member_path_with_a_dot => Err(ImageArchive),
        with_header(|header| name(header, b"./boot/initrd"));

    /// A symbolic link for the initrd.
    symbolic_link => Err(ImageArchive), with_header(|header| link(header, EntryType::Symlink));

    /// A hard link for the initrd.
    hard_link => Err(ImageArchive), with_header(|header| link(header, EntryType::Link));

    /// A character device for the initrd.
    character_device => Err(ImageArchive), with_header(|header| device(header, EntryType::Char));

    /// A block device for the initrd: there is no disk that this machine should read.
    block_device => Err(ImageArchive), with_header(|header| device(header, EntryType::Block));

    /// A FIFO for the initrd, which whoever reads it would wait for.
    fifo => Err(ImageArchive), with_header(|header| header.set_entry_type(EntryType::Fifo));

    /// A directory for the initrd.
    directory => Err(ImageArchive),
        with_header(|header| header.set_entry_type(EntryType::Directory));

    /// A file that tar calls contiguous, which is a regular one by another letter.
    contiguous_file => Err(ImageArchive),
        with_header(|header| header.set_entry_type(EntryType::Continuous));

    /// A regular file by the letter that tar had before POSIX.
    regular_file_of_old => Err(ImageArchive), with_header(|header| header.as_mut_bytes()[156] = 0);

    /// A file that is setuid.
    setuid_file => Err(ImageArchive), with_header(|header| header.set_mode(0o4755));

    /// A file that can be executed.
    executable_file => Err(ImageArchive), with_header(|header| header.set_mode(0o755));

    /// A file of another owner.
    file_of_another_owner => Err(ImageArchive), with_header(|header| header.set_uid(1000));

    /// A file with an owner's name.
    file_with_an_owner_name => Err(ImageArchive),
        with_header(|header| header.set_username("root").unwrap());

    /// A file with a time.
    file_with_a_time => Err(ImageArchive), with_header(|header| header.set_mtime(1));

    /// A header of the tar that was before ustar.
    header_before_ustar => Err(ImageArchive),
        with_header(|header| header.as_mut_bytes()[257..265].fill(0));

    /// A header of GNU tar.
    header_of_gnu_tar => Err(ImageArchive),
        with_header(|header| header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0"));

    /// Data in the part of a header that no field has.
    data_after_the_header_fields => Err(ImageArchive),
        with_header(|header| header.as_mut_bytes()[511] = b'x');

    /// A header whose checksum is wrong.
    wrong_header_checksum => Err(ImageArchive), signed_tar(&flipped(INITRD + 148));

    /// A header that says a larger size than the manifest: the next header would be read as data.
    header_size_larger_than_signed => Err(ImageArchive),
        with_header(|header| header.set_size(1034));

    /// A header that says a smaller size than the manifest.
    header_size_smaller_than_signed => Err(ImageArchive), with_header(|header| header.set_size(0));

    /// A header that says the right size in base 256, which only some readers know.
    header_size_in_base_256 => Err(ImageArchive), with_header(|header| {
        let field = &mut header.as_mut_bytes()[124..136];
        field.fill(0);
        (field[0], field[11]) = (0x80, 10);
    });

    /// A header that says a negative size in base 256.
    header_size_below_zero => Err(ImageArchive),
        with_header(|header| header.as_mut_bytes()[124..136].fill(0xff));

    /// A header that says the right size with spaces for zeros, as some writers do.
    header_size_with_spaces => Err(ImageArchive),
        with_header(|header| header.as_mut_bytes()[124..136].copy_from_slice(b"        12 \0"));

    /// A sparse file of the old GNU kind: 10 bytes in the archive, 8 GiB unpacked.
    sparse_file_of_old_gnu_tar => Err(ImageArchive), with_header(|header| {
        header.set_entry_type(EntryType::GNUSparse);
        let bytes = header.as_mut_bytes();
        bytes[257..265].copy_from_slice(b"ustar  \0");
        // Ten bytes at offset 0, and the size with the hole after them.
        bytes[386..410].copy_from_slice(b"00000000000\x0000000000012\0");
        bytes[483..495].copy_from_slice(b"100000000000");
    });

    /// A pax header gives the initrd a path that climbs.
    pax_path_that_climbs => Err(ImageArchive),
        with_pax(EntryType::XHeader, &[("path", "../../etc/shadow")]);

    /// A pax header gives the initrd another size than its own header.
    pax_size_that_differs => Err(ImageArchive), with_pax(EntryType::XHeader, &[("size", "1034")]);

    /// A pax header makes the initrd a sparse file of 8 GiB.
    pax_sparse_file => Err(ImageArchive), with_pax(EntryType::XHeader, &[
        ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "8589934592"),
    ]);

    /// A pax header gives the initrd an extended attribute: the capability to do anything.
    pax_extended_attribute => Err(ImageArchive),
        with_pax(EntryType::XHeader, &[("SCHILY.xattr.security.capability", "all")]);

    /// A pax header that changes nothing: there is one spelling, without it.
    pax_header_that_changes_nothing => Err(ImageArchive),
        with_pax(EntryType::XHeader, &[("path", "boot/initrd")]);

    /// A global pax header gives all that follows a path.
    pax_global_header => Err(ImageArchive),
        with_pax(EntryType::XGlobalHeader, &[("path", "boot/initrd")]);

    /// A GNU header gives the initrd a long name.
    gnu_long_name => Err(ImageArchive), with_extension(EntryType::GNULongName, &b"../".repeat(60));

    /// A GNU header gives the initrd a long name to link to.
    gnu_long_link => Err(ImageArchive), with_extension(EntryType::GNULongLink, &b"../".repeat(60));

    /// Initrd and kernel have changed places.
    members_in_wrong_order => Err(ImageArchive),
        archived(&[files()[1].clone(), files()[0].clone()]);

    /// The archive has no kernel.
    kernel_missing => Err(ImageArchive), archived(&files()[1..]);

    /// The archive has no initrd.
    initrd_missing => Err(ImageArchive), archived(&files()[..1]);

    /// The archive has nothing.
    archive_without_members => Err(ImageArchive), archived(&[]);

    /// The archive has a file more than was signed.
    extra_file => Err(ImageArchive),
        archived(&[files(), vec![("boot/initrd.0", b"x".to_vec())]].concat());

    /// The archive has an empty file more than was signed, before the others.
    extra_file_first => Err(ImageArchive),
        archived(&[vec![("boot/initrd.0", Vec::new())], files()].concat());

    /// Two members are called boot/initrd: some readers keep the first, some the last.
    two_members_of_one_name => Err(ImageArchive),
        archived(&[files(), vec![("boot/initrd", b"AN INITRD\n".to_vec())]].concat());

    /// The kernel's data is followed by data where its padding should be.
    data_in_the_padding => Err(ImageArchive), signed_tar(&flipped(512 + 9));

    /// The first of the two blocks that end the archive is not zero.
    data_in_the_end => Err(ImageArchive), signed_tar(&flipped(good_tar().len() - 1024));

    /// The last byte of the archive is not zero.
    data_in_the_last_byte => Err(ImageArchive), signed_tar(&flipped(good_tar().len() - 1));

    /// An archive of which one of the two blocks that end it is missing.
    end_block_missing => Err(ImageArchive), zipped(&good_tar()[..good_tar().len() - 512]);

    /// Zeros after the archive's end, as tar pads to a record.
    zeros_after_the_end => Err(ImageArchive), zipped(&[good_tar(), vec![0; 7168]].concat());

    /// A second archive after the archive's end.
    archive_after_the_end => Err(ImageArchive), zipped(&good_tar().repeat(2));

    /// The plain archive goes on after its end, and the manifest's sizes say so: they contradict each
    /// other.
    plain_archive_longer_than_its_members => Err(ManifestInvalid),
        signed_tar(&[good_tar(), vec![0; 512]].concat());

    /// A plain archive that is signed as gzip.
    plain_archive_as_gzip => Err(ImageArchive), signed(&good_tar(), Encoding::Gzip, &files());

    /// A gzip archive that is signed as plain.
    gzip_archive_as_plain => Err(ManifestInvalid),
        signed(&gzip(&good_tar()), Encoding::None, &files());

    /// A megabyte of zeros after the members, in seven kilobytes: what the signed sizes add up to is all
    /// that is unpacked.
    gzip_bomb => Err(ImageArchive), signed(&bomb(), Encoding::Gzip, &files());

    /// The gzip member's checksum is wrong.
    gzip_with_a_wrong_checksum => Err(ImageArchive), {
        let mut stored = gzip(&good_tar());
        let at = stored.len() - 8;
        stored[at] ^= 1;
        signed(&stored, Encoding::Gzip, &files())
    };

    /// The gzip member's length is wrong.
    gzip_with_a_wrong_length => Err(ImageArchive), {
        let mut stored = gzip(&good_tar());
        *stored.last_mut().unwrap() ^= 1;
        signed(&stored, Encoding::Gzip, &files())
    };

    /// The gzip member ends in the middle of its trailer.
    gzip_cut_in_its_trailer => Err(ImageArchive), {
        let stored = gzip(&good_tar());
        signed(&stored[..stored.len() - 4], Encoding::Gzip, &files())
    };

    /// The gzip member ends in the middle of its data.
    gzip_cut_in_its_data => Err(ImageArchive), {
        let stored = gzip(&good_tar());
        signed(&stored[..stored.len() / 2], Encoding::Gzip, &files())
    };

    /// A byte follows the gzip member.
    byte_after_gzip => Err(ImageArchive),
        signed(&[gzip(&good_tar()), vec![0]].concat(), Encoding::Gzip, &files());

    /// A second gzip member follows, of which some readers know and some do not.
    second_gzip_member => Err(ImageArchive),
        signed(&[gzip(&good_tar()), gzip(b"x")].concat(), Encoding::Gzip, &files());

    /// A second gzip member follows that holds nothing.
    empty_second_gzip_member => Err(ImageArchive),
        signed(&[gzip(&good_tar()), gzip(b"")].concat(), Encoding::Gzip, &files());

    /// The archive stands in two gzip members, which together are what was signed: an archive is one.
    archive_in_two_gzip_members => Err(ImageArchive), {
        let (first, second) = (&good_tar()[..1024], &good_tar()[1024..]);
        signed(&[gzip(first), gzip(second)].concat(), Encoding::Gzip, &files())
    };

    /// A block of a kind that deflate does not have.
    deflate_block_of_no_kind => Err(ImageArchive), {
        let mut stored = gzip(&good_tar());
        stored[10] = 0b111;
        signed(&stored, Encoding::Gzip, &files())
    };

    /// A manifest without a kernel.
    manifest_without_a_kernel => Err(ManifestInvalid),
        signed(&world::tar(&files()[1..]), Encoding::None, &files()[1..]);

    /// A manifest with initrd and kernel in the other order.
    manifest_in_wrong_order => Err(ManifestInvalid), {
        let exchanged = [files()[1].clone(), files()[0].clone()];
        signed(&world::tar(&exchanged), Encoding::None, &exchanged)
    };

    /// A manifest with two files of one name.
    manifest_with_two_files_of_one_name => Err(ManifestInvalid), {
        let twice = [files(), vec![files()[1].clone()]].concat();
        signed(&world::tar(&twice), Encoding::None, &twice)
    };

    /// A manifest whose second initrd is missing, and the third is there.
    manifest_with_an_initrd_missing => Err(ManifestInvalid), {
        let kernel = files()[0].clone();
        let gap: Files = vec![kernel, ("boot/initrd.0", b"0".to_vec()), ("boot/initrd.2", b"2".to_vec())];
        signed(&world::tar(&gap), Encoding::None, &gap)
    };

    /// A manifest of more files than are ever read.
    manifest_of_too_many_files => Err(ManifestInvalid), {
        let mut many = manifest(42);
        many.files.truncate(1);
        many.files.extend((0..128).map(|number| world::archives::entry(&format!("boot/initrd.{number}"), b"x")));
        shown(&sealed(&many, &["alice", "bob"]))
    };

    /// A manifest with a file whose path climbs.
    manifest_with_a_path_that_climbs => Err(ManifestInvalid), {
        let payload = edited(&manifest(42).encode(), "boot/initrd", "boot/../../etc/shadow");
        shown(&world::seal(Manifest::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"])))
    };

    /// A manifest with a file whose path is absolute.
    manifest_with_an_absolute_path => Err(ManifestInvalid), {
        let payload = edited(&manifest(42).encode(), "boot/initrd", "/boot/initrd");
        shown(&world::seal(Manifest::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"])))
    };
}

/// Where the initrd's header stands in [`good_tar`].
const INITRD: usize = 1024;

pub(super) fn good_tar() -> Vec<u8> {
    world::tar(&files())
}

pub(super) fn all_kinds() -> Files {
    vec![
        ("boot/vmlinuz", b"a kernel\n".to_vec()),
        ("boot/initrd.0", b"an initrd\n".to_vec()),
        ("boot/initrd.1", b"another initrd\n".to_vec()),
    ]
}

/// [`good_tar`] with one bit of the byte at `at` flipped.
fn flipped(at: usize) -> Vec<u8> {
    world::attacks::flipped(&good_tar(), at)
}

/// What was signed is [`good_tar`]; the mirror gives this.
fn served(bytes: &[u8]) -> Case {
    listed(&world::chunk_list(&good_tar()), bytes)
}

/// What was signed is [`good_tar`]; the mirror gives this chunk list and this archive.
fn listed(list: &[u8], bytes: &[u8]) -> Case {
    let manifest = manifest(42);
    shown(&sealed(&manifest, &["alice", "bob"]))
        .shows(manifest.archive.chunk_list_path(), list)
        .shows(manifest.archive.blob_path(), bytes)
}

/// Exactly these bytes are signed, as an archive of these files.
pub(super) fn signed(stored: &[u8], encoding: Encoding, files: &[(&'static str, Vec<u8>)]) -> Case {
    let manifest = Manifest {
        archive: world::stored(stored, encoding),
        ..describing(42, files)
    };
    shown(&sealed(&manifest, &["alice", "bob"]))
        .shows(
            manifest.archive.chunk_list_path(),
            world::chunk_list(stored),
        )
        .shows(manifest.archive.blob_path(), stored)
}

/// Exactly this tar is signed, as the archive of [`files`].
fn signed_tar(tar: &[u8]) -> Case {
    signed(tar, Encoding::None, &files())
}

/// The same in gzip, where a signed size says nothing about what is inside.
fn zipped(tar: &[u8]) -> Case {
    signed(&gzip(tar), Encoding::Gzip, &files())
}

/// These members are in the archive, and [`files`] in the manifest.
fn archived(members: &[(&'static str, Vec<u8>)]) -> Case {
    zipped(&world::tar(members))
}

/// The initrd's header is changed, and has the right checksum.
fn with_header(change: impl FnOnce(&mut Header)) -> Case {
    let mut tar = good_tar();
    let mut header = Header::from_byte_slice(&tar[INITRD..INITRD + 512]).clone();
    change(&mut header);
    header.set_cksum();
    tar[INITRD..INITRD + 512].copy_from_slice(header.as_bytes());
    signed_tar(&tar)
}

fn name(header: &mut Header, name: &[u8]) {
    header.as_mut_bytes()[..100].fill(0);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
}

fn link(header: &mut Header, kind: EntryType) {
    header.set_entry_type(kind);
    header.set_link_name("/etc/passwd").unwrap();
}

fn device(header: &mut Header, kind: EntryType) {
    header.set_entry_type(kind);
    header.set_device_major(8).unwrap();
    header.set_device_minor(0).unwrap();
}

/// A pax header with these records stands before the initrd.
fn with_pax(kind: EntryType, records: &[(&str, &str)]) -> Case {
    let record = |(key, value): &(&str, &str)| {
        // The length counts itself (POSIX.1-2017, pax, "pax Extended Header").
        let rest = format!(" {key}={value}\n");
        let len = (1..).find(|len: &usize| len.to_string().len() + rest.len() == *len);
        format!("{}{rest}", len.unwrap())
    };
    let records: String = records.iter().map(record).collect();
    with_extension(kind, records.as_bytes())
}

/// A member of this kind, which says something of the next one, stands before the initrd.
fn with_extension(kind: EntryType, data: &[u8]) -> Case {
    let mut header = Header::new_ustar();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut extension = [header.as_bytes().as_slice(), data].concat();
    extension.resize(extension.len().next_multiple_of(512), 0);
    let (before, after) = (&good_tar()[..INITRD], &good_tar()[INITRD..]);
    zipped(&[before, &extension, after].concat())
}

/// gzip of [`good_tar`] and a megabyte of zeros, the latter in deflate's fixed code (RFC 1951, section
/// 3.2.6): a zero, then again and again the 258 bytes that begin one byte back.
fn bomb() -> Vec<u8> {
    const REPEATS: usize = (1 << 20) / 258;
    let tar = good_tar();
    let mut bits = Bits::default();
    bits.put(0, 3);
    bits.align();
    let len = u16::try_from(tar.len()).unwrap();
    bits.bytes.extend(len.to_le_bytes());
    bits.bytes.extend((!len).to_le_bytes());
    bits.bytes.extend(&tar);
    bits.put(0b011, 3);
    bits.put_code(0b0011_0000, 8);
    for _ in 0..REPEATS {
        bits.put_code(0b1100_0101, 8);
        bits.put_code(0, 5);
    }
    bits.put_code(0, 7);
    bits.align();

    let mut crc = Crc::new();
    crc.update(&tar);
    let zeros = vec![0; 1 + 258 * REPEATS];
    crc.update(&zeros);
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let len = u32::try_from(tar.len() + zeros.len()).unwrap();
    let trailer = [crc.sum().to_le_bytes(), len.to_le_bytes()].concat();
    [&header[..], &bits.bytes, &trailer].concat()
}

/// Bits in deflate's order, the lowest of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, bits: u32, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.pending.to_le_bytes()[0]);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code, whose highest bit comes first.
    fn put_code(&mut self, code: u32, count: u32) {
        self.put(code.reverse_bits() >> (32 - count), count);
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }
}

/// The bomb is one: readers of gzip take it for good.
#[test]
fn the_bomb_unpacks_to_a_megabyte() {
    let mut unpacked = Vec::new();
    let bomb = bomb();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(bomb.as_slice()),
        &mut unpacked,
    )
    .unwrap();
    assert!(unpacked.starts_with(&good_tar()));
    assert!(
        unpacked.len() > 1 << 20 && bomb.len() < 11 << 10,
        "{} in {}",
        unpacked.len(),
        bomb.len()
    );
}
