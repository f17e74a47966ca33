package pool

import (
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
)

func newTest(t testing.TB, o Options) *Pool {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClasses(t *testing.T) {
	want := 512
	for c := range numClasses {
		if got := classBytes(c); got != want {
			t.Fatalf("class %d has %d bytes, want %d", c, got, want)
		}
		if c%2 == 0 {
			want += want / 2
		} else {
			want = want / 3 * 4
		}
	}
	if classBytes(numClasses-1) != maxClass {
		t.Fatalf("the largest class has %d bytes, want %d", classBytes(numClasses-1), maxClass)
	}
}

func TestClassSizeIsTheSmallestThatFits(t *testing.T) {
	check := func(n int) {
		t.Helper()
		want := n
		for c := numClasses - 1; c >= 0; c-- {
			if s := classBytes(c); s >= n {
				want = s
			}
		}
		if got := ClassSize(n); got != want {
			t.Fatalf("ClassSize(%d) = %d, want %d", n, got, want)
		}
	}
	for n := -1; n <= 1<<17; n++ {
		check(n)
	}
	for c := range numClasses {
		for d := -1; d <= 1; d++ {
			check(classBytes(c) + d)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, bytes := range []int64{-1, -1 << 60, 1<<40 + 1} {
		_, err := New(Options{CacheBytes: bytes})
		if err == nil {
			t.Fatalf("CacheBytes %d accepted", bytes)
		}
		for _, part := range []string{"CacheBytes", fmt.Sprint(bytes), "allowed"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("message %q lacks %q", err, part)
			}
		}
	}
	if p := newTest(t, Options{}); p.cap != DefaultCacheBytes {
		t.Fatalf("default cap is %d, want %d", p.cap, DefaultCacheBytes)
	}
}

func TestReuseIsLastInFirstOut(t *testing.T) {
	p := newTest(t, Options{})
	a, b := p.Get(1000), p.Get(1000)
	a.Release()
	b.Release()
	first, second := p.Get(1024), p.Get(769)
	if first == second || (first != a && first != b) || (second != a && second != b) {
		t.Fatal("released buffers were not reused")
	}
	if s := p.Stats(); s.Gets != 4 || s.Misses != 2 || s.Outstanding != 2 || s.OutstandingBytes != 2048 || s.Cached != 0 {
		t.Fatalf("stats %+v", s)
	}
	first.B = first.B[10:20]
	first.Release()
	if again := p.Get(1000); len(again.B) != 1024 || cap(again.B) != 1024 {
		t.Fatalf("a buffer whose B was assigned came back with len %d, cap %d", len(again.B), cap(again.B))
	}
}

func TestOversizeIsExactCountedAndNotCached(t *testing.T) {
	p := newTest(t, Options{})
	b := p.Get(maxClass + 1)
	if len(b.B) != maxClass+1 || cap(b.B) != maxClass+1 {
		t.Fatalf("len %d, cap %d", len(b.B), cap(b.B))
	}
	if s := p.Stats(); s.Outstanding != 1 || s.OutstandingBytes != maxClass+1 {
		t.Fatalf("stats %+v", s)
	}
	b.Release()
	if s := p.Stats(); s.Outstanding != 0 || s.OutstandingBytes != 0 || s.Cached != 0 || s.Drops != 1 {
		t.Fatalf("stats %+v", s)
	}
}

func TestSharedAndRetain(t *testing.T) {
	p := newTest(t, Options{})
	b := p.Get(1)
	if b.Shared() {
		t.Fatal("fresh buffer is shared")
	}
	if b.Retain() != b || !b.Shared() {
		t.Fatal("retained buffer is not shared")
	}
	b.Release()
	if b.Shared() || p.Stats().Outstanding != 1 {
		t.Fatal("one reference left, yet shared or gone")
	}
	b.Release()
	if p.Stats().Outstanding != 0 {
		t.Fatal("still outstanding")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("Retain of a released buffer did not panic")
		}
	}()
	b.Retain()
}

func TestCapBoundsIdleBytes(t *testing.T) {
	p := newTest(t, Options{CacheBytes: 4096})
	var held []*Buf
	for range 10 {
		held = append(held, p.Get(1024))
	}
	for _, b := range held {
		b.Release()
	}
	if s := p.Stats(); s.Cached != 4 || s.CachedBytes != 4096 || s.Drops != 6 || s.Outstanding != 0 {
		t.Fatalf("stats %+v", s)
	}
}

func TestDecayHalvesWhatIsUnused(t *testing.T) {
	p := newTest(t, Options{})
	var held []*Buf
	for range 16 {
		held = append(held, p.Get(2048))
	}
	for _, b := range held {
		b.Release()
	}
	p.Decay() // the buffers were in use during this period
	for _, want := range []int64{8, 4, 2, 1, 0, 0} {
		p.Decay()
		if got := p.Stats().Cached; got != want {
			t.Fatalf("%d cached, want %d", got, want)
		}
	}
	if s := p.Stats(); s.CachedBytes != 0 || s.Outstanding != 0 || s.OutstandingBytes != 0 {
		t.Fatalf("stats %+v", s)
	}
}

func TestDecayKeepsWhatIsUsed(t *testing.T) {
	p := newTest(t, Options{})
	work := func() {
		var held []*Buf
		for range 5 {
			held = append(held, p.Get(2048))
		}
		for _, b := range held {
			b.Release()
		}
	}
	for range 20 {
		work()
		p.Decay()
	}
	if s := p.Stats(); s.Misses != 5 || s.Cached != 5 {
		t.Fatalf("a steady load did not keep its buffers: %+v", s)
	}
}

// TestModel drives the pool and a naive model with the same random operations.
func TestModel(t *testing.T) {
	for seed := range int64(40) {
		poison := seed%2 == 1
		limit := int64(1+seed%7) * 20_000
		p := newTest(t, Options{CacheBytes: limit, Poison: poison})
		rng := rand.New(rand.NewSource(seed))
		type ref struct {
			b    *Buf
			refs int
			tag  byte
		}
		var live []*ref
		var bytes int64
		for step := range 3000 {
			switch op := rng.Intn(10); {
			case op < 4:
				n := rng.Intn(20_000)
				if rng.Intn(100) == 0 {
					n += maxClass
				}
				r := &ref{b: p.Get(n), refs: 1, tag: byte(step)}
				if len(r.b.B) != ClassSize(n) || cap(r.b.B) != len(r.b.B) {
					t.Fatalf("seed %d step %d: Get(%d) gave len %d, cap %d", seed, step, n, len(r.b.B), cap(r.b.B))
				}
				r.b.B[0], r.b.B[len(r.b.B)-1] = r.tag, r.tag
				bytes += int64(len(r.b.B))
				live = append(live, r)
			case op < 5 && len(live) > 0:
				r := live[rng.Intn(len(live))]
				r.b.Retain()
				r.refs++
			case op < 9 && len(live) > 0:
				i := rng.Intn(len(live))
				r := live[i]
				if r.b.B[0] != r.tag || r.b.B[len(r.b.B)-1] != r.tag {
					t.Fatalf("seed %d step %d: memory handed out twice", seed, step)
				}
				if r.b.Shared() != (r.refs > 1) {
					t.Fatalf("seed %d step %d: Shared is %v with %d references", seed, step, r.b.Shared(), r.refs)
				}
				size := int64(len(r.b.B))
				r.b.Release()
				if r.refs--; r.refs == 0 {
					bytes -= size
					live = append(live[:i], live[i+1:]...)
				}
			case op == 9:
				p.Decay()
			}
			s := p.Stats()
			if s.Outstanding != int64(len(live)) || s.OutstandingBytes != bytes || s.CachedBytes > limit || s.CachedBytes < 0 {
				t.Fatalf("seed %d step %d: %d buffers, %d bytes in the model; stats %+v", seed, step, len(live), bytes, s)
			}
		}
		if poison && len(p.Leaks()) != len(live) {
			t.Fatalf("seed %d: %d leaks reported, %d buffers out", seed, len(p.Leaks()), len(live))
		}
		if s := p.Stats(); s.DoubleReleases != 0 || s.Corruptions != 0 {
			t.Fatalf("seed %d: false alarm: %+v %v", seed, s, p.Faults())
		}
	}
}

// TestReleaseFromManyGoroutines has the owner hand buffers to goroutines that check exclusive use and release them.
func TestReleaseFromManyGoroutines(t *testing.T) {
	for _, poison := range []bool{false, true} {
		p := newTest(t, Options{CacheBytes: 1 << 18, Poison: poison})
		ch := make(chan *Buf, 64)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for b := range ch {
					b.B[0] = byte(g)
					for i := 1; i < 16; i++ {
						b.B[i] = b.B[0]
					}
					if b.B[15] != byte(g) {
						t.Error("buffer has two owners")
					}
					b.Release()
				}
			})
		}
		for i := range 20_000 {
			b := p.Get(512 << (i % 5))
			if i%3 == 0 {
				b.Retain()
				b.Release()
			}
			ch <- b
			if i%1000 == 0 {
				p.Decay()
			}
			if s := p.Stats(); s.Outstanding < 0 {
				t.Fatalf("stats %+v", s)
			}
		}
		close(ch)
		wg.Wait()
		if s := p.Stats(); s.Outstanding != 0 || s.OutstandingBytes != 0 || s.CachedBytes > 1<<18 || s.DoubleReleases+s.Corruptions != 0 {
			t.Fatalf("stats %+v, faults %v", s, p.Faults())
		}
		for range 40 {
			p.Decay()
		}
		if s := p.Stats(); s.Cached != 0 || s.CachedBytes != 0 {
			t.Fatalf("after decay: %+v", s)
		}
	}
}

func TestGetReleaseDoesNotAllocate(t *testing.T) {
	p := newTest(t, Options{})
	for _, n := range []int{1, 4096, 65536 + 1, 1 << 20} {
		if got := testing.AllocsPerRun(1000, func() { p.Get(n).Release() }); got != 0 {
			t.Errorf("Get(%d) and Release: %v allocations", n, got)
		}
	}
}

func BenchmarkGetRelease(b *testing.B) {
	p := newTest(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		p.Get(16384).Release()
	}
}

func BenchmarkGetReleaseBatch64(b *testing.B) {
	p := newTest(b, Options{})
	var held [64]*Buf
	b.ReportAllocs()
	for b.Loop() {
		for i := range held {
			held[i] = p.Get(16384)
		}
		for _, x := range held {
			x.Release()
		}
	}
}

func BenchmarkGetReleaseElsewhere(b *testing.B) {
	p := newTest(b, Options{})
	ch := make(chan *Buf, 256)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for x := range ch {
			x.Release()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		ch <- p.Get(16384)
	}
	close(ch)
	<-done
}
