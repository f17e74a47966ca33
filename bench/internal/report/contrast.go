package report

import (
	"fmt"
	"io"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
)

// Contrast is the latency of one steady load in windows without and with a disturbance, alternately.
type Contrast struct {
	Rounds []ContrastRound `json:"rounds"`
	Quiet  Latencies       `json:"quiet"` // medians over the rounds
	Loud   Latencies       `json:"loud"`
	P99    float64         `json:"p99_ratio"` // median of the rounds' own ratios, loud / quiet
	Load   Phase           `json:"load"`      // the whole load, all windows and what lies between
}

// ContrastRound is one pair of windows.
type ContrastRound struct {
	Quiet     hist.Latency `json:"quiet"`
	Loud      hist.Latency `json:"loud"`
	QuietCPU  []CPUShare   `json:"quiet_cpu"`
	LoudCPU   []CPUShare   `json:"loud_cpu"`
	LoudFirst bool         `json:"loud_first"`

	Storm *hostile.StormCounts `json:"storm,omitempty"` // what the loud window's storm did
	Crowd *hostile.CrowdCounts `json:"crowd,omitempty"` // the crowd during the loud window
}

// Latencies are percentiles in milliseconds.
type Latencies struct {
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p99_9_ms"`
}

// CPUShare is what one process used in a window.
type CPUShare struct {
	Process string  `json:"process"`
	Pct     float64 `json:"cpu_pct_of_one_core"`
}

// Summarise computes the medians.
func (c *Contrast) Summarise() {
	var ratios []float64
	side := func(pick func(*ContrastRound) *hist.Latency) Latencies {
		var p50, p99, p999 []float64
		for i := range c.Rounds {
			l := pick(&c.Rounds[i])
			p50, p99, p999 = append(p50, l.P50), append(p99, l.P99), append(p999, l.P999)
		}
		return Latencies{Median(p50), Median(p99), Median(p999)}
	}
	c.Quiet = side(func(r *ContrastRound) *hist.Latency { return &r.Quiet })
	c.Loud = side(func(r *ContrastRound) *hist.Latency { return &r.Loud })
	for i := range c.Rounds {
		ratios = append(ratios, ratio(c.Rounds[i].Loud.P99, c.Rounds[i].Quiet.P99))
	}
	c.P99 = Median(ratios)
}

// text writes the rounds and the medians; loud names the disturbance.
func (c *Contrast) text(w io.Writer, loud string) {
	t := &table{left: map[int]bool{0: true, 1: true}}
	t.add("round", "window", "p50", "p99", "p99.9", "largest", "requests", "CPU of one core")
	for i := range c.Rounds {
		r := &c.Rounds[i]
		line := func(name string, l *hist.Latency, cpu []CPUShare) {
			t.add(fmt.Sprint(i+1), name, num(l.P50)+" ms", num(l.P99)+" ms", num(l.P999)+" ms", num(l.MaxMS)+" ms", num(float64(l.Count)), shares(cpu))
		}
		line("quiet", &r.Quiet, r.QuietCPU)
		line(loud, &r.Loud, r.LoudCPU)
	}
	t.add("median", "quiet", num(c.Quiet.P50)+" ms", num(c.Quiet.P99)+" ms", num(c.Quiet.P999)+" ms")
	t.add("median", loud, num(c.Loud.P50)+" ms", num(c.Loud.P99)+" ms", num(c.Loud.P999)+" ms")
	t.write(w)
	fmt.Fprintf(w, "  p99 %s / quiet: %s (median of the rounds' ratios); load: %d connections, %d rps, %s, errors: %s\n",
		loud, num(c.P99), c.Load.Conns, c.Load.RPS, Size(c.Load.Payload), &c.Load.Errors)
	if e := c.Load.Errors.FirstError; e != "" {
		fmt.Fprintf(w, "  first error: %s\n", e)
	}
}

// Storm is a steady load beside a storm of full handshakes.
type Storm struct {
	Contrast
	Rate  int    `json:"rate"`  // handshakes due per second
	Group string `json:"group"` // key exchange of the storm
}

