// Package metrics shows the counters of a reactor to Prometheus. Everything is made when it is scraped, from a snapshot: the loops pay
// nothing for it. docs/metrics.md lists the names and labels, which are frozen. No label ever names a peer.
package metrics

import (
	"fmt"
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/pool/latency"
	"github.com/ron-transport/ron-transport/reactor"
)

// Source is what is shown; *reactor.Reactor is one. Stats is called once per scrape, on the scraper's goroutine.
type Source interface{ Stats() reactor.Stats }

// Options configures the collector. The zero value is valid.
type Options struct {
	// Labels are added to every metric, to tell several reactors of a process apart. They must not name peers. A name that a metric
	// has already, or that is none, is an error of the registration. nil: none.
	Labels prometheus.Labels
}

// scalar is a metric without labels of its own.
type scalar struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*reactor.Stats) float64
}

// side is what there is for accepted and for dialled connections.
type side struct{ groups, shake *prometheus.Desc }

// collector implements prometheus.Collector.
type collector struct {
	src            Source
	scalars        []scalar
	closedBy, turn *prometheus.Desc
	accept, dial   side
	reasons        []string
}

// New makes a collector of r's metrics, to be registered once. It holds nothing that must be closed; after r's Shutdown it goes on
// showing the last figures. Any goroutine.
func New(r Source, o Options) prometheus.Collector {
	c := &collector{src: r, reasons: reactor.Reasons()}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ron_transport_"+name, help, labels, o.Labels)
	}
	for _, s := range scalars() {
		c.scalars = append(c.scalars, scalar{desc(s.name, s.help), s.kind, s.value})
	}
	c.closedBy = desc("conns_closed_abnormally_total", "Connections that did not end cleanly, by reason of the canon.", "reason")
	c.turn = desc("loop_turn_latency_seconds", "How long a loop with work was away from its sockets.")
	c.accept, c.dial = newSide(o.Labels, "server"), newSide(o.Labels, "client")
	return c
}

// newSide makes the metrics that reactor and quic have in common: they differ in constant labels, so that both can be registered.
func newSide(labels prometheus.Labels, name string) side {
	l := maps.Clone(labels)
	if l == nil {
		l = prometheus.Labels{}
	}
	own := prometheus.Labels{"transport": "tls", "side": name}
	for k, v := range own {
		if _, taken := l[k]; taken {
			bad := prometheus.NewInvalidDesc(fmt.Errorf("reactor/metrics: Options.Labels has %q, which is taken", k))
			return side{bad, bad}
		}
		l[k] = v
	}
	return side{
		groups: prometheus.NewDesc("ron_transport_key_exchange_total", "Handshakes that succeeded, by key exchange.", []string{"group"}, l),
		shake:  prometheus.NewDesc("ron_transport_handshake_latency_seconds", "How long handshakes took that succeeded.", []string{"kind"}, l),
	}
}

// collect emits a side's metrics.
func (s side) collect(ch chan<- prometheus.Metric, h *reactor.Handshaken) {
	for group, n := range h.KeyExchanges {
		ch <- prometheus.MustNewConstMetric(s.groups, prometheus.CounterValue, float64(n), group)
	}
	ch <- histogram(s.shake, &h.Full, "full")
	ch <- histogram(s.shake, &h.Resumed, "resumed")
}

// Describe implements prometheus.Collector. Any goroutine.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.scalars {
		ch <- s.desc
	}
	for _, d := range []*prometheus.Desc{c.closedBy, c.turn, c.accept.groups, c.accept.shake, c.dial.groups, c.dial.shake} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Any goroutine.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st := c.src.Stats()
	for _, s := range c.scalars {
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&st))
	}
	for _, r := range c.reasons { // also those that have not occurred: an increase from nothing would not be seen
		ch <- prometheus.MustNewConstMetric(c.closedBy, prometheus.CounterValue, float64(st.ClosedBy[r]), r)
	}
	ch <- histogram(c.turn, &st.Turns)
	c.accept.collect(ch, &st.Accept)
	c.dial.collect(ch, &st.Dial)
}

