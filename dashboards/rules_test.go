package dashboards

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// alerts are the names of the alerts in alerts.yml.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(read(t, "alerts.yml"), -1) {
		names = append(names, m[1])
	}
	if len(names) < 20 {
		t.Fatalf("%d alerts found", len(names))
	}
	return names
}

// TestPromtool: promtool finds no mistake in the rules, and its unit tests of their timing pass; with other times they do not.
func TestPromtool(t *testing.T) {
	promtool := tool(t, "promtool")
	if out, err := exec.Command(promtool, "check", "rules", "--lint-fatal", "alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := exec.Command(promtool, "test", "rules", "alerts_test.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "alerts_test.yml"), read(t, "alerts_test.yml"))
	write(t, filepath.Join(dir, "alerts.yml"), strings.ReplaceAll(read(t, "alerts.yml"), "for: 10m", "for: 15m"))
	if out, err := exec.Command(promtool, "test", "rules", filepath.Join(dir, "alerts_test.yml")).CombinedOutput(); err == nil {
		t.Errorf("the unit tests do not notice other times: %s", out)
	}
}

// TestAlertsAreDocumented: each alert has a unit test, a severity, a row in docs/metrics.md, and a place in the runbook that exists.
func TestAlertsAreDocumented(t *testing.T) {
	rules, units, doc, runbook := read(t, "alerts.yml"), read(t, "alerts_test.yml"), read(t, "../docs/metrics.md"), read(t, "../docs/runbook.md")
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(runbook, -1) {
		anchors[anchor(m[1])] = true
	}
	for _, part := range strings.Split(rules, "- alert: ")[1:] {
		name, _, _ := strings.Cut(part, "\n")
		link := regexp.MustCompile(`runbook: docs/runbook\.md#(\S+)`).FindStringSubmatch(part)
		if link == nil || !anchors[link[1]] {
			t.Errorf("%s: no place in the runbook, or one that does not exist: %q", name, link)
		}
		if !regexp.MustCompile(`severity: (critical|warning)\n`).MatchString(part) || !strings.Contains(part, "summary: ") || !strings.Contains(part, "description: ") {
			t.Errorf("%s lacks a severity, a summary or a description", name)
		}
		if !strings.Contains(units, `alertname="`+name+`"`) {
			t.Errorf("%s has no unit test", name)
		}
		if !strings.Contains(doc, "| `"+name+"` |") || link != nil && !regexp.MustCompile("(?m)^\\| `"+name+"` \\|.*runbook\\.md#"+link[1]).MatchString(doc) {
			t.Errorf("docs/metrics.md has no row for %s with its place in the runbook", name)
		}
	}
}

// anchor is what a heading is linked by.
func anchor(heading string) string {
	s := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(s, " ", "-")
}
