package report

import (
	"fmt"
	"io"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
)

// Check is a comparison with a baseline.
type Check struct {
	Crate    string        `json:"crate"`
	Machine  string        `json:"machine"` // as a baseline's ref names it
	Stat     string        `json:"stat"`
	Runs     []gate.Values `json:"runs"`
	Medians  gate.Values   `json:"medians"`
	Gates    gate.Gates    `json:"gates,omitempty"` // per cent, by kind of figure
	Baseline string        `json:"baseline,omitempty"`
	Waiver   *gate.Waiver  `json:"waiver,omitempty"` // widens every gate
	Rows     []gate.Row    `json:"rows,omitempty"`   // none when the baseline was recorded
}

// Reference is what a baseline calls a machine: Ref-A, Ref-B, or its cores and model.
func (r *Report) Reference() string {
	if m := &r.MeasuredOn; m.Ref == "" {
		return fmt.Sprintf("%d cores, %s", m.Cores, m.CPUModel)
	}
	return r.MeasuredOn.Ref
}

func (c *Check) text(w io.Writer) {
	if c.Waiver != nil {
		fmt.Fprintf(w, "  waiver until %s: every gate is %d %% wider: %s\n", c.Waiver.Until, gate.WaiverPct, c.Waiver.Reason)
	}
	t := &table{left: map[int]bool{0: true}}
	t.add("figure", "baseline", "limit", fmt.Sprintf("%s of %d", c.Stat, len(c.Runs)), "change", "")
	if len(c.Rows) == 0 {
		for _, m := range gate.Metrics() {
			if v, ok := c.Medians[m.Key]; ok {
				t.add(m.Key, "-", "-", num(v)+" "+m.Unit, "-", "recorded")
			}
		}
	}
	for _, r := range c.Rows {
		op, verdict := "<= ", Passed
		if r.More {
			op = ">= "
		}
		if !r.OK {
			verdict = Failed
		}
		t.add(r.Key, num(r.Baseline)+" "+r.Unit, op+num(r.Limit)+" "+r.Unit, num(r.Measured)+" "+r.Unit, fmt.Sprintf("%+.1f %%", r.Change), string(verdict))
	}
	t.write(w)
}
