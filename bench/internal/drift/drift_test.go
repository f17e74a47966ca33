package drift

import (
	"math"
	"math/rand/v2"
	"testing"
)

// seeds is how many series of each kind are judged.
const seeds = 200

// mib is a unit that the figures below are of.
const mib = 1 << 20

// memory is like the allowance of a resident set.
var memory = Allowance{Floor: 8 * mib, Share: 0.1, PerDay: 32 * mib}

// run is a series of n samples, one a second.
func run(n int, v func(t float64) float64) []Point {
	out := make([]Point, n)
	for i := range out {
		out[i] = Point{float64(i), v(float64(i))}
	}
	return out
}

// count is how many of the seeds get the verdict.
func count(t *testing.T, want Verdict, series func(r *rand.Rand) [][]Point) int {
	t.Helper()
	n := 0
	for seed := range seeds {
		got := Judge(series(rand.New(rand.NewPCG(uint64(seed), 7))), 30, memory)
		if got.Verdict == want {
			n++
		}
		if !(got.LowHour <= got.SlopeHour && got.SlopeHour <= got.HighHour) {
			t.Fatalf("seed %d: the bounds do not enclose the slope: %+v", seed, got)
		}
	}
	return n
}

// What does not leak is not called a leak, whatever it does besides.
func TestWhatIsSteadyIsNotCalledGrowing(t *testing.T) {
	red := func(r *rand.Rand, keep float64) func() float64 { // noise that remembers
		x := 0.0
		return func() float64 { x = keep*x + r.NormFloat64(); return x }
	}
	for name, series := range map[string]func(r *rand.Rand) [][]Point{
		"constant": func(*rand.Rand) [][]Point { return [][]Point{run(180, func(float64) float64 { return 40 * mib })} },
		"white noise": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(float64) float64 { return 40*mib + 5*mib*r.NormFloat64() })}
		},
		"red noise": func(r *rand.Rand) [][]Point {
			next := red(r, 0.9)
			return [][]Point{run(1800, func(float64) float64 { return 40*mib + mib*next() })}
		},
		"one step": func(r *rand.Rand) [][]Point {
			at := 40 + 120*r.Float64()
			return [][]Point{run(180, func(t float64) float64 {
				if t > at {
					return 140*mib + mib*r.NormFloat64()
				}
				return 40*mib + mib*r.NormFloat64()
			})}
		},
		"sawtooth": func(r *rand.Rand) [][]Point {
			period, phase := 2+60*r.Float64(), 60*r.Float64()
			return [][]Point{run(180, func(t float64) float64 {
				return 40*mib + 60*mib*math.Mod(t+phase, period)/period + mib*r.NormFloat64()
			})}
		},
		"pool filling": func(r *rand.Rand) [][]Point {
			return [][]Point{run(1800, func(t float64) float64 { return 40*mib + 100*mib*(1-math.Exp(-t/200)) + mib*r.NormFloat64() })}
		},
		"warm-up": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + 3*mib*min(t, 30) + mib*r.NormFloat64() })}
		},
		"outliers": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 {
				if r.Float64() < 0.1 {
					return 40*mib + 20*mib*t // larger and larger
				}
				return 40*mib + mib*r.NormFloat64()
			})}
		},
		"restarts at other levels": func(r *rand.Rand) [][]Point {
			var out [][]Point
			for s := range 4 {
				from := run(200, func(float64) float64 { return float64(40+30*s)*mib + mib*r.NormFloat64() })
				for i := range from {
					from[i].T += float64(200 * s)
				}
				out = append(out, from)
			}
			return out
		},
		"within the allowance": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + 4*mib*t/180 + mib*r.NormFloat64() })}
		},
	} {
		if n := count(t, Growing, series); n > seeds/20 {
			t.Errorf("%s: %d of %d are called growing", name, n, seeds)
		}
	}
}

// A leak is found, with noise, behind a step, across restarts, and when it comes in portions.
func TestLeakIsFound(t *testing.T) {
	leak := 60.0 * mib / 180 // a second
	for name, series := range map[string]func(r *rand.Rand) [][]Point{
		"with noise": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + leak*t + 3*mib*r.NormFloat64() })}
		},
		"with a step": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 {
				return 40*mib + leak*t + 50*mib*math.Floor(t/90) + mib*r.NormFloat64()
			})}
		},
		"with a sawtooth": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + leak*t + 10*mib*math.Mod(t, 7)/7 + mib*r.NormFloat64() })}
		},
		"in portions": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + 3*mib*math.Floor(leak*t/(3*mib)) + mib*r.NormFloat64() })}
		},
		"in five portions": func(r *rand.Rand) [][]Point {
			return [][]Point{run(1800, func(t float64) float64 { return 40*mib + 30*mib*math.Floor(t/300) + mib*r.NormFloat64() })}
		},
		"across restarts": func(r *rand.Rand) [][]Point {
			var out [][]Point
			for s := range 3 {
				from := run(180, func(t float64) float64 { return 40*mib + leak*t + mib*r.NormFloat64() })
				for i := range from {
					from[i].T += float64(180 * s)
				}
				out = append(out, from)
			}
			return out
		},
	} {
		if n := count(t, Growing, series); n < seeds*95/100 {
			t.Errorf("%s: %d of %d are found", name, n, seeds)
		}
	}
}

