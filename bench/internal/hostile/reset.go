package hostile

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// Resets opens one connection after the other, asks something, writes a part of another request, and resets the connection: with its
// answer unread, in the midst of a frame.
type Resets struct {
	Addr  string
	Every time.Duration // between two
	TLS   *tls.Config
	Rand  *rand.Rand // decides how much is written

	done, failed atomic.Uint64
}

// Counts are the connections that were reset, and those that could not be opened. Any goroutine.
func (r *Resets) Counts() (done, failed uint64) { return r.done.Load(), r.failed.Load() }

// Run goes on until ctx ends.
func (r *Resets) Run(ctx context.Context) {
	for sched.Sleep(ctx, r.Every) == nil {
		if r.one(ctx) == nil {
			r.done.Add(1)
		} else if ctx.Err() == nil {
			r.failed.Add(1)
		}
	}
}

// one is one connection.
func (r *Resets) one(ctx context.Context) error {
	d := net.Dialer{Timeout: openTimeout}
	raw, err := d.DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return err
	}
	defer raw.Close()
	c := tls.Client(raw, r.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	ask := Request(0, make([]byte, slowRequest))
	half := ask[:1+r.Rand.IntN(len(ask)-1)]
	if _, err := c.Write(append(ask, half...)); err != nil {
		return err
	}
	return raw.(*net.TCPConn).SetLinger(0) // Close resets
}
