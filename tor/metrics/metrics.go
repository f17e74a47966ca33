// Package metrics shows how a Tor is doing to Prometheus. docs/metrics.md lists the names and labels, which are frozen. No label names a
// peer or an onion address.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/tor"
)

// Source is what is shown; *tor.Tor is one. Status is called once per scrape, on the scraper's goroutine.
type Source interface{ Status() tor.Status }

// Options configures the collector. The zero value is valid.
type Options struct {
	// Labels are added to every metric, to tell several tors of a process apart. They must name no peers and no onion addresses. A name
	// that a metric has already, or that is none, is an error of the registration. nil: none.
	Labels prometheus.Labels
}

// collector implements prometheus.Collector.
type collector struct {
	src                                                 Source
	progress, published, services, state, starts, links *prometheus.Desc
}

// New makes a collector of t's metrics, to be registered once. It holds nothing that must be closed. Any goroutine.
func New(t Source, o Options) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ron_transport_"+name, help, labels, o.Labels)
	}
	return &collector{
		src:       t,
		progress:  desc("tor_bootstrap_progress", "How far tor has bootstrapped, 0 to 100 per cent."),
		published: desc("tor_descriptor_published", "Onion services whose descriptor is published, so that they can be found."),
		services:  desc("tor_services", "Onion services that there are."),
		state:     desc("tor_state", "1 for the state that tor is in, 0 for the others.", "state"),
		starts:    desc("tor_starts_total", "How often the tor of ours was started."),
		links:     desc("tor_links_total", "How often the control connection was made."),
	}
}

// Describe implements prometheus.Collector. Any goroutine.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.progress, c.published, c.services, c.state, c.starts, c.links} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Any goroutine.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.src.Status()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(c.progress, s.Progress)
	gauge(c.published, s.Published)
	gauge(c.services, s.Services)
	for _, state := range []tor.State{tor.NotReady, tor.Degraded, tor.Ready} {
		v := 0
		if s.State == state {
			v = 1
		}
		gauge(c.state, v, word(state))
	}
	ch <- prometheus.MustNewConstMetric(c.starts, prometheus.CounterValue, float64(s.Starts))
	ch <- prometheus.MustNewConstMetric(c.links, prometheus.CounterValue, float64(s.Links))
}

// word is the label of a state.
func word(s tor.State) string {
	switch s {
	case tor.Ready:
		return "ready"
	case tor.Degraded:
		return "degraded"
	}
	return "not_ready"
}
