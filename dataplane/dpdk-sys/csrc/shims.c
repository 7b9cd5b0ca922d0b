/* The few things that neither bindgen nor Rust can reach: a thread-local behind a macro, and a FILE* with callbacks. */
#include "wrapper.h"

#include <stdio.h>
#include <sys/types.h>

int dpdk_sys_errno(void)
{
	return rte_errno;
}

static dpdk_sys_log_sink the_sink;

static ssize_t log_write(void *cookie, const char *buf, size_t size)
{
	(void)cookie;
	uint32_t level = (uint32_t)rte_log_cur_msg_loglevel();
	const char *end = buf + size;

	/* One write may hold several lines; an unfinished one is passed as it is. */
	for (const char *line = buf; line < end;) {
		const char *p = line;
		while (p < end && *p != '\n')
			p++;
		if (p > line)
			the_sink(level, line, (size_t)(p - line));
		line = p + 1;
	}
	return (ssize_t)size;
}

int dpdk_sys_log_to(dpdk_sys_log_sink sink)
{
	static FILE *stream;
	cookie_io_functions_t functions = { .write = log_write };

	the_sink = sink;
	if (stream == NULL) {
		stream = fopencookie(NULL, "w", functions);
		if (stream == NULL)
			return -1;
		setvbuf(stream, NULL, _IOLBF, BUFSIZ);
	}
	return rte_openlog_stream(stream);
}

/*
 * Rust reads and writes these fields itself (src/lib.rs asserts the same numbers on its side): headers that disagree
 * with the committed bindings must not compile.
 */
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf");
AT(rte_mbuf, buf_addr, 0);
AT(rte_mbuf, data_off, 16);
AT(rte_mbuf, refcnt, 18);
AT(rte_mbuf, nb_segs, 20);
AT(rte_mbuf, port, 22);
AT(rte_mbuf, ol_flags, 24);
AT(rte_mbuf, pkt_len, 36);
AT(rte_mbuf, data_len, 40);
AT(rte_mbuf, vlan_tci, 42);
AT(rte_mbuf, hash, 44);
AT(rte_mbuf, buf_len, 54);
AT(rte_mbuf, pool, 56);
AT(rte_mbuf, next, 64);
#ifndef DPDK_SYS_REGENERATED
_Static_assert(sizeof(struct rte_eth_fp_ops) == 128, "rte_eth_fp_ops");
AT(rte_eth_fp_ops, rx_pkt_burst, 0);
AT(rte_eth_fp_ops, rxq, 24);
AT(rte_eth_fp_ops, tx_pkt_burst, 64);
AT(rte_eth_fp_ops, txq, 88);
_Static_assert(sizeof(struct rte_eth_stats) == 704, "rte_eth_stats");
#endif
