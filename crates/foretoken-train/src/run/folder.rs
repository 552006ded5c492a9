//! A folder that is replaced as a whole: at any moment, one complete version of it can be found.
//!
//! A version is written as `checkpoint.new` and synchronised with the disk; then `checkpoint` becomes
//! `checkpoint.old`, `checkpoint.new` becomes `checkpoint`, and the old one goes. A process that dies between
//! any two system calls leaves `checkpoint` complete, or else `checkpoint.old`. A lock on the folder keeps
//! a second process out; the system takes it away with the first.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::RunError;

const CURRENT: &str = "checkpoint";
const NEW: &str = "checkpoint.new";
const OLD: &str = "checkpoint.old";
/// Files of a model that somebody may have put there.
const MODEL: &[&str] = &["config.json", "model.safetensors"];

/// The output folder of a run, which nobody else runs in.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    /// Where folders can be opened and locked.
    _lock: Option<File>,
}

impl OutputFolder {
    /// Makes the folder if need be, locks it, and tidies what a process that died has left.
    ///
    /// # Errors
    /// If it cannot be written, somebody runs in it, or it holds a model without a checkpoint.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(path).map_err(write_error(path))?;
        let folder = Self { path: path.to_owned(), _lock: lock(path)? };
        let (current, old) = (path.join(CURRENT), path.join(OLD));
        if current.exists() {
            remove(&old)?;
        } else if old.exists() {
            rename(&old, &current)?;
        } else if MODEL.iter().any(|file| path.join(file).exists()) {
            return Err(RunError::Occupied { folder: path.to_owned() });
        }
        remove(&path.join(NEW))?;
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last complete checkpoint, if there is one.
    pub fn checkpoint(&self) -> Option<PathBuf> {
        Some(self.path.join(CURRENT)).filter(|current| current.exists())
    }

    /// Replaces the checkpoint by what `write` puts in the folder it is given.
    pub(super) fn replace(
        &self,
        write: impl FnOnce(&Path) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let [current, new, old] = [CURRENT, NEW, OLD].map(|name| self.path.join(name));
        remove(&new)?;
        fs::create_dir(&new).map_err(write_error(&new))?;
        write(&new)?;
        sync_folder(&new)?;
        if current.exists() {
            rename(&current, &old)?;
        }
        rename(&new, &current)?;
        sync_folder(&self.path)?;
        remove(&old)
    }

    /// Replaces a file of the folder, as a whole as well.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let new = self.path.join(format!("{name}.new"));
        write_file(&new, bytes)?;
        rename(&new, &self.path.join(name))?;
        sync_folder(&self.path)
    }
}

/// Locks a folder as long as the file lives; not where the system cannot.
fn lock(path: &Path) -> Result<Option<File>, RunError> {
    let Ok(folder) = File::open(path) else { return Ok(None) };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Err(RunError::Busy { folder: path.to_owned() }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Writes a file to the disk.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(write_error(path))
}

/// Waits until a file that was written is on the disk.
pub(super) fn sync_file(path: &Path) -> Result<(), RunError> {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.sync_all()).map_err(write_error(path))
}

/// The same for the names in a folder, where folders can be opened.
fn sync_folder(path: &Path) -> Result<(), RunError> {
    if cfg!(unix) {
        let folder = File::open(path);
        folder.and_then(|folder| folder.sync_all()).map_err(write_error(path))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), RunError> {
    fs::rename(from, to).map_err(write_error(to))
}

/// Removes a folder, if there is one.
fn remove(path: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(write_error(path)(cause)),
        _ => Ok(()),
    }
}

/// An error about this path.
pub(super) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    move |cause| RunError::Write { path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "name";

    fn put(folder: &Path, name: &str, version: &str) {
        fs::create_dir_all(folder.join(name)).expect("a folder");
        if !version.is_empty() {
            fs::write(folder.join(name).join(NAME), version).expect("a file");
        }
    }

    fn found(folder: &OutputFolder) -> Option<String> {
        fs::read_to_string(folder.checkpoint()?.join(NAME)).ok()
    }

    /// Folders with their versions; one without is not complete.
    type State<'a> = &'a [(&'a str, &'a str)];

    /// What is there when a process dies between two system calls of `replace`, and what is found then.
    #[test]
    fn a_complete_version_is_always_found() {
        let states: [(State<'_>, Option<&str>); 9] = [
            (&[], None),
            (&[(NEW, "")], None),
            (&[(NEW, "2")], None),
            (&[(CURRENT, "1")], Some("1")),
            (&[(CURRENT, "1"), (NEW, "")], Some("1")),
            (&[(CURRENT, "1"), (NEW, "2")], Some("1")),
            (&[(OLD, "1"), (NEW, "2")], Some("1")),
            (&[(CURRENT, "2"), (OLD, "1")], Some("2")),
            (&[(CURRENT, "2"), (OLD, "")], Some("2")),
        ];
        for (state, wanted) in states {
            let root = tempfile::tempdir().expect("a folder");
            for (name, version) in state {
                put(root.path(), name, version);
            }
            let folder = OutputFolder::open(root.path()).expect("the folder opens");
            assert_eq!(found(&folder).as_deref(), wanted, "{state:?}");
            let write = |path: &Path| write_file(&path.join(NAME), b"3");
            folder.replace(write).expect("it is replaced");
            assert_eq!(found(&folder).as_deref(), Some("3"), "{state:?}");
            assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 1, "{state:?}");
        }
    }

    #[test]
    fn a_failed_replacement_leaves_the_last_version() {
        let root = tempfile::tempdir().expect("a folder");
        put(root.path(), CURRENT, "1");
        let folder = OutputFolder::open(root.path()).expect("the folder opens");
        let missing = root.path().join("no/such/folder");
        let failed =
            folder.replace(|_| write_file(&missing, b"2")).expect_err("it cannot be written");
        assert!(failed.to_string().starts_with(&format!("cannot write `{}`: ", missing.display())));
        assert_eq!(found(&folder).as_deref(), Some("1"));
        let busy = OutputFolder::open(root.path()).expect_err("it is locked");
        assert!(matches!(busy, RunError::Busy { .. }), "{busy}");
        drop(folder);
        let again = OutputFolder::open(root.path()).expect("the folder opens");
        assert_eq!(found(&again).as_deref(), Some("1"));
    }
}
