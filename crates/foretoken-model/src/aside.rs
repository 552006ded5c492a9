//! Files written beside their places.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::ModelError;

/// Writes a file beside its place and moves it there, so that no reader meets half of it.
pub(crate) fn replace(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ModelError> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(format!(".{}.part", std::process::id()));
    let aside = Path::new(&aside);
    let written = File::create(aside).map(BufWriter::new).and_then(|mut out| {
        write(&mut out)?;
        out.into_inner()?.sync_all()?;
        fs::rename(aside, file)
    });
    written.map_err(|cause| {
        // What could not be written may not be there either.
        let _ = fs::remove_file(aside);
        ModelError::Write { file: file.display().to_string(), cause }
    })
}
