// Package flame draws CPU profiles as flame graphs: self-contained SVG, readable without any tool. Widths are shares of the CPU time, the root is at
// the bottom, callees above their callers, in the order of their names. Colours tell whose code it is.
package flame

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Geometry, in pixels.
const (
	width     = 1200
	rowHeight = 17
	charWidth = 6.6 // of the font below
	top       = 34  // for the title
	minShare  = 0.0005
	minLabel  = 20 // below, a frame has no room for any letter
	maxDepth  = 128
)

// frame is a function in one place of the stacks.
type frame struct {
	name     string
	value    int64
	children map[string]*frame
}

func (f *frame) child(name string) *frame {
	c := f.children[name]
	if c == nil {
		if f.children == nil {
			f.children = make(map[string]*frame)
		}
		c = &frame{name: name}
		f.children[name] = c
	}
	return c
}

// sorted are the children by name, so that the same profile makes the same picture.
func (f *frame) sorted() []*frame {
	out := make([]*frame, 0, len(f.children))
	for _, c := range f.children {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *frame) int { return cmp.Compare(a.name, b.name) })
	return out
}

// Draw reads a profile in pprof's format and writes the picture of its last kind of value, for a CPU profile the time. It is an error if there
// are no samples.
func Draw(w io.Writer, r io.Reader, title string) error {
	p, err := profile.Parse(r)
	if err != nil {
		return fmt.Errorf("flame graph: %w", err)
	}
	if len(p.SampleType) == 0 {
		return errors.New("flame graph: the profile has no values")
	}
	root, depth := fold(p)
	if root.value == 0 {
		return errors.New("flame graph: the profile has no samples; measure for longer")
	}
	kind := p.SampleType[len(p.SampleType)-1]
	d := &drawing{w: w, total: root.value, unit: kind.Unit, height: top + (depth+1)*rowHeight + 6}
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="ui-monospace,monospace" font-size="11">`+"\n", width, d.height)
	d.printf("<style>svg{background:#fff}text{fill:#222;pointer-events:none}rect{stroke:#fff;stroke-width:.5}rect:hover{stroke:#000}" +
		"@media(prefers-color-scheme:dark){svg{background:#16181c}.t{fill:#ddd}rect{stroke:#16181c}rect:hover{stroke:#fff}}</style>\n")
	d.printf(`<text class="t" x="8" y="20" font-size="14">%s</text>`+"\n", html.EscapeString(fmt.Sprintf("%s: %s of %s", title, d.amount(root.value), kind.Type)))
	d.draw(root, 0, 0)
	d.printf("</svg>\n")
	return d.err
}

// fold adds the samples up into a tree.
func fold(p *profile.Profile) (root *frame, depth int) {
	root = &frame{name: "all"}
	last := len(p.SampleType) - 1
	for _, s := range p.Sample {
		at := root
		at.value += s.Value[last]
		n := 0
		for i := len(s.Location) - 1; i >= 0; i-- {
			for j := len(s.Location[i].Line) - 1; j >= 0 && n < maxDepth; j-- {
				name := "?"
				if fn := s.Location[i].Line[j].Function; fn != nil {
					name = fn.Name
				}
				at = at.child(name)
				at.value += s.Value[last]
				n++
			}
		}
		depth = max(depth, n)
	}
	return root, depth
}

// drawing is a picture being written. The first error is kept.
type drawing struct {
	w      io.Writer
	total  int64
	unit   string
	height int
	err    error
}

func (d *drawing) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

// draw writes a frame and what is above it. x is in units of the values.
func (d *drawing) draw(f *frame, x int64, depth int) {
	share := float64(f.value) / float64(d.total)
	if share < minShare {
		return
	}
	left, wide := float64(x)/float64(d.total)*width, share*width
	y := d.height - 6 - (depth+1)*rowHeight
	d.printf(`<g><title>%s: %s, %.2f %%</title><rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s"/>`,
		html.EscapeString(f.name), d.amount(f.value), 100*share, left, y, wide, rowHeight-1, colour(f.name))
	if wide >= minLabel {
		d.printf(`<text x="%.2f" y="%d">%s</text>`, left+3, y+12, html.EscapeString(label(f.name, int((wide-6)/charWidth))))
	}
	d.printf("</g>\n")
	for _, c := range f.sorted() {
		d.draw(c, x, depth+1)
		x += c.value
	}
}

// amount is a value in words.
func (d *drawing) amount(v int64) string {
	if d.unit == "nanoseconds" {
		return fmt.Sprintf("%.2f s", float64(v)/1e9)
	}
	return fmt.Sprintf("%d %s", v, d.unit)
}

// label is as much of a function's name as there is room for, without the path of its package.
func label(name string, room int) string {
	short := name[strings.LastIndexByte(name, '/')+1:]
	if len(short) <= room {
		return short
	}
	if room < 3 {
		return short[:max(room, 0)]
	}
	return short[:room-1] + "…"
}

// cryptography is Go's, and what we have in its place.
const cryptography = "#b8a1d9"

// colour tells whose code a function is.
func colour(name string) string {
	switch {
	case strings.Contains(name, "/ron-transport/tls/internal/aesgcm."):
		return cryptography
	case strings.Contains(name, "/ron-transport/bench"), strings.HasPrefix(name, "main."):
		return "#f2c14e" // the bench
	case strings.Contains(name, "/ron-transport/"):
		return "#f78154" // the library
	case strings.HasPrefix(name, "runtime."), strings.HasPrefix(name, "internal/"):
		return "#9bc1bc" // Go's runtime
	case strings.HasPrefix(name, "crypto/"), strings.Contains(name, "x/crypto"):
		return cryptography
	case strings.Contains(name, "syscall"), strings.Contains(name, "x/sys/"):
		return "#7fb2e5" // the kernel's gate
	}
	return "#d5d8dc"
}
