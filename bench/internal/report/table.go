package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// table is rows of cells, set in columns as wide as their widest cell. Columns named in left are flush left.
type table struct {
	rows [][]string
	left map[int]bool
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	var width []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range t.rows {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if t.left[i] {
				b.WriteString("  " + c + pad)
			} else {
				b.WriteString("  " + pad + c)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// head says where and with what the figures were measured.
func (r *Report) head(w io.Writer) {
	m := &r.MeasuredOn
	where := fmt.Sprintf("%s, %d cores, %s memory, Linux %s, %s", m.CPUModel, m.Cores, Size(int(m.MemoryBytes)), m.Kernel, m.GoVersion)
	if m.AESGCM != "" {
		where += ", AES-GCM by " + m.AESGCM + " unless chosen"
	}
	if m.Ref != "" {
		where += " (" + m.Ref + ")"
	}
	fmt.Fprintf(w, "measured on: %s\n", where)
	for _, s := range r.Settings {
		fmt.Fprintf(w, "with %s = %q (%s)\n", s.Key, s.Value, s.From)
	}
	if r.Interrupted {
		fmt.Fprintln(w, "interrupted: the figures cover what was done until then")
	}
}

// Text writes the whole report for people.
func (r *Report) Text(w io.Writer) {
	r.head(w)
	for ps := range slices.Chunk(r.Phases, phasesAbreast) {
		fmt.Fprintln(w)
		phaseTable(ps).write(w)
		phaseNotes(w, ps)
	}
	for _, s := range []*Server{r.Server, r.QUICServer} {
		if s != nil {
			fmt.Fprintln(w)
			s.text(w)
		}
	}
	if r.WAN != nil {
		fmt.Fprintln(w)
		r.WAN.text(w)
	}
	if len(r.Compare)+len(r.LeftOut) > 0 {
		fmt.Fprintln(w)
		r.compareText(w)
	}
	if len(r.Idle) > 0 {
		fmt.Fprintln(w)
		idleTable(r.Idle).write(w)
	}
	for _, part := range []struct {
		there bool
		text  func(io.Writer)
	}{
		{r.Storm != nil, r.Storm.text}, {r.Loris != nil, r.Loris.text}, {r.Restart != nil, r.Restart.text}, {r.Check != nil, r.Check.text},
		{r.Paired != nil, r.Paired.text}, {r.Power != nil, r.Power.text}, {r.Soak != nil, r.Soak.text}, {r.Nodes != nil, r.Nodes.text},
	} {
		if part.there {
			fmt.Fprintln(w)
			part.text(w)
		}
	}
	if r.Chaos != nil {
		fmt.Fprintln(w)
		r.Chaos.text(w)
	}
	sweepText(w, r.Sweep)
	if len(r.SLO) > 0 {
		fmt.Fprintln(w)
		if r.SLOTargets != "" {
			fmt.Fprintf(w, "targets: the seed's for %s%s\n", r.SLOTargets, notRef(&r.MeasuredOn))
		}
		sloTable(r.SLO).write(w)
	}
}

func notRef(m *proc.Machine) string {
	if m.Ref == "" {
		return fmt.Sprintf(", which this machine (%d cores) is not", m.Cores)
	}
	return ""
}

// phasesAbreast is how many phases a table has beside each other.
const phasesAbreast = 4

// phaseTable has one column per phase: figures of one run are compared from left to right.
func phaseTable(ps []Phase) *table {
	t := &table{left: map[int]bool{0: true}}
	line := func(name string, cell func(p *Phase) string) {
		cells := []string{name}
		for i := range ps {
			cells = append(cells, cell(&ps[i]))
		}
		t.add(cells...)
	}
	line("", func(p *Phase) string { return p.Name })
	line("load", loadOf)
	line("window", func(p *Phase) string { return fmt.Sprintf("%.1f s", p.WindowS) })
	line("frames/s, node", func(p *Phase) string { return num(p.FPS) })
	line("frames/s, core", func(p *Phase) string { return num(p.FPSPerCore) })
	line("Gb/s each way", func(p *Phase) string {
		if p.Mode == OneWay {
			return num(p.GbpsEachWay) + " one way"
		}
		return num(p.GbpsEachWay)
	})
	line("Gb/s, core", func(p *Phase) string { return num(p.GbpsPerCore) })
	latencyLines(line)
	workloadLines(line, ps)
	line("client CPU/frame", func(p *Phase) string { return num(p.Client.CPUPerFrameUS) + " µs" })
	line("client memory", func(p *Phase) string { return memoryOf(&p.Client) })
	serverLines(line)
	othersLines(line, ps)
	line("errors", func(p *Phase) string { return num(float64(p.Errors.Total())) })
	line("transport 5xx", func(p *Phase) string { return num(float64(p.Errors.Transport5xx)) })
	line("429 / 503", func(p *Phase) string {
		return num(float64(p.Errors.Rejected429)) + " / " + num(float64(p.Errors.Rejected503))
	})
	line("each core busy", func(p *Phase) string { return percents(p.CoreBusy) })
	if slices.ContainsFunc(ps, func(p Phase) bool { return p.Limit != nil }) {
		line("limited by", func(p *Phase) string {
			if p.Limit == nil {
				return "-"
			}
			return p.Limit.Who
		})
	}
	return t
}

// othersLines are what further processes used, a line for each name.
func othersLines(line func(string, func(*Phase) string), ps []Phase) {
	var names []string
	for i := range ps {
		for _, u := range ps[i].Others {
			if !slices.Contains(names, u.Name) {
				names = append(names, u.Name)
			}
		}
	}
	for _, name := range names {
		line(name+" CPU/frame", func(p *Phase) string {
			i := slices.IndexFunc(p.Others, func(u ProcUse) bool { return u.Name == name })
			if i < 0 {
				return "-"
			}
			return fmt.Sprintf("%s µs, %s %% per core", num(p.Others[i].CPUPerFrameUS), num(p.Others[i].CPUPct))
		})
	}
}

// loadOf says what a phase has done.
func loadOf(p *Phase) string {
	s := fmt.Sprintf("%s × %d conns", p.sizes(), p.Conns)
	if p.Cold != nil {
		s = fmt.Sprintf("%s, a fresh conn each, %d at once", p.sizes(), p.Conns)
	}
	if p.Streams > 0 && p.Cold == nil {
		s += fmt.Sprintf(" × %d streams", p.Streams)
	}
	if p.Circuits > 0 {
		s += fmt.Sprintf(" on %d circuits", p.Circuits)
	}
	if p.RTTms > 0 {
		s += fmt.Sprintf(", round trip %s ms", num(p.RTTms))
	}
	switch p.Mode {
	case Hello:
		return fmt.Sprintf("HELLO × %d fresh conns on %d circuits", p.Conns, p.Circuits)
	case Open:
		return fmt.Sprintf("%s, %d rps", s, p.RPS)
	case OneWay:
		return s + ", one way"
	}
	if p.Cold != nil {
		return s
	}
	return fmt.Sprintf("%s × %d in flight", s, p.Depth)
}

// memoryOf is a process's resident set at the window's end, and its peak.
func memoryOf(u *ProcUse) string {
	if u.RSSPeak == 0 {
		return Size(int(u.RSSEnd))
	}
	return Size(int(u.RSSEnd)) + ", peak " + Size(int(u.RSSPeak))
}

// latencyLines are empty for loads without replies.
func latencyLines(line func(string, func(*Phase) string)) {
	ms := func(f func(p *Phase) string) func(*Phase) string {
		return func(p *Phase) string {
			if p.Mode == OneWay {
				return "-"
			}
			return f(p) + " ms"
		}
	}
	line("p50 / p95", ms(func(p *Phase) string { return num(p.Latency.P50) + " / " + num(p.Latency.P95) }))
	line("p99 / p99.9", ms(func(p *Phase) string { return num(p.Latency.P99) + " / " + num(p.Latency.P999) }))
	line("largest", ms(func(p *Phase) string { return num(p.Latency.MaxMS) }))
}

func serverLines(line func(string, func(*Phase) string)) {
	server := func(f func(u *ProcUse) string) func(*Phase) string {
		return func(p *Phase) string {
			if p.ServerUse == nil {
				return "-"
			}
			return f(p.ServerUse)
		}
	}
	line("server CPU/frame", server(func(u *ProcUse) string { return num(u.CPUPerFrameUS) + " µs" }))
	line("server CPU, per core", server(func(u *ProcUse) string { return num(u.CPUPct) + " %" }))
	line("server memory", server(memoryOf))
	line("server descriptors", server(func(u *ProcUse) string {
		if u.FDLimit <= 0 {
			return fmt.Sprintf("%d, no limit", u.FDs)
		}
		return fmt.Sprintf("%d of %d (%s %%)", u.FDs, u.FDLimit, num(u.FDShare))
	}))
}

func phaseNotes(w io.Writer, ps []Phase) {
	for i := range ps {
		p := &ps[i]
		if s := &p.Session; s.Suite != "" {
			early := ""
			if s.Early > 0 {
				early = fmt.Sprintf(", %d with 0-RTT", s.Early)
			}
			suite := s.Suite
			if s.AESGCM != "" {
				suite += " by " + s.AESGCM
			}
			fmt.Fprintf(w, "  %s: %d connections, %d resumed%s, %s, %s, certificate %s\n", p.Name, s.Established, s.Resumed, early, suite, s.Group, s.Verified)
		}
		if p.Mode == OneWay {
			fmt.Fprintf(w, "  %s: the server confirms %s events in all, with their sum\n", p.Name, num(float64(p.Confirmed)))
		}
		if p.Mode == Open && p.PaceMS > 0 {
			fmt.Fprintf(w, "  %s: the client wrote within %s ms of the timetable (99th percentile), which the latency includes\n", p.Name, num(p.PaceMS))
		}
		if c := p.Cold; c != nil && c.Waited > 0 {
			fmt.Fprintf(w, "  %s: %s requests were due while all %d connections were under way, and waited, which the latency includes\n", p.Name, num(float64(c.Waited)), p.Conns)
		}
		if l := p.Limit; l != nil {
			fmt.Fprintf(w, "  %s: %s\n", p.Name, l)
		}
		if p.Errors.FirstError != "" {
			fmt.Fprintf(w, "  %s: first error: %s\n", p.Name, p.Errors.FirstError)
		}
	}
}

func (s *Server) text(w io.Writer) {
	streams := ""
	if s.Streams > 0 {
		streams = fmt.Sprintf(" with %s streams", num(float64(s.Streams)))
	}
	fmt.Fprintf(w, "  server %s on %s: %s frames in %.1f s, %d connections%s accepted, %d failed, CPU %.2f s, memory %s, %d descriptors of %d\n",
		s.Kind, s.Addr, num(float64(s.Frames)), s.RanS, s.Accepted, streams, s.Failed, s.CPUS, Size(int(s.RSS)), s.FDs, s.FDLimit)
	if s.SndBuf > 0 {
		fmt.Fprintf(w, "  socket buffers granted: send %s, receive %s\n", Size(s.SndBuf), Size(s.RcvBuf))
	}
	if o := s.Offload; o != nil {
		fmt.Fprintf(w, "  offload: receive coalescing %s, send segmentation %s, steering by connection ID %s\n", onOff(o.GRO), onOff(o.GSO), onOff(o.Steering))
	}
	for _, k := range sortedKeys(s.Rejected) {
		fmt.Fprintf(w, "  rejected %s: %d\n", k, s.Rejected[k])
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func idleTable(rows []Idle) *table {
	t := &table{left: map[int]bool{0: true}}
	t.add("server", "idle conns", "RSS before", "RSS after", "per conn", "descriptors", "handshakes/s", "echo checked", "failed")
	for i := range rows {
		r := &rows[i]
		t.add(r.Server, num(float64(r.Conns)), Size(int(r.RSSBefore)), Size(int(r.RSSAfter)), num(r.BytesPerConn)+" B",
			fmt.Sprintf("%d of %d", r.FDs, r.FDLimit), num(r.HandshakeRate), num(float64(r.EchoChecked)), num(float64(r.EchoFailed)))
	}
	return t
}

func sloTable(rows []SLORow) *table {
	t := &table{left: map[int]bool{0: true, 1: true, 5: true}}
	perCore := slices.ContainsFunc(rows, func(r SLORow) bool { return r.PerCore != 0 })
	add := func(phase, what, limit, measured, core, verdict string) {
		if perCore {
			t.add(phase, what, limit, measured, core, verdict)
		} else {
			t.left[4] = true
			t.add(phase, what, limit, measured, verdict)
		}
	}
	add("phase", "target", "limit", "measured", "per core", "")
	for i := range rows {
		r := &rows[i]
		limit, measured, core := r.Words()
		add(r.Phase, r.What, limit, measured, core, r.verdict())
	}
	return t
}

// figure is a figure of the row, which is a lower bound where the server could have done more.
func (r *SLORow) figure(v float64) string {
	s := num(v) + " " + r.Unit
	if r.LowerBound {
		return "at least " + s
	}
	return s
}

// verdict is the row's verdict, and what is to be said of it.
func (r *SLORow) verdict() string {
	if r.Why == "" {
		return string(r.Verdict)
	}
	return string(r.Verdict) + ": " + r.Why
}
