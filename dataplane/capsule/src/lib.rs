//! DPDK ports, queues, mbufs and pinned workers.
