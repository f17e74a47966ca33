package metrics

import (
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/reactor/metrics/metricstest"
)

// source gives every counter a value of its own, in the order of the fields.
type source struct{}

func (source) Stats() (s reactor.Stats) {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64:
			f.SetInt(int64(1000 + i))
		case reflect.Uint64:
			f.SetUint(uint64(1000 + i))
		}
	}
	s.ClosedBy = map[string]uint64{"bad_frame": 1, "idle_timeout": 2}
	s.Turns = metricstest.Durations(3)
	s.Accept = reactor.Handshaken{Full: metricstest.Durations(4), Resumed: metricstest.Durations(5), KeyExchanges: map[string]uint64{"X25519MLKEM768": 8, "P-256": 1}}
	s.Dial = reactor.Handshaken{Full: metricstest.Durations(6), Resumed: metricstest.Durations(7), KeyExchanges: map[string]uint64{"X25519": 13}}
	return s
}

// TestGolden freezes names, labels, types and help, and shows which figure is where.
func TestGolden(t *testing.T) { metricstest.Golden(t, New(source{}, Options{})) }

// TestLabels: labels of the user's come to every metric, and those that are taken are refused.
func TestLabels(t *testing.T) {
	metricstest.Labels(t, func(l prometheus.Labels) prometheus.Collector { return New(source{}, Options{Labels: l}) }, "reason", "transport", "side", "kind", "group")
}
