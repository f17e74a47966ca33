package html

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Units of an axis, which the page's script knows how to write.
const (
	unitCount = "" // plain figures
	unitMS    = "ms"
	unitUS    = "µs"
	unitBytes = "bytes"
	unitCores = "cores"
)

// Kinds of x axis.
const (
	xTime   = "s"      // seconds since the window's begin
	xRarity = "rarity" // one reply of so many, logarithmic, labelled with the percentile
	xNames  = "names"  // the values of a knob, evenly spaced
)

// chart is one drawing: what the page's script is told, and what those are told who cannot see it.
type chart struct {
	ID     string    `json:"id"`
	Title  string    `json:"title"`
	XKind  string    `json:"x_kind"`
	X      []float64 `json:"x"`
	XNames []string  `json:"x_names,omitempty"`
	Unit   string    `json:"unit"`
	Log    bool      `json:"log,omitempty"`  // the y axis; figures that are not above 0 are gaps
	Sync   string    `json:"sync,omitempty"` // charts with the same word show the same moment under the pointer
	Lines  []line    `json:"lines"`
	Marks  []mark    `json:"marks,omitempty"` // moments on a time axis
	Band   []float64 `json:"band,omitempty"`  // lower and upper edge of where the lines are to be
	Words  string    `json:"-"`
}

// mark is a moment with a name.
type mark struct {
	At   float64 `json:"at"`
	Name string  `json:"name"`
}

// line is one row of figures of a chart. A line with Low and High has a spread around it.
type line struct {
	Name  string `json:"name"`
	Color int    `json:"color"` // of the palette, from 0 on
	Style string `json:"style"` // solid, dashed, dotted: told apart without colours
	Y     values `json:"y"`
	Low   values `json:"low,omitempty"`
	High  values `json:"high,omitempty"`
}

// Styles of lines.
const (
	solid  = "solid"
	dashed = "dashed"
	dotted = "dotted"
)

// values are figures; one that is no number is a gap.
type values []float64

// MarshalJSON writes gaps as null.
func (v values) MarshalJSON() ([]byte, error) {
	out := make([]*float64, len(v))
	for i := range v {
		if !math.IsNaN(v[i]) && !math.IsInf(v[i], 0) {
			out[i] = &v[i]
		}
	}
	return json.Marshal(out)
}

// there says whether a line has anything to draw.
func (v values) there() bool {
	return slices.ContainsFunc(v, func(f float64) bool { return f != 0 && !math.IsNaN(f) })
}

// keep leaves out lines without figures, and says whether any is left.
func (c *chart) keep() bool {
	c.Lines = slices.DeleteFunc(c.Lines, func(l line) bool { return !l.Y.there() })
	if c.Log {
		for _, l := range c.Lines {
			for i, f := range l.Y {
				if f <= 0 {
					l.Y[i] = math.NaN()
				}
			}
		}
	}
	return len(c.Lines) > 0 && len(c.X) > 0
}

// show writes a figure with the chart's unit.
func (c *chart) show(v float64) string {
	switch c.Unit {
	case unitBytes:
		return report.Size(int(v))
	case unitCount:
		return report.Num(v)
	}
	return report.Num(v) + " " + c.Unit
}

// say puts the chart in words: each line's range and mean.
func (c *chart) say() {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d points.", c.Title, len(c.X))
	for _, l := range c.Lines {
		low, high, sum, n := math.Inf(1), math.Inf(-1), 0.0, 0
		for _, f := range l.Y {
			if !math.IsNaN(f) {
				low, high, sum, n = min(low, f), max(high, f), sum+f, n+1
			}
		}
		if n > 0 {
			fmt.Fprintf(&b, " %s: from %s to %s, mean %s.", l.Name, c.show(low), c.show(high), c.show(sum/float64(n)))
		}
	}
	if len(c.Band) == 2 {
		fmt.Fprintf(&b, " Band: from %s to %s.", c.show(c.Band[0]), c.show(c.Band[1]))
	}
	for _, m := range c.Marks {
		fmt.Fprintf(&b, " At %s s: %s.", report.Num(m.At), m.Name)
	}
	c.Words = b.String()
}

// sayPoints puts the chart in words point by point, for charts with few of them.
func (c *chart) sayPoints(names []string) {
	var b strings.Builder
	b.WriteString(c.Title + ".")
	for _, l := range c.Lines {
		fmt.Fprintf(&b, " %s:", l.Name)
		for i, f := range l.Y {
			if !math.IsNaN(f) {
				fmt.Fprintf(&b, " %s at %s,", c.show(f), names[i])
			}
		}
	}
	c.Words = strings.TrimSuffix(b.String(), ",") + "."
}
