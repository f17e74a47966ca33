// Package gnetplain is the peer that the library's plain TCP is measured against: gnet v2 with its best settings for an
// echo of frames. Whole frames are answered in place in gnet's own read buffer and leave with one Write per batch.
package gnetplain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// readBuffer of a loop. gnet's default of 64 KiB is smaller than a frame with a 64 KiB payload, which then always takes a
// detour through the connection's ring buffer: measured, 25 to 40 µs of CPU per such frame instead of 14 to 28. From 256 KiB
// to 1 MiB, edge-triggered or not, with SO_REUSEPORT or not, no setting was better beyond the noise.
const readBuffer = 256 << 10

// Stats are the counters of a server. Any goroutine may read them. Frames are added when their connection ends: a counter
// shared by all connections would cost the measured path.
type Stats struct {
	Accepted, Frames, Failed atomic.Uint64
}

// Server is one listening echo server.
type Server struct {
	Stats Stats

	gnet.BuiltinEventEngine
	eng    gnet.Engine
	addr   string
	booted chan struct{}
	done   chan error
}

// Listen binds addr (host:port, port 0 picks one) and serves in the background until Close.
func Listen(addr string) (*Server, error) {
	addr, err := pickPort(addr)
	if err != nil {
		return nil, err
	}
	s := &Server{addr: addr, booted: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		s.done <- gnet.Run(s, "tcp://"+addr,
			gnet.WithMulticore(true), gnet.WithReadBufferCap(readBuffer),
			gnet.WithWriteBufferCap(readBuffer), gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithLogLevel(logging.ErrorLevel))
	}()
	select {
	case <-s.booted:
		return s, nil
	case err := <-s.done:
		if err == nil {
			err = errors.New("gnet ended at once")
		}
		return nil, err
	}
}

// pickPort replaces port 0 by a free one: gnet does not tell which port the kernel picked.
func pickPort(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if port != "0" {
		return addr, nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// Addr is the bound address.
func (s *Server) Addr() string { return s.addr }

// Close stops the engine and waits for its loops, up to 5 seconds.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.eng.Stop(ctx); err != nil {
		return fmt.Errorf("stop gnet: %w", err)
	}
	return <-s.done
}

// OnBoot is called by gnet once the listener is bound.
func (s *Server) OnBoot(eng gnet.Engine) gnet.Action {
	s.eng = eng
	close(s.booted)
	return gnet.None
}

// OnOpen is called by gnet for every accepted connection.
func (s *Server) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s.Stats.Accepted.Add(1)
	c.SetContext(new(uint64))
	return nil, gnet.None
}

// OnClose is called by gnet when a connection has ended.
func (s *Server) OnClose(c gnet.Conn, _ error) gnet.Action {
	if frames, ok := c.Context().(*uint64); ok {
		s.Stats.Frames.Add(*frames)
	}
	return gnet.None
}

// OnTraffic is called by gnet when bytes have arrived.
func (s *Server) OnTraffic(c gnet.Conn) gnet.Action {
	have := c.InboundBuffered()
	if have < wire.HeaderLen {
		return gnet.None
	}
	// Look at the header alone first: peeking at everything copies what sits in the ring buffer, which would be done
	// again for every part of a large frame that arrives.
	head, err := c.Peek(wire.HeaderLen)
	if err != nil {
		return s.fail()
	}
	if have < int(binary.BigEndian.Uint32(head)) {
		if _, err := wire.FrameLen(head); err != nil {
			return s.fail()
		}
		return gnet.None
	}
	all, err := c.Peek(have)
	if err != nil {
		return s.fail()
	}
	n, frames, bad := wire.Whole(all)
	if n > 0 {
		if _, err := c.Write(all[:n]); err != nil {
			return s.fail()
		}
		if _, err := c.Discard(n); err != nil {
			return s.fail()
		}
		if total, ok := c.Context().(*uint64); ok {
			*total += uint64(frames)
		}
	}
	if bad != nil {
		return s.fail()
	}
	return gnet.None
}

func (s *Server) fail() gnet.Action {
	s.Stats.Failed.Add(1)
	return gnet.Close
}
