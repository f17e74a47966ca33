package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// Chaos is what ronbench chaos has done, and seen.
type Chaos struct {
	Seed    uint64 `json:"seed"`
	Payload int    `json:"payload_bytes"`
	Conns   int    `json:"conns"`
	RPS     int    `json:"rps"` // due per second in the open loops

	// Tuning is how the hosts of ChaosTLSTuned were set, as sysctl(8) takes it; none where none was run.
	Tuning []string `json:"host_tuning,omitempty"`

	Cells   []ChaosCell    `json:"cells,omitempty"`
	Faults  []ChaosFault   `json:"faults,omitempty"`
	Streams []ChaosStreams `json:"stream_ablation,omitempty"`
	LeftOut []ChaosLeftOut `json:"left_out,omitempty"`
}

// ChaosBooks are what the client's ledger says at the end of a row.
type ChaosBooks struct {
	Counts     chaos.Counts      `json:"counts"`
	Ends       map[string]uint64 `json:"conns_ended,omitempty"` // connections that ended before the client closed them, by reason
	Dialled    uint64            `json:"conns_opened"`
	DialFailed uint64            `json:"dials_failed"`
}

// Ended is how many connections ended before the client closed them.
func (b *ChaosBooks) Ended() (n uint64) {
	for _, v := range b.Ends {
		n += v
	}
	return n
}

// Add sums up.
func (b *ChaosBooks) Add(o *ChaosBooks) {
	b.Counts.Add(&o.Counts)
	b.Dialled += o.Dialled
	b.DialFailed += o.DialFailed
	for why, n := range o.Ends {
		if b.Ends == nil {
			b.Ends = make(map[string]uint64)
		}
		b.Ends[why] += n
	}
}

// words are the faults in the books; empty: none.
func (b *ChaosBooks) words() string {
	var out []string
	c := &b.Counts
	for _, k := range []struct {
		n    uint64
		name string
	}{{c.Lost, "lost"}, {c.Doubled, "doubled"}, {c.Corrupt, "corrupt"}, {c.Unasked, "never asked"}, {c.Refused, "refused"}} {
		if k.n > 0 {
			out = append(out, num(float64(k.n))+" "+k.name)
		}
	}
	return strings.Join(out, ", ")
}

// EndWords are the ends of connections in words.
func (b *ChaosBooks) EndWords() string {
	var out []string
	for _, why := range slices.Sorted(maps.Keys(b.Ends)) {
		name := why
		if name == "" {
			name = "clean"
		}
		out = append(out, fmt.Sprintf("%s %s", num(float64(b.Ends[why])), name))
	}
	return strings.Join(out, ", ")
}

// Transports of a chaos row.
const (
	ChaosTLS      = "tls"
	ChaosTLSTuned = "tls-tuned" // between hosts that are set for long paths, see Chaos.Tuning
	ChaosQUIC     = "quic"      // one stream for each connection
	ChaosQUICMany = "quic-many" // as many streams as there are requests in flight
)

// ChaosCell is one cell of the matrix: a transport over a path that loses and delays.
type ChaosCell struct {
	Transport string  `json:"transport"`
	Streams   int     `json:"streams"` // of each connection
	LossPct   float64 `json:"loss_pct"`
	RTTms     float64 `json:"rtt_ms"`
	WindowS   float64 `json:"window_s"`

	Open   hist.Latency `json:"open"`   // open loop, from the scheduled time
	Closed hist.Latency `json:"closed"` // closed loop: as many in flight as Depth says
	Depth  int          `json:"depth"`  // requests in flight of each connection
	FPS    float64      `json:"goodput_fps"`
	Gbps   float64      `json:"goodput_gbps"` // of payload each way

	Books       ChaosBooks `json:"books"`
	ServerRSS   int64      `json:"server_rss_bytes"`
	FDShare     float64    `json:"server_fd_share_pct"`
	PathPackets uint64     `json:"path_packets"`     // that came to the path, of both directions
	PathLost    float64    `json:"path_lost_pct"`    // what the path has lost, of both directions
	PathLate    float64    `json:"path_late_pct"`    // packets that left it more than 1 ms late: the machine was busy
	Missed      uint64     `json:"path_missed"`      // packets that it did not see: likewise
	Broken      string     `json:"broken,omitempty"` // why there are no figures
}

// Name is the row's.
func (c *ChaosCell) Name() string {
	return fmt.Sprintf("%s, loss %s %%, RTT %s ms", c.Transport, num(c.LossPct), num(c.RTTms))
}