func (s *Storm) text(w io.Writer) {
	s.Contrast.text(w, "storm")
	t := &table{left: map[int]bool{0: true}}
	t.add("storm", "due/s", "begun/s", "complete/s", "refused/s", "failed/s", "shed/s", "handshake p50", "p99")
	for i := range s.Rounds {
		c := s.Rounds[i].Storm
		if c == nil || c.Seconds <= 0 {
			continue
		}
		per := func(n uint64) string { return num(float64(n) / c.Seconds) }
		t.add(fmt.Sprintf("round %d, %s", i+1, s.Group), num(float64(s.Rate)), per(c.Offered), per(c.Completed), per(c.Refused), per(c.Failed),
			per(c.Shed), num(c.Handshake.P50)+" ms", num(c.Handshake.P99)+" ms")
	}
	t.write(w)
}

// Loris is a steady load beside a crowd of connections that mean no good.
type Loris struct {
	Contrast
	Hostile int          `json:"hostile_conns"`
	Control *Control     `json:"control,omitempty"` // absent from reports of earlier versions
	Memory  []LorisState `json:"memory"`            // the server over time
	// Ends is how the server ended connections, by reason of the canon, over its whole life.
	Ends map[string]uint64 `json:"ended_by_reason"`
}

// LorisState is one reading of the server.
type LorisState struct {
	AtS   float64 `json:"at_s"`
	What  string  `json:"what"`
	RSS   int64   `json:"rss_bytes"`
	FDs   int     `json:"fds"`
	Conns int     `json:"hostile_conns"`
}

func (l *Loris) text(w io.Writer) {
	l.Contrast.text(w, "hostile")
	if l.Control != nil {
		l.Control.text(w)
	}
	t := &table{left: map[int]bool{1: true}}
	t.add("after", "", "server RSS", "descriptors", "hostile conns")
	for _, m := range l.Memory {
		t.add(fmt.Sprintf("%.1f s", m.AtS), m.What, Size(int(m.RSS)), fmt.Sprint(m.FDs), fmt.Sprint(m.Conns))
	}
	t.write(w)
	for _, k := range sortedKeys(l.Ends) {
		fmt.Fprintf(w, "  the server ended connections, %s: %d\n", k, l.Ends[k])
	}
	for i := range l.Rounds {
		if c := l.Rounds[i].Crowd; c != nil {
			fmt.Fprintf(w, "  round %d: %s\n", i+1, c)
		}
	}
}

// JudgeContrast makes the row of a contrast: the median ratio of the 99th percentiles, and that no request was lost.
func JudgeContrast(id string, c *Contrast, limit float64) []SLORow {
	rows := []SLORow{row("errors", id, "requests of the load without a right echo", "<=", 0, float64(c.Load.Errors.Total()), "count")}
	r := row("p99_ratio", id, "p99 with / without", "<=", limit, c.P99, "")
	if limit == 0 {
		r.Op, r.Verdict = "", Info
	}
	return append(rows, r)
}

// judgedCrowd is how many hostile connections must have been held at once for the memory that each has left behind to be
// judged: what a process keeps for other reasons, some MiB, must be small against the limit of all of them.
const judgedCrowd = 1000

// crowdShare is how much of the crowd, in per cent, must be there for the figures to be about it. Those that a deadline has ended come
// again after a pause.
const crowdShare = 60

// emptyWindows counts the windows that say nothing.
func emptyWindows(c *Control) SLORow {
	n := 0
	for i := range c.Cycles {
		for _, w := range append(c.Cycles[i].Crowded[:], c.Cycles[i].Free[:]...) {
			if w.Latency.Count == 0 {
				n++
			}
		}
	}
	return row("empty_windows", "loris", "windows without a request", "<=", 0, float64(n), "count")
}

// crowdThere is how much of the crowd was there beside the windows, at the worst.
func crowdThere(c *Control, hostile int) SLORow {
	least := 0
	for i := range c.Cycles {
		if y := &c.Cycles[i]; i == 0 || y.Crowd < least {
			least = y.Crowd
		}
	}
	return row("crowd", "loris", "hostile connections open beside the windows", ">=", crowdShare, pct(float64(least), float64(hostile)), "%")
}

