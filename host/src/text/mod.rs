//! Text: tokenizer, chat template, incremental detokenizer.
mod companions;
mod definition;
mod detokenizer;
mod files;
mod jinja;
mod reasoning;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use reasoning::{Parts, Reasoning};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
