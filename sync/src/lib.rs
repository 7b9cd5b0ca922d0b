//! State replication between nodes: versions of state, repaired by re-sending the latest (docs/architecture.md).
