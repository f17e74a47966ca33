package load

import (
	"context"
	stdtls "crypto/tls"
	"io"
	"runtime"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// stockGroups is how many groups a core gets on stock quic-go: there a group is a lock that its streams' goroutines share for
// the moment a reply is accounted for, so several keep them out of each other's way.
const stockGroups = 4

// stockNet carries the load on stock quic-go: a goroutine that reads and one that writes for every stream. What is a loop to
// the library is a mutex here: the callbacks of a group's conns, and what is posted to it, run one at a time.
type stockNet struct {
	links  *links[*quic.Conn]
	groups []sync.Mutex
	wg     sync.WaitGroup // the goroutines of all streams
}

func newStockNet(cfg *NetConfig) *stockNet {
	if cfg.Loops == 0 {
		cfg.Loops = stockGroups * runtime.GOMAXPROCS(0)
	}
	client := quicgo.NewClient(cfg.TLS)
	return &stockNet{
		groups: make([]sync.Mutex, cfg.Loops),
		links: newLinks(
			func(ctx context.Context, _ *conn) (*quic.Conn, error) { return client.Dial(ctx, cfg.Addr) },
			func(c *quic.Conn) { _ = c.CloseWithError(0, "") }), // best effort: it may have ended already
	}
}

func (n *stockNet) dial(c *conn) {
	n.links.dial(c, func(ctx context.Context, raw *quic.Conn) error {
		str, err := raw.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		s := &stockStream{c: c, str: str, mu: &n.groups[c.slot()%len(n.groups)], kick: make(chan struct{}, 1)}
		s.alone = c.f.cfg.Depth == 1 && !c.f.cfg.open() && !c.f.cfg.OneWay
		c.t = s
		n.wg.Go(s.read)
		n.wg.Go(s.write)
		return nil
	})
}

func (n *stockNet) forget(c *conn) { n.links.forget(c) }

func (n *stockNet) close() error {
	n.links.close()
	n.wg.Wait()
	return nil
}

func (n *stockNet) session(_ []*conn, s *report.Session) {
	n.links.each(func(c *quic.Conn) { addStock(c, s) })
}

func (n *stockNet) state(c *conn, s *report.Session) {
	n.links.of(c, func(c *quic.Conn) { addStock(c, s) })
}

func addStock(c *quic.Conn, s *report.Session) {
	st := c.ConnectionState()
	s.Established++
	if st.TLS.DidResume {
		s.Resumed++
	}
	if st.Used0RTT {
		s.Early++
	}
	s.Suite, s.Group = stdtls.CipherSuiteName(st.TLS.CipherSuite), st.TLS.CurveID.String()
}

// stockQueue is how many requests of a stream may wait to be written before it counts as full.
const stockQueue = 4

// stockStream is one stream: the transport of a conn.
type stockStream struct {
	c     *conn
	str   *quic.Stream
	alone bool          // one request in flight in a closed loop: the goroutine that has read the reply writes the next one
	kick  chan struct{} // one token: the writer has something to do

	mu      *sync.Mutex // the group's; guards what follows
	todo    []stockRequest
	reading bool  // the reader is in a callback, and will write what that leaves
	full    bool  // Writable has said no
	closing bool  // Close was called, or writing has failed
	cause   error // why
	ended   bool  // OnClose was called

	writing sync.Mutex // guards what follows, and the stream's sending side; taken before mu
	own     *templates // for requests of the load
	batch   []stockRequest
}

// stockRequest is a request to be written: the template's seq-th.
type stockRequest struct {
	seq  uint64
	t    *template // nil: one of the stream's own copies of the group's
	part int       // which
}

// Write is not used: requests come through request.
func (s *stockStream) Write([]byte) error { return io.ErrUnexpectedEOF }

// request queues a request. The group's lock is held.
func (s *stockStream) request(t *template, seq uint64) error {
	if s.closing || s.ended {
		return io.ErrClosedPipe
	}
	part := s.c.g.tmpls.index(t)
	if part >= 0 {
		if s.own == nil {
			s.own = s.c.g.tmpls.clone() // before the writer's first look
		}
		t = nil
	}
	s.todo = append(s.todo, stockRequest{seq, t, part})
	if !s.reading {
		s.wake()
	}
	return nil
}

func (s *stockStream) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Writable is asked with the group's lock held.
func (s *stockStream) Writable() bool {
	s.full = len(s.todo) >= stockQueue
	return !s.full
}

// Post runs fn under the group's lock.
func (s *stockStream) Post(fn func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return io.ErrClosedPipe
	}
	fn()
	return nil
}

// Close ends our side once what was queued is written. The group's lock is held.
func (s *stockStream) Close(cause error) {
	if !s.closing && !s.ended {
		s.closing, s.cause = true, cause
		s.wake()
	}
}

// read is the reading goroutine.
func (s *stockStream) read() {
	s.locked(s.c.OnOpen)
	buf := make([]byte, 4<<10)
	var err error
	for err == nil {
		var n int
		if n, err = quicgo.ReadFrame(s.str, &buf); err != nil {
			break
		}
		s.locked(func() {
			s.reading = s.alone
			_, _, err = s.c.OnData(buf[:n])
			s.reading = false
		})
		if err == nil && s.alone {
			err = s.flush()
		}
	}
	s.str.CancelRead(0)
	s.locked(func() {
		if s.closing {
			err = s.cause
		} else if err == io.EOF {
			err = nil
		}
		s.ended = true
		s.c.OnClose(err)
		close(s.kick)
	})
}

func (s *stockStream) locked(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// write is the writing goroutine.
func (s *stockStream) write() {
	for range s.kick {
		if err := s.flush(); err != nil {
			s.locked(func() { s.Close(err) })
			s.str.CancelRead(1) // the reader ends
			break
		}
		s.end()
	}
	for range s.kick { // until the reader has ended
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.str.CancelWrite(0) // does nothing where end came first
}

// end says the end of our side, if that is asked for and everything is written.
func (s *stockStream) end() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	over := s.closing && len(s.todo) == 0
	s.mu.Unlock()
	if over {
		_ = s.str.Close() // the reader sees how it ends
	}
}

// flush writes what is queued.
func (s *stockStream) flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	for s.next() {
		for _, r := range s.batch {
			if r.t == nil {
				r.t = s.own.all[r.part]
			}
			r.t.patch(s.c.idx, r.seq)
			if _, err := s.str.Write(r.t.frame); err != nil {
				return err
			}
		}
	}
	return nil
}

// next takes over what is queued, after asking for more where the queue has been full.
func (s *stockStream) next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.todo = s.todo, s.batch[:0]
	if s.full && !s.ended {
		s.full = false
		s.c.OnDrained()
	}
	return len(s.batch) > 0
}
