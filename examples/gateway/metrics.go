package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	framermetrics "github.com/ron-transport/ron-transport/framer/metrics"
	quicmetrics "github.com/ron-transport/ron-transport/quic/metrics"
	reactormetrics "github.com/ron-transport/ron-transport/reactor/metrics"
	tormetrics "github.com/ron-transport/ron-transport/tor/metrics"
)

// registry is what /metrics shows: the library's metrics of all that is on, the process' own, and the gateway's. No label names a peer.
func (a *app) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), reactormetrics.New(a.loops, reactormetrics.Options{}), &ownMetrics{a: a})
	frames := func(name string) {
		r.MustRegister(framermetrics.New(&a.ends[name].stats, framermetrics.Options{Labels: prometheus.Labels{"transport": name}}))
	}
	if a.tls != nil {
		frames("tls")
	}
	if a.quic != nil {
		frames("quic")
		r.MustRegister(quicmetrics.New(a.quic, quicmetrics.Options{}))
	}
	if a.onion != nil {
		frames("tor")
		r.MustRegister(tormetrics.New(a.tor, tormetrics.Options{}))
	}
	return r
}

// ownMetrics are what only the gateway knows.
type ownMetrics struct{ a *app }

var (
	readinessDesc = prometheus.NewDesc("ron_gateway_readiness", "Readiness of a transport: 0 not ready, 1 degraded, 2 ready.", []string{"transport"}, nil)
	expiryDesc    = prometheus.NewDesc("ron_gateway_certificate_expiry_timestamp_seconds", "When the certificate in use ends.", nil, nil)
	drainingDesc  = prometheus.NewDesc("ron_gateway_draining", "1 while the gateway drains.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *ownMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- readinessDesc
	ch <- expiryDesc
	ch <- drainingDesc
}

// Collect implements prometheus.Collector.
func (m *ownMetrics) Collect(ch chan<- prometheus.Metric) {
	rep := m.a.report()
	for name, t := range rep.Transports {
		ch <- prometheus.MustNewConstMetric(readinessDesc, prometheus.GaugeValue, float64(t.State), name)
	}
	if m.a.store != nil {
		ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(m.a.store.Stats().Pairs[0].NotAfter.Unix()))
	}
	draining := 0.0
	if rep.Draining {
		draining = 1
	}
	ch <- prometheus.MustNewConstMetric(drainingDesc, prometheus.GaugeValue, draining)
}
