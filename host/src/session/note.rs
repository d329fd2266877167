//! `Note`: what a user is told while a model is loaded.

/// What is told while a model loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// For everybody, and for those who asked for silence: the result may not be what they mean.
    Warning(String),
    /// For everybody.
    Info(String),
    /// For those who ask for more.
    Detail(String),
}
