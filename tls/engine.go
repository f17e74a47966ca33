package tls

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"iter"
)

// engine is crypto/tls's handshake as a coroutine that stops where it wants to read.
type engine struct {
	pipe         pipe
	conn         *stdtls.Conn
	next         func() (struct{}, bool)
	stop         func()
	err          error
	wantsTickets bool // a client that can use session tickets
}

// newEngine makes the coroutine; nothing runs before resume.
func (c *Conn) newEngine() *engine {
	e := &engine{}
	e.pipe.addrs = c.addrs
	e.pipe.aes = c.end.config.AESGCM.implementation()
	if server := c.end.server; server != nil {
		e.pipe.server = true
		e.pipe.maxHello = c.end.config.MaxClientHello
		e.conn = stdtls.Server(&e.pipe, server.base)
	} else {
		cfg := c.end.client.configFor(&e.pipe, c.name())
		e.wantsTickets = cfg.ClientSessionCache != nil && !cfg.SessionTicketsDisabled
		e.conn = stdtls.Client(&e.pipe, cfg)
	}
	e.next, e.stop = iter.Pull(func(yield func(struct{}) bool) {
		e.pipe.park = yield
		reserveStack(0)
		// A context that can be cancelled would cost a goroutine.
		e.err = e.conn.HandshakeContext(context.Background())
		e.pipe.park = nil
	})
	return e
}

// reserveStack makes the goroutine's stack grow once, while it is empty, to what crypto/tls needs. It would otherwise grow by doubling,
// and be copied each time, deep inside the key exchange.
//
//go:noinline
func reserveStack(i int) byte {
	var room [handshakeStack]byte
	return room[i]
}

// resume runs the handshake until it needs input or has ended. A panic in a callback comes out of the coroutine here.
func (e *engine) resume() (finished bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	if _, parked := e.next(); parked {
		return false, nil
	}
	return true, e.err
}

func panicError(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("tls: panic in a callback: %w", err)
	}
	return fmt.Errorf("tls: panic in a callback: %v", p)
}

// end makes a parked coroutine return. What crypto/tls writes on its way out stays in the pipe.
func (e *engine) end() {
	defer func() {
		// A callback that panics because its handshake was given up has nobody to tell.
		_ = recover()
	}()
	e.pipe.closed = true
	e.stop()
	e.pipe.wipe(false)
}

var (
	errPipeClosed = errors.New("tls: handshake given up")
	errPipeEmpty  = &emptyError{}
)

// emptyError is what crypto/tls reads after the handshake when there is nothing to read. Being temporary it leaves the connection
// usable.
type emptyError struct{}

func (*emptyError) Error() string   { return "tls: nothing to read" }
func (*emptyError) Timeout() bool   { return true }
func (*emptyError) Temporary() bool { return true }
