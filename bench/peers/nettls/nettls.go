// Package nettls is the peer that the library's TLS is measured against: the standard library as a careful programmer
// would use it. One goroutine per connection, crypto/tls with full-size records, 64 KiB buffered reader and writer, one
// flush per batch of requests that has arrived.
package nettls

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// bufferSize of the reader and the writer of a connection: one streaming chunk of the protocol.
const bufferSize = 64 << 10

// Stats are the counters of a server. Any goroutine may read them. Frames are added when their connection ends: a counter
// shared by all connections would cost the measured path.
type Stats struct {
	Accepted, Frames, Failed atomic.Uint64
}

// Server is one listening echo server.
type Server struct {
	Stats Stats

	ln     net.Listener
	cfg    *tls.Config
	wg     sync.WaitGroup
	mu     sync.Mutex // guards conns and closed
	conns  map[net.Conn]struct{}
	closed bool
}

// Listen binds addr and serves in the background until Close. It takes over cfg and sets what the comparison fixes: TLS 1.3,
// ALPN "oap/1", full-size records from the first byte.
func Listen(addr string, cfg *tls.Config) (*Server, error) {
	cfg = cfg.Clone()
	cfg.MinVersion = tls.VersionTLS13
	cfg.NextProtos = []string{"oap/1"}
	cfg.DynamicRecordSizingDisabled = true
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{ln: ln, cfg: cfg, conns: make(map[net.Conn]struct{})}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close stops accepting, closes every connection and waits for their goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.ln.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		c, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.Stats.Failed.Add(1)
			continue
		}
		if !s.add(c) {
			c.Close()
			return
		}
		s.Stats.Accepted.Add(1)
		go s.serve(c)
	}
}

func (s *Server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) serve(raw net.Conn) {
	defer s.wg.Done()
	defer func() {
		raw.Close()
		s.mu.Lock()
		delete(s.conns, raw)
		s.mu.Unlock()
	}()
	c := tls.Server(raw, s.cfg)
	if err := c.Handshake(); err != nil {
		s.Stats.Failed.Add(1)
		return
	}
	if err := s.echo(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.Stats.Failed.Add(1)
	}
	_ = c.CloseWrite() // best effort: the other side may be gone already
}

// echo answers requests until the stream ends. Replies go out when no further whole request is buffered.
func (s *Server) echo(c net.Conn) error {
	r, w := bufio.NewReaderSize(c, bufferSize), bufio.NewWriterSize(c, bufferSize)
	var frames uint64
	defer func() { s.Stats.Frames.Add(frames) }()
	var big []byte // grows to the largest frame that does not fit the reader's buffer
	var tally wire.Tally
	for {
		head, err := r.Peek(wire.HeaderLen)
		if err != nil {
			if len(head) > 0 && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		n, err := wire.FrameLen(head)
		if err != nil {
			return fmt.Errorf("peer %s: %w", c.RemoteAddr(), err)
		}
		if n <= bufferSize {
			err = echoBuffered(r, w, n, &tally)
		} else {
			if cap(big) < n {
				big = make([]byte, n)
			}
			err = echoBig(r, w, big[:n], &tally)
		}
		if err != nil {
			return err
		}
		frames++
		if !wholeFrameBuffered(r) {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

// echoBuffered answers a frame from the reader's own buffer: one copy, into the writer's.
func echoBuffered(r *bufio.Reader, w *bufio.Writer, n int, t *wire.Tally) error {
	frame, err := r.Peek(n)
	if err != nil {
		return err
	}
	if _, err := w.Write(t.Answer(frame)); err != nil {
		return err
	}
	_, err = r.Discard(n)
	return err
}

// echoBig reads the frame into frame and writes it from there; bufio passes both sides through without its own copy.
func echoBig(r *bufio.Reader, w *bufio.Writer, frame []byte, t *wire.Tally) error {
	if _, err := io.ReadFull(r, frame); err != nil {
		return err
	}
	_, err := w.Write(t.Answer(frame))
	return err
}

// wholeFrameBuffered says whether another request can be answered without reading from the connection.
func wholeFrameBuffered(r *bufio.Reader) bool {
	if r.Buffered() < wire.HeaderLen {
		return false
	}
	head, err := r.Peek(wire.HeaderLen)
	if err != nil {
		return false
	}
	n, err := wire.FrameLen(head)
	return err != nil || r.Buffered() >= n // a bad header is answered (by closing) at once
}
