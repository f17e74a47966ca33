package dashboards

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"image/png"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Sizes of the picture. A panel of the dashboard is 8 units high and 4, 8 or 12 of 24 wide.
const (
	columns    = 24
	unitWidth  = vg.Length(38)
	unitHeight = vg.Length(16)
	gap        = vg.Length(3)
	mostLines  = 6 // that a panel's legend has room for: the largest
)

var (
	backdrop = color.Gray{0xf0}
	marker   = color.RGBA{0xd0, 0, 0, 0xff}
)

// draw writes a picture of the dashboard: each panel where it is in Grafana, with Prometheus' answers to its queries.
func (w *world) draw(t *testing.T, panels []panel, path string) {
	t.Helper()
	height := 0
	for _, p := range panels {
		height = max(height, p.Grid.Y+p.Grid.H)
	}
	img := vgimg.NewWith(vgimg.UseWH(columns*unitWidth, vg.Length(height)*unitHeight), vgimg.UseDPI(96), vgimg.UseBackgroundColor(backdrop))
	all, end := draw.New(img), time.Now()
	for _, p := range panels {
		x, top := vg.Length(p.Grid.X)*unitWidth, all.Max.Y-vg.Length(p.Grid.Y)*unitHeight
		c := all
		c.Rectangle = vg.Rectangle{Min: vg.Point{X: x + gap, Y: top - vg.Length(p.Grid.H)*unitHeight + gap},
			Max: vg.Point{X: x + vg.Length(p.Grid.W)*unitWidth - gap, Y: top - gap}}
		if p.Type == "row" {
			c.FillText(style(11), vg.Point{X: c.Min.X, Y: c.Min.Y + gap}, p.Title)
			continue
		}
		one, err := w.chart(p, end)
		if err != nil {
			t.Fatalf("%q: %v", p.Title, err)
		}
		one.Draw(c)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img.Image()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func style(size font.Length) text.Style {
	s := plot.New().Title.TextStyle
	s.Font.Size, s.XAlign, s.YAlign = size, text.XLeft, text.YBottom
	s.Font.Variant = "Sans"
	return s
}

// line is what is drawn of a series.
type line struct {
	name string
	xys  plotter.XYs
	top  float64
}

// lines asks a panel's queries and returns the largest answers; of many, not those that are nothing but zero.
func (w *world) lines(p panel, end time.Time) (all []line, err error) {
	for _, q := range p.Targets {
		answer, err := w.prom.ask(substituted(q.Expr, shortWindow), w.begin, end)
		if err != nil {
			return nil, err
		}
		for _, s := range answer {
			l := line{name: legend(q.LegendFormat, s.labels), top: slices.Max(s.v)}
			for i := range s.v {
				l.xys = append(l.xys, plotter.XY{X: s.at[i].Sub(w.begin).Seconds(), Y: s.v[i]})
			}
			all = append(all, l)
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Compare(b.top, a.top) })
	if len(all) > mostLines {
		all = all[:mostLines]
		for len(all) > 1 && all[len(all)-1].top == 0 {
			all = all[:len(all)-1]
		}
	}
	return all, nil
}

// chart draws one panel.
func (w *world) chart(p panel, end time.Time) (*plot.Plot, error) {
	lines, err := w.lines(p, end)
	if err != nil {
		return nil, err
	}
	c := plot.New()
	c.BackgroundColor = color.White
	title := style(9)
	title.XAlign, title.YAlign = c.Title.TextStyle.XAlign, c.Title.TextStyle.YAlign
	c.Title.Text, c.Title.TextStyle = p.Title, title
	small := style(7)
	for _, a := range []*plot.Axis{&c.X, &c.Y} {
		small.XAlign, small.YAlign = a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Tick.Label = small
	}
	top := 0.0
	for i, l := range lines {
		one, err := plotter.NewLine(l.xys)
		if err != nil {
			return nil, err
		}
		one.Color = plotutil.Color(i)
		c.Add(one)
		c.Legend.Add(l.name, one)
		top = max(top, l.top)
	}
	if top == 0 {
		top = 1
	}
	c.X.Min, c.X.Max, c.Y.Min, c.Y.Max = 0, end.Sub(w.begin).Seconds(), 0, top*(1.15+0.11*float64(len(lines))) // the legend is above the lines
	began, err := plotter.NewLine(plotter.XYs{{X: w.faults.Sub(w.begin).Seconds()}, {X: w.faults.Sub(w.begin).Seconds(), Y: c.Y.Max}})
	if err != nil {
		return nil, err
	}
	began.Color, began.Dashes, began.Width = marker, []vg.Length{2, 2}, 0.5
	c.Add(began)
	c.Legend.TextStyle, c.Legend.Top, c.Legend.Left, c.Legend.ThumbnailWidth = style(6.5), true, true, 8
	c.X.Tick.Marker, c.Y.Tick.Marker = ticks("s", 5, c.X.Max), ticks(p.FieldConfig.Defaults.Unit, 3, top)
	return c, nil
}

// ticks are some round values up to top, in a unit of Grafana's.
func ticks(unit string, n int, top float64) plot.TickerFunc {
	return func(_, _ float64) (all []plot.Tick) {
		part := base(top, unit) // steps are round in the unit that is shown
		step := part * math.Pow(10, math.Floor(math.Log10(top/part/float64(n))))
		for _, m := range []float64{10, 5, 2} {
			if top/(step*m) >= float64(n)-1 {
				step *= m
				break
			}
		}
		for v := 0.0; v <= top*1.01; v += step {
			all = append(all, plot.Tick{Value: v, Label: human(v, unit)})
		}
		return all
	}
}

// base is the multiple of a unit in which values like v are shown, where that is no power of ten.
func base(v float64, unit string) float64 {
	switch {
	case unit == "s" && v >= twoDays:
		return twoDays / 2
	case unit == "bytes" || unit == "Bps":
		return math.Pow(1024, math.Floor(math.Log2(max(v, 1))/10))
	}
	return 1
}

// twoDays are the seconds from which on days are shown.
const twoDays = 2 * 86400

// human is a value with its unit.
func human(v float64, unit string) string {
	scaled := func(by float64, suffixes ...string) string {
		i := 0
		for ; i < len(suffixes)-1 && v >= by; i++ {
			v /= by
		}
		return fmt.Sprintf("%.3g%s", v, suffixes[i])
	}
	switch unit {
	case "s":
		switch {
		case v >= twoDays:
			return fmt.Sprintf("%.3gd", v/86400)
		case v > 0 && v < 0.001:
			return fmt.Sprintf("%.3gµs", v*1e6)
		case v > 0 && v < 1:
			return fmt.Sprintf("%.3gms", v*1e3)
		}
		return fmt.Sprintf("%.3gs", v)
	case "bytes":
		return scaled(1024, "B", "K", "M", "G")
	case "Bps":
		return scaled(1024, "B/s", "K/s", "M/s", "G/s")
	case "percentunit":
		return fmt.Sprintf("%.3g%%", v*100)
	case "percent":
		return fmt.Sprintf("%.3g%%", v)
	case "short":
		return scaled(1000, "", "k", "M")
	}
	return scaled(1000, "/s", "k/s", "M/s")
}

// TestHuman: the picture's figures have their units.
func TestHuman(t *testing.T) {
	for _, tc := range []struct {
		v    float64
		unit string
		want string
	}{{0.00005, "s", "50µs"}, {0.25, "s", "250ms"}, {90, "s", "90s"}, {864000, "s", "10d"}, {64 << 20, "bytes", "64M"}, {0.85, "percentunit", "85%"},
		{1500, "reqps", "1.5k/s"}, {0, "s", "0s"}, {2000, "short", "2k"}} {
		if got := human(tc.v, tc.unit); got != tc.want {
			t.Errorf("%v in %s: %q, want %q", tc.v, tc.unit, got, tc.want)
		}
	}
}
