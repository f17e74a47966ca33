// Package metrics shows the counters of framer's endpoints to Prometheus. Everything is made when it is scraped, from a snapshot: the
// sessions pay nothing for it. docs/metrics.md lists the names and labels, which are frozen. No label ever names a peer.
package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/framer"
)

// Source is what is shown; *framer.Stats is one. Counters is called once per scrape, on the scraper's goroutine.
type Source interface{ Counters() framer.Counters }

// Options configures the collector. The zero value is valid.
type Options struct {
	// Labels are added to every metric, as {"transport": "quic"} where each transport has an endpoint of its own. They must not name
	// peers. A name that a metric has already, or that is none, is an error of the registration. nil: none.
	Labels prometheus.Labels
}

// collector implements prometheus.Collector.
type collector struct {
	src                                            Source
	frames, responses, rejected, inflight, latency *prometheus.Desc
}

// New makes a collector of s's metrics, to be registered once. It holds nothing that must be closed. Any goroutine.
func New(s Source, o Options) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ron_transport_"+name, help, labels, o.Labels)
	}
	return &collector{
		src:       s,
		frames:    desc("frames_received_total", "Frames received, also those that were refused."),
		responses: desc("responses_total", "Responses sent, by status.", "status"),
		rejected:  desc("rejected_total", "Frames and connections rejected with an error reply, by reason of the canon.", "reason"),
		inflight:  desc("inflight_frames", "Frames that handlers hold and have not answered."),
		latency:   desc("request_latency_seconds", "How long requests were held, from their delivery to the answer."),
	}
}

// Describe implements prometheus.Collector. Any goroutine.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.frames, c.responses, c.rejected, c.inflight, c.latency} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Any goroutine.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	n := c.src.Counters()
	ch <- prometheus.MustNewConstMetric(c.frames, prometheus.CounterValue, float64(n.Frames))
	for status, v := range n.Responses { // all there are: an increase from nothing would not be seen
		ch <- prometheus.MustNewConstMetric(c.responses, prometheus.CounterValue, float64(v), word(status))
	}
	for reason, v := range n.Rejected {
		ch <- prometheus.MustNewConstMetric(c.rejected, prometheus.CounterValue, float64(v), reason.String())
	}
	ch <- prometheus.MustNewConstMetric(c.inflight, prometheus.GaugeValue, float64(n.Inflight))
	ch <- prometheus.MustNewConstHistogram(c.latency, n.Held.Count(), n.Held.Sum.Seconds(), n.Held.Cumulative())
}

// word is the label of a status.
func word(status uint16) string {
	if status == 0 {
		return "other"
	}
	return strconv.Itoa(int(status))
}
