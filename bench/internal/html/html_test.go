package html

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

func render(t *testing.T, r *report.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func samples() map[string]*report.Report {
	return map[string]*report.Report{"run": sampleRun(), "peers": samplePeers(), "sweep": sampleSweep(), "soak": sampleSoak(), "rest": sampleRest(), "empty": blank(report.KindClient)}
}

// fetches finds what would make a browser ask for something.
var fetches = regexp.MustCompile(`(?i)(src|href)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import|<(link|iframe|object|embed|img)\b`)

func TestPageNeedsNothing(t *testing.T) {
	for name, r := range samples() {
		page := render(t, r)
		if found := fetches.FindString(page); found != "" {
			t.Errorf("%s: the page has %q", name, found)
		}
		if !strings.Contains(page, "Permission is hereby granted") {
			t.Errorf("%s: the page has uPlot without its licence", name)
		}
	}
	for _, bad := range []string{`<script src="https://example.invalid/x.js">`, `<a href=//example.invalid>`, `a{background:url(http://example.invalid/x)}`, `@import "x"`, `<link rel=x>`} {
		if !fetches.MatchString(bad) {
			t.Errorf("the check does not find %s", bad)
		}
	}
}

// Whatever a report says stays text.
func TestPageEscapes(t *testing.T) {
	evil := `</script><script>alert(1)</script><img src=x onerror=alert(2)>"'` + "`${1}\u2028"
	r := sampleRun()
	r.Command = []string{"ronbench", evil}
	r.MeasuredOn.CPUModel, r.Phases[0].Name, r.SLO[0].What, r.SLO[0].Why, r.Phases[1].Errors.FirstError = evil, evil, evil, evil, evil
	r.Server.Knobs[0].Value, r.Server.Rejected[evil] = evil, 1
	s := sampleSweep()
	s.Sweep[0].Knob, s.Sweep[0].Values[0].Name, s.Sweep[0].Unit = evil, evil, evil
	p := samplePeers()
	p.Compare[0].PeerName, p.LeftOut[0].Reason = evil, evil
	k := sampleSoak()
	k.Soak.Mix, k.Soak.Judge[0].Name, k.Soak.Loads[0].Failed = evil, evil+" rss", evil
	for _, r := range []*report.Report{r, s, p, k} {
		page := render(t, r)
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img src=x") {
			t.Errorf("%s: a string of the report has become markup", r.Kind)
		}
		if got, want := strings.Count(page, "</script"), strings.Count(render(t, blank(report.KindRun)), "</script"); got != want {
			t.Errorf("%s: %d ends of scripts, want %d", r.Kind, got, want)
		}
		if !strings.Contains(page, "&lt;/script&gt;") {
			t.Errorf("%s: the string is not shown", r.Kind)
		}
	}
	var charts []chart // and the script gets the very string
	block := regexp.MustCompile(`(?s)id="charts">(.*?)</script>`).FindStringSubmatch(render(t, s))
	if err := json.Unmarshal([]byte(block[1]), &charts); err != nil || charts[0].XNames[0] != evil {
		t.Errorf("%v: %+v", err, charts)
	}
}

// A report without series, as one of an earlier version, has the rest.
func TestPageWithoutSeries(t *testing.T) {
	r := sampleRun()
	for i := range r.Phases {
		r.Phases[i].Series, r.Phases[i].Curve = nil, nil
	}
	r.Server.Knobs, r.Phases[0].ServerUse, r.Phases[0].Limit = nil, nil, nil
	p, err := build(r)
	if err != nil || len(p.Charts) != 0 || len(p.Knobs) != 0 || len(p.Phases) != 2 || !p.Phases[0].Bare || !p.Plain {
		t.Errorf("%v: %+v", err, p)
	}
	if page := render(t, r); !strings.Contains(page, "no series") || !strings.Contains(page, "15,000") {
		t.Error("the page says nothing of the series, or lacks the figures")
	}
}

