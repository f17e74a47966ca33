package report

import "fmt"

// Who can have held a phase back.
const (
	LimitServer    = "server"    // the server had no more to give
	LimitClient    = "client"    // the client did not ask for more: rates are lower bounds of what the server can do
	LimitMachine   = "machine"   // both share cores that were full: likewise
	LimitTimetable = "timetable" // open loop: what was due was carried
	LimitUnknown   = "unknown"   // nobody that was measured was busy
)

// Limit says who held a phase back.
type Limit struct {
	Who string `json:"who"`
	Why string `json:"why"` // the evidence, in a sentence
}

// String is the whole sentence.
func (l *Limit) String() string {
	switch l.Who {
	case LimitTimetable:
		return "the timetable was the limit: " + l.Why
	case LimitUnknown:
		return "what the limit was is not known: " + l.Why
	case LimitMachine:
		return "this machine was the limit: " + l.Why
	}
	return "the " + l.Who + " was the limit: " + l.Why
}

// Bounds of the judgement.
const (
	fullPct    = 90   // cores this busy on the average have nothing left: the kernel counts in ticks of 10 ms, and the rest goes in small pieces
	usedPct    = 85   // of what a process may use: garbage collection and the timer have the rest
	ownPart    = 3    // times the server's CPU time: then it is the client that fills the cores
	keptPct    = 99   // of the timetable, as the row rate_kept has it
	latePart   = 0.5  // of the latency that is the client's own lateness
	lagPart    = 0.25 // of the latency that a task waits for the client's loops: a reply waits there as well, and what is processed before it
	noticedMS  = 1.0  // shorter waits are those of any process that is woken
	fewPerCore = 4    // requests in flight for each core: with fewer both ends wait for each other most of the time
)

// Evidence is what a phase is judged by.
type Evidence struct {
	Mode     string
	InFlight int     // closed loop: requests in flight, all connections together
	Due      float64 // open loop: requests due in the window
	Frames   float64

	Cores     int     // of the machine
	BusyPct   float64 // all processes, the mean of the cores
	Client    float64 // cores' worth of CPU time that the client used
	ClientMay float64 // and could have used
	Measured  bool    // the server is on this machine and was measured
	Server    float64
	ServerMay float64

	PaceMS    float64 // how late the client wrote by itself, 99th percentile
	LagMS     float64 // how long a task waited for the client's loops, mean
	Mean, P99 float64 // latency, ms
	Permits   int     // requests that may be in flight on a connection; 0: no limit
	Held      uint64  // open loop: requests that waited because as many were in flight
	Waited    uint64  // cold, open loop: requests that waited for one of the connections
	Conns     int
}

// Evidence collects what the phase is judged by; cores are the machine's.
func (p *Phase) Evidence(cores int) Evidence {
	e := Evidence{
		Mode: p.Mode, Due: float64(p.RPS) * p.WindowS, Frames: float64(p.Frames), Cores: cores,
		Permits: p.MaxInflight, Held: p.Held, PaceMS: p.PaceMS, LagMS: p.LagMS, Mean: p.Latency.AvgMS, P99: p.Latency.P99, Conns: p.Conns,
	}
	for _, b := range p.CoreBusy {
		e.BusyPct += b / float64(len(p.CoreBusy))
	}
	if p.Mode == Closed {
		each := max(p.Streams, 1) * max(p.Depth, 1)
		if p.MaxInflight > 0 {
			each = min(each, p.MaxInflight)
		}
		e.InFlight = p.Conns * each
	}
	if p.Cold != nil {
		e.Waited = p.Cold.Waited
	}
	e.Client, e.ClientMay = p.Client.cores(p, cores)
	if p.ServerUse != nil {
		e.Measured = true
		e.Server, e.ServerMay = p.ServerUse.cores(p, cores)
	}
	return e
}

// cores is how many cores' worth of CPU time the process used, and how many it could have used: a connection keeps one busy at most.
func (u *ProcUse) cores(p *Phase, cores int) (used, may float64) {
	may = float64(cores)
	if u.Usable > 0 {
		may = min(may, float64(u.Usable))
	}
	if p.Cold == nil {
		may = min(may, float64(max(p.Conns, 1)))
	}
	return u.CPUPct / 100 * float64(cores), may
}

// LimitOf says who held the phase back.
func LimitOf(e *Evidence) Limit {
	l := e.judge()
	if e.Mode != Open && (l.Who == LimitClient || l.Who == LimitMachine) {
		l.Why += ". The rates are lower bounds of what the server can do"
	}
	return l
}

