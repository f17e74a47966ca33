package soak

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
)

// A series stays bounded, however long the run, and its slope and its segments stay what they are.
func TestSeriesIsBounded(t *testing.T) {
	starts := []float64{0, 30001, 60002}
	s := new(Series)
	const n = 100_000
	for i := range n {
		s.Add(float64(i), 2*float64(i), starts)
		if len(s.T) > MaxPoints {
			t.Fatalf("%d points", len(s.T))
		}
	}
	if len(s.T) < MaxPoints/4 || s.Every < n/MaxPoints {
		t.Errorf("%d points of %d samples each", len(s.T), s.Every)
	}
	segs := s.Segments(starts)
	total := 0
	for k, seg := range segs {
		total += len(seg)
		for i, p := range seg {
			if p.T < starts[k] || k+1 < len(starts) && p.T >= starts[k+1] {
				t.Fatalf("segment %d has a point of %v s", k, p.T)
			}
			if math.Abs(p.V-2*p.T) > 2*float64(s.Every) || i > 0 && p.T <= seg[i-1].T {
				t.Fatalf("point %+v", p)
			}
			if k+1 < len(starts) && p.V > 2*starts[k+1] {
				t.Fatalf("a point of segment %d holds samples of the next: %+v", k, p)
			}
		}
	}
	if total != len(s.T) {
		t.Errorf("%d of %d points are in a segment", total, len(s.T))
	}
	if at, v := s.Short(100, starts); len(at) != len(v) || len(at) > 103 || len(at) < 50 {
		t.Errorf("%d points of a short series", len(at))
	}
}

// What is saved is what is loaded, the file is never half there, and what is no checkpoint is refused.
func TestCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "soak.json")
	s := New(Config{Duration: time.Hour, Conns: 4, Mix: "1:1,2:1", Seed: math.MaxUint64}, time.Now())
	for seg := range 2 {
		s.Begin()
		for i := range 50 {
			s.ElapsedS = float64(100*seg + i)
			s.Add("rss", "B", s.ElapsedS, 7)
		}
		s.ElapsedS++
		s.Load("tls").Errors.ConnLost++
	}
	s.Reloads = 3
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, s) {
		t.Errorf("%+v is not %+v", got, s)
	}
	if left := got.Left(); left != time.Hour-150*time.Second {
		t.Errorf("%s are left", left)
	}
	if r := got.Judge(got.Series[0], drift.Allowance{Floor: 1}); r.Verdict != drift.Steady || r.Blocks == 0 {
		t.Errorf("%+v", r)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]string{
		"half":          string(whole[:len(whole)/2]),
		"other schema":  strings.Replace(string(whole), schema, "ronbench-soak/0", 1),
		"series":        strings.Replace(string(whole), `"t_s":[0,`, `"t_s":[`, 1),
		"no segments":   strings.Replace(string(whole), `"segments_s":[0,50]`, `"segments_s":[]`, 1),
		"segments":      strings.Replace(string(whole), `"segments_s":[0,50]`, `"segments_s":[50,0]`, 1),
		"load":          strings.Replace(string(whole), `"loads":{"tls":{`, `"loads":{"quic":null,"tls":{`, 1),
		"order":         strings.Replace(string(whole), `"t_s":[0,1,`, `"t_s":[1,0,`, 1),
		"time run back": strings.Replace(string(whole), `"elapsed_s":150`, `"elapsed_s":15`, 1),
	} {
		if b == string(whole) {
			t.Fatalf("%s: nothing was damaged", name)
		}
		if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	if err := s.Save(filepath.Join(t.TempDir(), "missing", "x")); err == nil {
		t.Error("saved where there is no directory")
	}
}
