//! Files written beside their places.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::ModelError;

/// Writes a file beside its place and moves it there, so that no reader meets half of it. Behind a link, its
/// place is where the link leads.
pub(crate) fn replace(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ModelError> {
    let failed = |cause| ModelError::Write { file: file.display().to_string(), cause };
    let place = place(file).map_err(failed)?;
    let aside = beside(&place);
    let written = File::create(&aside).map(BufWriter::new).and_then(|mut out| {
        write(&mut out)?;
        out.into_inner()?.sync_all()?;
        fs::rename(&aside, &place)
    });
    written.map_err(|cause| {
        // What could not be written may not be there either.
        let _ = fs::remove_file(&aside);
        failed(cause)
    })
}

/// Finds out whether [`replace`] could begin to write a file.
pub(crate) fn check(file: &Path) -> Result<(), ModelError> {
    let tried = place(file).and_then(|place| {
        let aside = beside(&place);
        File::create(&aside)?;
        fs::remove_file(aside)
    });
    tried.map_err(|cause| ModelError::Write { file: file.display().to_string(), cause })
}

/// Where a file is or will be. What is there and no file, such as a device, is left alone.
fn place(file: &Path) -> io::Result<PathBuf> {
    match fs::metadata(file) {
        Ok(found) if found.is_file() => fs::canonicalize(file),
        Ok(_) => Err(io::Error::other("it is there and no regular file")),
        Err(_) => Ok(file.to_owned()),
    }
}

fn beside(place: &Path) -> PathBuf {
    let mut aside = place.as_os_str().to_owned();
    aside.push(format!(".{}.part", std::process::id()));
    aside.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(file: &Path, text: &str) -> Result<(), String> {
        check(file).map_err(|error| error.to_string())?;
        replace(file, |out| out.write_all(text.as_bytes())).map_err(|error| error.to_string())
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_replaced_where_it_is_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, socket] = ["file", "link", "socket"].map(|name| folder.path().join(name));
        put(&file, "new").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        put(&link, "newer").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for odd in [folder.path(), &socket] {
            let error = put(odd, "lost").unwrap_err();
            assert!(error.contains(&odd.display().to_string()), "{error}");
            assert!(error.contains("no regular file"), "{error}");
        }
        let nowhere = put(&file.join("below"), "lost").unwrap_err();
        assert!(nowhere.contains("below"), "{nowhere}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left beside them");
    }
}
