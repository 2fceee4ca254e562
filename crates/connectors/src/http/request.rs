//! Builds requests: the URL of each page, the headers, the credentials, and URLs for display.
//!
//! Credentials are sent only to the configured origin; a URL that is logged or stored anywhere has passed through
//! [`Requests::shown`] first.

use forebay_core::{Error, Result, Secret};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use url::Url;

use super::config::{ApiKey, Auth, Config, Paginate};
use super::paginate::At;
use forebay_config::SecretCover;
use forebay_formats::base64;

/// The `User-Agent`.
const AGENT: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"));

/// Query parameters whose values are never shown or stored, in lower case: next links often contain them.
const SECRET_PARAMS: [&str; 38] = [
    "access_token",
    "accesskey",
    "api-key",
    "api_key",
    "api_token",
    "apikey",
    "apitoken",
    "app_key",
    "appid",
    "auth",
    "auth_token",
    "authorization",
    "awsaccesskeyid",
    "bearer",
    "client_secret",
    "credential",
    "hapikey",
    "id_token",
    "jwt",
    "key",
    "oauth_token",
    "passwd",
    "password",
    "private_token",
    "pwd",
    "refresh_token",
    "secret",
    "secret_key",
    "session_token",
    "sessionid",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
];

/// Longest URL that is written into a record or a message, in bytes.
const SHOWN_BYTES_MAX: usize = 2_048;

/// Builds the requests of one configuration.
#[derive(Debug)]
pub(super) struct Requests {
    base: Url,
    headers: HeaderMap,
    credentials: HeaderMap,
    /// The API key that is sent as a parameter.
    key: Option<(String, Secret)>,
    cover: SecretCover,
}

/// The bounds of a pass, ready to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    pub(super) from: Option<String>,
    pub(super) until: Option<String>,
}