func (e *Evidence) judge() Limit {
	switch {
	case e.Mode == Hello:
		return Limit{LimitTimetable, "one fresh connection after the other: a latency, no rate"}
	case e.Mode == Open && e.kept():
		return e.timetable()
	case e.BusyPct >= fullPct:
		return e.full()
	case e.Client >= usedPct/100.0*e.ClientMay:
		return Limit{LimitClient, fmt.Sprintf("it used %s of the %s cores that its loops can use; %s", num(e.Client), num(e.ClientMay), e.server())}
	case e.Mode != OneWay && e.LagMS >= noticedMS && e.LagMS >= lagPart*e.Mean:
		return Limit{LimitClient, fmt.Sprintf("a task waited %s ms for its loops (mean), where a reply took %s ms; %s", num(e.LagMS), num(e.Mean), e.server())}
	case e.Measured && e.Server >= usedPct/100.0*e.ServerMay:
		return Limit{LimitServer, fmt.Sprintf("it used %s of the %s cores that it can use; the client %s of %s", num(e.Server), num(e.ServerMay), num(e.Client), num(e.ClientMay))}
	case e.Mode == Open:
		return e.missed()
	case e.Mode == Closed && e.InFlight <= fewPerCore*e.Cores:
		return Limit{LimitClient, fmt.Sprintf("%d in flight at once keep nobody busy: it used %s of %s cores; %s", e.InFlight, num(e.Client), num(e.ClientMay), e.server())}
	}
	return Limit{LimitUnknown, fmt.Sprintf("the client used %s of %s cores, a task waited %s ms for its loops; %s", num(e.Client), num(e.ClientMay), num(e.LagMS), e.server())}
}

// kept says whether the timetable was carried.
func (e *Evidence) kept() bool { return e.Due > 0 && e.Frames >= keptPct/100.0*e.Due }

// late says whether the client's own lateness is much of the latency.
func (e *Evidence) late() bool { return e.PaceMS >= noticedMS && e.PaceMS >= latePart*e.P99 }

// timetable judges an open loop that was carried: the rate is the timetable's, but the latency may be the client's.
func (e *Evidence) timetable() Limit {
	why := fmt.Sprintf("%s %% of what was due was answered", num(100*e.Frames/e.Due))
	if !e.late() {
		return Limit{LimitTimetable, why}
	}
	why += fmt.Sprintf(", but of a latency of %s ms (p99) it was late by %s ms itself", num(e.P99), num(e.PaceMS))
	if e.BusyPct >= fullPct {
		return Limit{LimitMachine, fmt.Sprintf("%s, the client that is, on cores that were %s %% busy", why, num(e.BusyPct))}
	}
	return Limit{LimitClient, why}
}

// full judges a phase on full cores.
func (e *Evidence) full() Limit {
	others := max(e.BusyPct/100*float64(e.Cores)-e.Client-e.Server, 0)
	why := fmt.Sprintf("its %d cores were %s %% busy: the client used %s of them, %s", e.Cores, num(e.BusyPct), num(e.Client), e.server())
	if e.Measured {
		why += fmt.Sprintf(", others and interrupts %s", num(others))
	}
	if e.Measured && e.Client >= ownPart*e.Server && e.Client >= others {
		return Limit{LimitClient, fmt.Sprintf("it used %s of %d cores, which were %s %% busy; %s", num(e.Client), e.Cores, num(e.BusyPct), e.server())}
	}
	return Limit{LimitMachine, why}
}

// missed judges an open loop that was not carried, while nobody was busy.
func (e *Evidence) missed() Limit {
	what := fmt.Sprintf("%s %% of what was due was answered; the client used %s of %s cores, %s", num(100*e.Frames/max(e.Due, 1)), num(e.Client), num(e.ClientMay), e.server())
	switch {
	case e.Waited > 0:
		return Limit{LimitUnknown, fmt.Sprintf("%s; %s requests were due while all %d connections were under way: more of them would show whether the server takes more", what, num(float64(e.Waited)), e.Conns)}
	case e.Held > 0 && e.Held >= uint64((100-keptPct)/100.0*e.Due):
		return Limit{LimitUnknown, fmt.Sprintf("%s; %s requests were due while all %d of --max-inflight were in flight on their connection: more of them would show whether the server takes more", what, num(float64(e.Held)), e.Permits)}
	case e.late():
		return Limit{LimitClient, fmt.Sprintf("it was late by %s ms (p99) itself; %s", num(e.PaceMS), what)}
	}
	return Limit{LimitServer, fmt.Sprintf("%s; requests were written within %s ms (p99) of their time", what, num(e.PaceMS))}
}

// server says what is known of the server.
func (e *Evidence) server() string {
	if !e.Measured {
		return "the server was not measured"
	}
	return fmt.Sprintf("the server used %s", num(e.Server))
}

// lowerBound says whether the phase's rates are lower bounds of what the server can do.
func (p *Phase) lowerBound() bool {
	return p.Mode != Open && p.Limit != nil && (p.Limit.Who == LimitClient || p.Limit.Who == LimitMachine)
}
