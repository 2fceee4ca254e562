//! A client of the door for AWS SDKs: `PutRecords` of Amazon Kinesis (API version 2013-12-02), as JSON over HTTP/1.1.

use std::net::SocketAddr;

use bytes::Bytes;
use forebay_core::{Error, Result};
use forebay_formats::base64;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Records of one call, as Kinesis allows.
const RECORDS_MAX: usize = 500;

/// Sends records to the streams of a server on this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher {
    pub(crate) address: SocketAddr,
}

impl Publisher {
    /// Puts records into a stream, which is the pipeline of its name; returns the number of calls.
    ///
    /// Errors: `Unavailable` `demo_publisher` when the server takes not every one.
    pub(crate) async fn put(self, stream: &str, records: &[Value]) -> Result<usize> {
        let calls = records.chunks(RECORDS_MAX);
        let count = calls.len();
        for records in calls {
            let body = call(stream, records).to_string();
            self.send(body).await?;
        }
        Ok(count)
    }

    async fn send(self, body: String) -> Result<()> {
        let unreachable = |error: hyper::Error| refused("the call failed").with_source(error);
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| refused("no connection").with_source(error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(unreachable)?;
        let connection = tokio::spawn(connection);
        let request = Request::post("/")
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", "Kinesis_20131202.PutRecords")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| refused("the call cannot be written").with_source(error))?;
        let answer = sender.send_request(request).await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(unreachable)?;
        connection.abort();
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        match status.is_success() && answer["FailedRecordCount"] == 0 {
            true => Ok(()),
            false => Err(refused(&format!("the answer is {status} {answer}"))),
        }
    }
}

fn call(stream: &str, records: &[Value]) -> Value {
    let records = records.iter().enumerate().map(|(number, record)| {
        json!({
            "Data": base64::encode(record.to_string().as_bytes()),
            "PartitionKey": number.to_string(),
        })
    });
    json!({ "StreamName": stream, "Records": records.collect::<Vec<_>>() })
}

fn refused(why: &str) -> Error {
    Error::unavailable(
        "demo_publisher",
        format!("the demo's publisher was refused: {why}"),
    )
    .with_hint("this is a bug: report it with the output of the demo")
}
