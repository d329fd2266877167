//! `Client`: completions of a server at an URL, one connection for each request at a time.
use std::time::{Duration, Instant};

use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::StreamExt;
use http_body_util::{BodyDataStream, BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::answer::{Fault, NO_TOKEN, Streamed, error_message};
use crate::error::{Category, Error};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long nothing may come of an answer.
const SILENCE: Duration = Duration::from_secs(600);

/// Most bytes of a response that is no stream.
const RESPONSE_BYTES: usize = 1 << 20;

/// Vocabularies that are tried where nobody says how large the model's is.
const VOCABULARIES: [u32; 2] = [30_000, 2_000];

/// Letters that texts are made of, each with a space in front: a token in most vocabularies.
const LETTERS: u32 = 26;

/// What prompts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptForm {
    /// Ids below that one.
    Ids(u32),
    /// Texts, for the server refuses ids: lengths are approximate.
    Texts,
}

impl PromptForm {
    /// A number above all ids that are used.
    pub fn below(self) -> u32 {
        match self {
            PromptForm::Ids(below) => below,
            PromptForm::Texts => LETTERS,
        }
    }

    /// What prompts are made of, in a few words.
    pub fn words(self) -> String {
        match self {
            PromptForm::Ids(below) => format!("ids below {below}"),
            PromptForm::Texts => "letters".to_owned(),
        }
    }

    /// A prompt as the server gets it.
    pub fn value(self, ids: &[u32]) -> Value {
        let letter = |id: &u32| [' ', char::from(b'a' + (id % LETTERS) as u8)];
        match self {
            PromptForm::Ids(_) => json!(ids),
            PromptForm::Texts => ids.iter().flat_map(letter).collect::<String>().into(),
        }
    }
}

/// A server.
#[derive(Clone)]
pub struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    base: String,
    key: Option<HeaderValue>,
    /// The model that is asked.
    pub model: String,
    /// How many of the best tokens come with each token and its log-probability; none for no such numbers.
    pub logprobs: Option<usize>,
}

