// Pushes through the doors for AWS clients with the AWS SDKs for Java: v1 (CBOR), v2 synchronous, v2 asynchronous (HTTP/2).
// usage: java Pushes v1|sync|async URL SECRET FIRST

import java.net.URI;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletionException;

import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.firehose.FirehoseClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.KinesisException;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;

public class Pushes {
    static final String STREAM = "events";
    static final int MANY = 50;
    static URI url;
    static long first;

    public static void main(String[] arguments) throws Exception {
        url = URI.create(arguments[1]);
        first = Long.parseLong(arguments[3]);
        switch (arguments[0]) {
            case "v1" -> v1(arguments[2]);
            case "sync" -> sync(arguments[2]);
            default -> async(arguments[2]);
        }
        System.exit(0);
    }

    static byte[] data(int n) {
        return ("{\"n\": " + (first + n) + "}").getBytes();
    }

    static void check(boolean isRight, String what) {
        if (!isRight) {
            throw new IllegalStateException(what);
        }
    }

    static com.amazonaws.services.kinesis.AmazonKinesis clientV1(String secret) {
        var credentials = new com.amazonaws.auth.BasicAWSCredentials("any", secret);
        return com.amazonaws.services.kinesis.AmazonKinesisClientBuilder.standard()
            .withEndpointConfiguration(new com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration(url.toString(), "eu-central-1"))
            .withCredentials(new com.amazonaws.auth.AWSStaticCredentialsProvider(credentials))
            .build();
    }

    static void v1(String secret) {
        var kinesis = clientV1(secret);
        check(kinesis.describeStream(STREAM).getStreamDescription().getShards().size() == 1, "shards");
        check(kinesis.listStreams().getStreamNames().equals(List.of(STREAM)), "streams");
        kinesis.putRecord(STREAM, ByteBuffer.wrap(data(0)), "k");
        var records = new ArrayList<com.amazonaws.services.kinesis.model.PutRecordsRequestEntry>();
        for (int n = 1; n <= MANY; n++) {
            records.add(new com.amazonaws.services.kinesis.model.PutRecordsRequestEntry()
                .withPartitionKey("k" + n).withData(ByteBuffer.wrap(data(n))));
        }
        var many = kinesis.putRecords(new com.amazonaws.services.kinesis.model.PutRecordsRequest()
            .withStreamName(STREAM).withRecords(records));
        check(many.getFailedRecordCount() == 0 && many.getRecords().size() == MANY, "records");
        try {
            clientV1("wrong").putRecord(STREAM, ByteBuffer.wrap(data(0)), "k");
            check(false, "a wrong secret is taken");
        } catch (com.amazonaws.AmazonServiceException error) {
            check(error.getErrorCode().equals("InvalidSignatureException"), error.toString());
        }
    }

    static StaticCredentialsProvider credentials(String secret) {
        return StaticCredentialsProvider.create(AwsBasicCredentials.create("any", secret));
    }

    static KinesisClient clientV2(String secret) {
        return KinesisClient.builder().endpointOverride(url).region(Region.EU_CENTRAL_1)
            .credentialsProvider(credentials(secret)).build();
    }

    static List<PutRecordsRequestEntry> records() {
        var records = new ArrayList<PutRecordsRequestEntry>();
        for (int n = 1; n <= MANY; n++) {
            records.add(PutRecordsRequestEntry.builder().partitionKey("k" + n).data(SdkBytes.fromByteArray(data(n))).build());
        }
        return records;
    }

    static void sync(String secret) {
        var kinesis = clientV2(secret);
        kinesis.waiter().waitUntilStreamExists(request -> request.streamName(STREAM));
        check(kinesis.listStreams().streamNames().equals(List.of(STREAM)), "streams");
        kinesis.putRecord(request -> request.streamName(STREAM).partitionKey("k").data(SdkBytes.fromByteArray(data(0))));
        var many = kinesis.putRecords(request -> request.streamName(STREAM).records(records()));
        check(many.failedRecordCount() == 0 && many.records().size() == MANY, "records");
        var firehose = FirehoseClient.builder().endpointOverride(url).region(Region.EU_CENTRAL_1)
            .credentialsProvider(credentials(secret)).build();
        check(firehose.listDeliveryStreams().deliveryStreamNames().equals(List.of(STREAM)), "delivery streams");
        firehose.putRecord(request -> request.deliveryStreamName(STREAM)
            .record(record -> record.data(SdkBytes.fromByteArray(data(MANY + 1)))));
        try {
            clientV2("wrong").putRecord(request -> request.streamName(STREAM).partitionKey("k").data(SdkBytes.fromByteArray(data(0))));
            check(false, "a wrong secret is taken");
        } catch (KinesisException error) {
            check(error.awsErrorDetails().errorCode().equals("InvalidSignatureException"), error.toString());
        }
    }

    static KinesisAsyncClient clientAsync(String secret) {
        return KinesisAsyncClient.builder().endpointOverride(url).region(Region.EU_CENTRAL_1)
            .credentialsProvider(credentials(secret)).build();
    }

    static void async(String secret) {
        var kinesis = clientAsync(secret);
        check(kinesis.describeStreamSummary(request -> request.streamName(STREAM)).join()
            .streamDescriptionSummary().openShardCount() == 1, "shards");
        kinesis.putRecord(request -> request.streamName(STREAM).partitionKey("k").data(SdkBytes.fromByteArray(data(0)))).join();
        var many = kinesis.putRecords(request -> request.streamName(STREAM).records(records())).join();
        check(many.failedRecordCount() == 0 && many.records().size() == MANY, "records");
        try {
            clientAsync("wrong").putRecord(request -> request.streamName(STREAM).partitionKey("k")
                .data(SdkBytes.fromByteArray(data(0)))).join();
            check(false, "a wrong secret is taken");
        } catch (CompletionException error) {
            check(error.getCause() instanceof KinesisException cause
                && cause.awsErrorDetails().errorCode().equals("InvalidSignatureException"), error.toString());
        }
    }
}
