//! Errors of an object store in Forebay's own words: the kind decides whether a caller tries again.
//!
//! A server's own text is never repeated: it may hold what was signed.

use std::error::Error as StdError;

use forebay_core::{Error, ErrorKind};

/// Begins every message of a checksum mismatch, also where a reader has made text of it.
pub const MISMATCH: &str = "checksum mismatch in ";

/// Adds a hint when a file that a table names is missing.
pub fn gone(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound if error.hint().is_none() => error.with_hint(GONE),
        _ => error,
    }
}

/// An error of an object store; `what` completes "failed to …", `path` is the object.
///
/// `NotFound`, `Denied` (also for credentials that ran out), `Conflict` for an object that is there already or another by
/// now, `Config` for the wrong region; everything else is `Unavailable`.
pub fn from_objects(what: &str, path: impl std::fmt::Display, error: object_store::Error) -> Error {
    let text = chain(&error);
    let short = without_body(&text).or_else(|| is_full(&text).map(str::to_owned));
    let wrapped = explained(what, &error, &text);
    let wrapped = match short {
        Some(short) => wrapped.with_source(short),
        None => wrapped.with_source(error),
    };
    wrapped.with_context("object", path)
}

/// The same for a borrowed error, whose text is copied. The text names the object itself, if it
/// does.
pub fn explain_objects(what: &str, error: &object_store::Error) -> Error {
    let text = chain(error);
    let wrapped = explained(what, error, &text);
    wrapped.with_source(without_body(&text).unwrap_or(text))
}

/// The same where a reader has made text of the error; `None` for a text that is of no such error.
pub fn explain_text(what: &str, text: &str) -> Option<Error> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let (kind, code, hint) = if has(&["Object at location "]) && has(&[" not found: "]) {
        (ErrorKind::NotFound, "object_missing", GONE)
    } else if has(&[MISMATCH]) {
        (ErrorKind::Data, "file_damaged", DAMAGED)
    } else if has(&["The operation lacked "]) || has(&DENIED_WORDS) {
        (ErrorKind::Denied, "object_denied", CREDENTIALS)
    } else {
        return None;
    };
    let shown = without_body(text).unwrap_or_else(|| text.to_owned());
    let wrapped = Error::new(kind, code, format!("failed to {what}"));
    Some(wrapped.with_source(shown).with_hint(hint))
}

fn explained(what: &str, error: &object_store::Error, text: &str) -> Error {
    use object_store::Error as Store;
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let (kind, code, hint) = match error {
        // A listing has no kinds of error, only the server's text.
        _ if has(&[MISMATCH]) => (ErrorKind::Data, "file_damaged", Some(DAMAGED)),
        _ if has(&["NoSuchBucket"]) => (ErrorKind::NotFound, "no_such_bucket", Some(MAKE_BUCKET)),
        Store::NotFound { .. } => (ErrorKind::NotFound, "object_missing", None),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            (ErrorKind::Denied, "object_denied", Some(CREDENTIALS))
        }
        Store::AlreadyExists { .. } => (ErrorKind::Conflict, "object_exists", None),
        Store::Precondition { .. } => (ErrorKind::Conflict, "object_changed", None),
        Store::InvalidPath { .. } => (ErrorKind::Unsupported, "bad_object_key", Some(BAD_KEY)),
        _ if has(&DENIED_WORDS) => (ErrorKind::Denied, "object_denied", Some(CREDENTIALS)),
        _ if has(&REGION_WORDS) => (ErrorKind::Config, "wrong_region", Some(REGION)),
        _ if is_full(text).is_some() => (ErrorKind::Unavailable, "disk_full", Some(FULL)),
        _ => (ErrorKind::Unavailable, "object_store", None),
    };
    let wrapped = Error::new(kind, code, format!("failed to {what}"));
    match hint {
        Some(hint) => wrapped.with_hint(hint),
        None => wrapped,
    }
}

/// Hint for a missing file of a table.
pub const GONE: &str = "something else deletes files of the lake: check lifecycle rules of the bucket and other tools, and restore the \
     file from a backup or an older version of the object; `FOR SYSTEM_TIME AS OF` an earlier commit may still read \
     the table, and `forebay rebuild` recreates it from the raw zone";

