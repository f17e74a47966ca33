package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Options of a connection.
type Options struct {
	// OnEvent is told of asynchronous events, in order. It must not wait for a command of the same connection, whose reply would come
	// behind it. Called on the connection's goroutine. nil: events are dropped.
	OnEvent func(Event)
}

// Conn is a control connection. Commands may be given by several goroutines at once; tor answers in order.
type Conn struct {
	nc      net.Conn
	onEvent func(Event)
	done    chan struct{}

	mu      sync.Mutex // guards the order of lines on the wire, which is that of pending
	pending []*call
	err     error // why it has ended
}

// call is a command that waits for its reply.
type call struct {
	done  chan struct{}
	reply Reply
	err   error
}

// Dial connects to a control port: network "unix" with a path, or "tcp" with host:port. The connection is not authenticated yet.
// Close must be called in the end. Any goroutine.
func Dial(ctx context.Context, network, addr string, o Options) (*Conn, error) {
	if network != "unix" && network != "tcp" {
		return nil, fmt.Errorf("control: network is %q, allowed are unix and tcp", network)
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return newConn(nc, o), nil
}

// newConn takes over a connected socket.
func newConn(nc net.Conn, o Options) *Conn {
	c := &Conn{nc: nc, onEvent: o.OnEvent, done: make(chan struct{})}
	go c.read()
	return c
}

// read hands replies to the commands that wait for them, and events to the caller's function, until the connection ends.
func (c *Conn) read() {
	r := newReplyReader(c.nc)
	for {
		reply, err := r.next()
		if err == nil && reply.Code/100 == codeEvent/100 {
			if c.onEvent != nil {
				c.onEvent(newEvent(reply))
			}
			continue
		}
		if err == nil {
			err = c.answer(reply)
		}
		if err != nil {
			c.end(err)
			break
		}
	}
	close(c.done)
}

// answer gives a reply to the oldest command.
func (c *Conn) answer(r Reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		return fmt.Errorf("%w: a reply without a command", ErrProtocol)
	}
	p := c.pending[0]
	c.pending = c.pending[1:]
	p.reply = r
	close(p.done)
	return nil
}

// end closes the socket and fails what waits. The first cause is kept.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		if errors.Is(cause, io.EOF) {
			cause = errors.New("tor has ended it")
		}
		c.err = fmt.Errorf("%w: %w", ErrClosed, cause)
		_ = c.nc.Close()
	}
	for _, p := range c.pending {
		p.err = c.err
		close(p.done)
	}
	c.pending = nil
}

// Close ends the connection and waits until OnEvent has returned for the last time; from within OnEvent it must not be called.
// Commands that wait fail with ErrClosed. Any goroutine.
func (c *Conn) Close() error {
	_ = c.nc.Close() // frees a command that holds the lock because tor does not read
	c.end(net.ErrClosed)
	<-c.done
	return nil
}

// Done is closed when the connection has ended. Any goroutine.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection has ended, nil while it has not. Any goroutine.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Command sends one line and waits for the reply. A refusal is an *Error besides the Reply. When ctx ends first, the command may
// have been executed or not. ErrClosed, ErrBusy. Any goroutine but the one that calls OnEvent.
func (c *Conn) Command(ctx context.Context, line string) (Reply, error) {
	p, err := c.send(ctx, line)
	if err != nil {
		return Reply{}, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return Reply{}, fmt.Errorf("control: %s: %w", verb(line), ctx.Err())
	}
	if p.err != nil {
		return Reply{}, p.err
	}
	if p.reply.Code/100 != 2 {
		return p.reply, &Error{Code: p.reply.Code, Text: p.reply.Text(), Command: verb(line)}
	}
	return p.reply, nil
}

// send writes a command and queues for its reply.
func (c *Conn) send(ctx context.Context, line string) (*call, error) {
	switch {
	case strings.ContainsAny(line, "\r\n\x00"):
		return nil, fmt.Errorf("control: %s holds a line end or a null byte, which no command may", verb(line))
	case line == "" || len(line) > maxCommand:
		return nil, fmt.Errorf("control: the command %s has %d bytes, allowed are 1 to %d", verb(line), len(line), maxCommand)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("control: %s: %w", verb(line), ctx.Err())
	}
	p := &call{done: make(chan struct{})}
	c.mu.Lock()
	if err := c.err; err != nil || len(c.pending) >= maxPending {
		c.mu.Unlock()
		if err == nil {
			err = ErrBusy
		}
		return nil, err
	}
	c.pending = append(c.pending, p)
	deadline, _ := ctx.Deadline() // the zero time: none
	_ = c.nc.SetWriteDeadline(deadline)
	_, err := io.WriteString(c.nc, line+"\r\n")
	c.mu.Unlock()
	if err != nil { // part of the line may be out, so nothing can follow it
		c.end(err)
		return nil, c.Err()
	}
	return p, nil
}

// verb is a command's first word.
func verb(line string) string {
	v, _, _ := strings.Cut(line, " ")
	return strings.Trim(fmt.Sprintf("%.32q", v), `"`)
}
