package reactor

import (
	stdtls "crypto/tls"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/tls"
)

// feed is a kernel whose one socket has what feed.next gives to be read, and takes all that is written.
type feed struct {
	linux
	next   func() []byte
	writes int
	bytes  int
}

func (k *feed) read(_ int, p []byte) (int, unix.Errno) { return copy(p, k.next()), 0 }

func (k *feed) write(_ int, p []byte) (int, unix.Errno) {
	k.writes++
	k.bytes += len(p)
	return len(p), 0
}

func (k *feed) writev(_ int, iov []unix.Iovec) (int, unix.Errno) {
	n := 0
	for _, v := range iov {
		n += int(v.Len)
	}
	k.writes++
	k.bytes += n
	return n, 0
}

func (k *feed) close(int) {}

// still is a loop that does not run, with one open connection; the test makes its turns.
func still(t testing.TB, k *feed, cfg Config, f Filter, protocol func(*Conn) Protocol) (*loop, *Conn) {
	t.Helper()
	r := &Reactor{cfg: cfg.withDefaults(), sys: k}
	if err := r.cfg.validate(); err != nil {
		t.Fatal(err)
	}
	l, err := r.newLoop(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(l.ep)
		_ = unix.Close(l.efd)
		_ = unix.Close(l.spare)
	})
	c := &Conn{loop: l, opts: &connOptions{}, wtick: -1, state: stateOpen, filter: f}
	c.proto = protocol(c)
	return l, c
}

// echoHandler replies in one of the two ways that copy nothing.
type echoHandler struct{ reserve bool }

func (echoHandler) OnOpen(*framer.Session)         {}
func (echoHandler) OnClose(*framer.Session, error) {}
func (h echoHandler) OnFrame(s *framer.Session, f *framer.Frame) {
	if h.reserve && len(f.Payload) < 60_000 {
		copy(s.ReplyReserve(f, 200, len(f.Payload)), f.Payload)
		return
	}
	_ = s.Reply(f, 200, f.Payload)
}

// requests is a batch of n frames.
func requests(t testing.TB, n, payload int) []byte {
	var b []byte
	var err error
	for range n {
		if b, err = framer.AppendFrame(b, &framer.Frame{Header: framer.Header{Flags: framer.FlagReq, AppProtoID: 1}, Payload: make([]byte, payload)}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// filters is a pair of filters with the handshake done.
func filters(t testing.TB) (client, server *tls.Conn) {
	t.Helper()
	cert, roots := certificate(t)
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	client, server = cl.Conn("127.0.0.1"), srv.Conn()
	t.Cleanup(client.Release)
	t.Cleanup(server.Release)
	wires := map[*tls.Conn][]byte{} // what each is to read
	ready := map[*tls.Conn]bool{}
	for range 20 {
		for c, peer := range map[*tls.Conn]*tls.Conn{client: server, server: client} {
			if ready[c] {
				continue
			}
			n, step, err := c.Handshake(wires[c])
			wires[c] = wires[c][n:]
			if err == nil && step {
				ready[c], err = c.Step()
				wires[peer] = c.Output(wires[peer])
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if !ready[client] || !ready[server] {
		t.Fatal("handshake not complete")
	}
	if _, _, err := client.Open(make([]byte, 0, 1<<16), wires[client]); err != nil { // tickets
		t.Fatal(err)
	}
	return client, server
}

// TestAllocationsPerFrame runs whole turns (read, open, decode, handler, reply, seal, write) and counts what they
// allocate in steady state: nothing.
func TestAllocationsPerFrame(t *testing.T) {
	for _, tc := range []struct {
		name           string
		frames, size   int
		secure, copied bool
	}{
		{"plain, 1 x 4 KiB", 1, 4096, false, false}, {"plain, 16 x 4 KiB", 16, 4096, false, false}, {"plain, 1 x 64 KiB", 1, 65536, false, false},
		{"TLS, 1 x 4 KiB", 1, 4096, true, false}, {"TLS, 16 x 4 KiB", 16, 4096, true, false}, {"TLS, 4 x 1 KiB, reserved", 4, 1024, true, true},
		{"TLS, 1 x 64 KiB", 1, 65536, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			batch := requests(t, tc.frames, tc.size)
			k := &feed{next: func() []byte { return batch }}
			var filter Filter
			if tc.secure {
				client, server := filters(t)
				filter = server
				wire := make([]byte, 0, 2*len(batch)+1024)
				k.next = func() []byte {
					var err error
					if wire, err = client.Seal(wire[:0], batch, false); err != nil {
						t.Fatal(err)
					}
					return wire
				}
			}
			end, err := framer.NewEndpoint(echoHandler{reserve: tc.copied}, framer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			l, c := still(t, k, Config{}, filter, func(c *Conn) Protocol { return end.Session(c) })
			turns := 0
			turn := func() {
				turns++
				c.readable = true
				l.input(c)
			}
			for range 100 {
				turn()
			}
			if c.state != stateOpen || k.bytes < turns*len(batch) || k.writes != turns {
				t.Fatalf("%d turns: state %d, %d bytes of %d a turn, %d writes", turns, c.state, k.bytes, len(batch), k.writes)
			}
			if n := testing.AllocsPerRun(500, turn); n != 0 {
				t.Fatalf("%v allocations per turn", n)
			}
		})
	}
}

// seedIDs are the micro-benchmarks of this package by the ids of the seed (§2.1), which never change.
var seedIDs = []string{"write_coalesce_64k_chunks"}

func TestSeedBenchmarkIDs(t *testing.T) {
	if len(seedBenchmarks) != len(seedIDs) {
		t.Fatalf("%d benchmarks, want %d", len(seedBenchmarks), len(seedIDs))
	}
	for _, id := range seedIDs {
		if seedBenchmarks[id] == nil {
			t.Errorf("benchmark %s is missing", id)
		}
	}
}

var seedBenchmarks = map[string]func(*testing.B){"write_coalesce_64k_chunks": benchmarkCoalesce}

func BenchmarkSeed(b *testing.B) {
	for _, id := range seedIDs {
		b.Run(id, seedBenchmarks[id])
	}
}

// coalescing returns what queues 64 KiB in frames of 1 KiB and flushes them, and the kernel that counts the system calls.
func coalescing(tb testing.TB) (turn func(), k *feed) {
	k = &feed{}
	l, c := still(tb, k, Config{}, nil, script{}.with)
	frame := make([]byte, 1024)
	return func() {
		for range 64 {
			if err := c.Write(frame); err != nil {
				tb.Fatal(err)
			}
		}
		c.dirty = false
		l.dirty.next = l.dirty.next[:0]
		l.flush(c)
	}, k
}

// benchmarkCoalesce is one system call for each turn.
func benchmarkCoalesce(b *testing.B) {
	turn, k := coalescing(b)
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		turn()
	}
	if k.writes != b.N {
		b.Fatalf("%d system calls for %d flushes", k.writes, b.N)
	}
}

// TestAllocationsOfCoalescing asserts the allocs/op of write_coalesce_64k_chunks, and its system calls.
func TestAllocationsOfCoalescing(t *testing.T) {
	turn, k := coalescing(t)
	turn()
	k.writes = 0
	if n := testing.AllocsPerRun(100, turn); n != 0 || k.writes != 101 {
		t.Fatalf("%v allocations, %d system calls for 101 turns", n, k.writes)
	}
}
