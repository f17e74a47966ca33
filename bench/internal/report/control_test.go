package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// cycle is one with these 99th percentiles, in the order A B B A.
func cycle(p99 ...float64) ControlCycle {
	w := func(v float64) ControlWindow {
		return ControlWindow{Latency: hist.Latency{Count: 100, P50: v / 10, P99: v, P999: 2 * v}}
	}
	return ControlCycle{Round: 1, Crowd: 1990, Crowded: [2]ControlWindow{w(p99[0]), w(p99[3])}, Free: [2]ControlWindow{w(p99[1]), w(p99[2])}}
}

func lorisOf(cycles ...ControlCycle) *Loris {
	l := &Loris{Hostile: 2000, Control: &Control{Cycles: cycles}, Memory: []LorisState{{RSS: 10 << 20, FDs: 20}, {RSS: 90 << 20, FDs: 2020, Conns: 2000}, {RSS: 12 << 20, FDs: 20}}}
	l.Rounds = []ContrastRound{{Quiet: hist.Latency{P99: 1}, Loud: hist.Latency{P99: 3}}}
	l.Summarise()
	l.Control.Summarise()
	return l
}

// The ratio of a cycle is that of both of its sides' means, the judged one the cycles' median; a drift of the machine from
// the first window to the last is in both sides alike.
func TestControl(t *testing.T) {
	l := lorisOf(cycle(1, 2, 3, 4), cycle(2, 1, 1, 2), cycle(3, 2, 2, 1))
	c := l.Control
	if c.P99 != 1 || c.P99Min != 1 || c.P99Max != 2 || c.Crowded.P99 != 2 || c.Free.P99 != 2 {
		t.Errorf("%+v", c)
	}
	var b bytes.Buffer
	l.text(&b)
	for _, want := range []string{"p99 crowded / free: 1 (median of the cycles' ratios, 1 to 2)", "1.3", "free"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
}

func TestJudgeLoris(t *testing.T) {
	verdicts := func(l *Loris) map[string]Verdict {
		out := map[string]Verdict{}
		for _, r := range JudgeLoris(l, 1.1, 4096) {
			out[r.ID] = r.Verdict
		}
		return out
	}
	for _, c := range []struct {
		name, id string
		spoil    func(l *Loris)
		want     Verdict
	}{
		{"as it is", "p99_ratio", func(*Loris) {}, Passed},
		{"the quiet windows are not judged", "p99_quiet_ratio", func(*Loris) {}, Info},
		{"slower", "p99_ratio", func(l *Loris) { l.Control.P99 = 1.11 }, Failed},
		{"nothing to compare", "p99_ratio", func(l *Loris) { l.Control.P99 = 0 }, Failed},
		{"a window without a request", "empty_windows", func(l *Loris) { l.Control.Cycles[0].Free[1].Latency.Count = 0 }, Failed},
		{"none", "empty_windows", func(*Loris) {}, Passed},
		{"the crowd was there", "crowd", func(*Loris) {}, Passed},
		{"half of it had left", "crowd", func(l *Loris) { l.Control.Cycles[0].Crowd = 1001 }, Failed},
		{"a request lost", "errors", func(l *Loris) { l.Load.Errors.Unanswered = 1 }, Failed},
		{"a request lost on the free server", "errors", func(l *Loris) { l.Control.Load.Errors.ConnLost = 1 }, Failed},
		{"2 MiB of 2,000", "memory_back", func(*Loris) {}, Passed},
		{"20 MiB of 2,000", "memory_back", func(l *Loris) { l.Memory[2].RSS = 30 << 20 }, Failed},
		{"20 MiB of few", "memory_back", func(l *Loris) { l.Memory[2].RSS, l.Memory[1].Conns = 30<<20, 999 }, Info},
		{"a descriptor left", "descriptors_back", func(l *Loris) { l.Memory[2].FDs++ }, Failed},
		{"a report of an earlier version", "p99_ratio", func(l *Loris) { l.Control = nil }, ""},
	} {
		l := lorisOf(cycle(1, 1, 1, 1))
		c.spoil(l)
		if got := verdicts(l)[c.id]; got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.name, c.id, got, c.want)
		}
	}
}

func TestErrorsAreNamed(t *testing.T) {
	e := Errors{Unanswered: 2, Rejected503: 1}
	if got := e.String(); got != "3 (2 unanswered, 1 503)" {
		t.Error(got)
	}
	if got := (&Errors{FirstError: "x"}).String(); got != "0" {
		t.Error(got)
	}
}
