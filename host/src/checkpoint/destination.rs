//! `Destination`: a directory that gets its name when it is whole, and goes where something fails.
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::writing::{io_error, refuse_files};
use crate::error::{Category, Error, Result};

/// A directory beside the one that is asked for.
pub struct Destination {
    out: PathBuf,
    partial: PathBuf,
    is_finished: bool,
}

impl Destination {
    /// Makes the directory beside `out`, and those on its way; `input` is that of a checkpoint that is read.
    ///
    /// # Errors
    /// `out` is a file, has no name of its own, has files, is or lies in `input`, or can not be made.
    pub fn new(out: &Path, input: Option<&Path>) -> Result<Destination> {
        let name = out.file_name().filter(|_| !out.is_file()).ok_or_else(|| no_name(out))?;
        refuse_files(out)?;
        input.map_or(Ok(()), |input| refuse_inside(out, input))?;
        refuse_what_stays(out)?;
        let partial = out.with_file_name(format!("{}.partial", name.to_string_lossy()));
        if let Some(parent) = partial.parent() {
            fs::create_dir_all(parent).map_err(|error| io_error(parent, &error))?;
        }
        fs::create_dir(&partial).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => in_use(&partial),
            _ => io_error(&partial, &error),
        })?;
        Ok(Destination { out: out.to_path_buf(), partial, is_finished: false })
    }

    /// Where files are written.
    pub fn directory(&self) -> &Path {
        &self.partial
    }

    /// Gives the directory its name.
    ///
    /// # Errors
    /// Something else has it by now.
    pub fn finish(mut self) -> Result<()> {
        fs::rename(&self.partial, &self.out).map_err(|error| io_error(&self.out, &error))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Destination {
    /// What was not finished goes: the error that ended it counts, not what else fails here.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Refuses a place in the checkpoint that is read, where it would be taken for a part of it.
fn refuse_inside(out: &Path, input: &Path) -> Result<()> {
    let absolute = std::path::absolute(out).map_err(|error| io_error(out, &error))?;
    let there = absolute.ancestors().find_map(|path| path.canonicalize().ok());
    let input = input.canonicalize().map_err(|error| io_error(input, &error))?;
    if !there.is_some_and(|there| there.starts_with(&input)) {
        return Ok(());
    }
    Err(Error::new(Category::Io, "The new checkpoint would lie in the old one")
        .details(format_args!("{} is in {}", out.display(), input.display()))
        .hint("name a directory beside it"))
}

/// Removes an empty directory of that name before the work begins: a link, or where a disk is mounted, could not make room for the
/// new one when all is written.
fn refuse_what_stays(out: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(out) else { return Ok(()) };
    let removed = if found.is_dir() { fs::remove_dir(out) } else { Err(ErrorKind::AlreadyExists.into()) };
    removed.map_err(|error| {
        Error::new(Category::Io, "The new checkpoint can not take that name")
            .details(format_args!("{} is a link or a mounted disk: {error}", out.display()))
            .hint("name a directory in it, or beside it")
    })
}

fn in_use(partial: &Path) -> Error {
    Error::new(Category::Io, "Another run writes this checkpoint, or was killed")
        .details(format_args!("{} is there: a run has it until it is done", partial.display()))
        .hint("if no other run is writing it, remove that directory and start again")
}

fn no_name(out: &Path) -> Error {
    Error::new(Category::Io, "The checkpoint can not be written")
        .details(format_args!("{}: expected the name of a new directory", out.display()))
        .hint("name a directory that does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_make_room_is_refused_before_the_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let [input, empty, link] = ["input", "empty", "link"].map(|name| folder.path().join(name));
        fs::create_dir(&input).expect("it is made");
        fs::create_dir(&empty).expect("it is made");
        std::os::unix::fs::symlink(&empty, &link).expect("it is made");
        assert!(Destination::new(&link, Some(&input)).is_err());
        assert!(!folder.path().join("link.partial").exists(), "nothing was begun");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("it is made");
        for nothing_new in [&file, Path::new("."), &folder.path().join("..")] {
            let error = Destination::new(nothing_new, None).err().expect("it is no new directory");
            assert!(error.to_string().contains("expected the name of a new directory"), "{error}");
        }
        Destination::new(&empty, Some(&input))
            .expect("an empty directory makes room")
            .finish()
            .expect("it has the name");
        assert!(empty.is_dir());
    }
}
