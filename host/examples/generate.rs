//! Loads a model, generates, streams: `cargo run --release --example generate models/storyteller "Once upon a time"`.
use std::io::Write;

use nemotron::session::{GenerateOptions, LoadOptions, Session};

fn main() -> nemotron::error::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or("models/storyteller".into());
    let prompt = arguments.next().unwrap_or("Once upon a time".into());
    let mut session = Session::load(&LoadOptions::new(model), &mut |_| {})?;
    session.generate(&prompt, &GenerateOptions::default(), |piece| {
        print!("{piece}");
        let _ = std::io::stdout().flush();
    })?;
    println!();
    Ok(())
}
