package pool

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// trace remembers where a buffer came from and where it went.
type trace struct {
	got      [stackDepth]uintptr
	released [stackDepth]uintptr
}

// poison is the state of poison mode. A buffer's memory is reused, its Buf is not: a stale *Buf stays dead for ever, so
// a double release is recognised even when the memory has been handed out again.
type poison struct {
	pattern     [4096]byte
	corruptions atomic.Uint64

	mu          sync.Mutex
	outstanding map[*Buf]struct{}
	faults      []string
}

func newPoison() *poison {
	q := &poison{outstanding: make(map[*Buf]struct{})}
	for i := range q.pattern {
		q.pattern[i] = poisonByte
	}
	return q
}

// out records that b was handed out, after checking that nobody wrote to it while it was idle.
func (q *poison) out(b *Buf) {
	if b.trace != nil {
		q.verify(b)
	}
	b.trace = &trace{}
	runtime.Callers(3, b.trace.got[:])
	q.mu.Lock()
	q.outstanding[b] = struct{}{}
	q.mu.Unlock()
}

// in fills b's memory with the pattern and returns a new Buf around it; b stays behind, dead and without bytes.
func (q *poison) in(b *Buf) *Buf {
	q.mu.Lock()
	delete(q.outstanding, b)
	runtime.Callers(4, b.trace.released[:])
	q.mu.Unlock()
	for m := b.mem; len(m) > 0; {
		m = m[copy(m, q.pattern[:]):]
	}
	b.B = nil
	return &Buf{class: b.class, pool: b.pool, mem: b.mem, trace: b.trace}
}

// verify reports b when its memory no longer holds the pattern.
func (q *poison) verify(b *Buf) {
	for off := 0; off < len(b.mem); off += len(q.pattern) {
		part := b.mem[off:min(off+len(q.pattern), len(b.mem))]
		if bytes.Equal(part, q.pattern[:len(part)]) {
			continue
		}
		at := off + slices.IndexFunc(part, func(c byte) bool { return c != poisonByte })
		q.corruptions.Add(1)
		q.fault(fmt.Sprintf("buffer of %d bytes written at offset %d after its release; obtained by %s; released by %s", len(b.mem), at, stack(&b.trace.got), stack(&b.trace.released)))
		return
	}
}

// double reports a release without a reference.
func (q *poison) double(b *Buf) {
	var again [stackDepth]uintptr
	runtime.Callers(4, again[:])
	q.mu.Lock() // the first release may be recording its stack at this moment
	released := b.trace.released
	q.mu.Unlock()
	q.fault(fmt.Sprintf("buffer of %d bytes released again by %s; obtained by %s; released by %s", len(b.mem), stack(&again), stack(&b.trace.got), stack(&released)))
}

func (q *poison) fault(line string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.faults) < maxFaults {
		q.faults = append(q.faults, line)
	}
}

// stack renders recorded callers on one line, the innermost first.
func stack(pcs *[stackDepth]uintptr) string {
	n := 0
	for n < len(pcs) && pcs[n] != 0 {
		n++
	}
	if n == 0 {
		return "unknown"
	}
	var out []string
	frames := runtime.CallersFrames(pcs[:n])
	for {
		f, more := frames.Next()
		out = append(out, fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line))
		if !more {
			return strings.Join(out, " < ")
		}
	}
}

// Leaks returns one line per outstanding buffer, with the stack of the Get that handed it out. Poison mode only: nil
// otherwise. Any goroutine.
func (p *Pool) Leaks() []string {
	if p.poison == nil {
		return nil
	}
	p.poison.mu.Lock()
	defer p.poison.mu.Unlock()
	var out []string
	for b := range p.poison.outstanding {
		out = append(out, fmt.Sprintf("buffer of %d bytes obtained by %s", len(b.mem), stack(&b.trace.got)))
	}
	slices.Sort(out)
	return out
}

// Faults returns one line, with stacks, for each double release and each write after release that was seen; at most 64
// are kept. Poison mode only: nil otherwise. Any goroutine.
func (p *Pool) Faults() []string {
	if p.poison == nil {
		return nil
	}
	p.poison.mu.Lock()
	defer p.poison.mu.Unlock()
	return slices.Clone(p.poison.faults)
}
