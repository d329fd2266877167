//! `Keys`: who may ask.
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::{Choice, ConstantTimeEq};

use super::error::ApiError;

/// The keys of a server; never printed.
pub struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// Those of `keys`.
    pub fn new(keys: &[String]) -> Keys {
        Keys(keys.iter().map(|key| key.clone().into_bytes()).collect())
    }

    /// The number of the key that a request has, from 1 on; 0 where there are no keys.
    ///
    /// # Errors
    /// It has none of them.
    pub fn check(&self, headers: &HeaderMap) -> Result<u64, ApiError> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| of_bearer(value.as_bytes()));
        let plain = headers.get("x-api-key").map(HeaderValue::as_bytes);
        if let Some(number) = [bearer, plain].into_iter().flatten().map(|given| self.number(given)).find(|n| *n > 0) {
            return Ok(number);
        }
        let message = "the request has no valid API key: send one as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
    }

    /// The number of a key; 0 where it is none of them.
    fn number(&self, given: &[u8]) -> u64 {
        // All keys are compared, so that the time tells nothing of them but their lengths.
        let mut number = 0;
        for (key, index) in self.0.iter().zip(1..) {
            let same: Choice = key.ct_eq(given);
            number += index * u64::from(same.unwrap_u8());
        }
        number
    }
}

/// What stands behind the scheme `Bearer`, whose case says nothing (RFC 9110).
fn of_bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn each_key_has_its_number_and_nothing_else_passes() {
        let keys = Keys::new(&["one".into(), "two".into()]);
        let check = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            keys.check(&headers).ok()
        };
        assert_eq!((check("Bearer one"), check("Bearer two")), (Some(1), Some(2)));
        assert_eq!((check("bearer one"), check("BEARER two")), (Some(1), Some(2)));
        for wrong in ["Bearer on", "Bearer one ", "Bearer ", "bearer", "Bearer ONE", "one", "Basic one"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
        // As Anthropic's clients send it, which may have a token for another server beside it.
        let mut headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), HeaderValue::from_static("two"))]);
        assert_eq!(keys.check(&headers).ok(), Some(2));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer three"));
        assert_eq!(keys.check(&headers).ok(), Some(2));
        headers.insert("x-api-key", HeaderValue::from_static("Bearer two"));
        assert!(keys.check(&headers).is_err());
        assert_eq!(Keys::new(&[]).check(&HeaderMap::new()).ok(), Some(0));
    }
}
