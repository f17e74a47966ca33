package html

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// inspect is a script that says what is to be seen in the page. Of each line of each chart it counts the pixels in the
// plotting area that have the line's colour.
const inspect = `(() => {
  const root = document.documentElement;
  const rgb = (c) => { const x = document.createElement("canvas").getContext("2d"); x.fillStyle = c; x.fillRect(0, 0, 1, 1); return x.getImageData(0, 0, 1, 1).data; };
  const charts = [...document.querySelectorAll("[data-chart]")].map((f) => {
    const box = f.querySelector(".plot"), canvas = f.querySelector("canvas"), out = { title: f.querySelector("figcaption").textContent, words: box.getAttribute("aria-label"), painted: 0, lines: [] };
    if (!canvas) return out;
    const over = f.querySelector(".u-over").getBoundingClientRect(), at = canvas.getBoundingClientRect(), k = canvas.width / at.width;
    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 3; i < all.length; i += 4) if (all[i]) out.painted++;
    const d = canvas.getContext("2d").getImageData((over.x - at.x) * k, (over.y - at.y) * k, over.width * k, over.height * k).data;
    const spec = JSON.parse(document.getElementById("charts").textContent).find((c) => c.id === f.dataset.chart);
    for (const l of spec.lines) {
      const c = rgb(getComputedStyle(root).getPropertyValue("--c" + l.color).trim());
      let n = 0;
      for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 128 && Math.abs(d[i] - c[0]) + Math.abs(d[i + 1] - c[1]) + Math.abs(d[i + 2] - c[2]) < 60) n++;
      out.lines.push({ name: l.name, pixels: n });
    }
    return out;
  });
  const wide = (s) => [...document.querySelectorAll(s)].filter((e) => e.getBoundingClientRect().width > 0).length;
  return {
    charts, bars: wide(".bars .bar"), whiskers: wide(".bars u, .ratios u"), dots: wide(".ratios .dot"), error: root.dataset.error || "",
    scroll: root.scrollWidth, inner: innerWidth, height: root.scrollHeight, background: getComputedStyle(document.body).backgroundColor,
  };
})()`

// seen is what inspect says.
type seen struct {
	Charts []struct {
		Title, Words string
		Painted      int
		Lines        []struct {
			Name   string
			Pixels int
		}
	}
	Bars, Whiskers, Dots  int
	Error, Background     string
	Scroll, Inner, Height int
}

// Least numbers of pixels of what counts as drawn. A line across a chart of a phone's width has some hundreds.
const (
	leastPainted = 1000
	leastLine    = 60
)

// wrong says what a reader would miss in the page of a report: an empty list is a good page.
func (s *seen) wrong(r *report.Report, b *browser, path string, v view) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if s.Error != "" || len(b.faults) > 0 {
		say("errors: %q %q", s.Error, b.faults)
	}
	for _, u := range b.loads {
		if u != "file://"+path {
			say("the page asks for %s", u)
		}
	}
	if s.Scroll > v.width || s.Inner != v.width { // a phone makes the window as wide as what is too wide, and shows it smaller
		say("the page is %d wide in a window of %d, of a screen of %d", s.Scroll, s.Inner, v.width)
	}
	p, err := build(r)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(s.Charts) != len(p.Charts) {
		say("%d charts, want %d", len(s.Charts), len(p.Charts))
	}
	for _, c := range s.Charts {
		if c.Painted < leastPainted || c.Words == "" || len(c.Lines) == 0 {
			say("chart %q: %d pixels are painted, %d lines, words %q", c.Title, c.Painted, len(c.Lines), c.Words)
		}
		for _, l := range c.Lines {
			if l.Pixels < leastLine {
				say("chart %q: line %q has %d pixels", c.Title, l.Name, l.Pixels)
			}
		}
	}
	bars, dots := 0, 0
	if p.Comparison != nil {
		for _, w := range p.Comparison.Workloads {
			for _, g := range w.Bars {
				bars += len(g.Rows)
			}
		}
		for _, g := range p.Comparison.Ratios {
			dots += len(g.Rows)
		}
	}
	if s.Bars != bars || s.Dots != dots || (dots > 0 && s.Whiskers == 0) {
		say("%d bars, want %d; %d ratios, want %d; %d whiskers", s.Bars, bars, s.Dots, dots, s.Whiskers)
	}
	return out
}

func writePage(t *testing.T, r *report.Report) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	return path
}

// screenshots is where the pictures for the documentation go: RON_SCREENSHOTS, or nowhere that stays.
func screenshots(t *testing.T) string {
	if dir := os.Getenv("RON_SCREENSHOTS"); dir != "" {
		return dir
	}
	return t.TempDir()
}

