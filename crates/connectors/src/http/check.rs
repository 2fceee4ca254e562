//! Checks of the configuration that its JSON Schema cannot express, without any I/O.

use forebay_core::{Error, Result};
use reqwest::header::{HeaderName, HeaderValue};

use super::address::{self, PrivateHosts};
use super::config::{Auth, Config, Paginate};
use super::cursor::Format;
use super::end::EndRule;
use super::paginate;
use forebay_config::Document;

/// Headers that are nothing but credentials.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl Config {
    /// Checks that the schema cannot express. Errors point at their place in `document`.
    pub(super) fn check(&self, document: &Document) -> Result<()> {
        self.check_url()
            .map_err(|error| placed(document, &["url"], error))?;
        self.check_headers()
            .map_err(|error| placed(document, &["headers"], error))?;
        self.check_auth()
            .map_err(|error| placed(document, &["auth"], error))?;
        self.check_cursor()
            .map_err(|error| placed(document, &["cursor"], error))?;
        self.check_end()
            .map_err(|error| placed(document, &["end"], error))?;
        self.check_key()
            .map_err(|error| placed(document, &["key"], error))?;
        self.check_params()
            .map_err(|error| placed(document, &["params"], error))?;
        self.check_paginate(document)?;
        if self.rate.as_ref().is_some_and(|rate| rate.per.0.is_zero()) {
            let error = Error::config(
                "bad_rate",
                "a window of length 0 allows no request: write `per: 1s` or longer",
            );
            return Err(placed(document, &["rate", "per"], error));
        }
        Ok(())
    }

    fn check_paginate(&self, document: &Document) -> Result<()> {
        match &self.paginate {
            Some(Paginate::Offset(offset)) => {
                let overlap = offset.overlap.unwrap_or(0);
                let what = match overlap {
                    0 => return Ok(()),
                    _ if overlap >= offset.limit => "`overlap` must be less than `limit`",
                    _ if self.key().is_none() => {
                        "`overlap` needs `key`, by which the shared records are known"
                    }
                    _ => return Ok(()),
                };
                let error = Error::config("bad_overlap", what);
                Err(placed(document, &["paginate", "offset", "overlap"], error))
            }
            Some(Paginate::Page(page)) if page.size_param.is_some() && page.size.is_none() => {
                let what = "`size_param` needs `size`, the number of records to request";
                let error = Error::config("bad_size", what);
                Err(placed(document, &["paginate", "page", "size_param"], error))
            }
            _ => Ok(()),
        }
    }

    /// The setting that reads values from bodies: any but links in headers.
    pub(super) fn json_key(&self) -> Option<&'static str> {
        match &self.paginate {
            Some(Paginate::LinkHeader(_) | Paginate::SinglePage) | None => {}
            Some(_) => return Some("paginate"),
        }
        if self.cursor.is_some() {
            return Some("cursor");
        }
        self.key.as_ref().map(|_| "key")
    }

    fn check_url(&self) -> Result<()> {
        let base = self.base()?;
        address::check(&base, &PrivateHosts::of(&base, self.allow_private))
    }

    fn check_headers(&self) -> Result<()> {
        for (name, value) in &self.headers {
            let name_fits = HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !name_fits || HeaderValue::from_str(value).is_err() {
                return Err(Error::config(
                    "bad_header",
                    format!("`{name}` or its value cannot be sent as a header"),
                ));
            }
            if CREDENTIALS
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
            {
                let message = format!("`{name}` is a credential, which is never text in the file");
                let error = Error::config("inline_secret", message);
                return Err(error.with_hint(
                    "use `auth`, such as `auth: {bearer: {token: \"${secret:NAME}\"}}` or `auth: {api_key: {header: …, value: \"${secret:NAME}\"}}`",
                ));
            }
            if name.eq_ignore_ascii_case("accept-encoding") {
                let message = "`accept-encoding` is set by Forebay, which must be able to decode the response";
                return Err(Error::config("bad_header", message));
            }
        }
        Ok(())
    }

    fn check_auth(&self) -> Result<()> {
        let Some(Auth::ApiKey(key)) = &self.auth else {
            return Ok(());
        };
        if key.header.is_some() == key.param.is_some() {
            return Err(Error::config(
                "bad_auth",
                "an API key goes into either `header` or `param`: name one of them",
            ));
        }
        if key.param.is_some() && key.prefix.is_some() {
            return Err(Error::config(
                "bad_auth",
                "`prefix` belongs to a key in a header, not in a parameter",
            ));
        }
        let name_fits = |name: &String| HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !key.header.iter().all(name_fits) {
            return Err(Error::config(
                "bad_auth",
                "the name under `header` cannot be a header",
            ));
        }
        Ok(())
    }

    fn check_cursor(&self) -> Result<()> {
        let Some(cursor) = &self.cursor else {
            return Ok(());
        };
        let raw = cursor.format == Format::Raw;
        let is_field_raw = cursor.field_format() == Format::Raw;
        if raw && !is_field_raw {
            let message =
                "`format: raw` sends the field as received, so it has no other `field_format`";
            let error = Error::config("bad_cursor", message);
            return Err(error.with_hint("remove `field_format`"));
        }
        if is_field_raw && !raw {
            let message = "`field_format: raw` needs `format: raw`: a field that is not read as a time cannot be sent as one";
            let error = Error::config("bad_cursor", message);
            return Err(error.with_hint("write `format: raw` in place of `field_format: raw`"));
        }
        if raw && !cursor.lag.0.is_zero() {
            return Err(Error::config(
                "bad_cursor",
                "`lag` is a time, but a `raw` cursor is not",
            ));
        }
        if raw && cursor.end_param.is_some() {
            return Err(Error::config(
                "bad_cursor",
                "`end_param` sends a time, but a `raw` cursor is not one",
            ));
        }
        if let Some(start) = &cursor.start
            && cursor.format.parse_start(&start.0).is_none()
        {
            return Err(Error::config(
                "bad_cursor",
                format!("`start: {}` is not {}", start.0, cursor.format.describe()),
            ));
        }
        Ok(())
    }

    fn check_end(&self) -> Result<()> {
        if self.end.0.is_empty() {
            return Ok(());
        }
        if !self.has_pages() {
            let message = "`end` is set without `paginate`";
            return Err(Error::config("bad_end", message));
        }
        let has_size = paginate::page_size(self.paginate.as_ref())
            .or_else(|| paginate::size_asked(self))
            .is_some();
        if self.end.has(&EndRule::ShortPage) && !has_size {
            let message = "`end: short_page` needs the size of a full page";
            let error = Error::config("bad_end", message);
            return Err(
                error.with_hint("set `paginate.page.size`, or the page size under `params`")
            );
        }
        if self.end.has(&EndRule::MissingRecords) && self.records.is_none() {
            let message = "`end: missing_records` needs `records`, the path of the list";
            return Err(Error::config("bad_end", message));
        }
        Ok(())
    }

    fn check_key(&self) -> Result<()> {
        let of_cursor = self.cursor.as_ref().and_then(|cursor| cursor.key.as_ref());
        match (&self.key, of_cursor) {
            (Some(key), Some(other)) if key != other => Err(Error::config(
                "bad_key",
                format!("`key: {key}` and `cursor.key: {other}` differ: name the key once"),
            )),
            _ => Ok(()),
        }
    }

    /// No two settings may set the same query parameter.
    fn check_params(&self) -> Result<()> {
        let mut names: Vec<&str> = self.params.keys().map(String::as_str).collect();
        if let Some(cursor) = &self.cursor {
            names.push(&cursor.param);
            names.extend(cursor.end_param.as_deref());
        }
        if let Some(Auth::ApiKey(key)) = &self.auth {
            names.extend(key.param.as_deref());
        }
        match &self.paginate {
            Some(Paginate::Page(page)) => names.extend(
                [Some(page.param.as_str()), page.size_param.as_deref()]
                    .iter()
                    .flatten(),
            ),
            Some(Paginate::Offset(page)) => names.extend(
                [Some(page.param.as_str()), page.limit_param.as_deref()]
                    .iter()
                    .flatten(),
            ),
            Some(Paginate::Cursor(token)) => names.push(&token.param),
            Some(Paginate::Next(_) | Paginate::LinkHeader(_) | Paginate::SinglePage) | None => {}
        }
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::config(
                "param_twice",
                format!("the query parameter `{}` is set twice", pair[0]),
            )),
            None => Ok(()),
        }
    }
}

/// Places `error` at the deepest of `keys` that the document has.
fn placed(document: &Document, keys: &[&str], error: Error) -> Error {
    let place = keys
        .iter()
        .try_fold(document.clone(), |place, key| place.get(key));
    let placed = place
        .unwrap_or_else(|| document.clone())
        .error(error.code(), error.message());
    match error.hint() {
        Some(hint) => placed.with_hint(hint),
        None => placed,
    }
}
