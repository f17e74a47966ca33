// Package gate compares measured figures with a baseline and says which are worse than a gate allows (seed §5).
package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Metric is a figure of a baseline, by its key in the baseline's file.
type Metric struct {
	Key  string
	Unit string
	Gate string // the word of --gate that it belongs to
	More bool   // more is better
	Must bool   // a baseline without it is refused; the seed has it
}

// Metrics are all figures, in the order in which they are shown.
func Metrics() []Metric {
	return []Metric{
		{"tls_small_p95_ms", "ms", "p95", false, true},
		{"tls_small_p99_ms", "ms", "p99", false, true},
		{"tls_stream_64k_p95_ms", "ms", "p95", false, false},
		{"tls_small_fps", "fps", "throughput", true, false},
		{"tls_stream_64k_gbps", "Gb/s", "throughput", true, true},
		{"quic_stream_64k_gbps", "Gb/s", "throughput", true, true},
		{"cpu_pct_at_target", "%", "cpu", false, true},
		{"mem_gib", "GiB", "mem", false, true},
	}
}

// Values are figures by their keys.
type Values map[string]float64

// Baseline is what a machine was measured to do.
type Baseline struct {
	Ref    string
	Values Values
}

// ReadBaseline reads a baseline and checks it against a schema (JSON Schema, draft 2020-12). A file that does not fit, one without a figure
// that the seed has, and one with a figure that is not above 0, are errors. Keys that are no figures are left alone, as the seed's schema wants. Any goroutine.
func ReadBaseline(path, schemaPath string) (*Baseline, error) {
	schema, err := compile(schemaPath)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", schemaPath, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("baselines: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("baselines %s: %w", path, err)
	}
	if err := schema.Validate(doc); err != nil {
		return nil, fmt.Errorf("baselines %s: %w", path, err)
	}
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("baselines %s: %w", path, err)
	}
	base := &Baseline{Values: make(Values)}
	base.Ref, _ = raw["ref"].(string)
	for _, m := range Metrics() {
		v, ok := raw[m.Key].(float64)
		switch _, there := raw[m.Key]; {
		case ok && v > 0:
			base.Values[m.Key] = v
		case ok: // the schema, which is the seed's, has 0 as well; nothing can be held against it
			return nil, fmt.Errorf("baselines %s: %s is %v, allowed is more than 0", path, m.Key, v)
		case there || m.Must:
			return nil, fmt.Errorf("baselines %s: no number %s", path, m.Key)
		}
	}
	return base, nil
}

