package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// folders are the packages that documents name tests of.
func folders() map[string]string {
	return map[string]string{"pool": "pool", "framer": "framer", "reactor": "reactor", "tls": "tls", "aesgcm": "tls/internal/aesgcm", "certs": "tls/certs", "quic": "quic", "bench": "bench", "tor": "tor", "control": "tor/control",
		"torlab": "tor/torlab", "load": "bench/internal/load", "html": "bench/internal/html", "netem": "scripts/netem", "impair": "scripts/netem/impair",
		"adversary": "bench/internal/adversary", "docs": "docs", "readiness": "pool/readiness", "latency": "pool/latency", "gateway": "examples/gateway",
		"nodes": "bench/internal/nodes", "report": "bench/internal/report", "eventlog": "pool/eventlog", "dashboards": "dashboards", "drift": "bench/internal/drift", "chaos": "bench/internal/chaos"}
}

// functions are the tests, fuzz targets and examples in a folder.
func functions(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllSubmatch(b, -1) {
			found[string(m[1])] = true
		}
	}
	return found
}

// TestNamedTestsExist: a document that names a test as its proof names one that is there, and has been looked for in its package.
func TestNamedTestsExist(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil || len(documents) < 3 {
		t.Fatalf("%v, %v", documents, err)
	}
	known := map[string]map[string]bool{}
	for name, folder := range folders() {
		known[name] = functions(t, folder)
	}
	named := regexp.MustCompile("`(?:(\\w+)\\.)?((?:Test|Fuzz|Example)\\w+)`")
	count := 0
	for _, d := range documents {
		b, err := os.ReadFile(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			count++
			if !known[m[1]][m[2]] {
				t.Errorf("%s names %s, which does not exist", d, strings.Trim(m[0], "`"))
			}
		}
	}
	if count < 50 {
		t.Errorf("%d tests named: the pattern no longer finds them", count)
	}
}
