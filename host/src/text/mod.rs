//! Text: tokenizer, chat template, incremental detokenizer.
mod detokenizer;
mod jinja;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
