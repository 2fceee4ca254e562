//! Firehose: a pipeline is a delivery stream that takes records directly.

use serde_json::{Value, json};

pub(super) fn describe(name: &str) -> Value {
    json!({"DeliveryStreamDescription": {
        "DeliveryStreamName": name,
        "DeliveryStreamARN": format!("arn:aws:firehose:local:000000000000:deliverystream/{name}"),
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamType": "DirectPut",
        "VersionId": "1",
        "CreateTimestamp": 0,
        "Destinations": [{"DestinationId": "destinationId-000000000001"}],
        "HasMoreDestinations": false,
    }})
}

pub(super) fn list_streams(names: &[String]) -> Value {
    json!({"DeliveryStreamNames": names, "HasMoreDeliveryStreams": false})
}
