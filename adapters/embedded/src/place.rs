//! Where an open file is, to notice when its name leads elsewhere.
//!
//! SQLite with a write-ahead log goes on with the file that it opened, whatever has become of its
//! name. If a backup was copied into its place, or it was deleted and made anew, producers would then
//! fill one file while workers watch another, and what workers confirm would be gone with the last of
//! them.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{self, Path, PathBuf},
};

/// A file, by name and by what it was when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// Of a file that has just been opened.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        // The process may change its working directory later.
        let path = path::absolute(path)?;
        let meta = fs::metadata(&path)?;
        Ok(Self { path, device: meta.dev(), inode: meta.ino() })
    }

    /// Whether the name leads to another file, or to none. What cannot be looked at has not moved.
    pub(crate) fn is_left(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(meta) => (meta.dev(), meta.ino()) != (self.device, self.inode),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_left_its_place_when_its_name_leads_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| directory.path().join(name));
        fs::write(&file, "a").unwrap();
        let place = Place::of(&file).unwrap();
        fs::write(&file, "b").unwrap();
        assert!(!place.is_left(), "it was written");
        fs::rename(&file, &other).unwrap();
        assert!(place.is_left(), "it was renamed");
        fs::copy(&other, &file).unwrap();
        assert!(place.is_left(), "there is a copy in its place");
        fs::rename(&other, &file).unwrap();
        assert!(!place.is_left(), "it is back");
    }
}