// Every page is opened as a file, in a browser that can reach no network: on a desk in light and dark, and on a phone.
func TestPageInChromium(t *testing.T) {
	b := startBrowser(t)
	dir := screenshots(t)
	for name, r := range map[string]*report.Report{"run": sampleRun(), "peers": samplePeers(), "sweep": sampleSweep(), "soak": sampleSoak(), "rest": sampleRest()} {
		path := writePage(t, r)
		backgrounds := make(map[string]bool)
		for look, v := range map[string]view{
			"light": {width: 1280, height: 900}, "dark": {width: 1280, height: 900, dark: true},
			"phone": {width: 390, height: 844, phone: true}, "phone-dark": {width: 390, height: 844, phone: true, dark: true},
		} {
			if look == "phone-dark" && name != "run" {
				continue // what could be wrong is in one of the others
			}
			b.open(path, v)
			var s seen
			b.eval(inspect, &s)
			for _, w := range s.wrong(r, b, path, v) {
				t.Errorf("%s, %s: %s", name, look, w)
			}
			backgrounds[s.Background] = true
			shot := b.screenshot(v.width, s.Height)
			if err := os.WriteFile(filepath.Join(dir, "report-"+name+"-"+look+".png"), shot, 0o644); err != nil {
				t.Fatal(err)
			}
			checkPicture(t, shot, v.width, s.Height)
		}
		if len(backgrounds) != 2 {
			t.Errorf("%s: backgrounds %v, want one for light and one for dark", name, backgrounds)
		}
	}
}

// checkPicture wants a picture of that size with a page on it, which has many colours.
func checkPicture(t *testing.T, shot []byte, width, height int) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds() != image.Rect(0, 0, width, height) {
		t.Errorf("the picture is %v, want %d × %d", img.Bounds(), width, height)
	}
	colours := make(map[[3]uint32]bool)
	for y := 0; y < height; y += 7 {
		for x := 0; x < width; x += 5 {
			r, g, b, _ := img.At(x, y).RGBA()
			colours[[3]uint32{r, g, b}] = true
		}
	}
	if len(colours) < 20 {
		t.Errorf("the picture has %d colours", len(colours))
	}
}

// The arrow keys move the cursor of the chart that has the focus, and with it those of all charts over the same time, as the mouse does.
func TestArrowKeysInChromium(t *testing.T) {
	b := startBrowser(t)
	b.open(writePage(t, sampleRun()), view{width: 1280, height: 900})
	var got struct {
		Synced int
		At     []string
	}
	b.eval(`(() => {
	  const all = JSON.parse(document.getElementById("charts").textContent).filter((c) => c.sync);
	  const same = all.filter((c) => c.sync === all[0].sync).map((c) => document.querySelector('[data-chart="' + c.id + '"]'));
	  same[0].querySelector(".plot").focus();
	  for (let i = 0; i < 3; i++) dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", cancelable: true }));
	  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
	    done({ synced: same.length, at: same.map((f) => f.querySelector(".u-legend .u-value").textContent) }))));
	})()`, &got)
	if got.Synced < 2 {
		t.Fatalf("%d charts over the same time", got.Synced)
	}
	for _, at := range got.At {
		if at != got.At[0] || !strings.HasSuffix(at, " s") {
			t.Errorf("the cursors are at %q", got.At)
			break
		}
	}
}

// The check above is worth something only if it finds a page that is broken.
func TestBrokenPageIsFound(t *testing.T) {
	b := startBrowser(t)
	r := sampleRun()
	good, err := os.ReadFile(writePage(t, r))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"a chart is not there":     {`data-chart="chart-2"`, `data-other="chart-2"`, "charts, want"},
		"a chart without drawing":  {`data-chart="chart-1"`, `data-chart="chart-none"`, "pixels are painted"},
		"a line without colour":    {"--c1: #d55e00;", "--c1: transparent;", "has 0 pixels"},
		"a script that fails":      {`"use strict";` + "\n(() => {", `"use strict";` + "\n(() => { setTimeout(() => nothing.at.all());", "errors"},
		"a table that is too wide": {"overflow-x: auto; max-width: 100%", "overflow-x: visible", "wide in a window"},
		"a picture from elsewhere": {"<main", `<img src="http://example.invalid/x.png"><main`, "errors"},
	} {
		if strings.Count(string(good), c.from) == 0 {
			t.Fatalf("%s: the page has no %q", name, c.from)
		}
		path := filepath.Join(t.TempDir(), "broken.html")
		if err := os.WriteFile(path, []byte(strings.Replace(string(good), c.from, c.to, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		v := view{width: 390, height: 844, phone: true}
		b.open(path, v)
		var s seen
		b.eval(strings.Replace(inspect, `.find((c) => c.id === f.dataset.chart)`, `.find((c) => c.id === f.dataset.chart) || { lines: [] }`, 1), &s)
		if all := strings.Join(s.wrong(r, b, path, v), "\n"); !strings.Contains(all, c.want) {
			t.Errorf("%s: not found; the check says %q", name, all)
		}
	}
}
