package main

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	framermetrics "github.com/ron-transport/ron-transport/framer/metrics"
	quicmetrics "github.com/ron-transport/ron-transport/quic/metrics"
	reactormetrics "github.com/ron-transport/ron-transport/reactor/metrics"
	certmetrics "github.com/ron-transport/ron-transport/tls/certs/metrics"
	tlsmetrics "github.com/ron-transport/ron-transport/tls/metrics"
	tormetrics "github.com/ron-transport/ron-transport/tor/metrics"
)

// registry is what /metrics shows: the library's metrics of all that is on, the process' own, and the gateway's. No label names a peer.
func (a *app) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), reactormetrics.New(a.loops, reactormetrics.Options{}), &ownMetrics{a: a})
	frames := func(name string) {
		r.MustRegister(framermetrics.New(&a.ends[name].stats, framermetrics.Options{Labels: prometheus.Labels{"transport": name}}))
	}
	if a.store != nil {
		r.MustRegister(certmetrics.New(a.store, certmetrics.Options{}))
	}
	if a.tls != nil {
		frames("tls")
		r.MustRegister(tlsmetrics.New(a.server, tlsmetrics.Options{}))
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
	drainingDesc  = prometheus.NewDesc("ron_gateway_draining", "1 while the gateway drains.", nil, nil)
	requestsDesc  = prometheus.NewDesc("ron_gateway_upstream_requests_total", "Requests and streams to be forwarded.", nil, nil)
	retriesDesc   = prometheus.NewDesc("ron_gateway_upstream_retries_total", "Tries of forwarded requests after the first.", nil, nil)
	failuresDesc  = prometheus.NewDesc("ron_gateway_upstream_failures_total", "Requests to be forwarded that the gateway has answered with an error itself.", []string{"cause"}, nil)
	linksDesc     = prometheus.NewDesc("ron_gateway_upstream_connections_total", "Connections to upstreams that became open.", nil, nil)
	lostDesc      = prometheus.NewDesc("ron_gateway_upstream_connections_failed_total", "Connections to upstreams that failed or could not be made.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *ownMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readinessDesc, drainingDesc, requestsDesc, retriesDesc, failuresDesc, linksDesc, lostDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *ownMetrics) Collect(ch chan<- prometheus.Metric) {
	rep := m.a.report()
	for name, t := range rep.Transports {
		ch <- prometheus.MustNewConstMetric(readinessDesc, prometheus.GaugeValue, float64(t.State), name)
	}
	draining := 0.0
	if rep.Draining {
		draining = 1
	}
	ch <- prometheus.MustNewConstMetric(drainingDesc, prometheus.GaugeValue, draining)
	n := &m.a.gw.counts
	counter := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), labels...)
	}
	counter(requestsDesc, &n.requests)
	counter(retriesDesc, &n.retries)
	for f := range numFailures {
		counter(failuresDesc, &n.failures[f], f.String())
	}
	counter(linksDesc, &n.links)
	counter(lostDesc, &n.linksLost)
}
