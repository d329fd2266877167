//! Anthropic's API: `/v1/messages` and `/v1/messages/count_tokens`, as a chat and its answer.
mod answer;
pub mod errors;
pub mod handlers;
mod messages;
pub mod requests;
pub mod schemas;
mod translate;