// Fault says what was wrong; empty: nothing.
func (c *ChaosCell) Fault() string {
	switch {
	case c.Broken != "":
		return c.Broken
	case c.Books.words() != "":
		return c.Books.words()
	case c.Books.Ended() > 0:
		return "connections ended: " + c.Books.EndWords()
	case c.Books.Counts.Answered == 0:
		return "nothing was answered"
	case c.Books.DialFailed > 0 && c.LossPct == 0: // with loss a handshake may come too late, and the next dial is another chance
		return num(float64(c.Books.DialFailed)) + " dials failed without loss"
	case c.Open.Count > 0 && c.Open.P50 < histError*c.RTTms:
		return fmt.Sprintf("the median latency, %s ms, is less than one round trip: the load did not go over the path", num(c.Open.P50))
	case c.PathLost == 0 && float64(c.PathPackets)*c.LossPct/100 >= surelyLost:
		return "the path has lost none of " + num(float64(c.PathPackets)) + " packets"
	}
	return ""
}

const (
	// histError allows for the resolution of a latency: three digits.
	histError = 0.999
	// surelyLost is how many packets a path has to lose on the average before one that has lost none is taken for broken: by chance that happens
	// once in 10^13 runs.
	surelyLost = 30
)

// packetBytes is what a packet carries of a frame: Ethernet's MTU less the headers of IP, TCP and TLS, or of QUIC.
const packetBytes = 1400

// Floor is the least latency that the percentile pct can have on the path for any protocol that sends again what was lost, ms: a packet that was
// lost k times costs k round trips more, and a request and its reply are n packets.
func (c *ChaosCell) Floor(pct float64, payload int) float64 {
	n := 2 * math.Ceil(float64(payload+64)/packetBytes)
	lost := c.LossPct / 100
	for k := 1.0; ; k++ {
		if math.Pow(1-math.Pow(lost, k), n) >= pct/100 || k == 100 {
			return k * c.RTTms
		}
	}
}

// ChaosFault is a row about one fault.
type ChaosFault struct {
	Row       string `json:"row"`
	Transport string `json:"transport"`
	What      string `json:"what"` // was done, in words

	Before hist.Latency `json:"before"` // open loop, from the scheduled time: of requests due before the fault,
	During hist.Latency `json:"during"` // during it,
	After  hist.Latency `json:"after"`  // and after it was healed

	FaultS   float64         `json:"fault_s"`
	Served   uint64          `json:"served_during"`      // replies that came during it
	Recovery *chaos.Recovery `json:"recovery,omitempty"` // since the heal
	Books    ChaosBooks      `json:"books"`
	Facts    []ChaosFact     `json:"facts,omitempty"`
	Wrong    []string        `json:"wrong,omitempty"` // why the row fails, beside what is in the books
}

// ChaosFact is one more figure of a row.
type ChaosFact struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// Fact adds a figure.
func (f *ChaosFault) Fact(name string, v float64, unit string) {
	f.Facts = append(f.Facts, ChaosFact{name, v, unit})
}

// Name is the row's.
func (f *ChaosFault) Name() string { return f.Row + ", " + f.Transport }

// Fault says what was wrong; empty: nothing.
func (f *ChaosFault) Fault() string {
	out := slices.Clone(f.Wrong)
	if w := f.Books.words(); w != "" {
		out = append(out, w)
	}
	if f.Books.Counts.Answered == 0 {
		out = append(out, "nothing was answered")
	}
	if f.Recovery != nil && f.Recovery.CaughtUpS < 0 {
		out = append(out, "the load was not served as before when the row ended")
	}
	return strings.Join(out, "; ")
}

// ChaosStreams is one number of streams in the ablation: the same requests in flight over one connection.
type ChaosStreams struct {
	Streams int                 `json:"streams"`
	LossPct float64             `json:"loss_pct"`
	RTTms   float64             `json:"rtt_ms"`
	Flight  int                 `json:"in_flight"`
	Payload int                 `json:"payload_bytes"`
	Rounds  []ChaosStreamsRound `json:"rounds"`
	Median  ChaosStreamsRound   `json:"median"`
	Books   ChaosBooks          `json:"books"`            // of all rounds
	Broken  string              `json:"broken,omitempty"` // why a round has no figures
}

// ChaosStreamsRound is one measurement of it.
type ChaosStreamsRound struct {
	Gbps float64 `json:"gbps"` // of payload each way
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
	P99  float64 `json:"p99_ms"`
}

// Fault says what was wrong; empty: nothing.
func (s *ChaosStreams) Fault() string {
	switch {
	case s.Broken != "":
		return s.Broken
	case s.Books.words() != "":
		return s.Books.words()
	case s.Books.Ended() > 0:
		return "connections ended: " + s.Books.EndWords()
	case s.Books.Counts.Answered == 0:
		return "nothing was answered"
	}
	return ""
}

