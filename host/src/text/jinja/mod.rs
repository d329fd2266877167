//! Jinja as transformers renders it: jinja2's immutable sandbox with Python's values.
//!
//! A chat template is a program for Python: it prints floats, lists and JSON in Python's form, formats with `%`, cuts
//! with Python's methods, and asks for Python's types. An engine with values of its own prints something else in silence
//! wherever the two differ, and its points of extension do not reach operators, `~`, number formats or the source's
//! line ends. So this is an interpreter of Jinja's grammar over values that behave as Python's: `lexer`, `tag` and
//! `parser` read a template, `render` and `evaluate` run it. What jinja2 has and this has not is refused by name.
//!
//! Templates come from strangers, so a rendering has a `Budget` of steps, memory and depth, and runs on a stack that
//! holds that depth.
mod access;
mod arguments;
mod ast;
mod budget;
mod checks;
mod compare;
mod convert;
mod cursor;
mod evaluate;
mod fault;
mod filters;
mod format;
mod functions;
mod grammar;
mod json;
mod letters;
mod lexer;
mod loops;
mod macros;
mod methods;
mod names;
mod numbers;
mod operators;
mod parser;
mod percent;
mod print;
mod render;
mod spec;
mod splits;
mod tag;
mod text_methods;
mod token;
mod types;
mod value;

use serde_json::{Map, Value as Json};

pub(crate) use fault::{Fault, Kind};

/// Bytes of a stack that holds `Budget`'s depth of statements, expressions and values.
const STACK: usize = 64 << 20;

/// A template that has been read.
pub(crate) struct Template {
    block: ast::Block,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is no Jinja, nests too deep, or names a filter or test that jinja2 has not.
    pub fn parse(source: &str) -> Result<Template, Fault> {
        let block = on_a_stack(|| parser::parse(source))?;
        Ok(Template { block })
    }

    /// The text of the template with these variables.
    ///
    /// # Errors
    /// An expression fails as in Python, the template raises, or it needs more than any conversation does.
    pub fn render(&self, context: &Map<String, Json>) -> Result<String, Fault> {
        on_a_stack(|| {
            let budget = budget::Budget::new();
            let context = convert::context(context, &budget)?;
            render::Renderer::new(budget, context).render(&self.block)
        })
    }
}

/// Runs `work` on a thread whose stack is known, whatever thread asks.
fn on_a_stack<T: Send>(work: impl FnOnce() -> Result<T, Fault> + Send) -> Result<T, Fault> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Fault::limit(format!("no thread for the template: {error}")))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
