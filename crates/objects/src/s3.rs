//! Opening a bucket of an S3-compatible store, and the one place that sets how its requests are retried.
//!
//! The environment comes in as [`AwsVariables`]: this module never reads it. A secret is handed to the client and shown
//! nowhere; errors of the client are cut before the server's text, which may repeat signed values.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::address;
use crate::guard::GuardedConnector;
use forebay_core::{Error, Result, Secret};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long a request is retried after temporary failures (5xx, 429, no connection), unless the caller sets
/// another time.
pub const RETRY_FOR: Duration = Duration::from_secs(30);
/// … and how often at most; the time is over first.
const RETRIES_MAX: usize = 1_000;
/// The first wait between two tries; those after it are longer, by chance up to [`RETRY_WAIT_GROWTH`] times.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
const RETRY_WAIT_GROWTH: f64 = 3.0;
/// Time limit of one request with its body; no request takes longer on a slow line.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How the client reads a flag of the environment.
const TRUTHS: [&str; 5] = ["1", "true", "on", "yes", "y"];

/// How to reach an S3-compatible store. Missing options come from the `AWS_*` variables, then from the machine: a web
/// identity, the task's or the instance's role.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Options {
    /// Address of the service, such as `https://minio.example.org:9000`; AWS when absent.
    pub endpoint: Option<String>,
    /// Region of the bucket; `us-east-1` by default.
    pub region: Option<String>,
    /// Access key. Goes together with `secret_access_key`.
    pub access_key_id: Option<String>,
    /// The key's secret.
    pub secret_access_key: Option<Secret>,
    /// Token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Whether the bucket is part of the host name (`https://bucket.host/key`) and not of the path.
    pub virtual_hosted: Option<bool>,
    /// Whether `endpoint` may be plain `http://`.
    pub allow_http: Option<bool>,
}

/// The process's `AWS_*` variables, as they were handed in.
#[derive(Debug, Clone, Default)]
pub struct AwsVariables(Arc<[(String, Secret)]>);

impl FromIterator<(String, String)> for AwsVariables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(all: I) -> Self {
        let aws = all
            .into_iter()
            .filter(|(name, _)| name.starts_with("AWS_"))
            .map(|(name, value)| (name, Secret::new(value)));
        Self(aws.collect())
    }
}

