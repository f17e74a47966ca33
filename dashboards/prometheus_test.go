package dashboards

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the tests shorten: scrapes and evaluations are a second apart, so rates are over ten of them, and what must last does so for two.
const (
	scrapeEvery = time.Second
	shortWindow = "10s"
	shortFor    = "2s"
)

// shortened are rules with short times. Nothing else of them is changed.
func shortened(rules string) string {
	rules = regexp.MustCompile(`\[\d+m\]`).ReplaceAllString(rules, "["+shortWindow+"]")
	return regexp.MustCompile(`(?m)^( +for:) \w+$`).ReplaceAllString(rules, "$1 "+shortFor)
}

// server is a Prometheus that runs.
type server struct {
	url   string
	nodes string // the file that lists what is scraped

	mu     sync.Mutex
	groups []group
}

// group is an entry of that file.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func startPrometheus(t *testing.T) *server {
	t.Helper()
	exe, dir := tool(t, "prometheus"), t.TempDir()
	p := &server{nodes: filepath.Join(dir, "nodes.json")}
	write(t, p.nodes, "[]")
	write(t, filepath.Join(dir, "rules.yml"), shortened(read(t, "alerts.yml")))
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`global: {scrape_interval: %[1]v, scrape_timeout: %[1]v, evaluation_interval: %[1]v}
rule_files: [rules.yml]
scrape_configs: [{job_name: ron-gateway, file_sd_configs: [{files: [nodes.json], refresh_interval: 1s}]}]
`, scrapeEvery))
	log := filepath.Join(dir, "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = out, out
	ended, err := begin(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = out.Close()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", read(t, log))
		}
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	eventually(t, "Prometheus listens", func() bool {
		if m := listening.FindStringSubmatch(read(t, log)); m != nil {
			p.url = "http://" + m[1]
			return p.get("/-/ready", nil) == nil
		}
		return false
	})
	return p
}

// scrape adds a node.
func (p *server) scrape(job, instance, addr string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups = append(p.groups, group{[]string{addr}, map[string]string{"job": job, "instance": instance}})
	return p.list()
}

// withdraw removes all nodes of a job.
func (p *server) withdraw(job string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups = slices.DeleteFunc(p.groups, func(g group) bool { return g.Labels["job"] == job })
	return p.list()
}

// list writes the file; mu is held.
func (p *server) list() error {
	b, err := json.Marshal(p.groups)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.nodes+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(p.nodes+".new", p.nodes)
}

// get asks Prometheus, and puts the answer's data into data, unless that is nil.
func (p *server) get(path string, data any) error {
	c := http.Client{Timeout: patience}
	r, err := c.Get(p.url + path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil || data == nil && r.StatusCode == http.StatusOK {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", r.Status, b)
	}
	return json.Unmarshal(b, &struct{ Data any }{data})
}

// series is a part of an answer.
type series struct {
	labels map[string]string
	at     []time.Time
	v      []float64
}

// ask has Prometheus evaluate a query from start to end, and returns what is a number.
func (p *server) ask(expr string, start, end time.Time) (all []series, err error) {
	stamp := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	var data struct {
		Result []struct {
			Metric map[string]string
			Values [][2]any
		}
	}
	q := url.Values{"query": {expr}, "start": {stamp(start)}, "end": {stamp(end)}, "step": {stamp(time.UnixMilli(scrapeEvery.Milliseconds()))}}
	if err := p.get("/api/v1/query_range?"+q.Encode(), &data); err != nil {
		return nil, err
	}
	for _, r := range data.Result {
		s := series{labels: r.Metric}
		for _, v := range r.Values {
			f, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if err != nil {
				return nil, err
			}
			if at, ok := v[0].(float64); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
				s.at, s.v = append(s.at, time.UnixMilli(int64(at*1000))), append(s.v, f)
			}
		}
		if len(s.v) > 0 {
			all = append(all, s)
		}
	}
	return all, nil
}

// alert is one that is pending or firing.
type alert struct {
	Labels map[string]string
	State  string
}

// active are the alerts of an instance; "" for all.
func (p *server) active(instance string) ([]alert, error) {
	var data struct{ Alerts []alert }
	err := p.get("/api/v1/alerts", &data)
	var mine []alert
	for _, a := range data.Alerts {
		if instance == "" || a.Labels["instance"] == instance {
			mine = append(mine, a)
		}
	}
	return mine, err
}

// rule is a rule as Prometheus has evaluated it.
type rule struct{ Name, Query, Type, Health, LastError string }

func (p *server) rules() (all []rule, err error) {
	var data struct{ Groups []struct{ Rules []rule } }
	err = p.get("/api/v1/rules", &data)
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	return all, err
}

// legend is what Grafana would call a series.
func legend(format string, labels map[string]string) string {
	for k, v := range labels {
		format = strings.ReplaceAll(format, "{{"+k+"}}", v)
	}
	return format
}
