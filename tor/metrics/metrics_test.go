package metrics

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ron-transport/ron-transport/tor"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt anew; a change of it breaks dashboards and alerts")

// source has a value of its own for everything.
type source struct{}

func (source) Status() tor.Status {
	return tor.Status{State: tor.Degraded, Progress: 85, Services: 3, Published: 2, Starts: 4, Links: 5}
}

// TestGolden freezes names, labels, types and help, and shows which figure is where.
func TestGolden(t *testing.T) {
	c := New(source{}, Options{})
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
	if err := r.Register(New(source{}, Options{Labels: prometheus.Labels{"node": "a"}})); err != nil {
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
	for _, name := range []string{"state", ""} {
		if err := prometheus.NewRegistry().Register(New(source{}, Options{Labels: prometheus.Labels{name: "x"}})); err == nil {
			t.Errorf("the label %q was accepted", name)
		}
	}
}