impl S3Options {
    /// Validates the options without any request, as far as they do not depend on the environment.
    pub fn check(&self) -> Result<(), String> {
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err("`access_key_id` and `secret_access_key` go together".to_owned());
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return Err("`session_token` needs `access_key_id` and `secret_access_key`".to_owned());
        }
        let Some(endpoint) = &self.endpoint else {
            return Ok(());
        };
        if endpoint_host(endpoint).is_some_and(address::is_forbidden_host) {
            return Err(
                "`endpoint` is a link-local, metadata or reserved address, which is always refused"
                    .to_owned(),
            );
        }
        match endpoint.split_once("://") {
            Some(("http" | "https", host)) if !host.is_empty() => Ok(()),
            _ => Err("`endpoint` is not an address such as `https://host:port`".to_owned()),
        }
    }

    /// [`Self::check`] with the options that come from the environment.
    pub fn check_with(&self, variables: &AwsVariables) -> Result<(), String> {
        self.check()?;
        let builder = self.over(variables.builder(self.access_key_id.is_some()), "bucket");
        let is_set = |key| builder.get_config_value(&key);
        let plain = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        let allows_http = is_set(plain)
            .is_some_and(|value| TRUTHS.contains(&value.to_ascii_lowercase().as_str()));
        let endpoint =
            is_set(AmazonS3ConfigKey::S3Endpoint).or_else(|| is_set(AmazonS3ConfigKey::Endpoint));
        if allows_http || !endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            return Ok(());
        }
        let what =
            "`endpoint` is plain http: use https, or set `allow_http` to true on a trusted network";
        Err(what.to_owned())
    }

    /// A client of one bucket; sends nothing yet. Only here is a failing request retried, for `retry_for`.
    ///
    /// Errors: `Config` `bad_s3_options`.
    pub fn open(
        &self,
        bucket: &str,
        variables: &AwsVariables,
        retry_for: Duration,
    ) -> Result<Arc<dyn ObjectStore>> {
        let bad =
            |what: String| Error::config("bad_s3_options", what).with_context("bucket", bucket);
        self.check_with(variables).map_err(bad)?;
        let mut builder = self.over(variables.builder(self.access_key_id.is_some()), bucket);
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| builder.get_config_value(key));
        if let Some(host) = endpoint.as_deref().and_then(endpoint_host) {
            builder = builder.with_http_connector(GuardedConnector::new(host));
        }
        let store = builder
            .with_bucket_name(bucket)
            .with_retry(retries(retry_for))
            .build();
        store
            .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
            .map_err(|error| {
                Error::config("bad_s3_options", "failed to make a client for the bucket")
                    .with_source(error)
                    .with_context("bucket", bucket)
            })
    }

    /// The settings with which another client reaches the same service, by the names of Iceberg's file clients; never credentials.
    pub fn client_properties(&self, variables: &AwsVariables) -> BTreeMap<String, String> {
        let builder = self.over(variables.builder(true), "bucket");
        let endpoint = self.endpoint.clone().or_else(|| {
            builder
                .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
                .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint))
        });
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let is_path_style = endpoint.is_some() && self.virtual_hosted != Some(true);
        let mut properties = BTreeMap::from([
            ("s3.region".to_owned(), region.clone()),
            ("client.region".to_owned(), region),
            ("s3.path-style-access".to_owned(), is_path_style.to_string()),
        ]);
        properties.extend(endpoint.map(|endpoint| ("s3.endpoint".to_owned(), endpoint)));
        properties
    }

    fn over(&self, mut builder: AmazonS3Builder, bucket: &str) -> AmazonS3Builder {
        let endpoint = self
            .endpoint
            .as_deref()
            .map(|endpoint| self.host(endpoint, bucket));
        let mut set = |key, value: Option<&str>| {
            if let Some(value) = value {
                builder = std::mem::take(&mut builder).with_config(key, value);
            }
        };
        set(AmazonS3ConfigKey::Endpoint, endpoint.as_deref());
        set(AmazonS3ConfigKey::S3Endpoint, endpoint.as_deref());
        set(AmazonS3ConfigKey::Region, self.region.as_deref());
        set(
            AmazonS3ConfigKey::AccessKeyId,
            self.access_key_id.as_deref(),
        );
        let secret = self.secret_access_key.as_ref().map(Secret::expose);
        set(AmazonS3ConfigKey::SecretAccessKey, secret);
        let token = self.session_token.as_ref().map(Secret::expose);
        set(AmazonS3ConfigKey::Token, token);
        let flag = |flag: Option<bool>| flag.map(|flag| if flag { "true" } else { "false" });
        let hosted = flag(self.virtual_hosted);
        set(AmazonS3ConfigKey::VirtualHostedStyleRequest, hosted);
        let plain = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        set(plain, flag(self.allow_http));
        builder
    }

    /// The client takes an endpoint as it is, so a bucket that belongs into the host name is put there.
    fn host(&self, endpoint: &str, bucket: &str) -> String {
        match endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_hosted == Some(true) => {
                format!("{scheme}://{bucket}.{host}")
            }
            _ => endpoint.to_owned(),
        }
    }
}

impl AwsVariables {
    /// Without the credentials of the environment when there are others (`own_key`): the two must not mix.
    fn builder(&self, own_key: bool) -> AmazonS3Builder {
        let options = ClientOptions::new()
            .with_timeout(REQUEST_TIME_MAX)
            .with_connect_timeout(CONNECT_TIME_MAX);
        let builder = AmazonS3Builder::new().with_client_options(options);
        self.0.iter().fold(
            builder,
            |builder, (name, value)| match AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
                Ok(key) if !(own_key && is_credential(&key)) => {
                    builder.with_config(key, value.expose())
                }
                _ => builder,
            },
        )
    }
}

fn is_credential(key: &AmazonS3ConfigKey) -> bool {
    matches!(
        key,
        AmazonS3ConfigKey::AccessKeyId
            | AmazonS3ConfigKey::SecretAccessKey
            | AmazonS3ConfigKey::Token
    )
}

