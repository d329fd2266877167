//! Where Hugging Face's cache is, by the rules of huggingface_hub: its variables, and what it expands in them.
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder `hub` of the cache, from the environment; `home_of` gives the home of a user, or of the one who runs this.
///
/// An empty variable counts as set, as in huggingface_hub.
pub fn hub_cache(
    variable: impl Fn(&str) -> Option<OsString>,
    home_of: impl Fn(Option<&str>) -> Option<String>,
) -> Option<PathBuf> {
    let environment =
        Environment { variable: &|name| variable(name).and_then(|value| value.into_string().ok()), home_of: &home_of };
    let get = |name: &str| variable(name).map(PathBuf::from);
    let hub = get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE"));
    let hub = hub.or_else(|| {
        let caches = get("XDG_CACHE_HOME").or_else(|| Some(environment.expand(PathBuf::from("~")).join(".cache")))?;
        let home = get("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        Some(environment.expand(home).join("hub"))
    });
    hub.map(|hub| environment.expand(hub))
}

/// The home in /etc/passwd of a user, or of the one who runs this program.
pub fn home_of(user: Option<&str>) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let own = own_id();
    let is_wanted = |fields: &Vec<&str>| match user {
        Some(user) => fields[0] == user,
        None => own.is_some_and(|own| fields[2] == own.to_string()),
    };
    let lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() == 7);
    lines.into_iter().find(is_wanted).map(|fields| fields[5].to_owned())
}

#[cfg(unix)]
fn own_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    Some(Path::new("/proc/self").metadata().ok()?.uid())
}

#[cfg(not(unix))]
fn own_id() -> Option<u32> {
    None
}

struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    home_of: &'a dyn Fn(Option<&str>) -> Option<String>,
}

impl Environment<'_> {
    /// Python's `expandvars(expanduser(path))`; a path that is no UTF-8 stays as it is.
    fn expand(&self, path: PathBuf) -> PathBuf {
        match path.to_str() {
            Some(text) => self.with_variables(&self.with_home(text)).into(),
            None => path,
        }
    }

    /// `~` and `~user` in front; left alone where there is no such user.
    fn with_home(&self, path: &str) -> String {
        let Some(rest) = path.strip_prefix('~') else { return path.to_owned() };
        let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let home = match user {
            "" => (self.variable)("HOME").or_else(|| (self.home_of)(None)),
            user => (self.home_of)(Some(user)),
        };
        let Some(home) = home else { return path.to_owned() };
        let expanded = format!("{}{rest}", home.trim_end_matches('/'));
        if expanded.is_empty() { "/".to_owned() } else { expanded }
    }

    /// `$NAME` and `${NAME}`; left alone where there is no such variable. Values are not expanded again.
    fn with_variables(&self, path: &str) -> String {
        let (mut expanded, mut rest) = (String::new(), path);
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            let (name, length) = name_behind_dollar(rest);
            match name.and_then(|name| (self.variable)(name)) {
                Some(value) => expanded.push_str(&value),
                None => expanded.push_str(&rest[..length]),
            }
            rest = &rest[length..];
        }
        expanded + rest
    }
}

/// The name that `text`, which begins with `$`, refers to, and how much of the text that is.
fn name_behind_dollar(text: &str) -> (Option<&str>, usize) {
    if let Some(rest) = text.strip_prefix("${") {
        return rest.find('}').map_or((None, 1), |end| (Some(&rest[..end]), end + 3));
    }
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let end = text[1..].find(|character| !is_part(character)).map_or(text.len(), |end| end + 1);
    (Some(&text[1..end]).filter(|name| !name.is_empty()), end)
}

#[cfg(test)]
mod tests;
