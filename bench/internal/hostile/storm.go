// Package hostile is the other side of the measurements under attack: a storm of handshakes and crowds of connections that
// mean no good. It uses net and crypto/tls only, so that the library is never tested with itself.
package hostile

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// Storm offers full handshakes at a fixed rate, whatever becomes of them. Run it in a process of its own.
type Storm struct {
	Addr    string        // host:port
	Rate    int           // connections due per second
	AtOnce  int           // connections under way at most; what is due beyond them is shed
	Sources int           // 127.1.0.1 … so many source addresses in turn; 0: the kernel's choice
	Timeout time.Duration // of one connection
	TLS     *tls.Config   // without a session cache: every handshake is a full one

	offered, completed, refused, failed, shed atomic.Uint64

	mu  sync.Mutex // guards lat
	lat *hist.Recorder
}

// StormCounts is what a storm did, connections all of them.
type StormCounts struct {
	Offered   uint64       `json:"offered"`   // due and begun
	Completed uint64       `json:"completed"` // handshake complete, goodbye answered
	Refused   uint64       `json:"refused"`   // ended by the server before the handshake was complete
	Failed    uint64       `json:"failed"`    // anything else, a time-out first of all
	Shed      uint64       `json:"shed"`      // due, but the generator had too many under way
	Seconds   float64      `json:"seconds"`
	Handshake hist.Latency `json:"handshake"` // connect and handshake of those that completed
}

// stormTick is how often connections are begun: at 2,000 a second two or three each time.
const stormTick = time.Millisecond

// Run storms until ctx ends, waits for what is under way, and returns the counts.
func (s *Storm) Run(ctx context.Context) StormCounts {
	s.lat = hist.New()
	slots := make(chan struct{}, s.AtOnce)
	var wg sync.WaitGroup
	began := time.Now()
	tick := time.NewTicker(stormTick)
	defer tick.Stop()
	for next := 0; ctx.Err() == nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		for due := int(time.Since(began).Seconds() * float64(s.Rate)); next < due; next++ {
			select {
			case slots <- struct{}{}:
			default:
				s.shed.Add(1)
				continue
			}
			s.offered.Add(1)
			wg.Add(1)
			go func(i int) {
				defer wg.Done()
				s.one(i)
				<-slots
			}(next)
		}
	}
	took := time.Since(began)
	wg.Wait()
	return StormCounts{
		Offered: s.offered.Load(), Completed: s.completed.Load(), Refused: s.refused.Load(), Failed: s.failed.Load(),
		Shed: s.shed.Load(), Seconds: took.Seconds(), Handshake: s.lat.Summary(),
	}
}

// one is one connection: connect, full handshake, goodbye both ways, close.
func (s *Storm) one(i int) {
	began := time.Now()
	d := net.Dialer{Timeout: s.Timeout, LocalAddr: Source(i, s.Sources), Control: lateBind}
	c, err := d.Dial("tcp", s.Addr)
	if err != nil {
		s.count(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(began.Add(s.Timeout)) // fails only on a closed socket
	t := tls.Client(c, s.TLS)
	if err := t.Handshake(); err != nil {
		s.count(err)
		return
	}
	took := time.Since(began)
	s.mu.Lock()
	s.lat.Record(took)
	s.mu.Unlock()
	// The server ends first: the waiting state of TCP is then its, and our ports are free again.
	_ = t.CloseWrite()
	if _, err := io.Copy(io.Discard, t); err != nil {
		s.count(err)
		return
	}
	s.completed.Add(1)
}

// count files a failure.
func (s *Storm) count(err error) {
	if Refused(err) {
		s.refused.Add(1)
	} else {
		s.failed.Add(1)
	}
}

// Refused says whether err is the peer's refusal: an alert, a reset or a closed socket.
func Refused(err error) bool {
	var alert *net.OpError // how crypto/tls reports the peer's alert
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &alert) && alert.Op == "remote error"
}

// perNet is how many addresses of a /24 are used.
const perNet = 250

// Source is the i-th of n local addresses in turn: 127.1.0.1 and on. They share neither a port range nor a peer's limits.
// nil when n is 0.
func Source(i, n int) net.Addr {
	if n <= 0 {
		return nil
	}
	i %= n
	a := netip.AddrFrom4([4]byte{127, 1, byte(i / perNet), byte(1 + i%perNet)})
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
}

// lateBind has the kernel choose the port at connect: with a chosen source address it would otherwise have to be free for
// every peer.
func lateBind(_, _ string, rc syscall.RawConn) error {
	var err error
	cerr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(cerr, err)
}