fn retries(retry_for: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: RETRY_WAIT_MIN,
            max_backoff: RETRY_WAIT_MAX,
            base: RETRY_WAIT_GROWTH,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: retry_for,
    }
}

/// The host of an endpoint, without port and path.
fn endpoint_host(endpoint: &str) -> Option<&str> {
    let (_, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    match host.strip_prefix('[') {
        Some(inside) => inside.split(']').next(),
        None => host.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> S3Options {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_is_asked() {
        for (text, said) in [
            (r#"{"access_key_id": "a"}"#, "go together"),
            (r#"{"session_token": "t"}"#, "`session_token` needs"),
            (r#"{"endpoint": "http://127.0.0.1:1"}"#, "plain http"),
            (
                r#"{"endpoint": "http://169.254.169.254", "allow_http": true}"#,
                "always refused",
            ),
            (
                r#"{"endpoint": "https://[fd00:ec2::254]:443/x"}"#,
                "always refused",
            ),
            (
                r#"{"endpoint": "https://a@168.63.129.16:80"}"#,
                "always refused",
            ),
            (
                r#"{"endpoint": "minio:9000", "allow_http": true}"#,
                "not an address",
            ),
        ] {
            let error = options(text)
                .check_with(&AwsVariables::default())
                .unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn plain_http_may_be_allowed_by_the_options_or_by_the_environment() {
        let variables = |all: &[(&str, &str)]| -> AwsVariables {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            all.iter().map(owned).collect()
        };
        let address = ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1");
        let allowed = ("AWS_ALLOW_HTTP", "true");
        for (text, variables, is_allowed) in [
            (
                r#"{"endpoint": "http://127.0.0.1:1", "allow_http": true}"#,
                variables(&[]),
                true,
            ),
            (
                r#"{"endpoint": "http://127.0.0.1:1"}"#,
                variables(&[allowed]),
                true,
            ),
            (
                r#"{"endpoint": "http://127.0.0.1:1", "allow_http": false}"#,
                variables(&[allowed]),
                false,
            ),
            ("{}", variables(&[address]), false),
            ("{}", variables(&[address, allowed]), true),
            (r#"{"allow_http": true}"#, variables(&[address]), true),
            (r#"{"endpoint": "https://h"}"#, variables(&[address]), true),
            ("{}", variables(&[]), true),
        ] {
            let checked = options(text).check_with(&variables);
            assert_eq!(checked.is_ok(), is_allowed, "{text}: {checked:?}");
            let opened = options(text).open("b", &variables, RETRY_FOR);
            assert_eq!(opened.is_ok(), is_allowed, "{text}");
        }
    }

    #[test]
    fn credentials_of_two_places_do_not_mix_and_are_not_shown() {
        let variables: AwsVariables = [
            ("AWS_ACCESS_KEY_ID", "theirs"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_SESSION_TOKEN", "hunter3"),
            ("AWS_REGION", "eu-west-1"),
            ("PATH", "/bin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
        let own = options(r#"{"access_key_id": "mine", "secret_access_key": "hunter4"}"#);
        let builder = own.over(variables.builder(true), "b");
        let value = |key| builder.get_config_value(&key);
        assert_eq!(
            value(AmazonS3ConfigKey::AccessKeyId).as_deref(),
            Some("mine")
        );
        assert_eq!(value(AmazonS3ConfigKey::Token), None);
        assert_eq!(
            value(AmazonS3ConfigKey::Region).as_deref(),
            Some("eu-west-1")
        );
        let theirs = S3Options::default().over(variables.builder(false), "b");
        assert_eq!(
            theirs
                .get_config_value(&AmazonS3ConfigKey::Token)
                .as_deref(),
            Some("hunter3")
        );
        let store = own.open("b", &variables, RETRY_FOR).unwrap();
        let shown = format!("{own:?} {variables:?} {store:?} {store}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(!shown.contains("PATH"), "{shown}");
    }

    #[test]
    fn a_bucket_may_be_part_of_the_host() {
        let text = r#"{"endpoint": "https://s3.example.org", "virtual_hosted": true}"#;
        let builder = options(text).over(AwsVariables::default().builder(false), "b");
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        assert_eq!(endpoint.as_deref(), Some("https://b.s3.example.org"));
    }
}
