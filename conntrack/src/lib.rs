//! Connection tracking: one shard per worker, owned by it alone, with time as an argument (docs/architecture.md).
