package main

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
)

// vitals are what a server knows of itself and the kernel does not: what may leak.
type vitals struct {
	goroutines int64
	heapLive   int64 // bytes of objects that the last collection found in use
	pool       int64 // bytes of buffers that the library's pools have handed out
	conns      int64 // of the library
	reloads    int64 // certificates taken from changed files
	tickets    int64 // times that other ticket keys came into use
}

// vitalsField is a name in a vitals line and its value.
type vitalsField struct {
	name string
	v    *int64
}

func (v *vitals) fields() []vitalsField {
	return []vitalsField{
		{"goroutines", &v.goroutines}, {"heap_live_bytes", &v.heapLive}, {"pool_bytes", &v.pool}, {"conns", &v.conns},
		{"cert_reloads", &v.reloads}, {"ticket_changes", &v.tickets},
	}
}

// String is the line without its first word.
func (v *vitals) String() string {
	var out []byte
	for _, f := range v.fields() {
		out = fmt.Appendf(out, "%s=%d ", f.name, *f.v)
	}
	return string(out[:len(out)-1])
}

// parse reads what String wrote.
func (v *vitals) parse(line string) error {
	for _, f := range v.fields() {
		s, err := field(line, f.name)
		if err != nil {
			return err
		}
		if *f.v, err = strconv.ParseInt(s, 10, 64); err != nil {
			return fmt.Errorf("%s in %q: %w", f.name, line, err)
		}
	}
	return nil
}

// heapLive is the metric of the runtime that does not depend on when it is read between two collections.
const heapLive = "/gc/heap/live:bytes"

// ownVitals are those of this process as far as every program has them. They stop nothing.
func ownVitals() vitals {
	s := []metrics.Sample{{Name: heapLive}}
	metrics.Read(s)
	v := vitals{goroutines: int64(runtime.NumGoroutine())}
	if s[0].Value.Kind() == metrics.KindUint64 {
		v.heapLive = int64(s[0].Value.Uint64())
	}
	return v
}

// vitalsOf are those of this process, which runs s. Servers other than ours have no pools.
func vitalsOf(s echoServer) vitals {
	v := ownVitals()
	o, ok := s.(*ourServer)
	if !ok {
		return v
	}
	st := o.reactor.Stats()
	v.pool, v.conns = st.PoolOutstandingBytes, st.Conns
	if o.certs != nil {
		c := o.certs.Stats()
		v.reloads, v.tickets = int64(c.Reloads), int64(c.TicketChanges)
	}
	return v
}

// vitals asks a server for its own.
func (s *serverProcess) vitals() (v vitals, err error) {
	if err := s.Signal(syscall.SIGUSR1); err != nil {
		return v, err
	}
	line, err := s.WaitLine(lineVitals, freeWait)
	if err != nil {
		return v, err
	}
	return v, v.parse(line)
}
