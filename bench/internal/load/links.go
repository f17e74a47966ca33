package load

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// errClosing is the cause of dials that come when the fleet is being closed.
var errClosing = errors.New("the fleet is closing")

// links are the QUIC connections of a fleet: conns of the load with the same slot share one, made when the first of them is
// dialled. C is the connection of whichever library carries it. Any goroutine.
type links[C any] struct {
	open func(ctx context.Context, c *conn) (C, error) // dials the connection of c's slot; blocks
	shut func(C)

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup // of what use and get have started

	mu     sync.Mutex // guards what follows
	closed bool
	now    map[int]*joint[C] // by slot
	all    []*joint[C]
}

// joint is one connection, or the attempt at one.
type joint[C any] struct {
	link
	done chan struct{} // closed once raw or err is there
	raw  C
	err  error
}

func newLinks[C any](open func(ctx context.Context, c *conn) (C, error), shut func(C)) *links[C] {
	l := &links[C]{open: open, shut: shut, now: make(map[int]*joint[C])}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// dial has the stream of c opened by use, on a goroutine of its own, once its connection is there; what fails is reported as
// c's failure to open. use blocks no longer than ctx.
func (l *links[C]) dial(c *conn, use func(ctx context.Context, raw C) error) {
	j, err := l.get(c)
	if err != nil {
		c.notOpened(err) // by the controller, or on c's loop
		return
	}
	go func() { // close waits for it: get has counted it
		defer l.wg.Done()
		<-j.done
		err := j.err
		if err == nil {
			c.link = &j.link
			ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
			defer cancel()
			err = use(ctx, j.raw)
		}
		if err != nil {
			c.dialFailed(err)
		}
	}()
}

// get is the connection of c's slot, which it begins to dial where there is none, or where c is to replace a stream whose
// server shuts down. It counts one goroutine.
func (l *links[C]) get(c *conn) (*joint[C], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosing
	}
	l.wg.Add(1)
	j := l.now[c.slot()]
	if j != nil && (c.from == nil || c.from.link != &j.link) {
		return j, nil
	}
	j = &joint[C]{link: link{limit: c.f.cfg.MaxInflight}, done: make(chan struct{})}
	l.now[c.slot()] = j
	l.all = append(l.all, j)
	l.wg.Go(func() {
		defer close(j.done)
		ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
		defer cancel()
		j.raw, j.err = l.open(ctx, c)
	})
	return j, nil
}

// forget closes the connection of c's slot: that of Fleet.Warm.
func (l *links[C]) forget(c *conn) {
	l.mu.Lock()
	j := l.now[c.slot()]
	delete(l.now, c.slot())
	l.all = slices.DeleteFunc(l.all, func(o *joint[C]) bool { return o == j })
	l.mu.Unlock()
	if j == nil {
		return
	}
	<-j.done
	if j.err == nil {
		l.shut(j.raw)
	}
}

// each calls fn for every connection that was established for the load itself, replaced ones included.
func (l *links[C]) each(fn func(C)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.all {
		select {
		case <-j.done:
			if j.err == nil {
				fn(j.raw)
			}
		default:
		}
	}
}

// of calls fn with the connection of c's slot, which is established.
func (l *links[C]) of(c *conn, fn func(C)) {
	l.mu.Lock()
	j := l.now[c.slot()]
	l.mu.Unlock()
	if j == nil {
		return
	}
	select {
	case <-j.done:
		if j.err == nil {
			fn(j.raw)
		}
	default:
	}
}

// close ends every dial and every connection.
func (l *links[C]) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	l.each(l.shut)
}

// dialFailed reports that c could not be opened. A goroutine of its own.
func (c *conn) dialFailed(err error) {
	if c.from == nil {
		c.f.ready(c, err)
		return
	}
	c.f.post(c.g, func() { c.notOpened(err) }) // without a loop the connections have ended, and are counted
}
