package governor

import (
	"math"
	"math/rand/v2"
	"testing"
)

// plant is a machine: what it costs is in proportion to the rate, besides what others use. A step is half of a connection's life, so a
// quarter of a change is seen in the first step, half of it in the next, and the last quarter in the one after that.
type plant struct {
	perRate, others float64
	last, before    float64
}

func (p *plant) busy(rate float64, r *rand.Rand) float64 {
	seen := rate/4 + p.last/2 + p.before/4
	p.last, p.before = rate, p.last
	return min(max(p.others+p.perRate*seen+r.NormFloat64(), 0), 100)
}

// From any start, on machines of any speed, the band is reached and then kept.
func TestBandIsReachedAndKept(t *testing.T) {
	for seed := range 200 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		right := math.Pow(10, 2+4*r.Float64()) // the rate at 65 %
		p := &plant{others: 10 * r.Float64()}
		p.perRate = (65 - p.others) / right
		g, err := New(Config{Low: 60, High: 70, Min: 50, Max: 5e6}, right*math.Pow(10, 4*r.Float64()-2))
		if err != nil {
			t.Fatal(err)
		}
		inside := 0
		p.last, p.before = g.Rate(), g.Rate()
		for i := range 60 {
			busy := p.busy(g.Rate(), r)
			if i >= 20 && g.Inside(busy) {
				inside++
			}
			from := g.Rate()
			if to := g.Next(busy); to > from*maxUp*1.0001 || to < from*maxDown*0.9999 {
				t.Fatalf("seed %d: a step from %v to %v", seed, from, to)
			}
		}
		if inside < 36 {
			t.Errorf("seed %d: inside the band in %d of 40 steps; rate %v, right is %v", seed, inside, g.Rate(), right)
		}
	}
}

// When all cores are busy nobody knows how far beyond the band the load is: the rate goes down by the largest step, not by what 100 %
// would take.
func TestSaturationEndsSoon(t *testing.T) {
	g, err := New(Config{Low: 60, High: 70, Min: 1, Max: 1e6}, 1e5)
	if err != nil {
		t.Fatal(err)
	}
	for _, busy := range []float64{100, 97.5} {
		from := g.Rate()
		if to := g.Next(busy); math.Abs(to-from*maxDown) > 1e-6*from {
			t.Errorf("at %v %% busy from %v to %v, want %v", busy, from, to, from*maxDown)
		}
	}
	from := g.Rate()
	if to := g.Next(75); to >= from || to < 0.9*from {
		t.Errorf("at 75 %% busy from %v to %v: a small step is enough", from, to)
	}
}

// A band above what counts as full is one all the same.
func TestBandAtTheTop(t *testing.T) {
	g, err := New(Config{Low: 97, High: 99, Min: 1, Max: 1e6}, 1e5)
	if err != nil {
		t.Fatal(err)
	}
	if g.Next(96) <= 1e5 || g.Next(98) != g.Rate() {
		t.Errorf("below the band the rate goes to %v", g.Rate())
	}
}

// A target out of reach leaves the rate at its bound, and the way back begins at once.
func TestNothingIsWoundUp(t *testing.T) {
	g, err := New(Config{Low: 60, High: 70, Min: 10, Max: 1000}, 500)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		g.Next(5)
	}
	if g.Rate() != 1000 {
		t.Fatalf("rate %v", g.Rate())
	}
	if g.Next(95); g.Rate() >= 1000 {
		t.Errorf("rate %v after one step down", g.Rate())
	}
	for range 100 {
		g.Next(100)
	}
	if g.Rate() != 10 {
		t.Errorf("rate %v", g.Rate())
	}
	if g.Next(math.NaN()) != 10 || g.Next(65) != 10 {
		t.Errorf("rate %v", g.Rate())
	}
}

func TestConfigIsRefused(t *testing.T) {
	for _, c := range []Config{{}, {70, 60, 1, 2}, {60, 101, 1, 2}, {60, 70, 0, 2}, {60, 70, 3, 2}, {math.NaN(), 70, 1, 2}} {
		if _, err := New(c, 1); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
