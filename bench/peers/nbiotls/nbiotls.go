// Package nbiotls is the peer that the library's TLS is measured against: nbio with the TLS that comes with it, a crypto/tls
// whose input is pushed (github.com/lesismal/llib/std/crypto/tls). It is used as nbio's own HTTP engine uses it: what a poller
// has read is appended and decrypted until no whole record is left. Whole frames are answered in place, and the records of a
// batch of replies leave with one system call: llib would make one for each record. nbio's package extension/tls, which does the same with a callback per record, is marked deprecated there.
package nbiotls

import (
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lesismal/llib/std/crypto/tls"
	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/mempool"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// bufferSize is what a poller reads at once, and the room for a connection's plaintext: the figure that suits gnet, too. With
// nbio's default of 64 KiB a frame with a 64 KiB payload never arrives in one piece.
const bufferSize = 256 << 10

// pollers is one per core, as ours has loops. nbio's default, a quarter of that, is for handlers that run elsewhere.
func pollers() int { return runtime.GOMAXPROCS(0) }

// Stats are the counters of a server. Any goroutine may read them. Frames are added when their connection ends: a counter
// shared by all connections would cost the measured path.
type Stats struct {
	Accepted, Frames, Failed atomic.Uint64
}

// Server is one listening echo server.
type Server struct {
	Stats Stats

	engine *nbio.Engine
	cfg    *tls.Config
	ln     net.Listener
	bufs   sync.Pool // of *[]byte, at least bufferSize each: only connections with a part of a frame hold one
	outs   sync.Pool // of *[]byte, for the records of a batch
}

// conn is what a connection keeps between two events.
type conn struct {
	mu     sync.Mutex // held by the poller for an event, and by the goroutine that nbio tells of the end on
	tls    *tls.Conn
	out    *outbox // what tls writes to
	buf    *[]byte // nil while nothing is in it
	have   int     // bytes of it
	frames uint64
	failed bool // counted
}

// outbox is an nbio connection that can collect what is written to it.
type outbox struct {
	*nbio.Conn
	collect *[]byte // nil: writes go through
}

// Write keeps a copy of b, or sends it. nbio keeps what the socket does not take.
func (o *outbox) Write(b []byte) (int, error) {
	if o.collect == nil {
		return o.Conn.Write(b)
	}
	*o.collect = append(*o.collect, b...)
	return len(b), nil
}

// Listen binds addr and serves in the background until Close. The certificate is all that is taken from the caller; the
// comparison fixes TLS 1.3, ALPN "oap/1", full-size records from the first byte.
func Listen(addr string, c *stdtls.Certificate) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	logging.Output = os.Stderr // standard output is for lines that a parent reads
	logging.SetLevel(logging.LevelError)
	s := &Server{ln: ln, cfg: &tls.Config{
		Certificates:                []tls.Certificate{{Certificate: c.Certificate, PrivateKey: c.PrivateKey}},
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{"oap/1"},
		DynamicRecordSizingDisabled: true,
		GetConfigForClient:          aesFirst,
	}}
	s.bufs.New = func() any { b := make([]byte, bufferSize); return &b }
	s.outs.New = func() any { return new([]byte) }
	s.engine = nbio.NewEngine(nbio.Config{
		Network: "tcp", Addrs: []string{addr}, ReadBufferSize: bufferSize,
		NPoller: pollers(),
		Listen:  func(string, string) (net.Listener, error) { return ln, nil },
	})
	s.engine.OnOpen(s.open)
	s.engine.OnData(s.data)
	s.engine.OnClose(s.closed)
	if err := s.engine.Start(); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return s, nil
}

