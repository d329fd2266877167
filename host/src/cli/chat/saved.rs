//! `/save` and `/load`: conversations in files.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::line::Fields;
use crate::error::{Category, Error, Result, size};
use crate::session::Message;
use crate::session::messages::{self, shown};

/// Most bytes of a conversation that is read.
const MOST: u64 = 64 << 20;

/// Who speaks in a conversation that can go on.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// The file that is meant; `~` is the user's home.
pub fn path(file: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty());
    match file.strip_prefix("~/").zip(home()) {
        Some((rest, home)) => Path::new(&home).join(rest),
        None => file.into(),
    }
}

/// Writes a conversation beside its place first, so that what was there stays until the new one is whole.
///
/// # Errors
/// The file cannot be written, or, unless it is to be written over, what is there is no saved conversation.
pub fn save(file: &Path, messages: &[Message], over: bool) -> Result<()> {
    if !over && file.symlink_metadata().is_ok() && parse(file).is_err() {
        return Err(Error::new(Category::Input, "What is there is no saved conversation")
            .details(format_args!("{}: it would be lost", file.display()))
            .hint("choose another name; /save! FILE writes over it all the same"));
    }
    let conversation = json!({ "messages": messages });
    write(file, &format!("{conversation:#}\n")).map_err(|error| {
        Error::new(Category::Io, "The conversation cannot be saved")
            .details(format_args!("{}: {error}", file.display()))
            .hint("name a file in a directory that exists and can be written, on a disk with room")
    })
}

fn write(file: &Path, content: &str) -> io::Result<()> {
    // A link stays a link to the file that is written.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let before = fs::metadata(&target).ok();
    if before.as_ref().is_some_and(|before| !before.is_file()) {
        return OpenOptions::new().write(true).open(&target)?.write_all(content.as_bytes());
    }
    let name = target.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let beside = target.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let written = File::create_new(&beside).and_then(|mut new| {
        new.write_all(content.as_bytes())?;
        new.sync_all()?;
        before.map_or(Ok(()), |before| fs::set_permissions(&beside, before.permissions()))?;
        fs::rename(&beside, &target)
    });
    written.inspect_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            // What is left of it is of no use to anybody; the error is said either way.
            let _ = fs::remove_file(&beside);
        }
    })
}

/// The turns of a conversation that was saved.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn load(file: &Path) -> Result<Vec<Message>> {
    parse(file).map_err(|what| {
        Error::new(Category::Input, "The conversation cannot be loaded")
            .details(format_args!("{}: {what}", file.display()))
            .hint("name a file that /save wrote, or one with an object such as {\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}")
    })
}

