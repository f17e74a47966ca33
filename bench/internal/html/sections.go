package html

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// verdict is the report's, at the top.
type verdict struct {
	Class string // pass, fail or none, a class of the style sheet
	Text  string
}

// judge counts what was held to a target or to a baseline.
func judge(r *report.Report) verdict {
	failed, all := 0, 0
	count := func(ok bool) {
		all++
		if !ok {
			failed++
		}
	}
	for i := range r.SLO {
		if v := r.SLO[i].Verdict; v == report.Passed || v == report.Failed {
			count(v == report.Passed)
		}
	}
	for _, ok := range gateRows(r) {
		count(ok)
	}
	switch {
	case failed > 0:
		return verdict{"fail", fmt.Sprintf("✗ %d of %d missed", failed, all)}
	case !r.Pass:
		return verdict{"fail", "✗ failed"}
	case all > 0:
		return verdict{"pass", fmt.Sprintf("✓ all %d met", all)}
	}
	return verdict{"none", "nothing judged"}
}

// gateRows are the verdicts of every part of the report that has rows with one, as Check has.
func gateRows(r *report.Report) []bool {
	var out []bool
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		part := v.Field(i)
		if part.Kind() != reflect.Pointer || part.IsNil() || part.Elem().Kind() != reflect.Struct {
			continue
		}
		rows := part.Elem().FieldByName("Rows")
		if !rows.IsValid() || rows.Kind() != reflect.Slice || !structs(rows.Type()) {
			continue
		}
		for j := range rows.Len() {
			if ok := reflect.Indirect(rows.Index(j)).FieldByName("OK"); ok.IsValid() && ok.Kind() == reflect.Bool {
				out = append(out, ok.Bool())
			}
		}
	}
	return out
}

func machine(r *report.Report) []fact {
	m := &r.MeasuredOn
	out := []fact{{"processor", m.CPUModel}, {"cores", fmt.Sprint(m.Cores)}, {"memory", report.Size(int(m.MemoryBytes))},
		{"kernel", m.Kernel}, {"Go", strings.TrimPrefix(m.GoVersion, "go")}}
	ref := m.Ref
	if ref == "" {
		ref = "none"
	}
	return append(out, fact{"reference node", ref})
}

// knobs are those of one server, the given ones apart.
type knobs struct {
	Of              string
	Given, Defaults []report.Knob
}

// knobValue writes a knob's value with its unit; bytes in the largest unit.
func knobValue(k report.Knob) string {
	if n, err := strconv.Atoi(k.Value); err == nil && n > 0 && k.Unit == "bytes" {
		return report.Size(n)
	}
	return strings.TrimSpace(k.Value + " " + k.Unit)
}

func knobsOf(r *report.Report) []knobs {
	var out []knobs
	all := report.Report{ServerKnobs: slices.Clone(r.ServerKnobs)}
	all.AddServerKnobs(r.Server)
	all.AddServerKnobs(r.QUICServer)
	for _, s := range all.ServerKnobs {
		k := knobs{Of: s.Kind + " server"}
		for _, knob := range s.Knobs {
			if knob.Given {
				k.Given = append(k.Given, knob)
			} else {
				k.Defaults = append(k.Defaults, knob)
			}
		}
		out = append(out, k)
	}
	return out
}

// sloRow is a target, what was measured, and how much of the target that is.
type sloRow struct {
	Phase, What, Limit, Measured, PerCore, Verdict, Class, Why, Held string
	Share                                                            float64 // measured, per cent of a track of which the target is at Mark
	Mark                                                             float64 // 0: no target
}

// Places on the track of a target.
const (
	markAt  = 70.0 // per cent: where the target is
	trackTo = 100.0
)

func sloRows(r *report.Report) (rows []sloRow, perCore bool) {
	held := make(map[string]string)
	for i := range r.Phases {
		if l := r.Phases[i].Limit; l != nil {
			held[r.Phases[i].Name] = l.Who
		}
	}
	for i := range r.SLO {
		s := &r.SLO[i]
		row := sloRow{Phase: s.Phase, What: s.What, Why: s.Why, Verdict: string(s.Verdict), Held: held[s.Phase]}
		row.Limit, row.Measured, row.PerCore = s.Words()
		perCore = perCore || s.PerCore != 0
		switch s.Verdict {
		case report.Passed:
			row.Class, row.Verdict = "pass", "✓ pass"
		case report.Failed:
			row.Class, row.Verdict = "fail", "✗ FAIL"
		default:
			row.Class = "none"
		}
		if s.Op != "" && s.Target > 0 && s.Verdict != report.LeftOut {
			row.Mark, row.Share = markAt, min(trackTo, markAt*s.Measured/s.Target)
		}
		rows = append(rows, row)
	}
	return rows, perCore
}

// innerLoads are the loads of kinds that have but one, beside their own figures.
func innerLoads(r *report.Report) []*report.Phase {
	var out []*report.Phase
	add := func(p *report.Phase, name string) {
		if p.WindowS == 0 && p.Frames == 0 {
			return
		}
		named := *p
		if named.Name == "" {
			named.Name = name
		}
		out = append(out, &named)
	}
	if r.Storm != nil {
		add(&r.Storm.Load, "load beside the storm")
	}
	if r.Loris != nil {
		add(&r.Loris.Load, "load beside the crowd")
		if c := r.Loris.Control; c != nil {
			add(&c.Load, "load without the crowd")
		}
	}
	if r.Restart != nil {
		add(&r.Restart.Load, "load across restarts")
	}
	return out
}

// drawn are the fields of a report that have a form of their own in the page. All others become sections by themselves.
var drawn = map[string]bool{
	"Schema": true, "Kind": true, "Started": true, "Command": true, "MeasuredOn": true, "Interrupted": true, "Pass": true,
	"Phases": true, "Compare": true, "LeftOut": true, "Sweep": true, "SLO": true, "SLOTargets": true, "Soak": true, "ServerKnobs": true,
}

// sections shows every other field of the report that is not empty.
func (b *builder) sections(r *report.Report) []section {
	var out []section
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		if drawn[t.Name] || f.IsZero() {
			continue
		}
		name, _, _ := strings.Cut(t.Tag.Get("json"), ",")
		s := section{ID: b.id("part"), Title: words(name), Folded: f.Type() == reflect.TypeFor[*report.Server]()}
		if f.Kind() == reflect.Struct || f.Kind() == reflect.Pointer || (f.Kind() == reflect.Slice && structs(f.Type())) {
			s.Grids = gridsOf("", f.Interface())
		} else {
			s.Grids = []*grid{{Head: []string{"", ""}, Rows: [][]string{{s.Title, cell(name, f)}}}}
		}
		if len(s.Grids) > 0 {
			out = append(out, s)
		}
	}
	return out
}