impl Requests {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, */*;q=0.5"),
        );
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &config.headers {
            headers.insert(
                header_name(name)?,
                HeaderValue::from_str(value).map_err(|_| unsendable(name))?,
            );
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        let mut key = None;
        if let Some(Auth::ApiKey(ApiKey {
            param: Some(param),
            value,
            ..
        })) = &config.auth
        {
            key = Some((param.clone(), value.clone()));
        }
        Ok(Self {
            base: config.base()?,
            headers,
            credentials: credentials(config.auth.as_ref())?,
            key,
            cover: SecretCover::new(config.secret()),
        })
    }

    /// The URL that the pipeline file names, with its parameters and without those of pages, cursors and the key.
    pub(super) fn resource(&self, config: &Config) -> Url {
        let mut url = self.base.clone();
        if !config.params.is_empty() {
            let params = config.params.iter().map(|(name, value)| (name, &value.0));
            url.query_pairs_mut().extend_pairs(params);
        }
        url
    }

    /// The URL of a page, without the key.
    pub(super) fn url(&self, config: &Config, bounds: &Bounds, at: &At) -> Result<Url> {
        if let At::Url(next) = at {
            let url = Url::parse(next);
            return url.map_err(|error| {
                Error::data(
                    "bad_next_url",
                    format!("the link to the next page is not a URL: {error}"),
                )
            });
        }
        let mut url = self.base.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(config.params.iter().map(|(name, value)| (name, &value.0)));
            if let (Some(cursor), Some(from)) = (&config.cursor, &bounds.from) {
                query.append_pair(&cursor.param, from);
            }
            if let (Some(end), Some(until)) = (
                config.cursor.as_ref().and_then(|c| c.end_param.as_ref()),
                &bounds.until,
            ) {
                query.append_pair(end, until);
            }
            for (name, value) in page_params(config.paginate.as_ref(), at) {
                query.append_pair(name, &value);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        Ok(url)
    }

    /// The URL with the key, and the headers to send. Another origin gets neither credentials nor the configured
    /// headers, which may contain some.
    pub(super) fn dress(&self, url: &Url) -> (Url, HeaderMap) {
        let bare = self.without_key(url);
        if !same_origin(&self.base, url) {
            let kept = [ACCEPT, USER_AGENT, ACCEPT_ENCODING];
            let kept = kept
                .into_iter()
                .filter_map(|name| self.headers.get(&name).cloned().map(|value| (name, value)));
            return (bare, kept.collect());
        }
        let mut headers = self.headers.clone();
        headers.extend(self.credentials.clone());
        let mut url = bare;
        if let Some((name, key)) = &self.key {
            url.query_pairs_mut().append_pair(name, key.expose());
        }
        (url, headers)
    }

    /// A URL from a server, without the key if it repeats it: for positions, guards and other hosts.
    pub(super) fn without_key(&self, url: &Url) -> Url {
        let Some((name, _)) = &self.key else {
            return url.clone();
        };
        if !url.query_pairs().any(|(param, _)| param == name.as_str()) {
            return url.clone();
        }
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(param, _)| param != name.as_str())
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        let mut url = url.clone();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        url
    }

    /// Whether the link or token of a page contains a credential, so that it may not be stored.
    pub(super) fn names_secret(&self, at: &At) -> bool {
        match at {
            At::Token(token) => self.cover.is_in(token),
            At::Url(text) => {
                let url = Url::parse(text);
                let names_one = url.is_ok_and(|url| {
                    let mut names = url.query_pairs();
                    names.any(|(name, value)| is_secret(&name) && !value.is_empty())
                });
                names_one || self.cover.is_in(text)
            }
            At::First | At::Page(_) | At::Offset(_) | At::Again => false,
        }
    }

    /// The URL for display, without secrets.
    pub(super) fn shown(&self, url: &Url) -> String {
        let mut text = self.covered(url);
        if text.len() > SHOWN_BYTES_MAX {
            // A URL is ASCII once parsed.
            text.truncate(SHOWN_BYTES_MAX);
            text.push('…');
        }
        text
    }

    /// The whole URL, without secrets.
    pub(super) fn covered(&self, url: &Url) -> String {
        let mut shown = url.clone();
        // Both fail only for URLs without a host, which are never requested.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_fragment(None);
        if let Some(query) = url.query() {
            let pairs: Vec<String> = query.split('&').map(|pair| self.shown_pair(pair)).collect();
            shown.set_query(Some(&pairs.join("&")));
        }
        self.cover.cover(shown.as_str())
    }

    fn shown_pair(&self, pair: &str) -> String {
        let Some((name, _)) = url::form_urlencoded::parse(pair.as_bytes()).next() else {
            return pair.to_owned();
        };
        let own = self.key.as_ref().is_some_and(|(key, _)| *key == name);
        if own || is_secret(&name) {
            return format!("{}=***", pair.split('=').next().unwrap_or_default());
        }
        pair.to_owned()
    }
}

fn is_secret(param: &str) -> bool {
    let param = param.to_ascii_lowercase();
    SECRET_PARAMS.contains(&param.as_str()) || param.starts_with("x-goog-signature")
}

/// The same scheme, host and port; an upgrade from http to https on the default ports counts as the same.
fn same_origin(ours: &Url, theirs: &Url) -> bool {
    let upgrade = (ours.scheme(), theirs.scheme()) == ("http", "https")
        && (ours.port_or_known_default(), theirs.port_or_known_default()) == (Some(80), Some(443));
    ours.host() == theirs.host() && (ours.origin() == theirs.origin() || upgrade)
}

fn page_params<'a>(paginate: Option<&'a Paginate>, at: &At) -> Vec<(&'a str, String)> {
    let mut params = Vec::new();
    match (paginate, at) {
        (Some(Paginate::Page(page)), At::Page(number)) => {
            params.push((page.param.as_str(), number.to_string()));
            if let (Some(name), Some(size)) = (&page.size_param, page.size) {
                params.push((name, size.to_string()));
            }
        }
        (Some(Paginate::Offset(offset)), At::Offset(number)) => {
            params.push((offset.param.as_str(), number.to_string()));
            if let Some(name) = &offset.limit_param {
                params.push((name, offset.limit.to_string()));
            }
        }
        (Some(Paginate::Cursor(cursor)), At::Token(token)) => {
            params.push((&cursor.param, token.clone()));
        }
        _ => {}
    }
    params
}

fn credentials(auth: Option<&Auth>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let (name, text) = match auth {
        Some(Auth::Bearer(bearer)) => (AUTHORIZATION, format!("Bearer {}", bearer.token.expose())),
        Some(Auth::Basic(basic)) => {
            let pair = format!("{}:{}", basic.username, basic.password.expose());
            (
                AUTHORIZATION,
                format!("Basic {}", base64::encode(pair.as_bytes())),
            )
        }
        Some(Auth::ApiKey(ApiKey {
            header: Some(header),
            value,
            prefix,
            ..
        })) => (
            header_name(header)?,
            format!(
                "{}{}",
                prefix.as_deref().unwrap_or_default(),
                value.expose()
            ),
        ),
        Some(Auth::ApiKey(_)) | None => return Ok(headers),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| unsendable(name.as_str()))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(headers)
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable(name))
}

/// Never shows the value, which may be a secret.
fn unsendable(name: &str) -> Error {
    Error::config(
        "bad_header",
        format!("the header `{name}` has a name or value that cannot be sent"),
    )
    .with_hint("check whether the secret ends with a line break, and remove it")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(value: Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn credentials_go_to_their_own_origin_only() {
        let config = config(json!({
            "url": "https://a.example/x", "headers": {"x-team": "t"},
            "auth": {"api_key": {"header": "X-Key", "value": "hush", "prefix": "K "}}
        }));
        let requests = Requests::new(&config).unwrap();
        let (_, headers) = requests.dress(&url("https://a.example/y"));
        assert_eq!(headers["x-key"], "K hush");
        assert_eq!(headers["x-team"], "t");
        for other in [
            "https://b.example/",
            "http://a.example/",
            "https://a.example:444/",
            "https://x.a.example/",
        ] {
            let (_, headers) = requests.dress(&url(other));
            assert_eq!(headers.len(), 3, "{other}: {headers:?}");
        }
        assert!(!format!("{requests:?}").contains("hush"));
    }

    #[test]
    fn a_key_in_a_parameter_is_sent_but_never_shown_or_passed_on() {
        let config = config(
            json!({"url": "http://a.example/x?v=1", "auth": {"api_key": {"param": "k", "value": "hu sh"}}}),
        );
        let requests = Requests::new(&config).unwrap();
        let first = requests
            .url(&config, &Bounds::default(), &At::First)
            .unwrap();
        assert_eq!(first.as_str(), "http://a.example/x?v=1");
        let (sent, _) = requests.dress(&first);
        assert_eq!(sent.as_str(), "http://a.example/x?v=1&k=hu+sh");
        assert_eq!(requests.shown(&sent), "http://a.example/x?v=1&k=***");
        let (other, _) = requests.dress(&url("http://b.example/?k=hu+sh&p=2"));
        assert_eq!(other.as_str(), "http://b.example/?p=2");
        let (upgraded, _) = requests.dress(&url("https://a.example/x?k=old"));
        assert_eq!(upgraded.as_str(), "https://a.example/x?k=hu+sh");
    }

    #[test]
    fn a_url_is_shown_without_what_looks_like_a_secret() {
        let requests = Requests::new(&config(json!({"url": "http://a.example/"}))).unwrap();
        let shown = requests.shown(&url(
            "https://u:p@a.example/x?page_token=1&Access_Token=2&X-Amz-Signature=3#f",
        ));
        assert_eq!(
            shown,
            "https://a.example/x?page_token=1&Access_Token=***&X-Amz-Signature=***"
        );
    }
}
