// Package metrics shows a store of certificates to Prometheus: ends, staples, ticket keys, and what could not be loaded. Everything is
// made when it is scraped, from a snapshot. docs/metrics.md lists the names and labels, which are frozen. No label ever names a peer.
package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/tls/certs"
)

// Source is what is shown; *certs.Store is one. Stats is called once per scrape, on the scraper's goroutine.
type Source interface{ Stats() certs.Stats }

// Options configures the collector. The zero value is valid.
type Options struct {
	// Labels are added to every metric, to tell several stores of a process apart. They must not name peers. A name that a metric
	// has already, or that is none, is an error of the registration. nil: none.
	Labels prometheus.Labels
}

// ofPair is a metric of one certificate; ok is false where there is nothing to show.
type ofPair struct {
	desc  *prometheus.Desc
	value func(*certs.PairStats) (v float64, ok bool)
}

// ofStore is a metric of the store.
type ofStore struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*certs.Stats) (v float64, ok bool)
}

// collector implements prometheus.Collector.
type collector struct {
	src   Source
	pairs []ofPair
	store []ofStore
}

// New makes a collector of s's metrics, to be registered once. It holds nothing that must be closed. Any goroutine.
func New(s Source, o Options) prometheus.Collector {
	c := &collector{src: s}
	for _, e := range pairEntries() {
		c.pairs = append(c.pairs, ofPair{prometheus.NewDesc("ron_transport_"+e.name, e.help, []string{"pair"}, o.Labels), e.value})
	}
	for _, e := range storeEntries() {
		c.store = append(c.store, ofStore{prometheus.NewDesc("ron_transport_"+e.name, e.help, nil, o.Labels), e.kind, e.value})
	}
	return c
}

// Describe implements prometheus.Collector. Any goroutine.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, p := range c.pairs {
		ch <- p.desc
	}
	for _, s := range c.store {
		ch <- s.desc
	}
}

// Collect implements prometheus.Collector. Any goroutine.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st := c.src.Stats()
	for i := range st.Pairs {
		for _, p := range c.pairs {
			if v, ok := p.value(&st.Pairs[i]); ok {
				ch <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, v, strconv.Itoa(i))
			}
		}
	}
	for _, s := range c.store {
		if v, ok := s.value(&st); ok {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, v)
		}
	}
}

// pairEntry describes a metric of a certificate.
type pairEntry struct {
	name, help string
	value      func(*certs.PairStats) (float64, bool)
}

// storeEntry describes a metric of the store.
type storeEntry struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*certs.Stats) (float64, bool)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// pairEntries are the metrics with the label pair, the certificate's index in Config.Pairs: a name would say no more, and change.
func pairEntries() []pairEntry {
	flag := func(name, help string, v func(*certs.PairStats) bool) pairEntry {
		return pairEntry{name, help, func(p *certs.PairStats) (float64, bool) { return number(v(p)), true }}
	}
	return []pairEntry{
		{"certificate_not_after_timestamp_seconds", "When the certificate in use ends.", func(p *certs.PairStats) (float64, bool) { return float64(p.NotAfter.Unix()), true }},
		{"certificate_loaded_timestamp_seconds", "When the certificate in use was loaded.", func(p *certs.PairStats) (float64, bool) { return float64(p.Loaded.Unix()), true }},
		flag("certificate_load_failing", "1 while the files cannot be used and an older certificate is.", func(p *certs.PairStats) bool { return p.LoadError != nil }),
		flag("certificate_revoked", "1 when the staple says that the certificate is revoked.", func(p *certs.PairStats) bool { return p.Revoked }),
		flag("certificate_must_staple", "1 when clients refuse the certificate without a staple.", func(p *certs.PairStats) bool { return p.MustStaple }),
		flag("certificate_stapled", "1 while a staple is sent.", func(p *certs.PairStats) bool { return p.Stapled }),
		{"certificate_staple_age_seconds", "Time since the staple was made.", func(p *certs.PairStats) (float64, bool) { return p.StapleAge.Seconds(), p.Stapled }},
		{"certificate_staple_expiry_timestamp_seconds", "When the staple ends.", func(p *certs.PairStats) (float64, bool) { return float64(p.StapleExpires.Unix()), p.Stapled }},
	}
}

// storeEntries are the metrics without labels.
func storeEntries() []storeEntry {
	counter := func(name, help string, v func(*certs.Stats) uint64) storeEntry {
		return storeEntry{name, help, prometheus.CounterValue, func(s *certs.Stats) (float64, bool) { return float64(v(s)), true }}
	}
	gauge := func(name, help string, v func(*certs.Stats) (float64, bool)) storeEntry {
		return storeEntry{name, help, prometheus.GaugeValue, v}
	}
	return []storeEntry{
		counter("certificate_reloads_total", "Certificates replaced.", func(s *certs.Stats) uint64 { return s.Reloads }),
		counter("certificate_reload_failures_total", "Changed certificate files that could not be used, each cause once.", func(s *certs.Stats) uint64 { return s.ReloadFailures }),
		counter("certificate_staple_fetches_total", "Requests for staples.", func(s *certs.Stats) uint64 { return s.Fetches }),
		counter("certificate_staple_fetch_failures_total", "Requests for staples that gave none.", func(s *certs.Stats) uint64 { return s.FetchFailures }),
		counter("ticket_key_changes_total", "Times that other session ticket keys came into use.", func(s *certs.Stats) uint64 { return s.TicketChanges }),
		counter("ticket_key_failures_total", "Times that ticket keys could not be read or written, each cause once.", func(s *certs.Stats) uint64 { return s.TicketFailures }),
		gauge("ticket_keys", "Session ticket keys in use.", func(s *certs.Stats) (float64, bool) { return float64(s.TicketKeys), true }),
		gauge("ticket_key_age_seconds", "Age of the ticket key that encrypts.", func(s *certs.Stats) (float64, bool) { return s.TicketKeyAge.Seconds(), s.TicketKeys > 0 }),
		gauge("ticket_key_failing", "1 while the ticket keys cannot be read or written.", func(s *certs.Stats) (float64, bool) { return number(s.TicketError != nil), true }),
		gauge("ticket_keys_stale", "1 when nobody has renewed the shared ticket keys for 7 days.", func(s *certs.Stats) (float64, bool) { return number(s.TicketsStale), true }),
		gauge("ticket_key_rotation_timestamp_seconds", "When this node makes the next ticket key.", func(s *certs.Stats) (float64, bool) { return float64(s.NextRotation.Unix()), !s.NextRotation.IsZero() }),
	}
}
