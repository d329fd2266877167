//! Text: tokenizer, chat template, incremental detokenizer.
mod companions;
mod definition;
mod detokenizer;
mod files;
mod python_json;
mod python_methods;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
