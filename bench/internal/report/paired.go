package report

import (
	"fmt"
	"io"
	"slices"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
)

// Paired is a comparison of two builds that were measured alternately.
type Paired struct {
	Base   string           `json:"base"`   // the commit
	Change string           `json:"change"` // what was held against it
	Looks  int              `json:"looks"`  // how often pairs were added and judged
	TookS  float64          `json:"took_s"`
	Loads  []PairedLoad     `json:"loads"`
	Gates  gate.Gates       `json:"gates"`            // per cent, by kind of figure
	Waiver *gate.Waiver     `json:"waiver,omitempty"` // widens every gate
	Rows   []gate.PairedRow `json:"rows,omitempty"`   // none when it was interrupted before there were enough pairs
}

// PairedLoad is one load and its pairs in the order in which they were measured.
type PairedLoad struct {
	Name      string      `json:"name"`
	Transport string      `json:"transport"`
	Conns     int         `json:"conns"`
	Streams   int         `json:"streams,omitempty"` // of each connection, on QUIC
	Payload   int         `json:"payload_bytes"`
	RPS       int         `json:"rps,omitempty"`   // open loop: requests due per second
	Depth     int         `json:"depth,omitempty"` // closed loop: requests in flight per connection
	SliceS    float64     `json:"slice_s"`
	Pairs     []gate.Pair `json:"pairs"`
}

// Pairs are those of all loads.
func (p *Paired) Pairs() (all []gate.Pair) {
	for _, l := range p.Loads {
		all = append(all, l.Pairs...)
	}
	return all
}

// OK says whether the change was judged and no figure breaches its gate.
func (p *Paired) OK() bool {
	return len(p.Rows) > 0 && !slices.ContainsFunc(p.Rows, func(r gate.PairedRow) bool { return !r.OK })
}

func (p *Paired) text(w io.Writer) {
	more := ""
	if p.Looks > 1 {
		more = fmt.Sprintf("; pairs were added %d times where the verdict was not clear", p.Looks-1)
	}
	fmt.Fprintf(w, "  base %s, change %s: measured alternately for %.0f s%s\n", p.Base, p.Change, p.TookS, more)
	if p.Waiver != nil {
		fmt.Fprintf(w, "  waiver until %s: every gate is %d %% wider: %s\n", p.Waiver.Until, gate.WaiverPct, p.Waiver.Reason)
	}
	if len(p.Rows) == 0 {
		for _, l := range p.Loads {
			fmt.Fprintf(w, "  %s: %d pairs\n", l.Name, len(l.Pairs))
		}
		return
	}
	pairedTable(p.Rows).write(w)
	fmt.Fprintln(w, "  worse by: the median of the pairs' own figures; it fails when it is beyond the limit and the interval is above 0")
}

func pairedTable(rows []gate.PairedRow) *table {
	t := &table{left: map[int]bool{0: true, 7: true}}
	t.add("figure", "base", "change", "pairs", "worse by", "99 % interval", "limit", "")
	for _, r := range rows {
		verdict := string(Passed)
		switch {
		case !r.OK:
			verdict = string(Failed)
		case r.Worse > r.Limit:
			verdict += ", beyond the limit, but it may be chance"
		}
		t.add(r.Key, num(r.Base)+" "+r.Unit, num(r.Change)+" "+r.Unit, fmt.Sprint(r.Pairs), fmt.Sprintf("%+.1f %%", r.Worse),
			fmt.Sprintf("%+.1f to %+.1f %%", r.Low, r.High), fmt.Sprintf("%+.1f %%", r.Limit), verdict)
	}
	return t
}
