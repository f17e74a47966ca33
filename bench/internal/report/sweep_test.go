package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// points are rounds whose rate is as given; every other figure is a fixed part of it.
func points(rates ...float64) []SweepPoint {
	var out []SweepPoint
	for _, r := range rates {
		out = append(out, SweepPoint{Rate: r, CPU: 1e6 / r, Writes: 0.5, Reads: 0.25, P50: 1, P99: 2, Memory: 20 << 20})
	}
	return out
}

func sweeps() []Sweep {
	out := []Sweep{
		{Knob: "size", Load: "frames in a load", Unit: "frame", Figure: "rate", Reference: "64 KiB", Why: "the default", Values: []SweepValue{
			{Name: "1 KiB", Flags: []string{"--size=1024"}, Rounds: points(100, 110, 90), Proof: "1 KiB each"},
			{Name: "64 KiB", Rounds: points(1000, 1200, 1100), Proof: "64 KiB each"},
			{Name: "80 KiB", Rounds: points(1050, 1250, 1150), Proof: "80 KiB each"}, // ahead in every round, and within the noise
			{Name: "128 KiB", Rounds: points(2000, 2200, 2400), Proof: "128 KiB each"},
		}},
		{Knob: "dull", Load: "another load", Unit: "handshake", Figure: "p99", Reference: "on", Why: "the default", Values: []SweepValue{
			{Name: "on", Rounds: points(100, 100, 100), Proof: "it is on"}, {Name: "off", Rounds: points(100, 100, 100), Proof: "it is off"},
		}},
	}
	for i := range out {
		out[i].Summarise()
	}
	return out
}

func TestSweepTellsDifferencesFromNoise(t *testing.T) {
	all := sweeps()
	for i, want := range []Effect{Smaller, Reference, NoEffect, Larger} {
		if v := &all[0].Values[i]; v.Effect != want {
			t.Errorf("%s: %q, want %q (%+v)", v.Name, v.Effect, want, v)
		}
	}
	if v := &all[0].Values[0]; v.Ratio < 0.0908 || v.Ratio > 0.0910 || v.RatioMin < 0.0817 || v.RatioMin > 0.0819 || v.RatioMax != 0.1 {
		t.Errorf("100 against 1,100: %v (%v–%v)", v.Ratio, v.RatioMin, v.RatioMax)
	}
	if e := all[1].Values[1].Effect; e != NoEffect {
		t.Errorf("equal figures: %q", e)
	}
	few := Sweep{Figure: "rate", Reference: "a", Values: []SweepValue{{Name: "a", Rounds: points(1, 1)}, {Name: "b", Rounds: points(9, 9)}}}
	few.Summarise()
	if e := few.Values[1].Effect; e != TooFew {
		t.Errorf("two rounds: %q", e)
	}
	small := Sweep{Figure: "rate", Reference: "a", Values: []SweepValue{{Name: "a", Rounds: points(1000, 1000, 1000)}, {Name: "b", Rounds: points(1001, 1001, 1001)}}}
	small.Summarise()
	if e := small.Values[1].Effect; e != NoEffect {
		t.Errorf("a thousandth more in every round: %q", e)
	}
	none := Sweep{Figure: "p50", Reference: "a", Values: []SweepValue{{Name: "a", Rounds: make([]SweepPoint, 3)}, {Name: "b", Rounds: make([]SweepPoint, 3)}}}
	none.Summarise()
	if e := none.Values[1].Effect; e != NotHad {
		t.Errorf("a figure that was not measured: %q", e)
	}
}

func TestTextOfSweep(t *testing.T) {
	r := sample()
	all := sweeps()
	all[1].Values[1].Rounds[0].Errors = 2
	all[1].Summarise()
	r.Kind, r.Phases, r.Server, r.SLO, r.SLOTargets, r.Sweep = KindSweep, nil, nil, JudgeSweep(all), "", all
	if AllPass(r.SLO) {
		t.Error("two errors pass")
	}
	var b bytes.Buffer
	r.Text(&b)
	golden(t, "sweep.txt", b.Bytes())
	b.Reset()
	sweepText(&b, all[:1])
	if strings.Contains(b.String(), "what each knob does") {
		t.Error("one knob needs no summary")
	}
}

func TestFigureNames(t *testing.T) {
	names := FigureNames()
	if want := []string{"rate", "cpu", "writes", "reads", "p50", "p99", "memory"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q: they are in reports", names, want)
	}
}
