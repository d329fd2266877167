//! `nemotron chat`: a conversation with a model, line by line.
use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::Ordering;

use clap::Args;
use serde_json::json;

use super::console::{Loudness, complain};
use super::failure::Failure;
use super::lines::{Input, Lines};
use super::model::{AnswerArguments, ModelArguments, note_stages};
use super::numbers;
use super::progress;
use super::report::{explain, rows, table};
use super::sampling::SamplingArguments;
use super::stream::{interrupt, stream};
use crate::error::{Category, Error, Result};
use crate::session::{Conversation, Finish, GenerateOptions, Generation, Note, Session, THINKING};

const HELP: &str = "\
/reset         forget the conversation
/save FILE     write the conversation as JSON
/stats         tokens and times of the last answer
/think on|off  whether the model reasons first, where its template knows that
/help          this list
/exit          end, as Ctrl-D does
Ctrl-C ends an answer. A line that begins with a space is never a command.
";

/// Talk with a model
#[derive(Args, Debug)]
#[command(after_help = "A turn computes what is new in the conversation; with penalties it computes all of it.")]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// What the model is told before the first turn [default: no such turn]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,

    /// Most tokens of an answer; -1 to go on until the context is full
    #[arg(long, short = 'n', value_name = "N", default_value = "1024", allow_negative_numbers = true,
        value_parser = numbers::max_tokens)]
    max_tokens: NonZeroUsize,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    answer: AnswerArguments,

    /// End an answer where this text comes, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let loudness = arguments.model.loudness();
    let session =
        Session::load(&arguments.answer.over(arguments.model.load_options()), &mut |note| loudness.note(&note))?;
    session.template()?;
    note_stages(session.model(), loudness);
    let sampling = arguments.sampling.over_model(session.model().sampling());
    sampling.check(session.model().spec().vocab)?;
    let options = GenerateOptions {
        sampling,
        max_tokens: arguments.max_tokens.get(),
        stop: arguments.stop.clone(),
        interrupt: interrupt()?,
        progress: progress::prompt(loudness),
        ..GenerateOptions::default()
    };
    let mut lines = Lines::of_stdin()?;
    let conversation = Conversation::new(arguments.system.as_deref());
    let mut chat = Chat { session, conversation, options, loudness, last: None };
    if lines.is_terminal() {
        loudness.note(&Note::Info("/help lists the commands, Ctrl-D ends".to_owned()));
    }
    loop {
        match lines.next("> ")? {
            Input::Line(line) if line.trim() == "/exit" => return Ok(()),
            Input::Line(line) => chat.take(&line)?,
            Input::Interrupt => loudness.note(&Note::Info("/exit or Ctrl-D ends".to_owned())),
            Input::End => return Ok(()),
        }
    }
}

struct Chat {
    session: Session,
    conversation: Conversation,
    options: GenerateOptions,
    loudness: Loudness,
    last: Option<Generation>,
}

impl Chat {
    /// One line: a command, or a turn. What the user can mend is said, and the conversation goes on.
    fn take(&mut self, line: &str) -> std::result::Result<(), Failure> {
        let taken = match line.strip_prefix('/') {
            Some(command) => self.command(command),
            None if line.trim().is_empty() => Ok(()),
            None => self.turn(line.trim()),
        };
        match taken {
            Err(Failure::Error(error)) if matches!(error.category(), Category::Input | Category::Io) => {
                complain(&error);
                Ok(())
            }
            taken => taken,
        }
    }

    fn turn(&mut self, text: &str) -> std::result::Result<(), Failure> {
        self.options.interrupt.store(false, Ordering::Relaxed);
        let mut out = stdout().lock();
        let generation = stream(&mut out, &self.options.interrupt, |show| {
            self.conversation.say(&mut self.session, text, &self.options, show)
        })?;
        writeln!(out).and_then(|()| out.flush())?;
        match generation.finish {
            Finish::Context => self.note("The context is full: /reset starts a new conversation"),
            Finish::Length => self.note("The answer was cut at --max-tokens"),
            _ => {}
        }
        explain(&self.session, &generation, self.loudness);
        self.last = Some(generation);
        Ok(())
    }

    fn command(&mut self, command: &str) -> std::result::Result<(), Failure> {
        let (name, rest) = command.trim().split_once(' ').unwrap_or((command.trim(), ""));
        match (name, rest.trim()) {
            ("reset", "") => {
                self.conversation.reset();
                self.session.forget();
                self.last = None;
                self.note("A new conversation");
            }
            ("save", file) if !file.is_empty() => self.save(Path::new(file))?,
            ("stats", "") => print(&self.statistics())?,
            ("think", "on") => self.think(true)?,
            ("think", "off") => self.think(false)?,
            ("help", "") => print(HELP)?,
            _ => {
                return Err(Error::new(Category::Input, "Unknown command")
                    .details(format!("/{command}"))
                    .hint("/help lists the commands; a line that begins with a space is never one")
                    .into());
            }
        }
        Ok(())
    }

    fn note(&self, text: &str) {
        self.loudness.note(&Note::Info(text.to_owned()));
    }

    fn save(&self, file: &Path) -> Result<()> {
        let conversation = json!({ "messages": self.conversation.messages() });
        std::fs::write(file, format!("{conversation:#}\n")).map_err(|error| {
            Error::new(Category::Io, "The conversation cannot be saved")
                .details(format!("{}: {error}", file.display()))
                .hint("name a file in a directory that exists and can be written")
        })?;
        self.note(&format!("Saved to {}", file.display()));
        Ok(())
    }

    fn think(&mut self, on: bool) -> Result<()> {
        if !self.session.template()?.mentions(THINKING) {
            return Err(Error::new(Category::Input, "The model has no switch for reasoning")
                .details(format!("its chat template does not know {THINKING}"))
                .hint("some models are told so in their --system text; see the model's card"));
        }
        self.conversation.set_thinking(on);
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

fn print(text: &str) -> std::result::Result<(), Failure> {
    let mut out = stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}
