package report

import (
	"fmt"
	"io"
	"slices"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
)

// Power is how much a paired check can be trusted: how often it failed an unchanged tree, and how often one with a known slowdown.
type Power struct {
	Base     string     `json:"base"`         // the commit, of which all builds are
	Asked    float64    `json:"asked_pct"`    // by how much the hot path was to be slower: server CPU per frame, closed loop of small frames
	Injected float64    `json:"injected_pct"` // by how much it is slower, of all that Fits have measured
	Rounds   int        `json:"spin_rounds"`  // of the loop that was added to every frame
	Fits     []PowerFit `json:"fits,omitempty"`
	Gates    gate.Gates `json:"gates"`       // per cent, by kind of figure
	Pairs    int        `json:"pairs"`       // of a run, at first
	Wanted   int        `json:"wanted_runs"` // of each kind
	Null     PowerSide  `json:"unchanged"`   // an alarm is a false one
	Slow     PowerSide  `json:"slower"`      // an alarm is what is wanted
}

// PowerSide is the runs of one kind.
type PowerSide struct {
	Runs   []PowerRun `json:"runs"`
	Failed int        `json:"failed"`
	Low    float64    `json:"rate_low"` // of the probability that a run fails: 95 % interval of Clopper and Pearson
	High   float64    `json:"rate_high"`
}

// PowerFit is one measurement of what the loop costs, with so many rounds.
type PowerFit struct {
	Rounds int     `json:"spin_rounds"`
	Worse  float64 `json:"worse_pct"`
	Low    float64 `json:"worse_low_pct"` // as of a gate.PairedRow
	High   float64 `json:"worse_high_pct"`
}

// Fit takes a measurement of the loop with the present Rounds. A frame's time grows with the rounds in proportion, so all measurements together say what
// one costs; that of a single one is as loud as the machine. least is what one round is taken for at the least, per cent.
func (p *Power) Fit(m *gate.PairedRow, least float64) (perRound float64) {
	p.Fits = append(p.Fits, PowerFit{Rounds: p.Rounds, Worse: m.Worse, Low: m.Low, High: m.High})
	var worse, rounds float64
	for _, f := range p.Fits {
		worse, rounds = worse+f.Worse, rounds+float64(f.Rounds)
	}
	p.Injected = worse / rounds * float64(p.Rounds)
	return max(worse/rounds, least)
}

// PowerRun is one whole paired check.
type PowerRun struct {
	Failed bool             `json:"failed"`        // exit status 1
	Why    string           `json:"why,omitempty"` // it could not be judged
	TookS  float64          `json:"took_s"`
	Looks  int              `json:"looks"`
	Rows   []gate.PairedRow `json:"rows,omitempty"`
}

// Summarise counts.
func (p *Power) Summarise() {
	for _, s := range []*PowerSide{&p.Null, &p.Slow} {
		s.Failed = 0
		for _, r := range s.Runs {
			if r.Failed {
				s.Failed++
			}
		}
		s.Low, s.High = gate.Share(s.Failed, len(s.Runs))
	}
}

// What a check must do to be trusted: one in Trusted runs may be wrong, of either kind.
const Trusted = 20

// Calibrated is by how much the slowdown that was injected may be larger than the one that was asked for, per cent of the base's CPU time per
// frame: a larger one is easier to catch and proves nothing about the one that was asked for.
const Calibrated = 1.5

// Overshot says whether the slowdown that was injected is larger than the one that was asked for.
func (p *Power) Overshot() bool { return p.Injected > p.Asked+Calibrated }

// Judged says whether the study can say anything: the slowdown is the one that was asked for, or a smaller one, and there are enough runs.
func (p *Power) Judged() bool {
	return p.Injected > 0 && !p.Overshot() && p.Wanted >= Trusted
}

// OK says whether the check can be trusted: the study can be judged, all runs were made, at most one unchanged tree in twenty has failed, and
// at least nineteen slower ones in twenty.
func (p *Power) OK() bool {
	null, slow := len(p.Null.Runs), len(p.Slow.Runs)
	return p.Judged() && null == p.Wanted && slow == p.Wanted && p.Null.Failed*Trusted <= null && p.Slow.Failed*Trusted >= slow*(Trusted-1)
}

