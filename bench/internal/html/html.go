// Package html writes a report as one page of HTML that needs nothing else: no network, no other file. What a reader sees
// is made here in Go (tables, bars, the text that says what each chart shows); the charts over time, the percentile curves
// and those of the knobs are drawn by the page's own script with uPlot, which is in the page.
//
// A part of a report gets a section in sections; one that has none there is shown as tables of its fields.
package html

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

//go:embed page.tmpl
var pageText string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

//go:embed uplot/uPlot.iife.min.js
var uplotJS string

//go:embed uplot/uPlot.min.css
var uplotCSS string

//go:embed uplot/LICENSE
var uplotLicence string // which asks to be in every copy, as each page is one

// page is what the template is filled with.
type page struct {
	Title, Kind string
	Verdict     verdict
	Interrupted bool
	Started     string
	Command     string
	Facts       []fact
	Knobs       []knobs
	SLO         []sloRow
	Targets     string
	PerCore     bool
	Nav         []link
	Phases      []phase
	Soak        *soak
	Comparison  *comparison
	Sweeps      []sweep
	Sections    []section
	Text        string
	Plain       bool // there is nothing to draw: the text is open

	Charts   []*chart
	CSS      template.CSS
	UPlot    template.JS
	UPlotCSS template.CSS
	Licence  string
	Script   template.JS
}

// fact is a word and what it is here.
type fact struct{ Name, Value string }

// link leads to a section.
type link struct{ ID, Name string }

// section is a part of the report as tables.
type section struct {
	ID, Title string
	Folded    bool // closed until somebody asks
	Grids     []*grid
}

// builder makes a page. It counts what it has made, for the identifiers.
type builder struct {
	count  map[string]int
	charts []*chart
}

// id makes an identifier that is the only one of its name in the page.
func (b *builder) id(name string) string {
	b.count[name]++
	return fmt.Sprintf("%s-%d", name, b.count[name])
}

// chart takes a chart into the page.
func (b *builder) chart(c *chart) *chart {
	c.ID = b.id("chart")
	b.charts = append(b.charts, c)
	return c
}

// Write writes the page of a report to w. The report is only read. An error is one of w, or says that the report is not one
// that can be shown.
func Write(w io.Writer, r *report.Report) error {
	p, err := build(r)
	if err != nil {
		return err
	}
	t, err := template.New("page").Funcs(template.FuncMap{"short": short, "knobValue": knobValue}).Parse(pageText)
	if err != nil {
		return err
	}
	var b bytes.Buffer // a template that fails half-way has written nothing then
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// WriteFile writes the page of a report to path, whole or not at all.
func WriteFile(path string, r *report.Report) error {
	return report.WriteWhole(path, func(w io.Writer) error { return Write(w, r) })
}

// shortCell is the longest cell of a table that is kept on one line, in runes.
const shortCell = 24

func short(cell string) bool { return utf8.RuneCountInString(cell) <= shortCell }

func build(r *report.Report) (*page, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	b := &builder{count: make(map[string]int)}
	p := &page{
		Title: title(r.Kind), Kind: r.Kind, Verdict: judge(r), Interrupted: r.Interrupted, Command: strings.Join(r.Command, " "),
		Facts: machine(r), Knobs: knobsOf(r), Comparison: b.comparison(r), Sections: b.sections(r),
		CSS: template.CSS(pageCSS), UPlot: template.JS(uplotJS), UPlotCSS: template.CSS(uplotCSS), Licence: uplotLicence, Script: template.JS(pageJS),
	}
	if !r.Started.IsZero() {
		p.Started = r.Started.UTC().Format("2 January 2006, 15:04:05 UTC")
	}
	p.SLO, p.PerCore = sloRows(r)
	p.Targets = r.SLOTargets
	for i := range r.Phases {
		p.Phases = append(p.Phases, b.phase(&r.Phases[i]))
	}
	for _, l := range innerLoads(r) {
		p.Phases = append(p.Phases, b.phase(l))
	}
	for i := range r.Sweep {
		p.Sweeps = append(p.Sweeps, b.sweep(&r.Sweep[i]))
	}
	p.Soak = b.soak(r)
	var text strings.Builder
	r.Text(&text)
	p.Text, p.Charts = text.String(), b.charts
	p.Plain = len(p.Charts) == 0 && p.Comparison == nil
	p.Nav = p.nav()
	return p, nil
}

// nav leads to the sections of a page that has many.
func (p *page) nav() []link {
	var out []link
	if len(p.SLO) > 0 {
		out = append(out, link{"targets", "targets"})
	}
	for i := range p.Phases {
		out = append(out, link{p.Phases[i].ID, p.Phases[i].Name})
	}
	if p.Soak != nil {
		out = append(out, link{p.Soak.ID, "over time"})
	}
	if p.Comparison != nil {
		out = append(out, link{"compare", "peers"})
	}
	for i := range p.Sweeps {
		out = append(out, link{p.Sweeps[i].ID, p.Sweeps[i].Knob})
	}
	for i := range p.Sections {
		out = append(out, link{p.Sections[i].ID, p.Sections[i].Title})
	}
	return append(out, link{"text", "text"})
}

// title is the command that writes reports of a kind.
func title(kind string) string {
	if kind == report.KindRun {
		return "ronbench"
	}
	return "ronbench " + kind
}
