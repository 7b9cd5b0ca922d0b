// Static wrappers

unsigned int rte_lcore_id_shim(void) { return rte_lcore_id(); }
struct rte_mempool_cache * rte_mempool_default_cache_shim(struct rte_mempool *mp, unsigned int lcore_id) { return rte_mempool_default_cache(mp, lcore_id); }
struct rte_mbuf * rte_pktmbuf_alloc_shim(struct rte_mempool *mp) { return rte_pktmbuf_alloc(mp); }
int rte_pktmbuf_alloc_bulk_shim(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count) { return rte_pktmbuf_alloc_bulk(pool, mbufs, count); }
void rte_pktmbuf_attach_shim(struct rte_mbuf *mi, struct rte_mbuf *m) { rte_pktmbuf_attach(mi, m); }
void rte_pktmbuf_free_seg_shim(struct rte_mbuf *m) { rte_pktmbuf_free_seg(m); }
void rte_pktmbuf_free_shim(struct rte_mbuf *m) { rte_pktmbuf_free(m); }
uint16_t rte_eth_rx_burst_shim(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **rx_pkts, const uint16_t nb_pkts) { return rte_eth_rx_burst(port_id, queue_id, rx_pkts, nb_pkts); }
uint16_t rte_eth_tx_burst_shim(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **tx_pkts, uint16_t nb_pkts) { return rte_eth_tx_burst(port_id, queue_id, tx_pkts, nb_pkts); }