fn parse(file: &Path) -> std::result::Result<Vec<Message>, String> {
    let metadata = fs::metadata(file).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".into());
    }
    if metadata.len() > MOST {
        return Err(format!("it has {}, a conversation may have {}", size(metadata.len()), size(MOST)));
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(MOST).read_to_end(&mut bytes)).map_err(|error| error.to_string())?;
    let text = str::from_utf8(&bytes).map_err(|_| "it is no UTF-8 text".to_owned())?;
    conversation(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn conversation(text: &str) -> std::result::Result<Vec<Message>, String> {
    let mut fields = Fields::parse(text).map_err(|error| match text.lines().next().map(Fields::parse) {
        Some(Ok(_)) => "it has more than one conversation, a line each; --batch answers them all".to_owned(),
        _ => error,
    })?;
    let list = fields.take("messages", "a list of messages", |value| value.as_array().cloned())?;
    let list = list.ok_or("it has no \"messages\"")?;
    fields.end(&["messages"])?;
    let turns: Vec<Message> = messages::plain(&list)?
        .iter()
        .enumerate()
        .map(|(index, message)| turn(index, message))
        .collect::<std::result::Result<_, _>>()?;
    // /system replaces what is told, and /reset keeps it: both know it in front alone.
    let front = turns.iter().take_while(|turn| turn.tells()).count();
    match turns.iter().skip(front).position(Message::tells) {
        None => Ok(turns),
        Some(behind) => {
            Err(format!("messages[{}].role: a {} turn comes first", front + behind, turns[front + behind].role))
        }
    }
}

fn turn(index: usize, message: &Value) -> std::result::Result<Message, String> {
    let role = ROLES.into_iter().find(|known| message["role"] == *known);
    let role = role.ok_or_else(|| {
        let (roles, found) = (ROLES.join(", "), shown(&message["role"]));
        format!("messages[{index}].role: expected one of {roles}, found {found}")
    })?;
    let content = message.get("content").and_then(Value::as_str);
    let content = content.ok_or_else(|| format!("messages[{index}].content: expected a text, found none"))?;
    let reasoning = message.get("reasoning_content").and_then(Value::as_str).map(str::to_owned);
    let mut tool_calls = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
    for call in &mut tool_calls {
        // As OpenAI's API has them, and as they were saved.
        let arguments = call["function"]["arguments"].to_string();
        call["function"]["arguments"] = arguments.into();
    }
    let tool_call_id = message.get("tool_call_id").and_then(Value::as_str).map(str::to_owned);
    Ok(Message { reasoning, tool_calls, tool_call_id, ..Message::new(role, content) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &'static str, content: &str) -> Message {
        Message::new(role, content)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("talk.json");
        let function = json!({ "name": "weather", "arguments": "{\"town\":\"Nara\",\"days\":3}" });
        let call = json!({ "id": "call_1", "type": "function", "function": function });
        let talk = [
            said("system", "Be \"kind\"."),
            said("user", "Hi\n\u{1F98A}"),
            Message { tool_calls: vec![call], ..said("assistant", "") },
            Message::result("call_1".into(), "Rain."),
            Message { reasoning: Some("Hm.".into()), ..said("assistant", "") },
        ];
        save(&file, &talk, false).unwrap();
        assert_eq!(load(&file).unwrap(), talk);
        save(&file, &talk[..2], false).unwrap();
        assert_eq!(load(&file).unwrap(), talk[..2]);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn nothing_else_is_written_over_unless_it_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let [config, link] = ["config.json", "link.json"].map(|name| directory.path().join(name));
        fs::write(&config, "{\"architectures\": []}").unwrap();
        std::os::unix::fs::symlink(&config, &link).unwrap();
        for file in [&config, &link, Path::new("/dev/null"), directory.path()] {
            assert_eq!(save(file, &[], false).unwrap_err().message(), "What is there is no saved conversation");
        }
        assert_eq!(fs::read_to_string(&config).unwrap(), "{\"architectures\": []}");
        save(&link, &[said("user", "x")], true).unwrap();
        assert!(load(&config).is_ok() && fs::symlink_metadata(&link).unwrap().is_symlink());
        let full = save(Path::new("/dev/full"), &[], true).unwrap_err();
        assert_eq!(full.message(), "The conversation cannot be saved");
        assert!(full.details_text().contains("No space left"), "{full}");
        assert!(save(directory.path(), &[], true).is_err());
    }

    #[test]
    fn files_of_others_are_loaded_where_they_are_conversations() {
        let parts = r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}"#;
        assert_eq!(conversation(parts).unwrap(), [said("user", "a\nb")]);
        // Whether the template knows a developer is seen when it writes the turns.
        let talk = [said("system", "Be kind."), said("developer", "Be brief."), said("user", "Hi")];
        for told in [&talk[..], &talk[1..]] {
            assert_eq!(conversation(&json!({ "messages": told }).to_string()).unwrap(), told);
        }
        for (text, words) in [
            (format!("{parts}\n{parts}\n"), "more than one"),
            ("{\"messages\": [{\"role\": \"other\", \"content\": \"x\"}]}".into(), "expected one of system, developer, user, assistant, tool, found \"other\""),
            ("{\"messages\": [{\"role\": \"user\", \"content\": null}]}".into(), "messages[0].content: expected a text"),
            ("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"system\", \"content\": \"x\"}]}".into(), "messages[1].role: a system turn comes first"),
            (json!({ "messages": [said("system", "S"), said("user", "x"), said("developer", "D")] }).to_string(), "messages[2].role: a developer turn comes first"),
            ("{}".into(), "no \"messages\""),
            ("{\"mesages\": []}".into(), "no \"messages\""),
            (String::new(), "EOF"),
        ] {
            let error = conversation(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
