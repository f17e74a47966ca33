// Package governor holds the processors of a machine in a band by the rate of a load. It is arithmetic only.
package governor

import (
	"fmt"
	"math"
)

// Figures of the control. A change of the rate is seen late, when connections have been replaced, so steps are bounded, and each
// closes about half of the distance: two that overlap do not overshoot.
const (
	damping = 0.5
	maxUp   = 2.0 // from idle: a rate ten times too low is right after four steps
	maxDown = 0.6 // and this is the step when all cores are busy
	// full per cent busy, and more, are all cores: what the load lacks is not seen then, and queues grow.
	full = 95
)

// Config is what is to be held.
type Config struct {
	Low, High float64 // the band, per cent of all cores
	Min, Max  float64 // bounds of the rate
}

// Governor is the control. One goroutine.
type Governor struct {
	c    Config
	rate float64
}

// New begins at the rate start.
func New(c Config, start float64) (*Governor, error) {
	if !(c.Low > 0 && c.Low < c.High && c.High <= 100) {
		return nil, fmt.Errorf("band: %v to %v is not allowed; allowed: rising, above 0 to 100", c.Low, c.High)
	}
	if !(c.Min > 0 && c.Min <= c.Max) {
		return nil, fmt.Errorf("rate: %v to %v is not allowed; allowed: rising, above 0", c.Min, c.Max)
	}
	g := &Governor{c: c}
	g.set(start)
	return g, nil
}

// set keeps the rate within its bounds. What lies beyond is forgotten: there is no sum that has to be worked off later.
func (g *Governor) set(rate float64) { g.rate = min(max(rate, g.c.Min), g.c.Max) }

// Rate is the rate now.
func (g *Governor) Rate() float64 { return g.rate }

// Inside says whether so many per cent are within the band.
func (g *Governor) Inside(busy float64) bool { return busy >= g.c.Low && busy <= g.c.High }

// Next is told how busy all cores were on the average since the last call, in per cent, and returns the rate from now on. Within
// the band it stays. What is no number changes nothing.
func (g *Governor) Next(busy float64) float64 {
	if math.IsNaN(busy) || g.Inside(busy) {
		return g.rate
	}
	step := math.Pow((g.c.Low+g.c.High)/2/max(busy, 1), damping)
	if busy > g.c.High && busy >= full {
		step = maxDown
	}
	g.set(g.rate * min(max(step, maxDown), maxUp))
	return g.rate
}
