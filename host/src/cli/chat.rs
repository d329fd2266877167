//! `nemotron chat`: a conversation with a model, line by line.
mod commands;
mod saved;
mod settings;

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::console::{Verbosity, complain};
use super::failure::Failure;
use super::lines::{Input, Lines};
use super::model::{AnswerArguments, ModelArguments, note_stages};
use super::numbers::{self, THOUGHTS};
use super::progress;
use super::report::explain;
use super::sampling::SamplingArguments;
use super::signals::interrupt;
use super::stream::{Dimmed, stream};
use super::tools;
use crate::error::Category;
use crate::session::{Conversation, Finish, GenerateOptions, Generation, Message, Note, OfferedTools, Session};

/// Most tokens of an answer where neither the user nor the model says.
const MAX_TOKENS: usize = 1024;

/// Talk with a model
#[derive(Args, Debug)]
#[command(after_help = "A turn computes what is new in the conversation.\n\
    What is typed on a terminal is kept in ~/.local/state/nemotron/history, or in the file that NEMOTRON_HISTORY names; \
    where that is empty, nothing is kept.")]
pub struct Arguments {
    #[command(flatten)]
    pub model: ModelArguments,

    /// What the model is told before the first turn [default: no such turn]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,

    /// Most tokens of an answer; -1 to go on until the context is full [default: the model's own, else 1024]
    #[arg(long, short = 'n', value_name = "N", allow_negative_numbers = true, value_parser = numbers::max_tokens)]
    max_tokens: Option<NonZeroUsize>,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    answer: AnswerArguments,

    /// A JSON file with functions that the model may call, a list as in OpenAI's API. Calls are printed behind the text, a line of JSON
    /// each; /result gives back what a function gave
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,

    /// Most tokens of reasoning, which is ended there
    #[arg(long, value_name = "N", value_parser = numbers::whole(THOUGHTS))]
    thinking_budget: Option<usize>,

    /// End an answer where this text comes, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let verbosity = arguments.model.verbosity();
    let offered = arguments.tools.as_deref().map(tools::read).transpose()?;
    let mut session =
        Session::load(&arguments.answer.over(arguments.model.load_options()), &mut |note| verbosity.note(&note))?;
    session.template()?;
    offered.map_or(Ok(()), |tools| session.offer(tools))?;
    note_stages(session.model(), verbosity);
    let mut sampling = arguments.sampling.over_model(session.model().sampling());
    if arguments.max_tokens.is_some() {
        sampling.constraints.max_length = 0;
    }
    sampling.check(session.model().spec().vocab)?;
    let max_tokens = arguments.max_tokens.map(NonZeroUsize::get).or(session.model().max_tokens());
    let options = GenerateOptions {
        sampling,
        max_tokens: max_tokens.unwrap_or(MAX_TOKENS),
        stop: arguments.stop.clone(),
        thinking_budget: arguments.thinking_budget,
        interrupt: interrupt(verbosity)?,
        progress: progress::prompt(verbosity),
        ..GenerateOptions::default()
    };
    let mut lines = Lines::of_stdin(commands::vocabulary(), verbosity)?;
    let conversation = Conversation::new(arguments.system.as_deref());
    let mut chat = Chat { session, conversation, options, verbosity, last: None };
    if lines.is_terminal() {
        verbosity.note(&Note::Info("/help lists the commands, Ctrl-D ends".to_owned()));
    }
    loop {
        let input = match lines.next("> ") {
            Err(error) if error.category() == Category::Input => {
                complain(&error);
                continue;
            }
            input => input?,
        };
        match input {
            Input::Line(line) if line.trim() == "/exit" => return Ok(()),
            Input::Line(line) => chat.take(&line)?,
            Input::Block(text) if text.trim().is_empty() => {}
            Input::Block(text) => chat.attempt(|chat| chat.turn(Message::user(&text)))?,
            Input::Interrupt => verbosity.note(&Note::Info("/exit or Ctrl-D ends".to_owned())),
            Input::End => return Ok(()),
        }
    }
}

struct Chat {
    session: Session,
    conversation: Conversation,
    options: GenerateOptions,
    verbosity: Verbosity,
    last: Option<Generation>,
}

impl Chat {
    /// One line: a command, or a turn.
    fn take(&mut self, line: &str) -> std::result::Result<(), Failure> {
        self.attempt(|chat| match line.strip_prefix('/') {
            Some(command) => chat.command(command),
            None if line.trim().is_empty() => Ok(()),
            None => chat.turn(Message::user(line.trim())),
        })
    }

    /// What the user can mend is said, and the conversation goes on.
    fn attempt(
        &mut self,
        attempt: impl FnOnce(&mut Chat) -> std::result::Result<(), Failure>,
    ) -> std::result::Result<(), Failure> {
        match attempt(self) {
            Err(Failure::Error(error)) if matches!(error.category(), Category::Input | Category::Io) => {
                complain(&error);
                Ok(())
            }
            taken => taken,
        }
    }

    fn turn(&mut self, message: Message) -> std::result::Result<(), Failure> {
        self.options.interrupt.store(false, Ordering::Relaxed);
        let mut out = stdout().lock();
        let calls = self.session.offered().map(OfferedTools::parser);
        let dimmed = Dimmed::on_terminal(self.conversation.reasoning(&self.session, &message), calls);
        let generation = stream(&mut out, &self.options.interrupt, dimmed, |show| {
            self.conversation.say(&mut self.session, message, &self.options, show)
        });
        // Ctrl-C has done what it is for: the next one is another.
        self.options.interrupt.store(false, Ordering::Relaxed);
        let generation = generation?;
        writeln!(out).and_then(|()| out.flush())?;
        match generation.finish {
            Finish::Context => self.note("The context is full: /reset starts a new conversation"),
            Finish::Length => self.note("The answer was cut at --max-tokens"),
            _ => {}
        }
        if generation.ends_in_calls() {
            self.note("/result TEXT gives what a function gave, for each call in turn");
        }
        explain(&self.session, &generation, self.verbosity);
        self.last = Some(generation);
        Ok(())
    }

    fn note(&self, text: &str) {
        self.verbosity.note(&Note::Info(text.to_owned()));
    }
}
