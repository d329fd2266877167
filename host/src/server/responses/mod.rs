//! OpenAI's Responses API: `/v1/responses`, as a chat and its answer. Nothing is stored.
mod answer;
mod events;
pub mod handlers;
mod items;
pub mod requests;
pub mod schemas;
mod translate;
