//! Options of vLLM's server without which it calls no functions and parts no reasoning: here nothing needs them.
use clap::Args;

use super::console::Verbosity;
use crate::session::Note;

/// Taken, so that a command line of vLLM's is one here; hidden, for they do nothing.
#[derive(Args, Debug)]
pub struct ParserArguments {
    #[arg(long, hide = true)]
    enable_auto_tool_choice: bool,

    #[arg(long, hide = true, value_name = "NAME")]
    tool_call_parser: Option<String>,

    #[arg(long, hide = true, value_name = "NAME")]
    reasoning_parser: Option<String>,
}

impl ParserArguments {
    /// Says of those that were given that nothing needs them.
    pub fn note(&self, verbosity: Verbosity) {
        let given = [
            ("--enable-auto-tool-choice", self.enable_auto_tool_choice),
            ("--tool-call-parser", self.tool_call_parser.is_some()),
            ("--reasoning-parser", self.reasoning_parser.is_some()),
        ];
        for (name, _) in given.into_iter().filter(|(_, given)| *given) {
            let why = "the chat template says how the model calls and reasons";
            verbosity.note(&Note::Info(format!("{name} is not needed and changes nothing: {why}")));
        }
    }
}
