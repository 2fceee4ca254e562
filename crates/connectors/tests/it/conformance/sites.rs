//! A place for each connector: the system that it talks to, and how the tests look into it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_config::Document;
use forebay_connectors::sink::Target;
use forebay_connectors::source::Source;
use forebay_connectors::{find_sink, find_source};
use forebay_testkit::{PostgresServer, Reply, StubHttp, Workspace};
use serde_json::json;

/// Where a sink writes to.
pub(super) struct SinkSite {
    pub(super) target: Box<dyn Target>,
    /// The numbers of the rows that a reader of the system sees, in order.
    pub(super) read: Box<dyn Fn() -> Vec<i64>>,
    pub(super) folder: Workspace,
}

/// What a source reads from.
pub(super) struct SourceSite {
    pub(super) source: Box<dyn Source>,
    pub(super) folder: Workspace,
    _server: Option<StubHttp>,
}

/// The name of a connector, and how its site is opened.
type Named<Open> = (&'static str, Open);

/// Opens a site; none where its system is not installed.
type OpenSink = fn() -> Option<SinkSite>;
type OpenSource = fn() -> Opening;
type Opening = Pin<Box<dyn Future<Output = Option<SourceSite>>>>;

pub(super) const SINK_SITES: &[Named<OpenSink>] = &[
    ("postgres", postgres),
    #[cfg(feature = "kafka")]
    ("kafka", kafka::sink),
    // What it has printed cannot be read back.
    ("stdout", || None),
    ("file", files),
];

pub(super) const SOURCE_SITES: &[Named<OpenSource>] = &[
    ("http", || Box::pin(api())),
    ("file", || Box::pin(std::future::ready(folder()))),
    #[cfg(feature = "kafka")]
    ("kafka", || Box::pin(kafka::source())),
];

/// A name that no other site has.
fn unique(prefix: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::SeqCst);
    format!("{prefix}{}_{n}", std::process::id())
}

fn sink(name: &str, config: &str) -> Box<dyn Target> {
    forebay_testkit::install_crypto();
    let config = Document::from_yaml(config).unwrap();
    find_sink(name).unwrap().build(&config).unwrap()
}

fn source(name: &str, config: &str) -> Box<dyn Source> {
    forebay_testkit::install_crypto();
    let config = Document::from_yaml(config).unwrap();
    find_source(name).unwrap().build(&config).unwrap()
}

fn postgres() -> Option<SinkSite> {
    let server = PostgresServer::shared()?;
    let schema = unique("c");
    let config = format!("{{url: \"{}\", table: {schema}.t}}", server.url());
    let read = move || {
        let is_there = format!("SELECT to_regclass('{schema}.t') IS NOT NULL");
        if server.sql(&is_there) == "f" {
            return Vec::new();
        }
        let ids = server.sql(&format!("SELECT id FROM {schema}.t ORDER BY id"));
        ids.lines().map(|id| id.parse().unwrap()).collect()
    };
    Some(SinkSite {
        target: sink("postgres", &config),
        read: Box::new(read),
        folder: Workspace::new(),
    })
}

fn files() -> Option<SinkSite> {
    let folder = Workspace::new();
    let out = folder.path().join("out");
    let read = move || {
        let entries = std::fs::read_dir(&out).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        // A reader of a folder leaves hidden files out.
        let parts = paths.filter(|path| path.extension().is_some_and(|ending| ending == "ndjson"));
        let parts =
            parts.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
        let text: String = parts
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut ids: Vec<i64> = rows.map(|row| row["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    Some(SinkSite {
        target: sink("file", "{path: out, format: ndjson}"),
        read: Box::new(read),
        folder,
    })
}

/// An API of five pages.
async fn api() -> Option<SourceSite> {
    let server = StubHttp::start(|request| {
        let page = request.param("page").unwrap().parse().unwrap_or(0);
        let rows = (page <= 5).then(|| json!({ "id": page }));
        Reply::json(&json!({ "rows": rows.into_iter().collect::<Vec<_>>() }))
    })
    .await;
    let config = format!(
        "{{url: \"{}\", records: rows, allow_private: true, paginate: {{page: {{param: page}}}}}}",
        server.url("/q")
    );
    Some(SourceSite {
        source: source("http", &config),
        folder: Workspace::new(),
        _server: Some(server),
    })
}

fn folder() -> Option<SourceSite> {
    let folder = Workspace::new();
    for n in 0..4 {
        folder.write(&format!("data/{n}.ndjson"), format!("{{\"id\": {n}}}\n"));
    }
    Some(SourceSite {
        source: source("file", "{path: \"data/*.ndjson\", settle: 0s}"),
        folder,
        _server: None,
    })
}

#[cfg(feature = "kafka")]
mod kafka {
    use std::time::Duration;

    use forebay_testkit::KafkaServer;
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

    use super::{SinkSite, SourceSite, Workspace, unique};

    const WAIT: Duration = Duration::from_secs(20);

    fn client(server: &KafkaServer) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", server.broker());
        config
    }

    pub(super) fn sink() -> Option<SinkSite> {
        let server = KafkaServer::shared()?;
        let topic = unique("conformance-");
        let config = format!(
            "{{cluster: {{brokers: ['{}']}}, topic: {topic}, positions: {topic}-positions}}",
            server.broker()
        );
        let target = super::sink("kafka", &config);
        Some(SinkSite {
            target,
            read: Box::new(move || read(server, &topic)),
            folder: Workspace::new(),
        })
    }

    /// What is committed.
    fn read(server: &KafkaServer, topic: &str) -> Vec<i64> {
        let mut config = client(server);
        config
            .set("group.id", "conformance")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
        let partitions = metadata.topics()[0].partitions();
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut ids = Vec::new();
        let mut open = partitions.len();
        while open > 0 {
            match consumer.poll(WAIT).expect("the topic has an end") {
                Ok(message) => {
                    let row: serde_json::Value =
                        serde_json::from_slice(message.payload().unwrap()).unwrap();
                    ids.push(row["id"].as_i64().unwrap());
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        ids.sort_unstable();
        ids
    }

    async fn create_topic(server: &KafkaServer, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = client(server).create().unwrap();
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let made = admin
            .create_topics([&new], &AdminOptions::new())
            .await
            .unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
    }

    pub(super) async fn source() -> Option<SourceSite> {
        let server = KafkaServer::shared()?;
        let topic = unique("conformance-");
        create_topic(server, &topic).await;
        let producer: BaseProducer = client(server).create().unwrap();
        for n in 0..5 {
            let text = format!("{{\"id\": {n}}}\n");
            producer
                .send(BaseRecord::<(), _>::to(&topic).payload(&text))
                .unwrap();
            producer.flush(WAIT).unwrap();
        }
        let config = format!(
            "{{cluster: {{brokers: ['{}']}}, topic: {topic}}}",
            server.broker()
        );
        Some(SourceSite {
            source: super::source("kafka", &config),
            folder: Workspace::new(),
            _server: None,
        })
    }
}
