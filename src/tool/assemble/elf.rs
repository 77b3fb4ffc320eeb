//! The few facts of an ELF file that decide whether it is baked in: pure, bounded by the bytes given.
//!
//! 64-bit little-endian only, as all that this project boots. Field offsets are those of elf(5).

use sealboot_core::format::manifest::Arch;

/// A loader program or a kernel module.
#[derive(Debug, Clone)]
pub(super) struct Elf<'a> {
    bytes: &'a [u8],
    kind: u16,
    /// The processor architecture it runs on.
    pub(super) arch: Arch,
}

/// The bytes are no ELF file that this project can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Another kind of file.
    #[error("it is no ELF file")]
    NotElf,
    /// 32-bit or big-endian.
    #[error("it is no 64-bit little-endian ELF file")]
    Class,
    /// For an architecture that no image can be for.
    #[error("it is an ELF file for machine {0}, which is neither x86_64 (62) nor aarch64 (183)")]
    Machine(u16),
    /// A header points outside of the file.
    #[error("it is a damaged ELF file")]
    Damaged,
}

const RELOCATABLE: u16 = 1;
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;

const SEGMENT_INTERPRETER: u32 = 3;
const SECTION_SYMBOLS: u32 = 2;

impl<'a> Elf<'a> {
    /// Reads the header.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        // Class 2 is 64 bits; data encoding 1 is little-endian.
        if bytes.get(4..6) != Some(&[2, 1]) {
            return Err(ElfError::Class);
        }
        let kind = u16_at(bytes, 16)?;
        let arch = match u16_at(bytes, 18)? {
            62 => Arch::X86_64,
            183 => Arch::Aarch64,
            other => return Err(ElfError::Machine(other)),
        };
        Ok(Self { bytes, kind, arch })
    }

    /// Whether it is a program, position-independent or not.
    pub(super) const fn is_program(&self) -> bool {
        matches!(self.kind, EXECUTABLE | SHARED)
    }

    /// Whether it is an object to be linked, as kernel modules are.
    pub(super) const fn is_relocatable(&self) -> bool {
        self.kind == RELOCATABLE
    }

    /// Whether it asks for a dynamic linker, which an initramfs does not have.
    pub(super) fn has_interpreter(&self) -> Result<bool, ElfError> {
        for header in self.table(32, 54, 56)? {
            if u32_at(header, 0)? == SEGMENT_INTERPRETER {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names of the symbols that it wants from elsewhere: for a module, from the kernel and other modules.
    pub(super) fn undefined_symbols(&self) -> Result<Vec<&'a [u8]>, ElfError> {
        let mut names = Vec::new();
        let sections: Vec<&[u8]> = self.table(40, 58, 60)?.collect();
        for section in &sections {
            if u32_at(section, 4)? != SECTION_SYMBOLS {
                continue;
            }
            let strings = sections
                .get(u32_at(section, 40)? as usize)
                .ok_or(ElfError::Damaged)?;
            let strings = self.content(strings)?;
            let (symbols, rest) = self.content(section)?.as_chunks::<24>();
            if !rest.is_empty() {
                return Err(ElfError::Damaged);
            }
            for symbol in symbols {
                // Section index 0: defined elsewhere.
                if u16_at(symbol, 6)? == 0 {
                    let name = strings
                        .get(u32_at(symbol, 0)? as usize..)
                        .ok_or(ElfError::Damaged)?;
                    names.extend(name.split(|byte| *byte == 0).next());
                }
            }
        }
        Ok(names)
    }

    /// What stands in the section of this name; none where there is no such section.
    pub(super) fn section(&self, name: &[u8]) -> Result<Option<&'a [u8]>, ElfError> {
        let sections: Vec<&[u8]> = self.table(40, 58, 60)?.collect();
        let names = usize::from(u16_at(self.bytes, 62)?);
        let Some(names) = sections.get(names) else {
            return Ok(None);
        };
        let names = self.content(names)?;
        for section in &sections {
            let found = names
                .get(u32_at(section, 0)? as usize..)
                .ok_or(ElfError::Damaged)?;
            if found.split(|byte| *byte == 0).next() == Some(name) {
                return self.content(section).map(Some);
            }
        }
        Ok(None)
    }

    /// The headers of a table whose offset, entry size and count stand at these offsets.
    fn table(
        &self,
        offset_at: usize,
        entry_size_at: usize,
        count_at: usize,
    ) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, ElfError> {
        let offset = u64_at(self.bytes, offset_at)?;
        let entry_size = usize::from(u16_at(self.bytes, entry_size_at)?);
        let count = usize::from(u16_at(self.bytes, count_at)?);
        let table = slice(self.bytes, offset, (entry_size * count) as u64)?;
        Ok(table.chunks_exact(entry_size.max(1)))
    }

    fn content(&self, section: &[u8]) -> Result<&'a [u8], ElfError> {
        slice(self.bytes, u64_at(section, 24)?, u64_at(section, 32)?)
    }
}

