package metrics

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ron-transport/ron-transport/reactor/metrics/metricstest"
	"github.com/ron-transport/ron-transport/tls/certs"
)

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
func TestGolden(t *testing.T) { metricstest.Golden(t, New(source{}, Options{})) }

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
	metricstest.Labels(t, func(l prometheus.Labels) prometheus.Collector { return New(source{}, Options{Labels: l}) }, "pair")
}
