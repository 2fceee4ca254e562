"""Pushes through the doors for AWS clients with boto3, as a program does that only changes its endpoint.

usage: boto3_pushes.py URL
"""

import json
import sys

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator
from botocore.config import Config
from botocore.exceptions import ClientError


def client(service: str, secret: str):
    return boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="eu-central-1",
        aws_access_key_id="AKIDANY",
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def data(n: int) -> bytes:
    return json.dumps({"n": n}).encode()


def aggregated(numbers) -> dict:
    """A record as the Kinesis Producer Library puts several together."""
    aggregator = RecordAggregator()
    for n in numbers:
        aggregator.add_user_record(f"key {n}", data(n))
    key, _, body = aggregator.clear_and_get().get_contents()
    return {"Data": bytes(body), "PartitionKey": key}


def refused(call, code: str) -> None:
    try:
        call()
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise SystemExit(f"not refused: {code}")


kinesis, firehose = client("kinesis", "open sesame, open wide"), client("firehose", "open sesame, open wide")
summary = kinesis.describe_stream_summary(StreamName="events")["StreamDescriptionSummary"]
assert summary["StreamStatus"] == "ACTIVE" and summary["OpenShardCount"] == 1
assert len(kinesis.list_shards(StreamName="events")["Shards"]) == 1
assert kinesis.list_streams()["StreamNames"] == ["events"]
assert kinesis.describe_stream(StreamName="events")["StreamDescription"]["Shards"]
kinesis.get_waiter("stream_exists").wait(StreamName="events")
about = firehose.describe_delivery_stream(DeliveryStreamName="events")["DeliveryStreamDescription"]
assert about["DeliveryStreamStatus"] == "ACTIVE"
assert firehose.list_delivery_streams()["DeliveryStreamNames"] == ["events"]
one = kinesis.put_record(StreamName="events", Data=data(0), PartitionKey="k")
many = kinesis.put_records(StreamName="events", Records=[{"Data": data(n), "PartitionKey": str(n)} for n in range(1, 501)])
assert many["FailedRecordCount"] == 0 and len({record["SequenceNumber"] for record in many["Records"]}) == 500
assert one["SequenceNumber"] < many["Records"][0]["SequenceNumber"]
firehose.put_record(DeliveryStreamName="events", Record={"Data": data(501)})
batch = firehose.put_record_batch(DeliveryStreamName="events", Records=[{"Data": data(n)} for n in range(502, 1002)])
assert batch["FailedPutCount"] == 0
kinesis.put_record(StreamName="events", **aggregated(range(1002, 1007)))
plain = [{"Data": data(n), "PartitionKey": "k"} for n in (1007, 1011)]
mixed = kinesis.put_records(StreamName="events", Records=[plain[0], aggregated(range(1008, 1011)), plain[1]])
numbers = [record["SequenceNumber"] for record in mixed["Records"]]
assert mixed["FailedRecordCount"] == 0 and len(numbers) == 3 and numbers == sorted(set(numbers))
refused(lambda: client("kinesis", "wrong").put_record(StreamName="events", Data=data(9999), PartitionKey="k"), "InvalidSignatureException")
refused(lambda: client("kinesis", "wrong").put_record(StreamName="nobody", Data=data(9999), PartitionKey="k"), "InvalidSignatureException")
refused(lambda: client("kinesis", "wrong").list_streams(), "InvalidSignatureException")
refused(lambda: kinesis.put_record(StreamName="nobody", Data=data(9999), PartitionKey="k"), "ResourceNotFoundException")
