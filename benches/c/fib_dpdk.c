// librte_fib (DIR-24-8 for IPv4, trie for IPv6) on the prefixes and addresses that `fib --dump` wrote.
//
// cc -O3 -o /tmp/fib_dpdk benches/c/fib_dpdk.c $(pkg-config --cflags --libs libdpdk) -lrte_fib
// taskset -c 1 /tmp/fib_dpdk FILE 4|6
//
// The API has bulk lookups only: `chain` is one address at a time, each depending on the result before; `loop` one at a
// time; `burst` 32. Update: a random route out and in again, in place (nothing is published: readers are RCU's business).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_malloc.h>

enum { CHUNK = 2048, PASSES = 15 };

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static unsigned family, size;
static void *fib;
static unsigned char *addresses;

static int add(const unsigned char *p, unsigned len, unsigned value) {
	if (family == 6)
		return rte_fib6_add(fib, p, len, value);
	return rte_fib_add(fib, (unsigned)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3], len, value);
}

static int del(const unsigned char *p, unsigned len) {
	if (family == 6)
		return rte_fib6_delete(fib, p, len);
	return rte_fib_delete(fib, (unsigned)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3], len);
}

static inline void lookup(unsigned at, uint64_t *into, unsigned n) {
	if (family == 6)
		rte_fib6_lookup_bulk(fib, (void *)(addresses + 16 * at), into, n);
	else {
		uint32_t ips[32];
		for (unsigned i = 0; i < n; i++) {
			memcpy(&ips[i], addresses + 4 * (at + i), 4);
			ips[i] = __builtin_bswap32(ips[i]);
		}
		rte_fib_lookup_bulk(fib, ips, into, n);
	}
}

int main(int argc, char **argv) {
	char *eal[] = {"fib", "--no-huge", "-m", "6000", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level=3", "-l", "1"};
	if (argc != 3 || rte_eal_init(10, eal) < 0) {
		fprintf(stderr, "usage: fib_dpdk FILE 4|6 (EAL: %s)\n", rte_strerror(rte_errno));
		return 1;
	}
	family = atoi(argv[2]);
	size = family == 6 ? 16 : 4;
	FILE *f = fopen(argv[1], "rb");
	unsigned head[2];
	if (!f || fread(head, 4, 2, f) != 2)
		return 1;
	unsigned n = head[0], m = head[1];
	unsigned char *table = malloc((size_t)n * (size + 1));
	addresses = malloc((size_t)m * size);
	if (fread(table, size + 1, n, f) != n || fread(addresses, size, m, f) != m)
		return 1;
	struct rte_malloc_socket_stats before, after;
	rte_malloc_get_socket_stats(0, &before);
	double start = now();
	if (family == 6) {
		struct rte_fib6_conf conf = {.type = RTE_FIB6_TRIE, .default_nh = 0x7fffffff, .max_routes = 2 * n + 64,
			.trie = {.nh_sz = RTE_FIB6_TRIE_4B, .num_tbl8 = 1 << 20}};
		fib = rte_fib6_create("fib", -1, &conf);
	} else {
		struct rte_fib_conf conf = {.type = RTE_FIB_DIR24_8, .default_nh = 0x7fffffff, .max_routes = 2 * n + 64,
			.dir24_8 = {.nh_sz = RTE_FIB_DIR24_8_4B, .num_tbl8 = 1 << 16}};
		fib = rte_fib_create("fib", -1, &conf);
	}
	if (!fib) {
		fprintf(stderr, "create: %s\n", rte_strerror(rte_errno));
		return 1;
	}
	for (unsigned i = 0; i < n; i++)
		if (add(table + (size_t)i * (size + 1), table[(size_t)i * (size + 1) + size], i)) {
			fprintf(stderr, "add %u: %s\n", i, rte_strerror(rte_errno));
			return 1;
		}
	double build = (now() - start) / 1e6;
	rte_malloc_get_socket_stats(0, &after);
	// As in fib.rs: the best of the passes for each chunk, and their mean.
	unsigned chunks = (m + CHUNK - 1) / CHUNK;
	double *best[3], mean[3] = {0, 0, 0};
	uint64_t sum = 0, into[32];
	for (int k = 0; k < 3; k++) {
		best[k] = malloc(chunks * sizeof(double));
		for (unsigned c = 0; c < chunks; c++)
			best[k][c] = 1e18;
		for (int pass = 0; pass < PASSES; pass++) {
			sum = 0;
			for (unsigned c = 0; c < chunks; c++) {
				unsigned end = (c + 1) * CHUNK < m ? (c + 1) * CHUNK : m;
				double t = now();
				for (unsigned i = c * CHUNK; i < end;) {
					unsigned n = k < 2 ? 1 : end - i < 32 ? end - i : 32;
					lookup(i, into, n);
					for (unsigned j = 0; j < n; j++)
						sum += into[j];
					i += k == 0 ? 1 + (into[0] >> 31) : n;
				}
				t = now() - t;
				best[k][c] = t < best[k][c] ? t : best[k][c];
			}
		}
		for (unsigned c = 0; c < chunks; c++)
			mean[k] += best[k][c] / m;
	}
	start = now();
	unsigned done = 0;
	for (; done < 4000 && now() - start < 5e9; done++) {
		size_t i = (size_t)random() % n;
		unsigned char *p = table + i * (size + 1);
		if (del(p, p[size]) || add(p, p[size], i))
			return 1;
	}
	double update = (now() - start) / 1e3 / done / 2;
	printf("| %u | %u | librte_fib 22.11 | %.1f | %.0f | %.1f | %.1f | %.1f | %.1f | sum %lu\n", family, n,
		(after.heap_allocsz_bytes - before.heap_allocsz_bytes) / 1e6, build, mean[0], mean[1], mean[2], update, sum);
	return 0;
}
