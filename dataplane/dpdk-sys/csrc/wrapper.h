/* What the bindings are generated from. Narrow on purpose: the allow-list stands in build/generate.rs. */
#ifndef DPDK_SYS_WRAPPER_H
#define DPDK_SYS_WRAPPER_H

#include <stddef.h>
#include <stdint.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Constants that DPDK defines by function-like macros, which bindgen cannot evaluate. */
#define DPDK_SYS_U64(name) static const uint64_t DPDK_SYS_##name = name

DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_VLAN_STRIP);
DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM);
DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_SCTP_CKSUM);
DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_SCATTER);
DPDK_SYS_U64(RTE_ETH_RX_OFFLOAD_RSS_HASH);
DPDK_SYS_U64(RTE_ETH_TX_OFFLOAD_VLAN_INSERT);
DPDK_SYS_U64(RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
DPDK_SYS_U64(RTE_ETH_DEV_INTR_LSC);
DPDK_SYS_U64(RTE_ETH_RSS_IPV4);
DPDK_SYS_U64(RTE_ETH_RSS_FRAG_IPV4);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV4_TCP);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV4_UDP);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV4_SCTP);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV4_OTHER);
DPDK_SYS_U64(RTE_ETH_RSS_IPV6);
DPDK_SYS_U64(RTE_ETH_RSS_FRAG_IPV6);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV6_TCP);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV6_UDP);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV6_SCTP);
DPDK_SYS_U64(RTE_ETH_RSS_NONFRAG_IPV6_OTHER);

/* By hand (csrc/shims.c). */

/* The calling thread's rte_errno, which is a thread-local variable behind a macro. */
int dpdk_sys_errno(void);

/* Receives one log line at a time, without its newline; level is one of RTE_LOG_*. Called by any thread. */
typedef void (*dpdk_sys_log_sink)(uint32_t level, const char *line, size_t len);

/* Sends DPDK's log to the sink from now on, EAL's start included. 0, or -1 when there is no memory. */
int dpdk_sys_log_to(dpdk_sys_log_sink sink);

#endif
