// Package metrics shows what a TLS server or client encrypts with to Prometheus. docs/metrics.md lists the name and the label, which are
// frozen. What is counted of connections and handshakes is in reactor/metrics, of certificates in tls/certs/metrics.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/tls"
)

// Source is what is shown; *tls.Server and *tls.Client are.
type Source interface{ AESGCM() tls.AESGCM }

// Options configures the collector. The zero value is valid.
type Options struct {
	// Labels are added, to tell several servers of a process apart. They must not name peers. "aes_gcm", or what is no name of a
	// label, is an error of the registration. nil: none.
	Labels prometheus.Labels
}

// collector implements prometheus.Collector.
type collector struct {
	src  Source
	desc *prometheus.Desc
}

// New makes a collector of s's metric, to be registered once. It holds nothing that must be closed. Any goroutine.
func New(s Source, o Options) prometheus.Collector {
	return &collector{s, prometheus.NewDesc("ron_transport_tls_info",
		"1; the label says which implementation of AES-GCM is in use.", []string{"aes_gcm"}, o.Labels)}
}

// Describe implements prometheus.Collector. Any goroutine.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. Any goroutine.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, 1, c.src.AESGCM().String())
}