// Summarise takes the medians.
func (s *ChaosStreams) Summarise() {
	of := func(f func(*ChaosStreamsRound) float64) float64 {
		var v []float64
		for i := range s.Rounds {
			v = append(v, f(&s.Rounds[i]))
		}
		return Median(v)
	}
	s.Median = ChaosStreamsRound{
		Gbps: of(func(r *ChaosStreamsRound) float64 { return r.Gbps }), P50: of(func(r *ChaosStreamsRound) float64 { return r.P50 }),
		P95: of(func(r *ChaosStreamsRound) float64 { return r.P95 }), P99: of(func(r *ChaosStreamsRound) float64 { return r.P99 }),
	}
}

// ChaosLeftOut is a row that could not be run here.
type ChaosLeftOut struct {
	Row string `json:"row"`
	Why string `json:"why"`
}

// TuningWords say what ChaosTLSTuned is; "" where it was not run. Any goroutine.
func (c *Chaos) TuningWords() string {
	if len(c.Tuning) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s on the hosts at both ends", ChaosTLSTuned, strings.Join(c.Tuning, ", "))
}

// text writes everything but the verdicts.
func (c *Chaos) text(w io.Writer) {
	fmt.Fprintf(w, "  %d connections, %s each way, %d requests due per second in open loops; seed %d\n", c.Conns, Size(c.Payload), c.RPS, c.Seed)
	if words := c.TuningWords(); words != "" {
		fmt.Fprintf(w, "  %s\n", words)
	}
	if len(c.Cells) > 0 {
		fmt.Fprintf(w, "\n  the matrix: latency of an open loop from the scheduled time, goodput of a closed loop; path: packets that it lost\n")
		t := &table{left: map[int]bool{0: true}}
		t.add("transport", "loss", "RTT", "p50", "p95", "p99", "goodput", "frames", "path", "late")
		for i := range c.Cells {
			e := &c.Cells[i]
			t.add(e.Transport, num(e.LossPct)+" %", num(e.RTTms)+" ms", num(e.Open.P50)+" ms", num(e.Open.P95)+" ms", num(e.Open.P99)+" ms",
				num(e.Gbps*1000)+" Mb/s", num(float64(e.Books.Counts.Answered)), num(e.PathLost)+" %", num(e.PathLate)+" %")
		}
		t.write(w)
	}
	c.textFaults(w)
	if len(c.Streams) > 0 {
		s := &c.Streams[0]
		fmt.Fprintf(w, "\n  more QUIC streams under loss: one connection, %d requests of %s in flight, loss %s %%, RTT %s ms; medians of %d rounds\n",
			s.Flight, Size(s.Payload), num(s.LossPct), num(s.RTTms), len(s.Rounds))
		t := &table{}
		t.add("streams", "goodput", "p50", "p95", "p99")
		for i := range c.Streams {
			m := &c.Streams[i].Median
			t.add(num(float64(c.Streams[i].Streams)), num(m.Gbps*1000)+" Mb/s", num(m.P50)+" ms", num(m.P95)+" ms", num(m.P99)+" ms")
		}
		t.write(w)
	}
}

// textFaults writes the rows about faults.
func (c *Chaos) textFaults(w io.Writer) {
	if len(c.Faults) == 0 {
		return
	}
	seconds := func(v float64) string {
		if v < 0 {
			return "never"
		}
		return num(v) + " s"
	}
	fmt.Fprintf(w, "\n  faults: p99 of an open loop; after the heal: first reply, nine tenths of the rate, nothing held up any more\n")
	t := &table{left: map[int]bool{0: true}}
	t.add("row", "p99 before", "during", "after", "served during", "first reply", "rate", "caught up", "frames", "retried", "conns ended")
	for i := range c.Faults {
		f := &c.Faults[i]
		first, rate, caught := "-", "-", "-"
		if r := f.Recovery; r != nil {
			first, rate, caught = seconds(r.FirstReplyS), seconds(r.RateS), seconds(r.CaughtUpS)
		}
		ends := f.Books.EndWords()
		if ends == "" {
			ends = "0"
		}
		t.add(f.Name(), num(f.Before.P99)+" ms", num(f.During.P99)+" ms", num(f.After.P99)+" ms", num(float64(f.Served)), first, rate, caught,
			num(float64(f.Books.Counts.Answered)), num(float64(f.Books.Counts.Retried)), ends)
	}
	t.write(w)
	for i := range c.Faults {
		f := &c.Faults[i]
		var facts []string
		for _, x := range f.Facts {
			facts = append(facts, strings.TrimSpace(fmt.Sprintf("%s %s %s", x.Name, num(x.Value), x.Unit)))
		}
		fmt.Fprintf(w, "  %s: %s", f.Name(), f.What)
		if len(facts) > 0 {
			fmt.Fprintf(w, " (%s)", strings.Join(facts, "; "))
		}
		fmt.Fprintln(w)
	}
}
