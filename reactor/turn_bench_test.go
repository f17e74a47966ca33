package reactor

import (
	"testing"

	"github.com/ron-transport/ron-transport/framer"
)

// BenchmarkTurn is a whole turn of a loop without the kernel's part: clock, read, open, decode, handler, reply, seal, write, and the
// counters. What the metrics cost is measured with it (docs/metrics.md).
func BenchmarkTurn(b *testing.B) {
	for _, bc := range []struct {
		name         string
		frames, size int
		secure       bool
	}{{"plain_1x64", 1, 64, false}, {"plain_16x64", 16, 64, false}, {"tls_1x4096", 1, 4096, true}, {"tls_16x4096", 16, 4096, true}} {
		b.Run(bc.name, func(b *testing.B) { benchmarkTurn(b, bc.frames, bc.size, bc.secure) })
	}
}

func benchmarkTurn(b *testing.B, frames, size int, secure bool) {
	batch := requests(b, frames, size)
	k := &feed{next: func() []byte { return batch }}
	var filter Filter
	if secure {
		client, server := filters(b)
		filter = server
		var wire []byte
		k.next = func() []byte {
			var err error
			if wire, err = client.Seal(wire[:0], batch, false); err != nil {
				b.Fatal(err)
			}
			return wire
		}
	}
	end, err := framer.NewEndpoint(echoHandler{}, framer.Options{})
	if err != nil {
		b.Fatal(err)
	}
	l, c := still(b, k, Config{}, filter, func(c *Conn) Protocol { return end.Session(c) })
	b.ReportAllocs()
	for b.Loop() {
		l.clockTurn(true, 0)
		c.readable = true
		l.input(c)
		l.turn()
		l.publish()
	}
	if c.state != stateOpen || k.bytes < b.N*len(batch) {
		b.Fatalf("state %d, %d bytes", c.state, k.bytes)
	}
}