func (p *Power) text(w io.Writer) {
	fmt.Fprintf(w, "  base %s; hot path slower: asked for %s %%, measured %s %% (%d rounds of a loop in every frame)\n", p.Base, num(p.Asked), num(p.Injected), p.Rounds)
	for _, f := range p.Fits {
		fmt.Fprintf(w, "    %4d rounds: %+.1f %% (%+.1f to %+.1f)\n", f.Rounds, f.Worse, f.Low, f.High)
	}
	t := &table{left: map[int]bool{0: true, 5: true}}
	t.add("tree", "runs", "failed", "95 % interval", "wanted", "")
	line := func(name string, s *PowerSide, wanted string, ok bool) {
		verdict := string(Failed)
		switch {
		case len(s.Runs) < p.Wanted:
			verdict = "interrupted"
		case ok:
			verdict = string(Passed)
		}
		t.add(name, fmt.Sprintf("%d of %d", len(s.Runs), p.Wanted), fmt.Sprint(s.Failed), fmt.Sprintf("%.1f to %.1f %%", 100*s.Low, 100*s.High), wanted, verdict)
	}
	line("unchanged", &p.Null, fmt.Sprintf("at most 1 in %d", Trusted), p.Null.Failed*Trusted <= len(p.Null.Runs))
	line("slower", &p.Slow, fmt.Sprintf("at least %d in %d", Trusted-1, Trusted), p.Slow.Failed*Trusted >= len(p.Slow.Runs)*(Trusted-1))
	t.write(w)
	if !p.Judged() {
		fmt.Fprintf(w, "  no verdict: %d runs of each kind and an injected slowdown of at most %s %% are required\n", Trusted, num(p.Asked+Calibrated))
	}
	p.figures(w)
	for _, s := range []struct {
		name string
		side *PowerSide
	}{{"unchanged", &p.Null}, {"slower", &p.Slow}} {
		for i, r := range s.side.Runs {
			if r.Why != "" {
				fmt.Fprintf(w, "  %s, run %d: %s\n", s.name, i+1, r.Why)
			}
		}
	}
}

// figures says of every figure what the runs have measured, and in how many it failed.
func (p *Power) figures(w io.Writer) {
	t := &table{left: map[int]bool{0: true}}
	t.add("worse by, median of a run", "unchanged: runs' range", "median", "failed", "slower: runs' range", "median", "failed", "limit")
	for _, m := range gate.PairedMetrics() {
		cells := []string{m.Key}
		for _, s := range []*PowerSide{&p.Null, &p.Slow} {
			low, mid, high, failed := s.figure(m.Key)
			cells = append(cells, fmt.Sprintf("%+.1f to %+.1f %%", low, high), fmt.Sprintf("%+.1f %%", mid), fmt.Sprint(failed))
		}
		t.add(append(cells, fmt.Sprintf("%+.1f %%", p.Gates[m.Gate]))...)
	}
	t.write(w)
	fmt.Fprintf(w, "  a run took %.0f s on the average\n", p.took())
}

// figure is the range and the median of what the runs say of a figure; all 0 when no run has it.
func (s *PowerSide) figure(key string) (low, mid, high float64, failed int) {
	var all []float64
	for _, r := range s.Runs {
		for _, row := range r.Rows {
			if row.Key != key {
				continue
			}
			all = append(all, row.Worse)
			if !row.OK {
				failed++
			}
		}
	}
	if len(all) == 0 {
		return 0, 0, 0, 0
	}
	return slices.Min(all), Median(all), slices.Max(all), failed
}

// took is the mean length of a run in seconds.
func (p *Power) took() float64 {
	sum, n := 0.0, 0
	for _, r := range slices.Concat(p.Null.Runs, p.Slow.Runs) {
		sum, n = sum+r.TookS, n+1
	}
	return sum / float64(max(n, 1))
}
