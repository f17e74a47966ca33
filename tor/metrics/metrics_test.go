package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/reactor/metrics/metricstest"
	"github.com/ron-transport/ron-transport/tor"
)

// source has a value of its own for everything.
type source struct{}

func (source) Status() tor.Status {
	return tor.Status{State: tor.Degraded, Progress: 85, Services: 3, Published: 2, Starts: 4, Links: 5}
}

// TestGolden freezes names, labels, types and help, and shows which figure is where.
func TestGolden(t *testing.T) { metricstest.Golden(t, New(source{}, Options{})) }

// TestLabels: labels of the user's come to every metric, and those that are taken are refused.
func TestLabels(t *testing.T) {
	metricstest.Labels(t, func(l prometheus.Labels) prometheus.Collector { return New(source{}, Options{Labels: l}) }, "state")
}
