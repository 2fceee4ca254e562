"""Another client of the tests' Kafka broker: does what the lines of its standard input say, in order.

    kafka_peer.py BROKER

Each line is a JSON object with one of the keys below; the process ends when all of it is done. A value with a `schema` is
written by Confluent's own serializer (`serialized.py`), which registers the schema.
"""
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

broker = sys.argv[1]
admin = AdminClient({"bootstrap.servers": broker})
plain = Producer({"bootstrap.servers": broker, "linger.ms": 5, "queue.buffering.max.messages": 1000000})
transaction = None


def wait(futures):
    for future in futures.values():
        future.result(30)


def check(error, _message):
    if error is not None:
        sys.exit(f"not delivered: {error}")


def send(topic, value, partition=None, key=None, headers=None, timestamp=None, schema=None):
    producer = transaction or plain
    if schema:
        from serialized import serialized

        value = serialized(topic, schema, value)
    if isinstance(value, dict):
        value = bytes.fromhex(value["hex"])
    headers = headers and [tuple(header) for header in headers]
    options = {name: given for name, given in
               [("partition", partition), ("key", key), ("headers", headers), ("timestamp", timestamp)] if given is not None}
    while True:
        try:
            producer.produce(topic, value, on_delivery=check, **options)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


for line in sys.stdin:
    do = json.loads(line)
    if "create" in do:
        topic = NewTopic(do["create"], do.get("partitions", 1), 1, config=do.get("config", {}))
        wait(admin.create_topics([topic]))
    elif "grow" in do:
        wait(admin.create_partitions([NewPartitions(do["grow"], do["partitions"])]))
    elif "delete" in do:
        wait(admin.delete_topics([do["delete"]]))
    elif "forget" in do:
        plain.flush()
        places = [TopicPartition(do["forget"], int(n), to) for n, to in do["before"].items()]
        wait(admin.delete_records(places))
    elif "begin" in do:
        plain.flush()
        transaction = Producer({"bootstrap.servers": broker, "transactional.id": do["begin"]})
        transaction.init_transactions(30)
        transaction.begin_transaction()
    elif "end" in do:
        transaction.flush()
        transaction.commit_transaction(30) if do["end"] == "commit" else transaction.abort_transaction(30)
        transaction = None
    elif "read" in do:
        reader = Consumer({"bootstrap.servers": broker, "group.id": "peer", "enable.partition.eof": True, "isolation.level": "read_committed"})
        partitions = reader.list_topics(do["read"], 30).topics[do["read"]].partitions
        reader.assign([TopicPartition(do["read"], n, OFFSET_BEGINNING) for n in partitions])
        left = set(partitions)
        while left:
            message = reader.poll(30)
            if message is None:
                sys.exit("nothing comes")
            if message.error():
                left.discard(message.partition())
                continue
            key = message.key()
            print(json.dumps({"key": key and key.decode(), "value": message.value().decode()}))
        reader.close()
    elif "serialize" in do:
        from serialized import serialized

        print(serialized(do["serialize"], do["schema"], do["value"]).hex())
    elif "fill" in do:
        text, partitions = "x" * do.get("text", 100), do["partitions"]
        for n in range(do["from"], do["to"]):
            value = '{"id": %d, "name": "name %d", "price": %s, "ok": %s' % (n, n, n / 4, "true" if n % 2 == 0 else "false")
            if do.get("nested"):
                value += ', "customer": {"id": %d, "address": {"city": "c%d", "geo": [%d, %d]}}' % (n % 1000, n % 77, n % 90, n % 180)
                value += ', "items": [' + ", ".join('{"sku": "s%d", "qty": %d, "note": "%s"}' % (i, n % 5 + i, text) for i in range(6)) + "]"
            send(do["fill"], value + ', "text": "%s"}' % text, partition=n % partitions, key=str(n))
    else:
        send(do.pop("send"), **do)
plain.flush()
