//! Text: tokenizer, chat template, incremental detokenizer.
mod definition;
mod detokenizer;
mod files;
mod grammar;
mod jinja;
mod reasoning;
mod special_tokens;
mod template;
mod tokenizer;
mod tools;

pub use detokenizer::{Detokenizer, Shown};
pub use grammar::{GRAMMAR_FIELDS, Grammar, GrammarFault, GrammarField, GrammarMatcher, GrammarSource, GrammarTokens};
pub use reasoning::{Parts, Reasoning, THINK_TAGS};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
pub use tools::{CallDemand, ToolDelta, ToolForm, ToolParser, ToolSchemas};
