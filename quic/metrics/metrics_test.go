package metrics

import (
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor/metrics/metricstest"
)

// source gives every counter a value of its own, in the order of the fields.
type source struct{}

func (source) Stats() (s quic.Stats) {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(1000 + i))
		case reflect.Uint64:
			f.SetUint(uint64(1000 + i))
		}
	}
	s.Full, s.Resumed, s.Early = metricstest.Durations(3), metricstest.Durations(4), metricstest.Durations(5)
	s.KeyExchanges = map[string]uint64{"X25519MLKEM768": 8, "P-256": 1}
	return s
}

// TestGolden freezes names, labels, types and help, and shows which figure is where.
func TestGolden(t *testing.T) { metricstest.Golden(t, New(source{}, Options{Side: "server"})) }

// TestLabels: labels of the user's come to every metric, and those that are taken are refused.
func TestLabels(t *testing.T) {
	metricstest.Labels(t, func(l prometheus.Labels) prometheus.Collector {
		return New(source{}, Options{Side: "client", Labels: l})
	}, "transport", "side", "kind", "group")
}

// TestSide: the label tells listeners from dialers, also those that are behind a Source of the user's, who must say which it is.
func TestSide(t *testing.T) {
	for _, v := range []struct {
		src  Source
		side string
		want string // "": refused
	}{
		{(*quic.Listener)(nil), "", "server"}, {(*quic.Dialer)(nil), "", "client"},
		{source{}, "server", "server"}, {source{}, "client", "client"}, {(*quic.Dialer)(nil), "server", "server"},
		{source{}, "", ""}, {source{}, "both", ""}, {(*quic.Listener)(nil), "Server", ""},
	} {
		c := New(v.src, Options{Side: v.side})
		if err := prometheus.NewRegistry().Register(c); (err == nil) != (v.want != "") {
			t.Errorf("%T, Side %q: %v", v.src, v.side, err)
		}
		ch := make(chan *prometheus.Desc, 100)
		c.Describe(ch)
		for close(ch); v.want != ""; {
			d, more := <-ch
			if !more {
				break
			}
			if !strings.Contains(d.String(), `side="`+v.want+`"`) {
				t.Errorf("%T, Side %q: %v", v.src, v.side, d)
			}
		}
	}
}
