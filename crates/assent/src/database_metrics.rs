//! What RocksDB says of the databases of this process, read when somebody scrapes.

use std::{fmt, sync::Arc};

use assent_metrics::{Collector, DescriptorEncoder};
use assent_store::LedgerStore;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric},
    metrics::gauge::ConstGauge,
};

/// Databases by role.
pub struct Databases(pub Vec<(&'static str, Arc<LedgerStore>)>);

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(role, _)| role)).finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    database: &'static str,
    family: &'static str,
}

/// Metric, RocksDB's property, help.
const PROPERTIES: [(&str, &str, &str); 7] = [
    ("assent_rocksdb_keys", "rocksdb.estimate-num-keys", "Keys, as RocksDB estimates"),
    ("assent_rocksdb_file_bytes", "rocksdb.total-sst-files-size", "Bytes of table files"),
    ("assent_rocksdb_memtable_bytes", "rocksdb.cur-size-all-mem-tables", "Bytes of memtables"),
    (
        "assent_rocksdb_pending_compaction_bytes",
        "rocksdb.estimate-pending-compaction-bytes",
        "Bytes that compaction has still to rewrite",
    ),
    (
        "assent_rocksdb_level_zero_files",
        "rocksdb.num-files-at-level0",
        "Table files that are not sorted in yet",
    ),
    ("assent_rocksdb_running_compactions", "rocksdb.num-running-compactions", "Compactions under way"),
    ("assent_rocksdb_write_stopped", "rocksdb.is-write-stopped", "1 while RocksDB lets nobody write"),
];

impl Collector for Databases {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, property, help) in PROPERTIES {
            let mut metric =
                encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
            for (database, store) in &self.0 {
                for (family, value) in store.property(property) {
                    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                    gauge.encode(metric.encode_family(&Labels { database, family })?)?;
                }
            }
        }
        Ok(())
    }
}
