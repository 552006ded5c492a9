//! Files of lines, plain or compressed, alone or in folders.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::error::{DataError, LineError};

/// Longest line; as long as a text that is tokenised at once, with room for escapes.
const MAX_LINE: usize = 32 << 20;
/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Ends of names of files in folders.
const ENDINGS: [&str; 2] = [".jsonl", ".jsonl.gz"];

/// The files that `paths` name: files as they are, folders as the files with training text right in them,
/// by name.
pub(super) fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let read = |cause| DataError::Read { path: path.clone(), cause };
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            if ENDINGS.iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
                found.push(path.join(name));
            }
        }
        if found.is_empty() {
            return Err(DataError::Folder { folder: path.clone() });
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Bytes of files as they lie on disk; of what is no file none.
pub(super) fn size(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|found| found.len()).sum()
}

/// Bytes of memory per byte of a plain file: a token takes five, and stands for three or four of text.
const PLAIN: u64 = 2;
/// Bytes of text per byte of a compressed file.
const PACKED: u64 = 4;

/// About how many bytes of memory the documents of files take.
pub(super) fn memory(files: &[PathBuf]) -> Result<u64, DataError> {
    let of_file = |path: &PathBuf| {
        let read = |cause| DataError::Read { path: path.clone(), cause };
        let is_packed = path.extension().is_some_and(|ending| ending == "gz");
        let text = if is_packed { PACKED } else { 1 };
        Ok(fs::metadata(path).map_err(read)?.len().saturating_mul(text * PLAIN))
    };
    files.iter().map(of_file).sum()
}

/// The lines of a file.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// The same file as the reader's, at the same place.
    place: File,
    number: u64,
}

/// A line that is not empty.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// Its text, if it is one.
    pub(super) text: Result<String, LineError>,
}

impl Lines {
    /// Opens a file, compressed if its first bytes say so.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let read = |cause| DataError::Read { path: path.to_owned(), cause };
        let file = File::open(path).map_err(read)?;
        let place = file.try_clone().map_err(read)?;
        let mut file = BufReader::new(file);
        let is_gzip = file.fill_buf().map_err(read)?.starts_with(&GZIP);
        let reader: Box<dyn BufRead + Send> = if is_gzip {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Self { path: path.to_owned(), reader, place, number: 0 })
    }

    /// Bytes of the file that were read, as it lies on disk; 0 where it has no places, as a pipe.
    pub(super) fn position(&mut self) -> u64 {
        self.place.stream_position().unwrap_or(0)
    }

    /// The next line that is not blank, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Line>, DataError> {
        loop {
            let mut bytes = Vec::new();
            let length = self.read(&mut bytes);
            let length =
                length.map_err(|cause| DataError::Read { path: self.path.clone(), cause })?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            bytes.truncate(bytes.trim_ascii_end().len());
            let text = if length > MAX_LINE {
                Err(LineError::TooLong { limit: MAX_LINE })
            } else {
                String::from_utf8(bytes).map_err(|_| LineError::NotUtf8)
            };
            if !text.as_ref().is_ok_and(String::is_empty) {
                return Ok(Some(Line { number: self.number, text }));
            }
        }
    }

    /// Reads a line and returns its length; of a line that is too long, the text is not kept.
    fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let mut length = 0;
        loop {
            let read = self.reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', bytes)?;
            length += read;
            if read < MAX_LINE || bytes.ends_with(b"\n") {
                return Ok(length);
            }
            bytes.clear();
        }
    }
}
