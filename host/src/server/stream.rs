//! `AnswerShape`: what an API makes of the events of a request's answers.
use serde_json::{Value, json};

use super::answers::AnswerEvent;
use super::error::ApiError;

/// A server-sent event.
pub struct StreamEvent {
    /// Its name, where the API gives it one.
    pub name: Option<&'static str>,
    pub data: String,
}

impl StreamEvent {
    /// One whose name is the object's `type` too.
    pub fn typed(name: &'static str, fields: Value) -> StreamEvent {
        let mut object = json!({ "type": name });
        if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
            object.extend(fields);
        }
        StreamEvent { name: Some(name), data: object.to_string() }
    }
}

/// The answers of a request as an API has them: one object at the end, or the events of a stream.
pub trait AnswerShape: Send + 'static {
    /// Name and data of the event by which a silent stream says that it lives; a comment without one.
    const PING: Option<(&'static str, &'static str)> = None;

    /// Takes an event of an answer that is given as a whole.
    ///
    /// # Errors
    /// The request failed.
    fn take(&mut self, event: AnswerEvent) -> Result<(), ApiError>;

    /// Takes an event of an answer that is streamed, and gives what the client is sent of it.
    ///
    /// # Errors
    /// The request failed.
    fn stream(&mut self, event: AnswerEvent) -> Result<Vec<StreamEvent>, ApiError>;

    /// Whether all answers are there.
    fn is_done(&self) -> bool;

    /// The response as a whole.
    fn whole(self) -> Value;

    /// The end of a stream that failed.
    fn failed(&mut self, error: &ApiError) -> Vec<StreamEvent>;
}
