//! The RocksDB options that all trees on RocksDB share.

use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, Options};

/// Bytes of the LRU block cache, which all column families share.
const BLOCK_CACHE: usize = 512 << 20;

const BLOOM_BITS_PER_KEY: f64 = 10.0;

/// Opens a database with these column families, creating what is missing.
pub fn open(dir: &Path, column_families: &[&str]) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    let descriptors = column_families.iter().map(|name| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        let mut options = Options::default();
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&table);
        ColumnFamilyDescriptor::new(*name, options)
    });

    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    DB::open_cf_descriptors(&options, dir, descriptors)
}
