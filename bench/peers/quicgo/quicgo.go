// Package quicgo is the peer that the library's QUIC is measured against: quic-go as a careful programmer would use it. A
// goroutine per stream, whole frames read into a buffer that is used again, one Write per frame. quic-go's own defaults hold
// for everything it tunes by itself (socket buffers, segmentation offload, windows, packet size); set is only what an
// application must decide.
package quicgo

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// DefaultMaxStreams is how many streams a peer may have open: the figure of the seed (its section 3).
const DefaultMaxStreams = 512

// firstFrame is the room for a frame that a stream begins with; larger ones make it grow.
const firstFrame = 4 << 10

// Stats are the counters of a server. Any goroutine may read them. Frames are added when their stream ends: a counter shared
// by all streams would cost the measured path.
type Stats struct {
	Accepted, Streams, Frames, Failed atomic.Uint64
}

// Server is one listening echo server.
type Server struct {
	Stats Stats

	ln  *quic.Listener
	ctx context.Context // ends with Close
	end context.CancelFunc
	wg  sync.WaitGroup
	mu  sync.Mutex // guards conns
	all map[*quic.Conn]struct{}
}

// config is what client and server have in common. Nobody opens unidirectional streams here.
func config(maxStreams int) *quic.Config {
	return &quic.Config{MaxIncomingStreams: int64(maxStreams), MaxIncomingUniStreams: -1}
}

// withALPN sets what the comparison fixes: TLS 1.3 (QUIC has no other) and ALPN "oap/1".
func withALPN(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.MinVersion = tls.VersionTLS13
	cfg.NextProtos = []string{"oap/1"}
	return cfg
}

// Listen binds addr and serves in the background until Close. maxStreams is how many streams a peer may have open.
func Listen(addr string, cfg *tls.Config, maxStreams int) (*Server, error) {
	ln, err := quic.ListenAddr(addr, withALPN(cfg), config(maxStreams))
	if err != nil {
		return nil, err
	}
	s := &Server{ln: ln, all: make(map[*quic.Conn]struct{})}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	return s, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close stops accepting, closes every connection and waits for their goroutines.
func (s *Server) Close() error {
	s.end()
	s.mu.Lock()
	for c := range s.all {
		_ = c.CloseWithError(0, "") // best effort: it may have ended already
	}
	s.mu.Unlock()
	s.wg.Wait()
	return s.ln.Close() // last: it takes the socket away, which the goodbyes need
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept(s.ctx)
		if err != nil {
			return // closed
		}
		s.Stats.Accepted.Add(1)
		s.wg.Go(func() { s.serve(c) })
	}
}

// serve takes the streams of one connection.
func (s *Server) serve(c *quic.Conn) {
	s.mu.Lock()
	s.all[c] = struct{}{}
	s.mu.Unlock()
	for {
		str, err := c.AcceptStream(s.ctx)
		if err != nil {
			if !clean(err) {
				s.Stats.Failed.Add(1)
			}
			break
		}
		s.Stats.Streams.Add(1)
		s.wg.Go(func() {
			if err := s.echo(str); err != nil && !clean(err) {
				s.Stats.Failed.Add(1)
				str.CancelRead(1)
				str.CancelWrite(1)
			}
		})
	}
	_ = c.CloseWithError(0, "") // does nothing where the connection has ended
	s.mu.Lock()
	delete(s.all, c)
	s.mu.Unlock()
}

// clean says whether an error is a connection's end in good order: either side's code 0, or our own Close.
func clean(err error) bool {
	var app *quic.ApplicationError
	return errors.Is(err, context.Canceled) || errors.As(err, &app) && app.ErrorCode == 0
}

// echo answers requests until the stream ends.
func (s *Server) echo(str *quic.Stream) error {
	var frames uint64
	defer func() { s.Stats.Frames.Add(frames) }()
	var tally wire.Tally
	buf := make([]byte, firstFrame)
	for {
		n, err := ReadFrame(str, &buf)
		if err == io.EOF {
			return str.Close()
		}
		if err != nil {
			return err
		}
		frames++
		answer := tally.Answer(buf[:n])
		if answer == nil {
			continue
		}
		if _, err := str.Write(answer); err != nil {
			return err
		}
	}
}

// ReadFrame reads one whole frame into *buf, which grows as needed, and returns its length. io.EOF is the stream's end
// between two frames.
func ReadFrame(r io.Reader, buf *[]byte) (int, error) {
	head := (*buf)[:wire.HeaderLen]
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, err
	}
	n, err := wire.FrameLen(head)
	if err != nil {
		return 0, err
	}
	if n > len(*buf) {
		grown := make([]byte, n)
		copy(grown, head)
		*buf = grown
	}
	if _, err := io.ReadFull(r, (*buf)[wire.HeaderLen:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return n, nil
}

// Client dials. Any goroutine.
type Client struct{ cfg *tls.Config }

// NewClient makes a client.
func NewClient(cfg *tls.Config) *Client { return &Client{cfg: withALPN(cfg)} }

// Dial connects, on a socket of the connection's own, as quic-go's DialAddr has it.
func (c *Client) Dial(ctx context.Context, addr string) (*quic.Conn, error) {
	return quic.DialAddr(ctx, addr, c.cfg, config(-1)) // a server may open no stream
}
