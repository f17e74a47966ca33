// Package metricstest is what the tests of all collectors share. Only tests import it.
package metricstest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ron-transport/ron-transport/pool/latency"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt anew; a change of it breaks dashboards and alerts")

// Golden holds that c shows what testdata/metrics.txt of the package under test has: names, labels, types, help, and which figure is where. It
// also has Prometheus' own tool look at c. The test's goroutine.
func Golden(t *testing.T, c prometheus.Collector) {
	t.Helper()
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

// Labels holds that labels of the user's, with which collector makes one, come to every metric, and that each of taken is refused, and a label
// without a name. The test's goroutine.
func Labels(t *testing.T, collector func(prometheus.Labels) prometheus.Collector, taken ...string) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(collector(prometheus.Labels{"node": "a"})); err != nil {
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
	for _, name := range append(taken, "") {
		if err := prometheus.NewRegistry().Register(collector(prometheus.Labels{name: "x"})); err == nil {
			t.Errorf("the label %q was accepted", name)
		}
	}
}

// Durations has n durations of 3 ms and one of a minute. Any goroutine.
func Durations(n uint64) (s latency.Snapshot) {
	var h latency.Histogram
	for range n {
		h.Observe(3 * time.Millisecond)
	}
	h.Observe(time.Minute)
	h.AddTo(&s)
	return s
}