// JudgeLoris makes the rows of a crowd: no request lost on either server, the latency on the crowded server against that on
// the one without a crowd, with requests in every window and a crowd beside it, that against no crowd at all for orientation, and what the crowd leaves behind: descriptors, and
// memory per hostile connection that was there at once at most. With fewer than judgedCrowd of them the latter is shown and
// not judged.
func JudgeLoris(l *Loris, limit, kept float64) []SLORow {
	rows := JudgeContrast("loris", &l.Contrast, 0)
	rows[1].ID, rows[1].What = "p99_quiet_ratio", "p99 with the crowd / before it came"
	if c := l.Control; c != nil {
		rows[0] = row("errors", "loris", rows[0].What, "<=", 0, float64(l.Load.Errors.Total()+c.Load.Errors.Total()), "count")
		r := row("p99_ratio", "loris", "p99 on the crowded server / on one without a crowd", "<=", limit, c.P99, "")
		if c.P99 <= 0 { // there was nothing to compare
			r.Verdict = Failed
		}
		rows = append(rows, r, emptyWindows(c), crowdThere(c, l.Hostile))
	}
	if len(l.Memory) == 0 {
		return rows
	}
	first, last, peak := l.Memory[0], l.Memory[len(l.Memory)-1], 0
	for i := range l.Memory {
		peak = max(peak, l.Memory[i].Conns)
	}
	m := row("memory_back", "loris", "memory kept per hostile connection", "<=", kept, float64(last.RSS-first.RSS)/float64(max(1, peak)), "B")
	if peak < judgedCrowd {
		m.What, m.Op, m.Verdict = fmt.Sprintf("%s (%d at most: too few to judge)", m.What, peak), "", Info
	}
	return append(rows, row("descriptors_back", "loris", "descriptors more than at the start", "<=", 0, float64(last.FDs-first.FDs), "count"), m)
}

// OnlySpeedMissed says whether the failed rows are all about speed, or about memory that the garbage collector still holds.
func OnlySpeedMissed(rows []SLORow) bool {
	for i := range rows {
		if rows[i].Verdict == Failed && rows[i].ID != "p99_ratio" && rows[i].ID != "memory_back" {
			return false
		}
	}
	return true
}

// Restart is a load across restarts of its server.
type Restart struct {
	Servers int            `json:"servers"`
	Quiet   hist.Latency   `json:"quiet"`         // before the first restart
	Windows []hist.Latency `json:"windows"`       // each begins with a restart
	TookS   []float64      `json:"took_s"`        // start of the successor to the end of the predecessor
	Frames  uint64         `json:"server_frames"` // answered by all servers together
	Load    Phase          `json:"load"`
}

func (r *Restart) text(w io.Writer) {
	t := &table{left: map[int]bool{0: true}}
	t.add("", "p50", "p99", "p99.9", "largest", "requests", "took")
	line := func(name string, l *hist.Latency, took string) {
		t.add(name, num(l.P50)+" ms", num(l.P99)+" ms", num(l.P999)+" ms", num(l.MaxMS)+" ms", num(float64(l.Count)), took)
	}
	line("before", &r.Quiet, "")
	for i := range r.Windows {
		line(fmt.Sprintf("restart %d", i+1), &r.Windows[i], num(r.TookS[i])+" s")
	}
	t.write(w)
	p := &r.Load
	fmt.Fprintf(w, "  %d servers in turn, %d connections, %d rps: %s requests sent, %s answered, %s failed; %s connections moved; the servers answered %s\n",
		r.Servers, p.Conns, p.RPS, num(float64(p.Sent)), num(float64(p.Frames)), &p.Errors, num(float64(p.Moved)), num(float64(r.Frames)))
	if p.Errors.FirstError != "" {
		fmt.Fprintf(w, "  first error: %s\n", p.Errors.FirstError)
	}
}

// JudgeRestart makes the rows of a restart: nothing failed, and every connection moved every time.
func JudgeRestart(r *Restart) []SLORow {
	p := &r.Load
	return []SLORow{
		row("errors", "restart", "requests without a right echo", "<=", 0, float64(p.Errors.Total()), "count"),
		row("moved", "restart", "connections moved", ">=", float64((r.Servers-1)*p.Conns), float64(p.Moved), "count"),
	}
}
