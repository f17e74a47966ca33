package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ron-transport/ron-transport/reactor/metrics/metricstest"
	"github.com/ron-transport/ron-transport/tls"
)

type source tls.AESGCM

func (s source) AESGCM() tls.AESGCM { return tls.AESGCM(s) }

// TestGolden freezes name, label, type and help.
func TestGolden(t *testing.T) { metricstest.Golden(t, New(source(tls.AESGCMAVX512), Options{})) }

// TestTwo: labels tell two servers apart, and their names must be names.
func TestTwo(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "b"} {
		if err := r.Register(New(source(tls.AESGCMGo), Options{Labels: prometheus.Labels{"server": name}})); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := testutil.GatherAndCount(r, "ron_transport_tls_info"); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := r.Register(New(source(tls.AESGCMGo), Options{Labels: prometheus.Labels{"aes_gcm": "x"}})); err == nil {
		t.Error("a label that the metric has already is taken")
	}
}
