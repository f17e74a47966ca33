package hostile

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// Resets opens one connection after the other, asks something, writes a part of another request, and resets the connection: with its
// answer unread, in the midst of a frame.
type Resets struct {
	Open  func(ctx context.Context) (*Resettable, error)
	Every time.Duration // between two
	Rand  *rand.Rand    // decides how much is written

	done, failed atomic.Uint64
}

// Resettable is a connection that Resets is about to reset.
type Resettable struct {
	io.Writer
	Reset func() // and close; may be called again, and from any goroutine
}

// Counts are the connections that were reset, and those that could not be opened or written to. Any goroutine.
func (r *Resets) Counts() (done, failed uint64) { return r.done.Load(), r.failed.Load() }

// Run goes on until ctx ends.
func (r *Resets) Run(ctx context.Context) {
	for sched.Sleep(ctx, r.Every) == nil {
		if r.one(ctx) == nil {
			r.done.Add(1)
		} else {
			r.failed.Add(1)
		}
	}
}

// one is one connection.
func (r *Resets) one(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	c, err := r.Open(ctx)
	if err != nil {
		return err
	}
	defer c.Reset()
	defer context.AfterFunc(ctx, c.Reset)() // a write that waits for the server ends with ctx, too
	ask := Request(0, make([]byte, slowRequest))
	half := ask[:1+r.Rand.IntN(len(ask)-1)]
	_, err = c.Write(append(ask, half...))
	return err
}

// ResetTLS opens connections to addr that end with a RST.
func ResetTLS(addr string, conf *tls.Config) func(ctx context.Context) (*Resettable, error) {
	return func(ctx context.Context) (*Resettable, error) {
		var d net.Dialer
		raw, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		c := tls.Client(raw, conf)
		if err := c.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		_ = raw.SetDeadline(time.Now().Add(openTimeout)) // a write must not wait for a server that reads no more
		return &Resettable{c, func() {
			_ = raw.(*net.TCPConn).SetLinger(0) // what has ended already needs no RST
			raw.Close()
		}}, nil
	}
}

// resetCode is the error code of streams and connections that are reset.
const resetCode = 7

// ResetQUIC opens connections to addr with one stream each, which is reset, and the connection closed as an error.
func ResetQUIC(addr string, conf *tls.Config) func(ctx context.Context) (*Resettable, error) {
	client := quicgo.NewClient(conf)
	return func(ctx context.Context) (*Resettable, error) {
		c, err := client.Dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		str, err := c.OpenStreamSync(ctx)
		if err != nil {
			_ = c.CloseWithError(resetCode, "")
			return nil, err
		}
		_ = str.SetDeadline(time.Now().Add(openTimeout))
		return &Resettable{str, func() {
			str.CancelWrite(resetCode)
			str.CancelRead(resetCode)
			_ = c.CloseWithError(resetCode, "reset") // best effort: it is to end
		}}, nil
	}
}
