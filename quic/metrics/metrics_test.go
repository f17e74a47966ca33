package metrics

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ron-transport/ron-transport/pool/latency"
	"github.com/ron-transport/ron-transport/quic"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt anew; a change of it breaks dashboards and alerts")

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
	s.Full, s.Resumed, s.Early = snapshot(3), snapshot(4), snapshot(5)
	s.KeyExchanges = map[string]uint64{"X25519MLKEM768": 8, "P-256": 1}
	return s
}

// snapshot has n durations of 3 ms and one of a minute.
func snapshot(n uint64) (s latency.Snapshot) {
	var h latency.Histogram
	for range n {
		h.Observe(3 * time.Millisecond)
	}
	h.Observe(time.Minute)
	h.AddTo(&s)
	return s
}

// TestGolden freezes names, labels, types and help, and shows which figure is where.
func TestGolden(t *testing.T) {
	c := New(source{}, Options{Side: "server"})
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(c)
		if err := prometheus.WriteToTextfile(golden, r); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	if err := testutil.CollectAndCompare(c, want); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// TestLabels: labels of the user's come to every metric, and those that are taken are refused.
func TestLabels(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(New(source{}, Options{Side: "client", Labels: prometheus.Labels{"node": "a"}})); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil || len(families) == 0 {
		t.Fatal(len(families), err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			found := false
			for _, l := range m.Label {
				found = found || l.GetName() == "node" && l.GetValue() == "a"
			}
			if !found {
				t.Errorf("%s has labels %v, want node among them", f.GetName(), m.Label)
			}
		}
	}
	for _, name := range []string{"transport", "side", "kind", "group", ""} {
		if err := prometheus.NewRegistry().Register(New(source{}, Options{Side: "client", Labels: prometheus.Labels{name: "x"}})); err == nil {
			t.Errorf("the label %q was accepted", name)
		}
	}
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
