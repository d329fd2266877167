//! The page at `/`: one document without any other file, which runs its own script and talks to its own server alone.
use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The document, with empty elements where style and script belong.
const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");

/// All files are one module: each may use what stands in those above it.
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/inline.js"),
    include_str!("page/markdown.js"),
    include_str!("page/store.js"),
    include_str!("page/api.js"),
    include_str!("page/answer.js"),
    include_str!("page/view.js"),
    include_str!("page/app.js"),
    include_str!("page/start.js"),
);

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let page = DOCUMENT.replace("></style>", &format!(">{STYLE}</style>"));
    page.replace("></script>", &format!(">{SCRIPT}</script>"))
});

/// The hashes are those of the page that is sent, so no edit makes them stale.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'",
        source(SCRIPT),
        source(STYLE)
    )
});

/// Names an inline script or style in a policy: nothing but these very bytes is run.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// Sends the page. Browsers ask each time, so that page and server are of the same version.
pub(super) async fn page() -> Response {
    let policy = HeaderValue::from_str(&POLICY).expect("a policy is ASCII");
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, Html(PAGE.as_str())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of "abc" is the first example of FIPS 180-2.
    #[test]
    fn a_source_is_the_digest_in_base64() {
        assert_eq!(source("abc"), "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='");
    }

    #[test]
    fn style_and_script_stand_in_the_page_once_and_do_not_end_early() {
        for (text, name) in [(STYLE, "style"), (SCRIPT, "script")] {
            assert_eq!(PAGE.matches(&format!(">{text}</{name}>")).count(), 1, "{name}");
            assert_eq!(PAGE.matches(&format!("</{name}")).count(), 1, "{name}");
        }
    }
}
