//! Read-only memory maps of files with weights or a corpus: the only `unsafe` of this crate.

#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; the note below bounds it")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The contents of a file, mapped read-only.
#[derive(Debug)]
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps a regular file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        // SAFETY: the map is private and read-only, and lives as long as every slice borrowed from
        // it. What remains is another process changing the file underneath: overwritten bytes would
        // be read as other (still initialised) bytes, and a truncated file would end this process
        // with SIGBUS. Neither can be excluded by any program that maps weights; both need write
        // access to the user's model files, and SECURITY.md asks users not to rewrite a model in
        // place while it is loaded. No reference derived from the map outlives a call that packs,
        // decodes or searches it, and every value read from it is checked before it is used as a
        // length or position.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(map))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