func histogram(d *prometheus.Desc, s *latency.Snapshot, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstHistogram(d, s.Count(), s.Sum.Seconds(), s.Cumulative(), labels...)
}

// entry describes a scalar.
type entry struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*reactor.Stats) float64
}

// scalars are the metrics without labels.
func scalars() []entry {
	counter := func(name, help string, v func(*reactor.Stats) uint64) entry {
		return entry{name, help, prometheus.CounterValue, func(s *reactor.Stats) float64 { return float64(v(s)) }}
	}
	gauge := func(name, help string, v func(*reactor.Stats) int64) entry {
		return entry{name, help, prometheus.GaugeValue, func(s *reactor.Stats) float64 { return float64(v(s)) }}
	}
	return []entry{
		gauge("conns", "Connections and streams that exist.", func(s *reactor.Stats) int64 { return s.Conns }),
		gauge("queue_depth_tasks", "Functions posted to the loops that have not run.", func(s *reactor.Stats) int64 { return s.QueuedTasks }),
		gauge("queue_depth_bytes", "Output that the kernel has not taken.", func(s *reactor.Stats) int64 { return s.QueuedBytes }),
		gauge("pool_outstanding_bytes", "Buffers that connections hold.", func(s *reactor.Stats) int64 { return s.PoolOutstandingBytes }),
		gauge("pool_outstanding_buffers", "Number of buffers that connections hold.", func(s *reactor.Stats) int64 { return s.PoolOutstanding }),
		gauge("pool_cached_bytes", "Buffers kept for reuse.", func(s *reactor.Stats) int64 { return s.PoolCachedBytes }),
		counter("conns_accepted_total", "Connections accepted from sockets.", func(s *reactor.Stats) uint64 { return s.Accepted }),
		counter("conns_opened_total", "Connections and streams that became open, accepted or dialled.", func(s *reactor.Stats) uint64 { return s.Opened }),
		counter("conns_closed_total", "Connections and streams that were closed.", func(s *reactor.Stats) uint64 { return s.Closed }),
		counter("conns_refused_total", "Connections refused: over a limit, or no descriptor left.", func(s *reactor.Stats) uint64 { return s.Refused }),
		counter("conns_barred_total", "Connections closed at once because of who the peer is.", func(s *reactor.Stats) uint64 { return s.RefusedPeers }),
		counter("conns_expired_total", "Connections that a deadline ended.", func(s *reactor.Stats) uint64 { return s.Expired }),
		counter("accept_errors_total", "Accepts that failed, mostly for want of descriptors.", func(s *reactor.Stats) uint64 { return s.AcceptErrors }),
		counter("proxy_headers_failed_total", "Connections without a valid PROXY header.", func(s *reactor.Stats) uint64 { return s.ProxyFailed }),
		counter("handshakes_total", "Handshakes over TLS on TCP that succeeded.", func(s *reactor.Stats) uint64 { return s.Handshakes }),
		counter("handshakes_failed_total", "Handshakes over TLS on TCP that failed.", func(s *reactor.Stats) uint64 { return s.HandshakesFailed }),
		counter("received_bytes_total", "Bytes read from sockets and streams.", func(s *reactor.Stats) uint64 { return s.BytesIn }),
		counter("sent_bytes_total", "Bytes written to sockets and streams.", func(s *reactor.Stats) uint64 { return s.BytesOut }),
		counter("read_calls_total", "System calls that read, and reads of streams.", func(s *reactor.Stats) uint64 { return s.Reads }),
		counter("write_calls_total", "System calls that write, and writes to streams.", func(s *reactor.Stats) uint64 { return s.Writes }),
		counter("loop_wakes_total", "Waits of the loops that blocked.", func(s *reactor.Stats) uint64 { return s.Wakes }),
		counter("stale_events_total", "Events for connections that were gone.", func(s *reactor.Stats) uint64 { return s.StaleEvents }),
		counter("panics_total", "Panics in callbacks.", func(s *reactor.Stats) uint64 { return s.Panics }),
	}
}
