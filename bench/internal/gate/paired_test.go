package gate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// noise is a model of a shared machine: what a slice's figure is multiplied by.
type noise struct {
	slice    float64 // standard deviation of each slice by itself, as a share
	drift    float64 // of each step of the machine's slow changes
	outliers float64 // share of slices in which somebody else is busy
	process  float64 // standard deviation of what stays with a process for its life, which is two pairs
}

// sample makes the pairs of a run under noise; slower is by how much the change is worse in each kind of figure, as a share.
func sample(rng *rand.Rand, n int, z noise, slower map[string]float64) []Pair {
	var pairs []Pair
	for _, m := range PairedMetrics() {
		machine, base, change := 1.0, 1.0, 1.0
		figure := func(worse float64) float64 {
			machine *= math.Exp(z.drift * rng.NormFloat64())
			v := worse * machine * math.Exp(z.slice*rng.NormFloat64())
			if rng.Float64() < z.outliers {
				v *= 1 + rng.ExpFloat64()/2
			}
			if m.More {
				return 1 / v
			}
			return v
		}
		for i := range n {
			if i%2 == 0 {
				base, change = math.Exp(z.process*rng.NormFloat64()), math.Exp(z.process*rng.NormFloat64())
			}
			p := Pair{Base: Values{}, Change: Values{}}
			worse := change * (1 + slower[m.Gate])
			if m.More {
				worse = change / (1 - slower[m.Gate])
			}
			if i%2 == 0 {
				p.Base[m.Key], p.Change[m.Key] = figure(base), figure(worse)
			} else {
				p.Change[m.Key], p.Base[m.Key] = figure(worse), figure(base)
			}
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// alarms is in how many of runs simulated runs some figure fails, with more pairs taken as long as a figure is not settled.
func alarms(t *testing.T, runs int, z noise, slower map[string]float64) (n int) {
	t.Helper()
	g, err := Parse(PairedGates)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range runs {
		rng := rand.New(rand.NewPCG(uint64(seed), 12))
		var pairs []Pair
		failed := false
		for range 3 {
			pairs = append(pairs, sample(rng, 12, z, slower)...)
			rows, err := JudgePairs(pairs, 12, g, 0)
			if err != nil {
				t.Fatal(err)
			}
			settled := true
			failed = false
			for _, r := range rows {
				settled = settled && r.Settled
				failed = failed || !r.OK
			}
			if settled {
				break
			}
		}
		if failed {
			n++
		}
	}
	return n
}

// TestPairedPowerAndFalseAlarms: a hot path that is slower by 12 % is found in 95 % of the runs at least, and an unchanged one fails in 5 % at most, with
// as much noise as a shared machine has, and more.
func TestPairedPowerAndFalseAlarms(t *testing.T) {
	const runs = 200
	slow := map[string]float64{"cpu": 0.12, "throughput": 0.05}
	for _, v := range []struct {
		name   string
		z      noise
		caught bool // the slowdown must be: where nobody could tell it from the noise, only false alarms are bounded
	}{
		{"quiet", noise{slice: 0.01, drift: 0.002}, true},
		{"measured", noise{slice: 0.03, drift: 0.01, outliers: 0.02, process: 0.01}, true},
		{"twice as loud", noise{slice: 0.06, drift: 0.02, outliers: 0.05, process: 0.015}, true},
		{"very loud", noise{slice: 0.2, drift: 0.1, outliers: 0.2, process: 0.01}, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			none, some := alarms(t, runs, v.z, nil), alarms(t, runs, v.z, slow)
			t.Logf("of %d runs: %d false alarms, %d caught", runs, none, some)
			if none > runs/20 {
				t.Errorf("%d false alarms in %d runs", none, runs)
			}
			if v.caught && some < runs*19/20 {
				t.Errorf("%d of %d slow changes are caught", some, runs)
			}
		})
	}
}

// TestJudgePairs: each figure just within its gate and just beyond it; a median beyond the gate is no breach as long as it is not certain.
func TestJudgePairs(t *testing.T) {
	g, err := Parse(PairedGates)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range PairedMetrics() {
		limit := g[m.Gate]
		for _, v := range []struct {
			name          string
			worse, spread float64
			extra         float64
			ok, settled   bool
		}{
			{"the same", 0, 0.5, 0, true, true},
			{"better", -30, 1, 0, true, true},
			{"just within", limit - 0.2, 0.1, 0, true, false},
			{"just beyond", limit + 0.2, 0.1, 0, false, true},
			{"beyond, and as likely better", limit + 0.2, 60, 0, true, true},
			{"beyond, and hardly better", limit + 0.2, limit + 1.2, 0, true, false},
			{"beyond, certain that it is worse, not by how much", limit + 1, limit * 0.9, 0, false, false},
			{"just within the waiver", limit + 4.8, 0.1, WaiverPct, true, false},
			{"beyond the waiver", limit + 5.2, 0.1, WaiverPct, false, true},
		} {
			rows, err := JudgePairs(spread(m, v.worse, v.spread), LeastPairs, g, v.extra)
			if err != nil || len(rows) != len(PairedMetrics()) {
				t.Fatal(rows, err)
			}
			for _, r := range rows {
				if r.Key != m.Key {
					if !r.OK || !r.Settled || r.Worse != 0 {
						t.Errorf("%s: %+v", m.Key, r)
					}
					continue
				}
				if r.OK != v.ok || r.Settled != v.settled || math.Abs(r.Worse-v.worse) > 1e-9 || r.Pairs != 9 {
					t.Errorf("%s, %s: %+v", m.Key, v.name, r)
				}
			}
		}
	}
}

// spread makes nine pairs of every figure. Those of m are worse by about so many per cent, those of others equal.
func spread(m Metric, worse, by float64) []Pair {
	var pairs []Pair
	for i := range 9 {
		for _, o := range PairedMetrics() {
			p := Pair{Base: Values{o.Key: 8}, Change: Values{o.Key: 8}}
			if o.Key == m.Key {
				w := (worse + by*(float64(i)-4)/4) / 100
				if m.More {
					w = -w
				}
				p.Change[o.Key] = 8 * (1 + w)
			}
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// TestJudgePairsRefuses: what cannot be judged is an error that names the figure.
func TestJudgePairsRefuses(t *testing.T) {
	g, _ := Parse(PairedGates)
	m := PairedMetrics()[0]
	for name, v := range map[string]struct {
		spoil func([]Pair) []Pair
		want  string
	}{
		"no pairs":  {func([]Pair) []Pair { return nil }, "0 pairs with mem_gib, 8 are required"},
		"too few":   {func(p []Pair) []Pair { return p[:7*len(PairedMetrics())] }, "7 pairs with tls_small_cpu_us"},
		"NaN":       {func(p []Pair) []Pair { p[0].Change[m.Key] = math.NaN(); return p }, "pair 1: " + m.Key},
		"0":         {func(p []Pair) []Pair { p[0].Base[m.Key] = 0; return p }, "pair 1: " + m.Key},
		"infinite":  {func(p []Pair) []Pair { p[0].Base[m.Key] = math.Inf(1); return p }, "pair 1: " + m.Key},
		"one sided": {func(p []Pair) []Pair { delete(p[0].Base, m.Key); return p }, "pair 1: " + m.Key},
	} {
		if _, err := JudgePairs(v.spoil(spread(m, 0, 1)), 0, g, 0); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := JudgePairs(spread(m, 0, 1), 10, g, 0); err == nil {
		t.Error("fewer pairs than were asked for")
	}
}

// TestInterval: with so many values the interval ends at known ones, and it covers the true median as often as it says.
func TestInterval(t *testing.T) {
	for n, k := range map[int]int{8: 1, 11: 1, 12: 2, 14: 2, 24: 6, 36: 10} { // k-1 is the largest number of heads in n throws with P <= 0.5 %
		var v []float64
		for i := range n {
			v = append(v, float64(n-i))
		}
		if low, high := Interval(v, doubt); low != float64(k) || high != float64(n+1-k) {
			t.Errorf("%d values: %v to %v, want the %dth", n, low, high, k)
		}
	}
	if low, high := Interval([]float64{1, 2, 3, 4, 5, 6, 7}, doubt); !math.IsInf(low, -1) || !math.IsInf(high, 1) {
		t.Errorf("7 values: %v to %v", low, high)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const runs = 20000
	over := 0
	for range runs {
		v := make([]float64, 12)
		for i := range v {
			v[i] = rng.ExpFloat64() - math.Ln2
		}
		if low, _ := Interval(v, doubt); low > 0 {
			over++
		}
	}
	if over == 0 || float64(over) > runs*doubt {
		t.Errorf("the lower bound is above the true median in %d of %d runs", over, runs)
	}
}

// TestBinomial: known values, and the ends of the interval are where their tails are 2.5 %.
func TestBinomial(t *testing.T) {
	for _, v := range []struct {
		k, n   int
		p, out float64
	}{{-1, 5, 0.5, 0}, {5, 5, 0.5, 1}, {0, 1, 0.25, 0.75}, {2, 12, 0.5, 79.0 / 4096}, {19, 20, 0.95, 1 - math.Pow(0.95, 20)}, {0, 3, 0, 1}, {0, 3, 1, 0}} {
		if got := AtMost(v.k, v.n, v.p); math.Abs(got-v.out) > 1e-12 {
			t.Errorf("%+v: %v", v, got)
		}
	}
	for _, v := range []struct {
		k, n      int
		low, high float64
	}{{0, 20, 0, 0.16843}, {20, 20, 0.83157, 1}, {1, 20, 0.00127, 0.24873}, {19, 20, 0.75127, 0.99873}, {0, 0, 0, 1}} {
		t.Run(fmt.Sprint(v.k, " of ", v.n), func(t *testing.T) {
			if low, high := Share(v.k, v.n); math.Abs(low-v.low) > 5e-6 || math.Abs(high-v.high) > 5e-6 {
				t.Errorf("%v to %v, want %v to %v", low, high, v.low, v.high)
			}
		})
	}
}