// What does not grow is said to be steady: a judge that never can tell would pass the tests above.
func TestSteadyIsSaid(t *testing.T) {
	for name, series := range map[string]func(r *rand.Rand) [][]Point{
		"constant": func(*rand.Rand) [][]Point { return [][]Point{run(180, func(float64) float64 { return 40 * mib })} },
		"noise": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(float64) float64 { return 40*mib + 3*mib*r.NormFloat64() })}
		},
		"within the allowance": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + 4*mib*t/180 + mib*r.NormFloat64() })}
		},
		"in a smaller and smaller place": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 400*mib - mib*t + mib*r.NormFloat64() })}
		},
		"restarts": func(r *rand.Rand) [][]Point {
			return [][]Point{run(200, func(float64) float64 { return 40*mib + mib*r.NormFloat64() }),
				run(200, func(float64) float64 { return 80*mib + mib*r.NormFloat64() })}
		},
	} {
		if n := count(t, Steady, series); n < seeds*95/100 {
			t.Errorf("%s: %d of %d are called steady", name, n, seeds)
		}
	}
}

// What has grown beyond the allowance, by the best estimate or from the beginning to the end, is not called steady, whether or not it is
// enough to be called growing: a leak in few large portions looks like a pool that fills.
func TestWhatGrewIsNotCalledSteady(t *testing.T) {
	for name, series := range map[string]func(r *rand.Rand) [][]Point{
		"one step": func(r *rand.Rand) [][]Point {
			at := 70 + 60*r.Float64()
			return [][]Point{run(180, func(t float64) float64 {
				if t > at {
					return 80*mib + mib*r.NormFloat64()
				}
				return 40*mib + mib*r.NormFloat64()
			})}
		},
		"two steps": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + 30*mib*math.Floor(t/75) + mib*r.NormFloat64() })}
		},
		"pool filling": func(r *rand.Rand) [][]Point {
			return [][]Point{run(1800, func(t float64) float64 { return 40*mib + 100*mib*(1-math.Exp(-t/400)) + mib*r.NormFloat64() })}
		},
		"noise as large as the leak": func(r *rand.Rand) [][]Point {
			return [][]Point{run(180, func(t float64) float64 { return 40*mib + 40*mib*t/180 + 30*mib*r.NormFloat64() })}
		},
	} {
		if n := count(t, Steady, series); n > seeds/20 {
			t.Errorf("%s: %d of %d are called steady", name, n, seeds)
		}
	}
}

// What a run says that it could have shown, it shows: a leak of twice that is found, one of half of it is not claimed.
func TestDetectableIsMeant(t *testing.T) {
	found, claimed := 0, 0
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		noise := func() float64 { return 40*mib + 2*mib*r.NormFloat64() }
		quiet := Judge([][]Point{run(300, func(float64) float64 { return noise() })}, 30, memory)
		rate := quiet.Detectable / quiet.SpanS
		if Judge([][]Point{run(300, func(t float64) float64 { return noise() + 2*rate*t })}, 30, memory).Verdict == Growing {
			found++
		}
		if Judge([][]Point{run(300, func(t float64) float64 { return noise() + rate*t/2 })}, 30, memory).Verdict == Growing {
			claimed++
		}
	}
	if found < seeds*95/100 || claimed > seeds/20 {
		t.Errorf("of %d, %d are found at twice what was said to be detectable, and %d claimed at half of it", seeds, found, claimed)
	}
}

// Few samples, or noise that hides any leak worth the name, are said to be no answer.
func TestCannotTell(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, s := range map[string][][]Point{
		"nothing":   nil,
		"one":       {{{0, 1}}},
		"few":       {run(40, func(float64) float64 { return 1 })},
		"one time":  {{{5, 1}, {5, 1}}},
		"too noisy": {run(60, func(float64) float64 { return 400 * mib * r.Float64() })},
	} {
		if got := Judge(s, 20, memory); got.Verdict != Unclear || got.Why == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAllowance(t *testing.T) {
	if got := memory.Over(40*mib, day); got != 40*mib {
		t.Errorf("a day at 40 MiB: %v MiB", got/mib)
	}
	if got := memory.Over(400*mib, day/2); got != 56*mib {
		t.Errorf("half a day at 400 MiB: %v MiB", got/mib)
	}
}
