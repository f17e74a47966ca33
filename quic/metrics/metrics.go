// Package metrics shows the counters of QUIC listeners and dialers to Prometheus. Everything is made when it is scraped, from a snapshot.
// docs/metrics.md lists the names and labels, which are frozen. No label ever names a peer.
package metrics

import (
	"errors"
	"fmt"
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/pool/latency"
	"github.com/ron-transport/ron-transport/quic"
)

// Source is what is shown; *quic.Listener and *quic.Dialer are. Stats is called once per scrape, on the scraper's goroutine.
type Source interface{ Stats() quic.Stats }

// Options configures the collector. The zero value is valid.
type Options struct {
	// Labels are added to every metric, to tell several listeners of a process apart. They must not name peers. A name that a metric
	// has already, or that is none, is an error of the registration. nil: none.
	Labels prometheus.Labels
	// Side is the value of the label side. "": server for a *quic.Listener and client for a *quic.Dialer; any other Source needs it, else
	// the registration fails, as it does for a word that is neither "server" nor "client".
	Side string
}

// scalar is a metric without labels of its own.
type scalar struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*quic.Stats) float64
}

// collector implements prometheus.Collector.
type collector struct {
	src           Source
	scalars       []scalar
	groups, shake *prometheus.Desc
}

// New makes a collector of s's metrics, to be registered once; a listener and a dialer may both be, they differ in the label side. It
// holds nothing that must be closed. Any goroutine.
func New(s Source, o Options) prometheus.Collector {
	side, err := o.side(s)
	own, err1 := join(o.Labels, prometheus.Labels{"side": side})
	common, err2 := join(own, prometheus.Labels{"transport": "quic"}) // as package reactor/metrics has them, so that both can be registered
	c := &collector{src: s}
	if err := errors.Join(err, err1, err2); err != nil {
		c.groups, c.shake = prometheus.NewInvalidDesc(err), prometheus.NewInvalidDesc(err)
		return c
	}
	for _, e := range scalars() {
		c.scalars = append(c.scalars, scalar{prometheus.NewDesc("ron_transport_quic_"+e.name, e.help, nil, own), e.kind, e.value})
	}
	c.groups = prometheus.NewDesc("ron_transport_key_exchange_total", "Handshakes that succeeded, by key exchange.", []string{"group"}, common)
	c.shake = prometheus.NewDesc("ron_transport_handshake_latency_seconds", "How long handshakes took that succeeded.", []string{"kind"}, common)
	return c
}

// side is the label's value for s.
func (o *Options) side(s Source) (string, error) {
	switch o.Side {
	case "server", "client":
		return o.Side, nil
	case "":
	default:
		return "", fmt.Errorf("quic/metrics: Options.Side is %q, server, client or nothing is allowed", o.Side)
	}
	switch s.(type) {
	case *quic.Listener:
		return "server", nil
	case *quic.Dialer:
		return "client", nil
	}
	return "", fmt.Errorf("quic/metrics: Options.Side is empty, server or client is required for a %T", s)
}

// join returns labels and own; an error when they have a name in common.
func join(labels, own prometheus.Labels) (prometheus.Labels, error) {
	all := maps.Clone(own)
	for k, v := range labels {
		if _, taken := all[k]; taken {
			return nil, fmt.Errorf("quic/metrics: Options.Labels has %q, which is taken", k)
		}
		all[k] = v
	}
	return all, nil
}

// Describe implements prometheus.Collector. Any goroutine.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.scalars {
		ch <- s.desc
	}
	ch <- c.groups
	ch <- c.shake
}

// Collect implements prometheus.Collector. Any goroutine.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st := c.src.Stats()
	for _, s := range c.scalars {
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&st))
	}
	for group, n := range st.KeyExchanges {
		ch <- prometheus.MustNewConstMetric(c.groups, prometheus.CounterValue, float64(n), group)
	}
	for kind, s := range map[string]*latency.Snapshot{"full": &st.Full, "resumed": &st.Resumed, "early": &st.Early} {
		ch <- prometheus.MustNewConstHistogram(c.shake, s.Count(), s.Sum.Seconds(), s.Cumulative(), kind)
	}
}

// entry describes a scalar.
type entry struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*quic.Stats) float64
}

// scalars are the metrics without labels.
func scalars() []entry {
	counter := func(name, help string, v func(*quic.Stats) uint64) entry {
		return entry{name, help, prometheus.CounterValue, func(s *quic.Stats) float64 { return float64(v(s)) }}
	}
	gauge := func(name, help string, v func(*quic.Stats) int64) entry {
		return entry{name, help, prometheus.GaugeValue, func(s *quic.Stats) float64 { return float64(v(s)) }}
	}
	return []entry{
		gauge("conns", "QUIC connections that exist.", func(s *quic.Stats) int64 { return int64(s.Conns) }),
		gauge("half_open_conns", "QUIC connections whose handshake is under way.", func(s *quic.Stats) int64 { return s.HalfOpen }),
		gauge("window_grown_bytes", "Bytes by which windows have grown beyond their first size.", func(s *quic.Stats) int64 { return s.WindowGrown }),
		counter("conns_opened_total", "QUIC connections opened.", func(s *quic.Stats) uint64 { return s.Opened }),
		counter("handshakes_failed_total", "QUIC connections that ended before they were open.", func(s *quic.Stats) uint64 { return s.HandshakesFailed }),
		counter("refused_total", "QUIC connections over a limit, and packets of those that QUIC refused.", func(s *quic.Stats) uint64 { return s.Refused }),
		counter("retries_total", "Clients that had to prove their address.", func(s *quic.Stats) uint64 { return s.Retries }),
		counter("streams_total", "Streams opened by either end.", func(s *quic.Stats) uint64 { return s.Streams }),
		counter("streams_refused_total", "Streams that came too late.", func(s *quic.Stats) uint64 { return s.StreamsRefused }),
		counter("datagrams_received_total", "Datagrams received.", func(s *quic.Stats) uint64 { return s.DatagramsIn }),
		counter("datagrams_sent_total", "Datagrams sent.", func(s *quic.Stats) uint64 { return s.DatagramsOut }),
		counter("received_bytes_total", "Bytes of datagrams received.", func(s *quic.Stats) uint64 { return s.BytesIn }),
		counter("sent_bytes_total", "Bytes of datagrams sent.", func(s *quic.Stats) uint64 { return s.BytesOut }),
		counter("read_calls_total", "System calls that read.", func(s *quic.Stats) uint64 { return s.ReadCalls }),
		counter("write_calls_total", "System calls that write.", func(s *quic.Stats) uint64 { return s.WriteCalls }),
		counter("datagrams_coalesced_total", "Datagrams that the kernel had joined with others.", func(s *quic.Stats) uint64 { return s.Coalesced }),
		counter("datagrams_moved_total", "Datagrams handed on to another loop's socket.", func(s *quic.Stats) uint64 { return s.Moved }),
		counter("datagrams_oversized_total", "Datagrams dropped for their size.", func(s *quic.Stats) uint64 { return s.Truncated + s.Oversized }),
		counter("datagrams_overflowed_total", "Datagrams the kernel dropped because a socket's buffer was full.", func(s *quic.Stats) uint64 { return s.Overflows }),
		counter("datagrams_lost_total", "Datagrams the kernel did not take in time.", func(s *quic.Stats) uint64 { return s.Lost }),
		counter("socket_errors_total", "Failed reads and writes of sockets.", func(s *quic.Stats) uint64 { return s.ReadErrors + s.SendErrors }),
	}
}
