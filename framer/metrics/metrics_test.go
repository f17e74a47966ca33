package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/pool/latency"
	"github.com/ron-transport/ron-transport/reactor/metrics/metricstest"
)

// source has a value of its own for everything.
type source struct{}

func (source) Counters() framer.Counters {
	c := new(framer.Stats).Counters() // every status and reason
	c.Frames, c.Inflight = 1001, 1002
	for status := range c.Responses {
		c.Responses[status] = 2000 + uint64(status)
	}
	for reason := range c.Rejected {
		c.Rejected[reason] = 3000 + uint64(reason)
	}
	var h latency.Histogram
	h.ObserveZero(7)
	h.Observe(3 * time.Millisecond)
	h.Observe(time.Minute)
	h.AddTo(&c.Held)
	return c
}

// TestGolden freezes names, labels, types and help, and shows which figure is where.
func TestGolden(t *testing.T) { metricstest.Golden(t, New(source{}, Options{})) }

// TestLabels: labels of the user's come to every metric, and those that are taken are refused.
func TestLabels(t *testing.T) {
	metricstest.Labels(t, func(l prometheus.Labels) prometheus.Collector { return New(source{}, Options{Labels: l}) }, "status", "reason")
}