fn slice(bytes: &[u8], offset: u64, len: u64) -> Result<&[u8], ElfError> {
    let start = usize::try_from(offset).map_err(|_| ElfError::Damaged)?;
    let len = usize::try_from(len).map_err(|_| ElfError::Damaged)?;
    let end = start.checked_add(len).ok_or(ElfError::Damaged)?;
    bytes.get(start..end).ok_or(ElfError::Damaged)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ElfError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(ElfError::Damaged)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, ElfError> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, ElfError> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, ElfError> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A module's object file that imports `symbols`.
    pub(in crate::assemble) fn object(machine: u16, symbols: &[&str]) -> Vec<u8> {
        module(machine, symbols, "")
    }

    /// The same with what MODULE_INFO() has written: header, strings, symbols, `.modinfo`, the names of
    /// the sections, four section headers.
    pub(in crate::assemble) fn module(machine: u16, symbols: &[&str], modinfo: &str) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.modinfo\0";
        let mut strings = vec![0];
        let mut table = vec![0; 24];
        for symbol in symbols {
            table.extend_from_slice(&u32::try_from(strings.len()).unwrap().to_le_bytes());
            table.extend_from_slice(&[0; 20]);
            strings.extend_from_slice(symbol.as_bytes());
            strings.push(0);
        }
        let mut bytes = header(RELOCATABLE, machine);
        let strings_at = bytes.len() as u64;
        bytes.extend_from_slice(&strings);
        let symbols_at = bytes.len() as u64;
        bytes.extend_from_slice(&table);
        let modinfo_at = bytes.len() as u64;
        bytes.extend_from_slice(modinfo.as_bytes());
        let names_at = bytes.len() as u64;
        bytes.extend_from_slice(NAMES);
        let sections_at = bytes.len() as u64;
        for (name, section) in [
            (0, section(3, strings_at, strings.len() as u64, 0)),
            (0, section(2, symbols_at, table.len() as u64, 0)),
            (1, section(1, modinfo_at, modinfo.len() as u64, 0)),
            (0, section(3, names_at, NAMES.len() as u64, 0)),
        ] {
            bytes.push(name);
            bytes.extend_from_slice(&section[1..]);
        }
        bytes[40..48].copy_from_slice(&sections_at.to_le_bytes());
        bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
        bytes[60..62].copy_from_slice(&4_u16.to_le_bytes());
        bytes[62..64].copy_from_slice(&3_u16.to_le_bytes());
        bytes
    }

    /// A program with one segment of this type: 1 is loaded, 3 names the dynamic linker.
    pub(in crate::assemble) fn program(machine: u16, segment: u32) -> Vec<u8> {
        let mut bytes = header(SHARED, machine);
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&segment.to_le_bytes());
        bytes.extend_from_slice(&[0; 52]);
        bytes
    }

    fn header(kind: u16, machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    fn section(kind: u32, offset: u64, size: u64, link: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[24..32].copy_from_slice(&offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&size.to_le_bytes());
        bytes[40..44].copy_from_slice(&link.to_le_bytes());
        bytes
    }

    fn everything(bytes: &[u8]) -> Result<(bool, Vec<&[u8]>), ElfError> {
        let elf = Elf::parse(bytes)?;
        elf.section(b".modinfo")?;
        Ok((elf.has_interpreter()?, elf.undefined_symbols()?))
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let module = module(62, &["printk"], "license=GPL\0firmware=a.bin\0");
        let elf = Elf::parse(&module).unwrap();
        let found = elf.section(b".modinfo").unwrap().unwrap();
        assert_eq!(found, b"license=GPL\0firmware=a.bin\0");
        assert_eq!(elf.section(b".mod"), Ok(None));
        assert_eq!(
            Elf::parse(&program(62, 1)).unwrap().section(b".modinfo"),
            Ok(None)
        );
    }

    #[test]
    fn imports_of_a_module_are_found() {
        let object = object(62, &["printk", "device_add_disk"]);
        let elf = Elf::parse(&object).unwrap();
        assert!(elf.is_relocatable() && !elf.is_program());
        assert_eq!(
            elf.undefined_symbols().unwrap(),
            [&b""[..], b"printk", b"device_add_disk"]
        );
    }

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        for (segment, dynamic) in [(1, false), (3, true)] {
            let program = program(183, segment);
            let elf = Elf::parse(&program).unwrap();
            assert_eq!(elf.has_interpreter(), Ok(dynamic));
            assert_eq!(elf.arch, Arch::Aarch64);
            assert!(elf.is_program());
        }
    }

    #[test]
    fn the_running_test_is_a_program_of_this_machine() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        assert!(elf.is_program());
        assert_eq!(elf.arch, Arch::NATIVE);
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        let mut small = object(62, &[]);
        small[4] = 1;
        let mut big_endian = object(62, &[]);
        big_endian[5] = 2;
        for (bytes, expected) in [
            (&b"#!/bin/sh\n"[..], ElfError::NotElf),
            (b"", ElfError::NotElf),
            (b"\x7fELF", ElfError::Class),
            (&small, ElfError::Class),
            (&big_endian, ElfError::Class),
            (&object(40, &[]), ElfError::Machine(40)),
        ] {
            assert_eq!(Elf::parse(bytes).unwrap_err(), expected);
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_survived() {
        for whole in [module(62, &["printk"], "license=GPL\0"), program(62, 3)] {
            for at in 0..whole.len() {
                assert!(everything(&whole[..at]).is_err(), "{at} bytes");
                for flip in [0x01, 0x80, 0xff] {
                    let mut changed = whole.clone();
                    changed[at] ^= flip;
                    let _ = everything(&changed);
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(rest: Vec<u8>) {
            let mut bytes = header(RELOCATABLE, 62);
            bytes.extend_from_slice(&rest);
            let _ = everything(&rest);
            let _ = everything(&bytes);
        }
    }
}