// compile reads a schema. It refers to nothing outside of its own file.
func compile(path string) (*jsonschema.Schema, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("baseline.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("baseline.json")
}

// Write writes a baseline of what was measured.
func (b *Baseline) Write(path string) error {
	doc := map[string]any{"ref": b.Ref}
	for k, v := range b.Values {
		doc[k] = v
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(out, '\n'), 0o644)
}

// Gates are how much worse than the baseline each kind of figure may be, in per cent.
type Gates map[string]float64

// Parse reads --gate: words such as "+10p95" and "-10throughput", parted by commas. Every kind of figure must have one.
func Parse(s string) (Gates, error) {
	more := map[string]bool{}
	for _, m := range Metrics() {
		more[m.Gate] = m.More
	}
	g := Gates{}
	for word := range strings.SplitSeq(s, ",") {
		end := strings.IndexFunc(word, func(r rune) bool { return r >= 'a' && r <= 'z' })
		if end < 2 {
			return nil, fmt.Errorf("%q is no gate, one is as +10p95", word)
		}
		pct, err := strconv.ParseFloat(word[1:end], 64)
		up, known := more[word[end:]]
		switch want := map[bool]byte{false: '+', true: '-'}[up]; {
		case !known:
			return nil, fmt.Errorf("%q names no figure, allowed are p95, p99, throughput, cpu and mem", word)
		case err != nil || pct < 0 || pct > 100 || word[0] < '+' || word[0] != want:
			return nil, fmt.Errorf("%q is no gate, one is %c and 0 to 100 per cent here", word, want)
		}
		if _, twice := g[word[end:]]; twice {
			return nil, fmt.Errorf("%q is the second gate for %s", word, word[end:])
		}
		g[word[end:]] = pct
	}
	for kind := range more {
		if _, ok := g[kind]; !ok {
			return nil, fmt.Errorf("no gate for %s", kind)
		}
	}
	return g, nil
}

// Waiver widens all gates for a while, with a recorded reason (seed §5).
type Waiver struct {
	Reason string `json:"reason"`
	Until  string `json:"until"` // the last day, YYYY-MM-DD
}

// Bounds of a waiver.
const (
	WaiverPct  = 5
	minReason  = 20                  // characters: "noise" is no reason
	maxWaiving = 31 * 24 * time.Hour // a runner that stays noisy for longer needs another runner
)

// ReadWaiver reads a waiver and checks that it holds today.
func ReadWaiver(path string, now time.Time) (*Waiver, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	w := new(Waiver)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(w); err != nil {
		return nil, err
	}
	until, err := time.Parse(time.DateOnly, w.Until)
	switch end := until.Add(24 * time.Hour); {
	case len(strings.TrimSpace(w.Reason)) < minReason:
		return nil, fmt.Errorf("its reason is %q, at least %d characters are required", w.Reason, minReason)
	case err != nil:
		return nil, fmt.Errorf("its last day is %q, YYYY-MM-DD is required", w.Until)
	case !now.Before(end):
		return nil, fmt.Errorf("it ended on %s", w.Until)
	case end.Sub(now) > maxWaiving:
		return nil, fmt.Errorf("it lasts until %s, at most a month is allowed", w.Until)
	}
	return w, nil
}

// Row is the verdict on one figure.
type Row struct {
	Key      string  `json:"key"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Measured float64 `json:"measured"` // the median
	Limit    float64 `json:"limit"`
	Change   float64 `json:"change_pct"` // against the baseline
	More     bool    `json:"more_is_better"`
	OK       bool    `json:"ok"`
}

// Judge compares the medians of the runs with the baseline. extra is added to every gate. Too few runs, and figures that are missing or no
// numbers, are errors.
func Judge(runs []Values, least int, base *Baseline, g Gates, extra float64) ([]Row, error) {
	if len(runs) < least {
		return nil, fmt.Errorf("there are %d runs, %d are required", len(runs), least)
	}
	var rows []Row
	var errs []error
	for _, m := range Metrics() {
		b, ok := base.Values[m.Key]
		if !ok {
			continue // optional, and this baseline does not have it
		}
		v, err := median(runs, m.Key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !(b > 0) || math.IsInf(b, 0) {
			errs = append(errs, fmt.Errorf("the baseline's %s is %v, more than 0 is required", m.Key, b))
			continue
		}
		r := Row{Key: m.Key, Unit: m.Unit, Baseline: b, Measured: v, Change: 100 * (v - b) / b, More: m.More}
		if pct := g[m.Gate] + extra; m.More {
			r.Limit = b * (1 - pct/100)
			r.OK = v >= r.Limit
		} else {
			r.Limit = b * (1 + pct/100)
			r.OK = v <= r.Limit
		}
		rows = append(rows, r)
	}
	return rows, errors.Join(errs...)
}

// median of a figure over the runs.
func median(runs []Values, key string) (float64, error) {
	if len(runs) == 0 {
		return 0, errors.New("there are no runs")
	}
	var all []float64
	for i, r := range runs {
		v, ok := r[key]
		if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, fmt.Errorf("run %d has no number %s", i+1, key)
		}
		all = append(all, v)
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, nil
}

// Medians are the medians of all figures that all runs have.
func Medians(runs []Values) Values {
	out := make(Values)
	for _, m := range Metrics() {
		if v, err := median(runs, m.Key); err == nil {
			out[m.Key] = v
		}
	}
	return out
}
