//! Variables of the environment that are not settings, for the reference.

/// Each variable with what it does.
pub(crate) const OTHER_VARIABLES: &[(&str, &str)] = &[
    (
        "FOREBAY_SECRET_NAME",
        "The secret `${secret:name}` of pipeline files and settings.",
    ),
    (
        "FOREBAY_PROJECT",
        "The folder of the project; `--project` overrides it.",
    ),
    (
        "FOREBAY_WORKSPACE",
        "The folder of the data; `--workspace` overrides it.",
    ),
    (
        "FOREBAY_LOG",
        "Log levels in detail, such as `warn,forebay_server=debug`; overrides `[log] level` and `-v`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "The collector of traces, as `[otlp] endpoint`, which `FOREBAY__OTLP__ENDPOINT` overrides.",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "The whole URL to which traces are sent; overrides every other endpoint.",
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "Headers of each request to the collector, `name=value,name=value`, added to `[otlp] headers`.",
    ),
    (
        "AWS_ACCESS_KEY_ID",
        "Credentials for S3-compatible stores, with `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` and the other variables of AWS clients, where `s3` does not set them.",
    ),
    (
        "PGPASSWORD",
        "Password for `[store] url`, as libpq reads it; `~/.pgpass` is read too.",
    ),
    (
        "TMPDIR",
        "Folder for temporary files outside of the workspace.",
    ),
];