// aesFirst lets a client that prefers AES-GCM have it. llib goes by the client's order, except that it puts ChaCha20-Poly1305
// first on processors without AES instructions, and it believes that there are no others: nothing initialises its copy of
// Go's internal/cpu. The suites of TLS 1.3 are not configurable, but the offer that it goes by is in h itself. Without this the
// comparison would be one of ciphers.
func aesFirst(h *tls.ClientHelloInfo) (*tls.Config, error) {
	aes, chacha := slices.Index(h.CipherSuites, tls.TLS_AES_128_GCM_SHA256), slices.Index(h.CipherSuites, tls.TLS_CHACHA20_POLY1305_SHA256)
	if aes >= 0 && aes < chacha {
		h.CipherSuites[chacha] = tls.TLS_AES_128_GCM_SHA256
	}
	return nil, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close stops accepting, closes every connection and waits for the pollers.
func (s *Server) Close() error {
	s.engine.Stop()
	return nil
}

// open is called by nbio for every accepted connection, before its first event.
func (s *Server) open(c *nbio.Conn) {
	out := &outbox{Conn: c}
	c.SetSession(&conn{out: out, tls: tls.NewConn(out, s.cfg, false, true, mempool.DefaultMemPool)})
	s.Stats.Accepted.Add(1) // last: of is ordered by it
}

// of is what open has made. nbio hands it from the goroutine that accepts to the poller through epoll, which is no
// synchronisation that Go's memory model knows; a counter that both have seen is.
func (s *Server) of(c *nbio.Conn) *conn {
	s.Stats.Accepted.Load()
	return c.Session().(*conn)
}

// data is called by nbio with what a poller has read.
func (s *Server) data(c *nbio.Conn, data []byte) {
	k := s.of(c)
	k.mu.Lock()
	err := s.echo(k, data)
	if k.have == 0 && k.buf != nil {
		s.bufs.Put(k.buf)
		k.buf = nil
	}
	k.tls.ResetOrFreeBuffer() // else what is left of its input grows for ever
	bad := err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed)
	if (bad || errors.Is(err, io.EOF) && k.have > 0) && !k.failed {
		k.failed = true
		s.Stats.Failed.Add(1)
	}
	k.mu.Unlock()
	if err != nil {
		_ = k.tls.Close() // best effort: the other side may be gone already
	}
}

// echo decrypts data and what was left before, and answers the whole frames in it. k.mu is held.
func (s *Server) echo(k *conn, data []byte) error {
	if k.buf == nil {
		k.buf = s.bufs.Get().(*[]byte)
	}
	for {
		if k.have == len(*k.buf) {
			if err := s.answer(k); err != nil {
				return err
			}
		}
		_, n, err := k.tls.AppendAndRead(data, (*k.buf)[k.have:])
		k.have += n
		data = nil
		if n == 0 || err != nil {
			return errors.Join(s.answer(k), err)
		}
	}
}

// answer sends the replies to all whole frames, and makes sure that there is room behind what is left. k.mu is held.
func (s *Server) answer(k *conn) error {
	b := (*k.buf)[:k.have]
	n, frames, bad := wire.Whole(b)
	if n > 0 {
		if err := s.send(k, b[:n]); err != nil {
			return err
		}
		k.frames += uint64(frames)
		k.have = copy(b, b[n:])
	}
	if bad != nil {
		return fmt.Errorf("peer %s: %w", k.tls.RemoteAddr(), bad)
	}
	if k.have == len(*k.buf) { // one frame, larger than the buffer
		grown := make([]byte, wire.MaxFrame)
		copy(grown, *k.buf)
		*k.buf = grown
	}
	return nil
}

// send seals b into records and sends them together. k.mu is held.
func (s *Server) send(k *conn, b []byte) error {
	records := s.outs.Get().(*[]byte)
	defer s.outs.Put(records)
	*records = (*records)[:0]
	k.out.collect = records
	_, err := k.tls.Write(b)
	k.out.collect = nil
	if err != nil {
		return err
	}
	_, err = k.out.Write(*records)
	return err
}

// closed is called by nbio, on a goroutine of its own, when a connection has ended.
func (s *Server) closed(c *nbio.Conn, _ error) {
	k := s.of(c)
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Stats.Frames.Add(k.frames)
	_ = k.tls.Close() // gives its buffers back; it has ended
	k.frames, k.buf, k.have = 0, nil, 0
}
