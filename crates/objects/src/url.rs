//! Where something is stored: a folder of this machine, or a place in a bucket.

use std::path::PathBuf;

/// A checked address. Keys are written as they are, nothing percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    /// `file:///a/b`, or a plain path.
    Local(PathBuf),
    /// `s3://bucket/key`; the key may be empty and never begins with `/`.
    S3 { bucket: String, key: String },
}

impl StorageUrl {
    /// Errors: the fault in `text`, and valid forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Local(PathBuf::from(rest))),
            "file" => Err(format!(
                "{text:?} names another machine: write `file:///` and the path"
            )),
            "s3" => Self::s3(rest),
            _ => Err(format!(
                "{text:?} is a URL of a kind that is not read here: write a path, `file:///…` or `s3://BUCKET/…`"
            )),
        }
    }

    fn s3(rest: &str) -> Result<Self, String> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.bytes().all(named) {
            return Err(format!(
                "{bucket:?} is not the name of a bucket: write `s3://BUCKET/…`"
            ));
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_folder_or_a_place_in_a_bucket() {
        let s3 = |bucket: &str, key: &str| StorageUrl::S3 {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        };
        for (text, expected) in [
            ("data/*.csv", Some(StorageUrl::Local("data/*.csv".into()))),
            ("file:///a b", Some(StorageUrl::Local("/a b".into()))),
            ("s3://b", Some(s3("b", ""))),
            ("s3://b.c-d/x/", Some(s3("b.c-d", "x/"))),
            ("s3://b/x%20y", Some(s3("b", "x%20y"))),
            ("file://host/a", None),
            ("s3:///x", None),
            ("s3://user:pass@b/x", None),
            ("gs://b/x", None),
            ("https://example.org", None),
        ] {
            assert_eq!(StorageUrl::parse(text).ok(), expected, "{text}");
        }
    }
}
