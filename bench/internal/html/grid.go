package html

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// grid is a table. The first column names the row.
type grid struct {
	Title, Note string
	Head        []string
	Rows        [][]string
}

// Bounds of a table made from a structure: the text of the report and the JSON document have what is beyond.
const (
	maxGridRows = 500 // a page with more is slow on a phone
	maxCell     = 300 // runes in a cell
)

// gridsOf makes tables of any part of a report, from its fields and their names in JSON: so a part that has no drawing of its
// own is shown, too, and one that is added later. The title is of the table of a slice. Phases are left out; they have sections of their own.
func gridsOf(title string, v any) []*grid {
	rv := reflect.Indirect(reflect.ValueOf(v))
	if !rv.IsValid() {
		return nil
	}
	if rv.Kind() == reflect.Slice && structs(rv.Type()) {
		if rv.Len() == 0 {
			return nil
		}
		return []*grid{gridOf(title, v)}
	}
	var flat [][]string
	var lists []*grid
	walk(rv, "", func(name string, f reflect.Value) {
		if f.Kind() == reflect.Slice && structs(f.Type()) {
			if f.Len() > 0 {
				lists = append(lists, gridOf(words(name), f.Interface()))
			}
			return
		}
		flat = append(flat, []string{words(name), cell(name, f)})
	})
	if len(flat) == 0 {
		return lists
	}
	return append([]*grid{{Head: []string{"", ""}, Rows: flat}}, lists...)
}

// gridOf makes one table of a slice of structures, a row for each.
func gridOf(title string, slice any) *grid {
	g := &grid{Title: title}
	rv := reflect.ValueOf(slice)
	cells := make([]map[string]string, min(rv.Len(), maxGridRows))
	for i := range cells {
		cells[i] = make(map[string]string)
		walk(reflect.Indirect(rv.Index(i)), "", func(name string, f reflect.Value) {
			if !slices.Contains(g.Head, name) {
				g.Head = append(g.Head, name)
			}
			cells[i][name] = cell(name, f)
		})
	}
	for _, c := range cells {
		var row []string
		for _, name := range g.Head {
			row = append(row, c[name])
		}
		g.Rows = append(g.Rows, row)
	}
	for i, name := range g.Head {
		g.Head[i] = words(name)
	}
	if n := rv.Len() - len(cells); n > 0 {
		g.Note = fmt.Sprintf("%d more rows are in the JSON report.", n)
	}
	return g
}

// structs says whether t is a slice of structures, or of pointers to some.
func structs(t reflect.Type) bool {
	e := t.Elem()
	if e.Kind() == reflect.Pointer {
		e = e.Elem()
	}
	return e.Kind() == reflect.Struct
}

// walk calls visit for each figure of a structure and of those inside it, in their order.
func walk(v reflect.Value, prefix string, visit func(name string, f reflect.Value)) {
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]() {
		visit(strings.TrimSuffix(prefix, " "), v)
		return
	}
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		name, opts, _ := strings.Cut(t.Tag.Get("json"), ",")
		switch {
		case !t.IsExported() || name == "-" || (strings.Contains(opts, "omit") && f.IsZero()):
			continue
		case name == "" && !t.Anonymous:
			name = t.Name
		}
		for f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		switch {
		case f.Kind() == reflect.Pointer || f.Type() == reflect.TypeFor[report.Phase]():
		case t.Anonymous:
			walk(f, prefix, visit)
		case f.Kind() == reflect.Struct:
			walk(f, prefix+name+" ", visit)
		default:
			visit(prefix+name, f)
		}
	}
}

// words makes a heading of a name in JSON.
func words(name string) string {
	if name == "" {
		return "value"
	}
	name = strings.TrimSuffix(strings.ReplaceAll(name, "p99_9", "p99.9"), "_bytes")
	if s, ok := strings.CutSuffix(name, "_per_s"); ok {
		return strings.ReplaceAll(s, "_", " ") + "/s"
	}
	for suffix, unit := range map[string]string{"_ms": ", ms", "_us": ", µs", "_s": ", s"} {
		if s, ok := strings.CutSuffix(name, suffix); ok {
			name = s + unit
			break
		}
	}
	return strings.ReplaceAll(name, "_", " ")
}

// cell writes one figure. Lists and maps are written in one cell.
func cell(name string, f reflect.Value) string {
	s := ""
	switch f.Kind() {
	case reflect.Float32, reflect.Float64:
		s = report.Num(f.Float())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s = report.Num(float64(f.Int()))
		if strings.HasSuffix(name, "_bytes") {
			s = report.Size(int(f.Int()))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s = report.Num(float64(f.Uint()))
	case reflect.Bool:
		words := map[bool]string{true: "yes", false: "no"}
		if name == "ok" || name == "pass" {
			words = map[bool]string{true: "✓ pass", false: "✗ FAIL"}
		}
		s = words[f.Bool()]
	case reflect.Slice, reflect.Array:
		var all []string
		for i := range f.Len() {
			all = append(all, cell(name, f.Index(i)))
		}
		s = strings.Join(all, ", ")
	case reflect.Map:
		var all []string
		for _, k := range f.MapKeys() {
			all = append(all, fmt.Sprintf("%v: %s", k, cell(name, f.MapIndex(k))))
		}
		slices.Sort(all)
		s = strings.Join(all, ", ")
	case reflect.Struct:
		var all []string
		walk(f, "", func(inner string, v reflect.Value) { all = append(all, words(inner)+" "+cell(inner, v)) })
		s = strings.Join(all, " ")
	default:
		s = fmt.Sprint(f)
	}
	if r := []rune(s); len(r) > maxCell {
		s = string(r[:maxCell]) + "…"
	}
	return s
}
