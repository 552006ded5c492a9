//! The part of the zip format that `torch.save` writes: entries stored as they are.
//!
//! Layout (APPNOTE 6.3): the end record, searched from the file's end, points at the central
//! directory, whose records point at the entries. Numbers too large for 32 bits stand in zip64 records.

use std::collections::BTreeMap;
use std::ops::Range;

use super::PytorchError;

/// Signatures of records.
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
/// Bytes of the records' fixed parts.
const LOCAL_SIZE: usize = 30;
const CENTRAL_SIZE: usize = 46;
const END_SIZE: usize = 22;
const LOCATOR_SIZE: usize = 20;
/// Longest comment behind the end record.
const MAX_COMMENT: usize = u16::MAX as usize;
/// Tag of the extra field that holds 64-bit numbers.
const ZIP64_EXTRA: u16 = 1;
/// What a 32-bit field says whose number stands elsewhere.
const ELSEWHERE: u64 = u32::MAX as u64;

/// The entries of an archive: where each lies in the file.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    entries: BTreeMap<&'a str, Range<usize>>,
}

impl<'a> Archive<'a> {
    /// Reads the central directory of `bytes`, which are a whole file.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PytorchError> {
        let directory = directory(bytes).ok_or(PytorchError::NoDirectory)?;
        let mut entries = BTreeMap::new();
        let mut at = directory.start;
        while at < directory.end {
            let record = Record::read(bytes, at).ok_or(PytorchError::Directory { at })?;
            at += record.length;
            let range = record.data(bytes)?;
            if entries.insert(record.name, range).is_some() {
                return Err(PytorchError::DuplicateEntry { entry: record.name.to_owned() });
            }
        }
        Ok(Self { entries })
    }

    /// The folder that everything is in.
    pub(super) fn root(&self) -> Result<&'a str, PytorchError> {
        let mut roots = self.entries.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
        roots.next().ok_or(PytorchError::NoPickle)
    }

    /// Where an entry lies in the file.
    pub(super) fn get(&self, entry: &str) -> Option<Range<usize>> {
        self.entries.get(entry).cloned()
    }
}

/// Where the central directory lies.
fn directory(bytes: &[u8]) -> Option<Range<usize>> {
    let last = bytes.len().checked_sub(END_SIZE)?;
    let first = last.saturating_sub(MAX_COMMENT);
    let is_end = |&at: &usize| {
        u32_at(bytes, at) == Some(END)
            && u16_at(bytes, at + 20)
                .is_some_and(|comment| at + END_SIZE + comment as usize == bytes.len())
    };
    let end = (first..=last).rev().find(is_end)?;
    let (mut size, mut start) = (u32_at(bytes, end + 12)? as u64, u32_at(bytes, end + 16)? as u64);
    let locator = end.checked_sub(LOCATOR_SIZE);
    if let Some(locator) = locator.filter(|&at| u32_at(bytes, at) == Some(END64_LOCATOR)) {
        let end64 = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
        if u32_at(bytes, end64)? != END64 {
            return None;
        }
        (size, start) =
            (u64_at(bytes, end64.checked_add(40)?)?, u64_at(bytes, end64.checked_add(48)?)?);
    }
    let stop = start.checked_add(size)?;
    (stop <= end as u64).then_some(start as usize..stop as usize)
}

/// A record of the central directory.
struct Record<'a> {
    name: &'a str,
    flags: u16,
    method: u16,
    /// Bytes of the entry as stored, and unpacked.
    packed: u64,
    size: u64,
    /// Where its local header is.
    header: u64,
    /// Bytes of the record.
    length: usize,
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        if u32_at(bytes, at)? != CENTRAL {
            return None;
        }
        let u16_of = |field| u16_at(bytes, at + field);
        let u32_of = |field| u32_at(bytes, at + field).map(u64::from);
        let name_end = at + CENTRAL_SIZE + u16_of(28)? as usize;
        let extra_end = name_end + u16_of(30)? as usize;
        let mut record = Self {
            name: std::str::from_utf8(bytes.get(at + CENTRAL_SIZE..name_end)?).ok()?,
            flags: u16_of(8)?,
            method: u16_of(10)?,
            packed: u32_of(20)?,
            size: u32_of(24)?,
            header: u32_of(42)?,
            length: extra_end + u16_of(32)? as usize - at,
        };
        record.widen(bytes.get(name_end..extra_end)?)?;
        Some(record)
    }

    /// Takes the numbers that need 64 bits from the extra field.
    fn widen(&mut self, mut extra: &[u8]) -> Option<()> {
        while let (Some(tag), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
            let mut wide = extra.get(4..4 + length as usize)?;
            extra = &extra[4 + length as usize..];
            if tag != ZIP64_EXTRA {
                continue;
            }
            for number in [&mut self.size, &mut self.packed, &mut self.header] {
                if *number == ELSEWHERE {
                    *number = u64_at(wide, 0)?;
                    wide = &wide[8..];
                }
            }
        }
        Some(())
    }

    /// Where the entry's contents lie.
    fn data(&self, bytes: &[u8]) -> Result<Range<usize>, PytorchError> {
        let entry = || self.name.to_owned();
        if self.method != 0 || self.flags & 1 != 0 || self.packed != self.size {
            return Err(PytorchError::Packed { entry: entry() });
        }
        let range = || {
            let header = usize::try_from(self.header).ok()?;
            if u32_at(bytes, header)? != LOCAL {
                return None;
            }
            // The local header has an extra field of its own, which pads the contents to an alignment.
            let (name, extra) = (u16_at(bytes, header + 26)?, u16_at(bytes, header + 28)?);
            let start = header + LOCAL_SIZE + name as usize + extra as usize;
            let end = start.checked_add(usize::try_from(self.size).ok()?)?;
            (end <= bytes.len()).then_some(start..end)
        };
        range().ok_or_else(|| PytorchError::Entry { entry: entry(), size: self.size })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