// What a phase does not have is no line and no chart: a zero would look like a figure.
func TestChartsOfWhatIsThere(t *testing.T) {
	r := sampleRun()
	p := &r.Phases[0]
	for i := range p.Series.Points {
		q := &p.Series.Points[i]
		q.ServerCPU, q.ServerRSS, q.ServerFDs = 0, 0, 0
	}
	p.Series.Points[3].Replies, p.Series.Points[3].P50, p.Series.Points[3].P99, p.Series.Points[3].MaxMS = 0, 0, 0, 0
	b := &builder{count: make(map[string]int)}
	got := b.phase(p)
	titles := map[string]*chart{}
	for _, c := range got.Charts {
		titles[c.Title] = c
	}
	if titles["File descriptors of the server"] != nil || len(titles["CPU, cores busy"].Lines) != 1 || len(titles["Memory, resident"].Lines) != 1 {
		t.Errorf("charts of a server that was not measured: %+v", titles)
	}
	latency := titles["Latency, ms"]
	if !math.IsNaN(latency.Lines[0].Y[3]) || math.IsNaN(latency.Lines[0].Y[2]) {
		t.Errorf("an interval without replies is no gap: %v", latency.Lines[0].Y)
	}
	if j, err := json.Marshal(latency.Lines[0].Y[2:4]); err != nil || !strings.HasSuffix(string(j), ",null]") {
		t.Errorf("%s, %v", j, err)
	}
	curve := titles["Latency by percentile, ms"]
	last := len(curve.X) - 1
	if curve.X[0] != 1 || curve.X[last] != float64(p.Latency.Count) || curve.Lines[0].Y[last] != 25.6 {
		t.Errorf("the curve goes from %v to %v, %v", curve.X[0], curve.X[last], curve.Lines[0].Y[last])
	}
	for _, want := range []string{"p50: from 0.", "largest: from", "ms"} {
		if !strings.Contains(latency.Words, want) {
			t.Errorf("the words %q lack %q", latency.Words, want)
		}
	}
	if !strings.Contains(curve.Words, "25.6 ms at 100 %") {
		t.Errorf("the words of the curve: %q", curve.Words)
	}
}

func TestVerdict(t *testing.T) {
	if v := judge(sampleRun()); v.Class != "fail" || !strings.Contains(v.Text, "1 of 11") {
		t.Errorf("a run with a missed target: %+v", v)
	}
	r := sampleRun()
	r.SLO, r.Pass = r.SLO[:3], true
	if v := judge(r); v.Class != "pass" || !strings.Contains(v.Text, "all 3") {
		t.Errorf("a run that has passed: %+v", v)
	}
	if v := judge(sampleRest()); v.Class != "fail" || !strings.Contains(v.Text, "1 of 1") {
		t.Errorf("a check with a breached gate: %+v", v)
	}
	if v := judge(sampleSweep()); v.Class != "none" {
		t.Errorf("a sweep: %+v", v)
	}
}

func TestKnobValue(t *testing.T) {
	for want, k := range map[string]report.Knob{
		"1 MiB": {Value: "1048576", Unit: "bytes"}, "0 bytes": {Value: "0", Unit: "bytes"}, "64 frames": {Value: "64", Unit: "frames"}, "bbr": {Value: "bbr"}, "": {},
	} {
		if got := knobValue(k); got != want {
			t.Errorf("%+v is shown as %q, want %q", k, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	p, err := build(samplePeers())
	if err != nil {
		t.Fatal(err)
	}
	w := p.Comparison.Workloads
	if len(w) != 3 || len(w[0].Bars[0].Rows) != 4 || !w[0].Bars[0].Rows[0].Ours || w[0].Bars[0].Rows[1].Ours {
		t.Fatalf("%+v", w)
	}
	for _, g := range w[0].Bars {
		for _, b := range g.Rows {
			if b.Len <= 0 || b.Len > 100 || b.High > 100 || b.Low > b.High {
				t.Errorf("%s: %+v", g.Title, b)
			}
		}
	}
	missed := 0
	for _, d := range p.Comparison.Ratios[0].Rows {
		if d.Low > d.At || d.At > d.High || d.High > 100 {
			t.Errorf("%+v", d)
		}
		if d.Bad {
			missed++
		}
	}
	if missed != 1 || p.Comparison.Ratios[0].One <= 0 {
		t.Errorf("%d ratios beyond their limit, want 1", missed)
	}
}

// Every part of a report is in the page, also those without a drawing of their own.
func TestPartsAsTables(t *testing.T) {
	page := render(t, sampleRest())
	for _, want := range []string{"X25519MLKEM768", "with the crowd", "55 MiB", "slow_peer: 500", "5,242", "tls_small_p95_ms", "✗ FAIL", "handshakes/s", "process server cpu pct of one core 97", "steady"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "load across restarts") {
		t.Error("a load that was not measured has a section")
	}
}

func TestWriteFails(t *testing.T) {
	r := sampleRun()
	r.Schema = "other/1"
	path := filepath.Join(t.TempDir(), "x.html")
	if err := WriteFile(path, r); err == nil || !strings.Contains(err.Error(), "other/1") {
		t.Errorf("a report of another schema: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	broken := errors.New("broken")
	if err := Write(writerFunc(func([]byte) (int, error) { return 0, broken }), sampleRun()); !errors.Is(err, broken) {
		t.Errorf("an error of the writer: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// The knobs of a run that has a server for each row are shown once for each kind of server, as those of other runs are.
func TestKnobsOfManyServers(t *testing.T) {
	r := sampleRun()
	s := *r.Server
	r.Server, r.QUICServer = nil, nil
	r.AddServerKnobs(&s)
	r.AddServerKnobs(&s)
	p, err := build(r)
	if err != nil || len(p.Knobs) != 1 || p.Knobs[0].Of != s.Kind+" server" || len(p.Knobs[0].Given)+len(p.Knobs[0].Defaults) != len(s.Knobs) {
		t.Errorf("%+v, %v", p.Knobs, err)
	}
}
