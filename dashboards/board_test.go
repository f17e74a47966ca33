package dashboards

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// board is what the tests look at of a Grafana dashboard.
type board struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Annotations   struct {
		List []struct{ Expr string } `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

// panel is a row or a panel.
type panel struct {
	ID          int                      `json:"id"`
	Type        string                   `json:"type"`
	Title       string                   `json:"title"`
	Description string                   `json:"description"`
	Datasource  source                   `json:"datasource"`
	Grid        struct{ X, Y, W, H int } `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom struct{ Stacking struct{ Mode string } }
		}
	} `json:"fieldConfig"`
	Options struct {
		Legend struct {
			ShowLegend  bool // without it Grafana shows none, whatever else is said, from schemaVersion 37 on
			DisplayMode string
			Placement   string
		}
	} `json:"options"`
	Targets []target `json:"targets"`
}

type source struct{ Type, UID string }

type target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Datasource   source `json:"datasource"`
}

func readBoard(t *testing.T) *board {
	t.Helper()
	b := new(board)
	if err := json.Unmarshal([]byte(read(t, "transport.json")), b); err != nil {
		t.Fatal(err)
	}
	return b
}

// charts are the panels that have queries.
func (b *board) charts() (all []panel) {
	for _, p := range b.Panels {
		if p.Type != "row" {
			all = append(all, p)
		}
	}
	return all
}

// substituted is a query as Grafana would send it, for all jobs and instances that there are.
func substituted(expr, window string) string {
	return strings.NewReplacer("$__rate_interval", window, "$job", ".*", "$instance", ".*").Replace(expr)
}

var prometheusSource = source{"prometheus", "${datasource}"}

// TestBoard: the dashboard has what Grafana needs, and what a reader does: units, legends, and what to do.
func TestBoard(t *testing.T) {
	b := readBoard(t)
	if b.UID == "" || b.Title == "" || b.SchemaVersion < 36 {
		t.Errorf("uid %q, title %q, schemaVersion %d", b.UID, b.Title, b.SchemaVersion)
	}
	vars := map[string]string{}
	for _, v := range b.Templating.List {
		vars[v.Name] = v.Type
	}
	for name, kind := range map[string]string{"datasource": "datasource", "job": "query", "instance": "query"} {
		if vars[name] != kind {
			t.Errorf("the variable %s is a %q, want a %q", name, vars[name], kind)
		}
	}
	units := map[string]bool{"short": true, "s": true, "reqps": true, "cps": true, "pps": true, "Bps": true, "bytes": true, "percent": true, "percentunit": true}
	ids, titles := map[int]bool{}, map[string]bool{}
	var taken [24][400]string
	for _, p := range b.Panels {
		if ids[p.ID] || titles[p.Title] || p.Title == "" {
			t.Errorf("panel %d, %q: its number or title is not its own", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.Grid.X; x < p.Grid.X+p.Grid.W; x++ {
			for y := p.Grid.Y; y < p.Grid.Y+p.Grid.H; y++ {
				if x >= len(taken) || taken[x][y] != "" {
					t.Fatalf("%q lies over the edge, or over %q", p.Title, taken[min(x, 23)][y])
				}
				taken[x][y] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !units[p.FieldConfig.Defaults.Unit] || len(p.Description) < 40 || p.Datasource != prometheusSource || len(p.Targets) == 0 {
			t.Errorf("%q: unit %q, datasource %v, %d queries, described as %q", p.Title, p.FieldConfig.Defaults.Unit, p.Datasource, len(p.Targets), p.Description)
		}
		if l := p.Options.Legend; p.Type == "timeseries" && (!l.ShowLegend || l.DisplayMode == "" || l.Placement == "") {
			t.Errorf("%q: legend %+v", p.Title, l)
		}
		for _, q := range p.Targets {
			if q.LegendFormat == "" || q.RefID == "" || q.Datasource != prometheusSource {
				t.Errorf("%q: a query without a legend, a name or a source: %+v", p.Title, q)
			}
		}
	}
}

// TestExcusesAreNeeded: the panels that are excused from showing something without a fault are there.
func TestExcusesAreNeeded(t *testing.T) {
	titles := map[string]bool{}
	for _, p := range readBoard(t).charts() {
		titles[p.Title] = true
	}
	for title := range onlyFaults {
		if !titles[title] {
			t.Errorf("there is no panel %q", title)
		}
	}
}

// selector finds metrics and their label matchers in a query.
var selector = regexp.MustCompile(`\b((?:ron|process|go)_[a-z0-9_]+|up)\{([^}]*)\}`)

// TestBoardQueries: every query is about instances of the variables, no label that names a peer is asked for, and each metric of ours is
// documented.
func TestBoardQueries(t *testing.T) {
	doc := read(t, "../docs/metrics.md")
	b := readBoard(t)
	suffix := regexp.MustCompile(`_(bucket|count|sum)$`)
	allowed := map[string]bool{"instance": true, "job": true, "transport": true, "status": true, "reason": true, "kind": true, "side": true, "group": true, "state": true, "cause": true, "le": true}
	grouped := regexp.MustCompile(`by \(([^)]*)\)`)
	for _, p := range b.charts() {
		for _, q := range p.Targets {
			found := selector.FindAllStringSubmatch(q.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%q: no metric in %s", p.Title, q.Expr)
			}
			for _, m := range found {
				if !strings.HasPrefix(m[2], `job=~"$job",instance=~"$instance"`) {
					t.Errorf("%q: %s is not about the chosen instances", p.Title, m[0])
				}
				if strings.HasPrefix(m[1], "ron_") && !strings.Contains(doc, "| `"+m[1]+"` |") && !strings.Contains(doc, "| `"+suffix.ReplaceAllString(m[1], "")+"` | histogram |") {
					t.Errorf("%q: docs/metrics.md does not know %s", p.Title, m[1])
				}
			}
			for _, g := range grouped.FindAllStringSubmatch(q.Expr, -1) {
				for _, l := range strings.Split(g[1], ", ") {
					if !allowed[l] {
						t.Errorf("%q: grouped by %s", p.Title, l)
					}
				}
			}
		}
	}
}
