package html

import (
	"slices"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// A soak has its series over time, those that were sampled together in one drawing, with the band and where it was resumed.
func TestSoak(t *testing.T) {
	p, err := build(sampleSoak())
	if err != nil || p.Soak == nil {
		t.Fatal(err)
	}
	titles := make(map[string]*chart)
	for _, c := range p.Soak.Charts {
		titles[c.Title] = c
		for _, l := range c.Lines {
			if len(l.Y) != len(c.X) {
				t.Errorf("%s: %s has %d figures of %d moments", c.Title, l.Name, len(l.Y), len(c.X))
			}
		}
		if len(c.Marks) != 3 || c.Marks[1] != (mark{2000, "resumed"}) || c.Marks[2].At != 2900 || !strings.Contains(c.Words, "resumed") {
			t.Errorf("%s: %+v", c.Title, c.Marks)
		}
	}
	rss := titles["Memory, resident"]
	if rss == nil || len(rss.Lines) != 4 || rss.Unit != unitBytes {
		t.Fatalf("%+v", titles)
	}
	colors := make(map[int]bool)
	for _, l := range rss.Lines {
		colors[l.Color] = true
	}
	if len(colors) != 4 {
		t.Errorf("colours %v", colors)
	}
	cpu := titles["CPU, per cent of all cores; the band is marked"]
	if cpu == nil || !slices.Equal(cpu.Band, []float64{60, 70}) || len(cpu.Lines) != 2 || !strings.Contains(cpu.Words, "Band: from 60 to 70") {
		t.Errorf("%+v", cpu)
	}
	for _, want := range []string{"p99 of each life of a group of connections, ms: tls", "p99 of each life of a group of connections, ms: tor", "Requests due per second"} {
		if titles[want] == nil {
			t.Errorf("no %q", want)
		}
	}
	page := render(t, sampleSoak())
	for _, want := range []string{"✗ leak", "✓ steady", "samples are too few; 24 are needed", "resumed a session", "22", "soaked 1h30m0s of 1h30m0s"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// A soak that ended before its first sample has a page all the same; a damaged one is refused.
func TestSoakWithoutSeries(t *testing.T) {
	r := blank(report.KindSoak)
	r.Soak = &report.Soak{DurationS: 60, Segments: []float64{0}, Broken: "a server died"}
	r.SLO = report.JudgeSoak(r.Soak, report.TargetsFor(r.MeasuredOn))
	if page := render(t, r); !strings.Contains(page, "a server died") {
		t.Error("the page does not say what broke")
	}
	r.Soak.Judge = []report.SoakSeries{{Name: "x rss", T: []float64{1}}}
	if _, err := build(r); err == nil || !strings.Contains(err.Error(), "x rss") {
		t.Errorf("a damaged series: %v", err)
	}
}
