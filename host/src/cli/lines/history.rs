//! The file that keeps what was typed: for the user's eyes alone.
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustyline::history::FileHistory;
use rustyline::{Editor, Helper};

/// The file that `NEMOTRON_HISTORY` names, else the one in the user's folder for state; none where the variable is
/// empty, or nothing says where that folder is.
pub fn file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = variable("NEMOTRON_HISTORY") {
        return (!named.is_empty()).then(|| named.into());
    }
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("nemotron/history"))
}

/// Reads what was typed before; where there is no file, it is made.
///
/// # Errors
/// The file cannot be read or written.
pub fn load<H: Helper>(editor: &mut Editor<H, FileHistory>, file: &Path) -> rustyline::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    editor.load_history(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_the_file_or_the_users_folders_do() {
        let of = |variables: &[(&str, &str)]| {
            file(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()))
        };
        let (home, state) = (("HOME", "/home/ada"), ("XDG_STATE_HOME", "/state"));
        assert_eq!(of(&[home]), Some("/home/ada/.local/state/nemotron/history".into()));
        assert_eq!(of(&[home, state]), Some("/state/nemotron/history".into()));
        assert_eq!(of(&[home, ("XDG_STATE_HOME", "state")]), of(&[home]));
        assert_eq!(of(&[home, ("NEMOTRON_HISTORY", "typed")]), Some("typed".into()));
        assert_eq!((of(&[home, ("NEMOTRON_HISTORY", "")]), of(&[])), (None, None));
    }
}
