package pool

import (
	"strings"
	"testing"
)

func TestPoisonFillsReleasedMemory(t *testing.T) {
	p := newTest(t, Options{Poison: true})
	b := p.Get(700)
	view := b.B
	for i := range view {
		view[i] = 1
	}
	b.Release()
	if b.B != nil {
		t.Error("a released buffer still shows its bytes")
	}
	for i, c := range view {
		if c != poisonByte {
			t.Fatalf("byte %d is %#x after the release", i, c)
		}
	}
}

func TestPoisonFindsWriteAfterRelease(t *testing.T) {
	for name, reuse := range map[string]func(*Pool){
		"on reuse": func(p *Pool) { p.Get(9000) },
		"on decay": func(p *Pool) { p.Decay(); p.Decay() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newTest(t, Options{Poison: true})
			b := p.Get(9000)
			view := b.B
			b.Release()
			view[8192] = 7
			reuse(p)
			faults := p.Faults()
			if p.Stats().Corruptions != 1 || len(faults) != 1 {
				t.Fatalf("stats %+v, faults %v", p.Stats(), faults)
			}
			for _, part := range []string{"offset 8192", "TestPoisonFindsWriteAfterRelease", "obtained by", "released by"} {
				if !strings.Contains(faults[0], part) {
					t.Errorf("fault %q lacks %q", faults[0], part)
				}
			}
		})
	}
}

func TestDoubleRelease(t *testing.T) {
	p := newTest(t, Options{})
	b := p.Get(1)
	b.Release()
	b.Release()
	b.Release()
	if s := p.Stats(); s.DoubleReleases != 2 || s.Cached != 1 || s.Outstanding != 0 {
		t.Fatalf("stats %+v", s)
	}
	if x, y := p.Get(1), p.Get(1); x == y {
		t.Fatal("a double release made the pool hand out one buffer twice")
	}
}

func TestPoisonFindsDoubleReleaseAfterReuse(t *testing.T) {
	p := newTest(t, Options{Poison: true})
	old := p.Get(1)
	old.Release()
	again := p.Get(1)
	old.Release()
	if s := p.Stats(); s.DoubleReleases != 1 || s.Outstanding != 1 {
		t.Fatalf("stats %+v", s)
	}
	if f := p.Faults(); len(f) != 1 || !strings.Contains(f[0], "released again by") || !strings.Contains(f[0], "TestPoisonFindsDoubleReleaseAfterReuse") {
		t.Fatalf("faults %v", f)
	}
	again.Release()
	if s := p.Stats(); s.DoubleReleases != 1 || s.Outstanding != 0 {
		t.Fatalf("stats %+v", s)
	}
	for range 2 * maxFaults {
		old.Release()
	}
	if len(p.Faults()) != maxFaults {
		t.Fatalf("%d faults kept, the bound is %d", len(p.Faults()), maxFaults)
	}
}

func TestLeaksNameTheGet(t *testing.T) {
	p := newTest(t, Options{Poison: true})
	small, large := p.Get(1), p.Get(1<<21)
	leaks := p.Leaks()
	if len(leaks) != 2 {
		t.Fatalf("leaks %v", leaks)
	}
	for _, l := range leaks {
		if !strings.Contains(l, "TestLeaksNameTheGet") {
			t.Errorf("leak %q does not name its Get", l)
		}
	}
	small.Release()
	large.Release()
	if l := p.Leaks(); len(l) != 0 {
		t.Fatalf("leaks %v", l)
	}
	if p := newTest(t, Options{}); p.Leaks() != nil || p.Faults() != nil {
		t.Fatal("reports outside of poison mode")
	}
}