const DAMAGED: &str = "restore the file from a backup or an older version of the object; `forebay verify` lists every damaged file, and \
     `forebay rebuild` recreates a table from the raw zone";
const MAKE_BUCKET: &str = "make the bucket first, or correct its name";
const CREDENTIALS: &str = "check the access key, its secret and its permissions in this bucket; they come from the `s3` options of the source, \
     from `[storage]` in forebay.toml, or from the AWS_* variables";
const DENIED_WORDS: [&str; 4] = [
    "status code: 401",
    "status code: 403",
    "ExpiredToken",
    "InvalidToken",
];
const BAD_KEY: &str = "a key with an empty, `.` or `..` part cannot be read: narrow the path so that it is not listed";
const FULL: &str = "make room on the disk: nothing is lost, and the next run resumes from the last commit; `forebay tables clean` deletes files that no \
     table needs";
const REGION: &str = "set `region` to the bucket's own";
const REGION_WORDS: [&str; 4] = [
    "incorrectly configured region",
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraint",
];

/// The system's words for a disk without room.
fn is_full(text: &str) -> Option<&'static str> {
    let words = ["No space left on device", "Disk quota exceeded"];
    words.into_iter().find(|words| text.contains(words))
}

/// The messages of an error and its sources.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(&format!(": {error}"));
        below = error.source();
    }
    text
}

/// The text before the server's own, and the code in it: the rest may repeat signed values such as tokens.
fn without_body(text: &str) -> Option<String> {
    let (before, body) = text.split_at(body_start(text)?);
    let code = body
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map_or("", |(code, _)| code);
    Some(format!("{} {code}", before.trim_end()))
}

/// Where the words of a server begin, whether it speaks XML or not.
fn body_start(text: &str) -> Option<usize> {
    let markup = text.find('<');
    let spoken = SPEAKS.iter().filter_map(|(words, parts)| {
        let mut at = text.find(words)? + words.len();
        for _ in 0..*parts {
            at += text[at..].find(": ")? + 2;
        }
        Some(at)
    });
    spoken.chain(markup).min()
}

/// The client's prefixes before a server's text, and how many parts that end with a colon precede it.
const SPEAKS: [(&str, usize); 2] = [
    ("non-2xx status code: ", 1),
    ("Server returned error response: ", 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_with_what_to_do() {
        let full = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: "Unable to copy data to file: No space left on device (os error 28)".into(),
        };
        let error = from_objects("write a file", "a", full);
        assert_eq!(
            (error.code(), error.kind()),
            ("disk_full", ErrorKind::Unavailable)
        );
        let text = error.to_string();
        assert_eq!(text.matches("No space left").count(), 1, "{text}");
        assert!(error.hint().unwrap().contains("make room"));
    }

    #[test]
    fn what_was_signed_is_not_repeated() {
        let denied = object_store::Error::PermissionDenied {
            path: "a".to_owned(),
            source: "Server returned non-2xx status code: 403 Forbidden: <?xml?><Error><Code>SignatureDoesNotMatch</Code>\
                     <CanonicalRequest>x-amz-security-token:hunter2</CanonicalRequest></Error>"
                .into(),
        };
        let error = from_objects("read an object", "a", denied);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Denied, "object_denied")
        );
        assert!(error.hint().unwrap().contains("AWS_*"));
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("SignatureDoesNotMatch") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn a_server_without_xml_is_not_repeated_either() {
        for said in [
            "Server returned non-2xx status code: 403 Forbidden: x-amz-security-token: hunter2\n",
            "Server returned error response: hunter2",
        ] {
            let denied = object_store::Error::Generic {
                store: "S3",
                source: said.into(),
            };
            let error = from_objects("write an object", "a", denied);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_wrong_region_is_no_outage() {
        let redirected = object_store::Error::Generic {
            store: "S3",
            source: "this normally indicates an incorrectly configured region".into(),
        };
        assert_eq!(from_objects("list", "b", redirected).code(), "wrong_region");
    }
}