impl Client {
    /// The server at `url`, with `/v1` behind it or without; `model` is the first that it names unless it is given.
    ///
    /// # Errors
    /// The URL is none of HTTP, or the server does not tell its models.
    pub async fn connect(url: &str, key: Option<&str>, model: Option<&str>) -> Result<Client, Error> {
        let plain = url.trim_end_matches('/');
        let base = if plain.ends_with("/v1") { plain.to_owned() } else { format!("{plain}/v1") };
        let uri: Option<Uri> = base.parse().ok();
        if !uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()) {
            return Err(Error::new(Category::Input, "The URL cannot be used")
                .details(format_args!("expected http://HOST:PORT, found {url:?}"))
                .hint("where the server speaks HTTPS alone, measure it from its own machine, or through a tunnel"));
        }
        let key = key.map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose();
        let mut key = key.map_err(|_| {
            let hint = "give the key without line ends and control characters";
            Error::new(Category::Input, "The API key cannot be sent").details("it is no header's value").hint(hint)
        })?;
        key.iter_mut().for_each(|key| key.set_sensitive(true));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let http = Http::builder(TokioExecutor::new()).build(connector);
        let mut client = Client { http, base, key, model: String::new(), logprobs: None };
        client.model = match model {
            Some(model) => model.to_owned(),
            None => client.first_model().await.map_err(|failure| client.refused(&failure))?,
        };
        Ok(client)
    }

    async fn first_model(&self) -> Result<String, Fault> {
        let request = self.request("GET", "/models", Bytes::new());
        let response = self.good(request?).await?;
        let body = whole(response).await?;
        let models: Value = serde_json::from_slice(&body).unwrap_or_default();
        let name = models["data"][0]["id"].as_str().map(str::to_owned);
        name.ok_or_else(|| Fault::new("no models", "/v1/models names none; say --model"))
    }

    /// What the server takes as prompts: asks for a token.
    ///
    /// # Errors
    /// It answers no such request.
    pub async fn prompts(&self, vocabulary: Option<u32>) -> Result<PromptForm, Error> {
        let tried = vocabulary.map_or(VOCABULARIES.to_vec(), |vocabulary| vec![vocabulary]);
        let tried = tried.into_iter().map(PromptForm::Ids).chain([PromptForm::Texts]);
        let mut refused = Vec::new();
        for prompts in tried {
            let greatest = prompts.below() - 1;
            match self.complete(&prompts.value(&[greatest; 4]), 1).await {
                Ok(_) => return Ok(prompts),
                // It was taken: the one token has no text, and the server does not count it.
                Err(failure) if failure.kind == NO_TOKEN => return Ok(prompts),
                Err(failure) if failure.may_be_the_prompt() => refused.push((prompts, failure)),
                Err(failure) => return Err(self.refused(&failure)),
            }
        }
        let each = |(prompts, failure): &(PromptForm, Fault)| {
            format!("{}: {}: {}", prompts.words(), failure.kind, failure.what)
        };
        Err(self.unanswered(&refused.iter().map(each).collect::<Vec<_>>().join("; ")))
    }

    fn refused(&self, failure: &Fault) -> Error {
        self.unanswered(&format!("{}: {}", failure.kind, failure.what))
    }

    fn unanswered(&self, why: &str) -> Error {
        Error::new(Category::Input, "The server answers no first request")
            .details(format_args!("{}: {why}", self.base))
            .hint("check --url, --model and --api-key, and that the server is ready")
    }

    /// Streams a completion of so many tokens, whatever the model says.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn complete(&self, prompt: &Value, max_tokens: usize) -> Result<Streamed, Fault> {
        let mut body = json!({
            "model": self.model, "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": true, "temperature": 0,
            "stream": true, "stream_options": { "include_usage": true }, "return_token_ids": true,
        });
        if let Some(count) = self.logprobs {
            body["logprobs"] = count.into();
        }
        let response = self.good(self.request("POST", "/completions", body.to_string().into())?).await?;
        let mut events = BodyDataStream::new(response.into_body()).eventsource();
        let mut answer = Streamed::default();
        loop {
            let silent = |_| Fault::new("silence", format_args!("nothing came for {} s", SILENCE.as_secs()));
            match timeout(SILENCE, events.next()).await.map_err(silent)? {
                None => break,
                Some(Ok(event)) => {
                    if !answer.take(&event.data, Instant::now())? {
                        break;
                    }
                }
                Some(Err(EventStreamError::Transport(error))) => return Err(connection(&error)),
                Some(Err(error)) => return Err(Fault::new("a stream of no events", error)),
            }
        }
        answer.end().map(|()| answer)
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        request.body(Full::new(body)).map_err(|error| Fault::new("a request that cannot be sent", error))
    }

    /// A response that is no error.
    async fn good(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        let silent = |_| Fault::new("silence", format_args!("no answer began within {} s", SILENCE.as_secs()));
        let response = timeout(SILENCE, self.http.request(request)).await.map_err(silent)?;
        let response = response.map_err(|error| connection(&error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = whole(response).await?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
        let error = if body["error"].is_null() { &body } else { &body["error"] };
        Err(Fault::new(format!("HTTP {}", status.as_u16()), error_message(error)))
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Fault> {
    let body = timeout(SILENCE, Limited::new(response.into_body(), RESPONSE_BYTES).collect()).await;
    let body = body.map_err(|_| Fault::new("silence", "a response did not come to its end"))?;
    body.map(|body| body.to_bytes()).map_err(|error| Fault::new("connection", error))
}

/// A connection's error, with what caused it.
fn connection(error: &dyn std::error::Error) -> Fault {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what += &format!(": {error}");
        cause = error.source();
    }
    Fault::new("connection", what)
}
