package metrics

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ron-transport/ron-transport/tls/certs"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt anew; a change of it breaks dashboards and alerts")

// source has a value of its own for everything: one certificate with a staple, one in trouble.
type source struct{}

func (source) Stats() certs.Stats {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	return certs.Stats{
		Pairs: []certs.PairStats{
			{NotAfter: at(1001), Loaded: at(1002), MustStaple: true, Stapled: true, StapleAge: 3 * time.Second, StapleExpires: at(1004)},
			{NotAfter: at(1005), Loaded: at(1006), LoadError: errors.New("no key"), Revoked: true},
		},
		Reloads: 7, ReloadFailures: 8, Fetches: 9, FetchFailures: 10, TicketChanges: 11, TicketFailures: 12,
		TicketKeys: 13, TicketKeyAge: 14 * time.Second, NextRotation: at(1015), TicketsStale: true, TicketError: errors.New("no file"),
	}
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

// nothing is a store that has attached no server, and whose owner is another node.
type nothing struct{}

func (nothing) Stats() certs.Stats {
	return certs.Stats{Pairs: []certs.PairStats{{NotAfter: time.Unix(1, 0)}}}
}

// TestAbsent: ages and times of what is not there are left out, and not shown as 0.
func TestAbsent(t *testing.T) {
	for _, name := range []string{"certificate_staple_age_seconds", "certificate_staple_expiry_timestamp_seconds", "ticket_key_age_seconds", "ticket_key_rotation_timestamp_seconds"} {
		if n := testutil.CollectAndCount(New(nothing{}, Options{}), "ron_transport_"+name); n != 0 {
			t.Errorf("%s is shown %d times", name, n)
		}
	}
	if n := testutil.CollectAndCount(New(nothing{}, Options{}), "ron_transport_certificate_stapled"); n != 1 {
		t.Errorf("certificate_stapled is shown %d times, want once", n)
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
	for _, name := range []string{"pair", ""} {
		if err := prometheus.NewRegistry().Register(New(source{}, Options{Labels: prometheus.Labels{name: "x"}})); err == nil {
			t.Errorf("the label %q was accepted", name)
		}
	}
}
