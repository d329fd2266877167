//! The commands of a conversation: lines that begin with a slash.
use std::io::{Write, stdout};

use super::Chat;
use super::saved;
use super::settings;
use crate::cli::failure::Failure;
use crate::cli::line::nearest;
use crate::cli::lines::Vocabulary;
use crate::cli::report::{rows, table};
use crate::error::{Category, Error, Result};
use crate::session::Message;

const HELP: &str = "\
/reset           forget the conversation
/undo            take the last turn back, with its answer
/regenerate      answer the last turn anew
/result TEXT     what a function that the model calls gave, for each of its calls in turn; the model goes on then
/system TEXT     what the model is told in front of all turns, from the next one on; without TEXT nothing
/set NAME VALUE  a parameter from the next turn on, such as temperature, max_tokens or stop; /set shows them, and
                 /set stop [] ends no answer at a text any more
/save FILE       write the conversation as JSON; /save! also over a file that is none
/load FILE       go on with a conversation that was saved
/stats           tokens and times of the last answer
/think on|off    whether the model reasons first, where its template knows that
/help            this list
/exit            end, as Ctrl-D does
Ctrl-C ends an answer. A line that begins with a space is never a command. A turn of several lines stands between two
\"\"\"; else each line is a turn, pasted ones too. On a terminal Tab completes commands and file names.
";

/// Every command, with what may follow it.
const COMMANDS: [&str; 13] = [
    "/exit",
    "/help",
    "/load",
    "/regenerate",
    "/reset",
    "/result",
    "/save",
    "/save!",
    "/set",
    "/stats",
    "/system",
    "/think",
    "/undo",
];

/// The words that a terminal completes.
pub fn vocabulary() -> Vocabulary {
    let arguments = vec![("/set", settings::NAMES.to_vec()), ("/think", vec!["off", "on"])];
    Vocabulary { commands: COMMANDS.to_vec(), arguments, files: vec!["/load", "/save", "/save!"] }
}

impl Chat {
    /// Does what a line says behind its slash.
    pub(super) fn command(&mut self, line: &str) -> std::result::Result<(), Failure> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (name, rest.trim()) {
            ("reset", "") => {
                self.conversation.reset();
                self.changed();
                self.session.forget();
                self.note("A new conversation");
            }
            ("undo", "") => {
                self.take_back()?;
                self.changed();
                self.note("The last turn is taken back");
            }
            ("regenerate", "") => return self.regenerate(),
            ("result", text) if !text.is_empty() => return self.result(text),
            ("system", text) => self.tell(text),
            ("set", "") => print(&settings::table_of(&self.options))?,
            ("set", rest) => {
                let vocabulary = self.session.model().spec().vocab;
                let set = settings::set(&mut self.options, rest, vocabulary)?;
                self.note(&set);
            }
            ("save" | "save!", file) if !file.is_empty() => {
                let path = saved::path(file);
                saved::save(&path, self.conversation.messages(), name == "save!")?;
                self.note(&format!("Saved to {}", path.display()));
            }
            ("load", file) if !file.is_empty() => self.load(file)?,
            ("stats", "") => print(&self.statistics())?,
            ("think", "on") => self.think(true)?,
            ("think", "off") => self.think(false)?,
            ("help", "") => print(HELP)?,
            _ => return Err(unknown(name, line).into()),
        }
        Ok(())
    }

    /// The turns are others: what is known of the old ones is of no use.
    fn changed(&mut self) {
        self.last = None;
        self.conversation.recount(&self.session);
    }

    fn take_back(&mut self) -> Result<String> {
        self.conversation.take_back().ok_or_else(|| {
            Error::new(Category::Input, "There is no turn yet")
                .details("expected a turn of yours, found none in the conversation")
                .hint("say something first, or /load a conversation")
        })
    }

    /// Says the last turn again, with other random numbers. Where that fails, all is as before.
    fn regenerate(&mut self) -> std::result::Result<(), Failure> {
        let before = self.conversation.clone();
        let text = self.take_back()?;
        self.options.sampling.stream = self.options.sampling.stream.wrapping_add(1);
        if self.options.sampling.temperature == 0.0 {
            self.note("At temperature 0 an answer is always the same; /set temperature 0.7 lets it vary");
        }
        self.turn(Message::user(&text)).inspect_err(|_| self.conversation = before)
    }

    /// Takes the result of the first call that has none; the model goes on when all have one.
    fn result(&mut self, text: &str) -> std::result::Result<(), Failure> {
        let mut open = self.conversation.open_calls().into_iter();
        let first = open.next().ok_or_else(|| {
            Error::new(Category::Input, "No call waits for a result")
                .details("expected a call of the model's last turn, found none without a result")
                .hint("the model calls the functions that --tools names")
        })?;
        let result = Message::result(first, text);
        match open.count() {
            0 => return self.turn(result),
            waiting => {
                self.conversation.note(result);
                self.note(&format!("{waiting} more to come"));
            }
        }
        Ok(())
    }

    fn tell(&mut self, text: &str) {
        self.conversation.set_system((!text.is_empty()).then_some(text));
        self.changed();
        self.note(if text.is_empty() {
            "No system text, from the next turn on"
        } else {
            "Told, from the next turn on"
        });
    }

    fn load(&mut self, file: &str) -> Result<()> {
        let path = saved::path(file);
        let messages = saved::load(&path)?;
        let (count, open) = (messages.len(), messages.last().is_some_and(|message| message.role == "user"));
        self.conversation.resume(messages);
        self.changed();
        self.note(&format!("Loaded {count} messages from {}", path.display()));
        if open {
            self.note("The last turn has no answer yet: /regenerate asks for one");
        }
        Ok(())
    }

    fn think(&mut self, on: bool) -> Result<()> {
        self.conversation.set_thinking(&self.session, on)?;
        self.note(if on { "The model reasons before it answers" } else { "The model answers at once" });
        Ok(())
    }

    fn statistics(&self) -> String {
        let context = format!("{} of {} tokens", self.conversation.tokens(), self.session.context());
        let mut statistics = vec![("Context:", context)];
        if let Some(last) = &self.last {
            statistics.push(("Prefilled:", format!("{} tokens", last.prefilled_tokens)));
            statistics.extend(rows(last));
        }
        table(&statistics)
    }
}

fn unknown(name: &str, line: &str) -> Error {
    let written = format!("/{name}");
    let hint = match nearest(&written, &COMMANDS) {
        Some(near) if near != written => format!("{near} is a command; /help lists all"),
        Some(near) => format!("/help says what stands behind {near}"),
        None => "/help lists the commands".to_owned(),
    };
    Error::new(Category::Input, "Unknown command")
        .details(format_args!("/{line}"))
        .hint(format_args!("{hint}; a line that begins with a space is never one"))
}

fn print(text: &str) -> std::result::Result<(), Failure> {
    let mut out = stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}
