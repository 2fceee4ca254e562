// Pushes through the doors for AWS clients with the AWS SDK for JavaScript v3, whose Kinesis client speaks HTTP/2.
// usage: node pushes.mjs URL SECRET FOLDER FIRST
import { createRequire } from "node:module";

const [url, secret, folder, first] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { KinesisClient, ...kinesisCommands } = require("@aws-sdk/client-kinesis");
const { FirehoseClient, ...firehoseCommands } = require("@aws-sdk/client-firehose");

const options = (secretAccessKey) => ({
  endpoint: url,
  region: "eu-central-1",
  maxAttempts: 1,
  credentials: { accessKeyId: "any", secretAccessKey },
});
const data = (n) => Buffer.from(JSON.stringify({ n: Number(first) + n }));
const kinesis = new KinesisClient(options(secret));
const firehose = new FirehoseClient(options(secret));
const { PutRecordCommand, PutRecordsCommand, DescribeStreamCommand, ListStreamsCommand } = kinesisCommands;

const StreamName = "events";
const stream = await kinesis.send(new DescribeStreamCommand({ StreamName }));
if (stream.StreamDescription.StreamStatus !== "ACTIVE") throw new Error("not active");
const list = await kinesis.send(new ListStreamsCommand({}));
if (list.StreamNames.join() !== StreamName) throw new Error(`streams: ${list.StreamNames}`);
await kinesis.send(new PutRecordCommand({ StreamName, PartitionKey: "k", Data: data(0) }));
const Records = Array.from({ length: 50 }, (_, n) => ({ PartitionKey: `${n}`, Data: data(1 + n) }));
const many = await kinesis.send(new PutRecordsCommand({ StreamName, Records }));
if (many.FailedRecordCount !== 0 || many.Records.length !== 50) throw new Error("records failed");
const delivery = { DeliveryStreamName: StreamName };
await firehose.send(new firehoseCommands.DescribeDeliveryStreamCommand(delivery));
await firehose.send(new firehoseCommands.PutRecordCommand({ ...delivery, Record: { Data: data(51) } }));
const batch = [52, 53].map((n) => ({ Data: data(n) }));
await firehose.send(new firehoseCommands.PutRecordBatchCommand({ ...delivery, Records: batch }));

let name = "none";
try {
  await new KinesisClient(options("wrong")).send(new PutRecordCommand({ StreamName, PartitionKey: "k", Data: data(0) }));
} catch (error) {
  name = error.name;
}
if (name !== "InvalidSignatureException") throw new Error(`wrong secret: ${name}`);
process.exit(0);
