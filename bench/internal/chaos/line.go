package chaos

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
)

const headerLen = framer.HeaderLen

// linkState is where a connection of the client is. Loop only.
type linkState uint8

const (
	linkWaiting linkState = iota // not connected; it is dialled when its pause is over
	linkDialing                  // connect and handshake are under way
	linkOpen                     // its lines may ask
	linkEnding                   // a stream of it has ended, or the connection has; the other streams end, and then it is dialled again
)

// link is one connection to the server and the lines that use it. It outlives the connections that it makes one after the other. Loop only.
type link struct {
	c     *Client
	state linkState
	lines []*line
	conn  *quic.Conn // nil on TLS, and while there is none
	live  int        // streams that have not ended
	pause time.Duration
}

// dial connects.
func (k *link) dial() {
	if k.c.closing || k.c.ctx.Err() != nil {
		return
	}
	k.state = linkDialing
	if k.c.dialer != nil {
		k.dialQUIC()
		return
	}
	k.live = 1
	n := k.lines[0]
	_, err := k.c.reactor.Dial("tcp", k.c.cfg.Addr, reactor.DialConfig{
		Protocol: func(t *reactor.Conn) reactor.Protocol { return n.stream(t) },
		Filter:   func() reactor.Filter { return k.c.tls.Conn(serverName(k.c.cfg.Addr)) },
	})
	if err != nil {
		k.live = 0
		k.failed()
	}
}

// dialQUIC connects on a goroutine of its own, because that blocks, and opens the streams on the loop.
func (k *link) dialQUIC() {
	go func() { // ends with the dial, which has a deadline, or with the client
		conn, err := k.c.dialer.DialOn(k.c.ctx, 0, k.c.cfg.Addr)
		posted := k.c.reactor.Post(0, func() {
			if err != nil {
				k.failed()
				return
			}
			k.conn = conn
			for _, n := range k.lines {
				k.live++
				if _, err := conn.OpenStream(quic.OpenConfig{Protocol: func(t *reactor.Conn) reactor.Protocol { return n.stream(t) }}); err != nil {
					k.live--
					conn.Close(quic.CodeNone, err)
					break
				}
			}
			if k.live == 0 {
				k.failed()
			}
		})
		if posted != nil && err == nil {
			conn.Close(quic.CodeNone, nil)
		}
	}()
}

// failed is called when a dial has come to nothing.
func (k *link) failed() {
	if !k.c.closing {
		k.c.res.DialFailed++
	}
	k.again()
}

// again has the link dialled when a pause is over.
func (k *link) again() {
	k.state, k.conn = linkWaiting, nil
	pause := k.pause
	k.pause = min(2*k.pause, redialMost)
	time.AfterFunc(pause, func() { _ = k.c.reactor.Post(0, k.dial) }) // fails when the client has ended
}

// ended is called when a stream of the link has ended; told is the reason that the server gave before.
func (k *link) ended(told string, cause error) {
	k.live--
	if k.state == linkOpen {
		k.state = linkEnding
		if !k.c.closing {
			k.c.noteEnd(told, cause)
		}
		if k.conn != nil { // one stream alone does not end: the connection goes with it
			k.conn.Close(quic.CodeNone, nil)
		}
	}
	if k.live > 0 {
		return
	}
	if k.state == linkDialing {
		k.failed()
		return
	}
	k.again()
}

// noteEnd counts the end of a connection that was open.
func (c *Client) noteEnd(told string, cause error) {
	why := told
	var r interface{ Reason() string }
	switch {
	case errors.As(cause, &r):
		why = r.Reason()
	case cause != nil:
		why = reactor.ReasonIO
	}
	c.res.Ends[why]++
	if c.res.FirstEnd == "" {
		c.res.FirstEnd = strings.TrimSpace("the server closed the connection " + told)
		if cause != nil {
			c.res.FirstEnd = cause.Error()
		}
	}
}

// line is a place for requests: a connection on TLS, a stream on QUIC. It outlives the connections. Loop only.
type line struct {
	link     *link
	index    int
	on       *stream  // nil while there is no connection
	waiting  []uint64 // requests that cannot be written now, the oldest first
	inflight []uint64 // requests that were asked on the stream and not answered, the oldest first
}

// give hands the line a request.
func (n *line) give(id uint64) {
	n.waiting = append(n.waiting, id)
	n.write()
}

// fill keeps the closed loop's number of requests in flight.
func (n *line) fill(now int64) {
	for len(n.waiting)+len(n.inflight) < n.link.c.cfg.Depth && n.on != nil {
		n.give(n.link.c.books.begin(n.index, len(n.link.c.stages)-1, now))
	}
}

// write asks what waits, as far as the connection takes it.
func (n *line) write() {
	c := n.link.c
	for len(n.waiting) > 0 && n.on != nil && n.on.t.Writable() {
		id := n.waiting[0]
		head := framer.Header{Len: uint32(len(c.frame)), Ver: framer.Version, Flags: framer.FlagReq, AppProtoID: wire.Proto, CorrID: id}
		framer.PutHeader(c.frame, &head)
		c.books.ask(id, n.on, c.frame[headerLen:])
		n.waiting = n.waiting[1:]
		n.inflight = append(n.inflight, id) // before the write, whose failure ends the stream: then it is asked again
		if err := n.on.t.Write(c.frame); err != nil {
			return
		}
	}
}

// settle takes a request that had its reply from those in flight.
func (n *line) settle(id uint64) {
	for i, v := range n.inflight {
		if v == id {
			n.inflight = append(n.inflight[:i], n.inflight[i+1:]...)
			return
		}
	}
}

// transport is what a stream needs of a reactor.Conn.
type transport interface {
	Write(p []byte) error
	Writable() bool
}

// stream is one connection of a line: the protocol side of a reactor.Conn. Loop only.
type stream struct {
	n     *line
	t     transport
	dec   framer.Decoder
	frame framer.Frame
	told  string // the reason that the server's goodbye gave
}

func (n *line) stream(t transport) *stream {
	return &stream{n: n, t: t, dec: framer.NewDecoder(framer.MaxFrame)}
}

// OnOpen is called by the reactor when the connection is ready.
func (s *stream) OnOpen() {
	k := s.n.link
	if k.state == linkDialing {
		k.state, k.pause = linkOpen, redialFirst
		k.c.res.Dialled++
	}
	s.n.on = s
	s.n.write()
}

// OnData is called by the reactor with all plaintext not yet consumed.
func (s *stream) OnData(p []byte) (consumed, need int, err error) {
	for {
		n, err := s.dec.Next(p[consumed:], &s.frame)
		if err != nil {
			return consumed, 0, err
		}
		if n == 0 {
			break
		}
		consumed += n
		s.n.link.c.took(s, &s.frame)
	}
	return consumed, s.dec.Need(), nil
}

// took enters a frame of the server in the books.
func (c *Client) took(s *stream, f *framer.Frame) {
	if f.CorrID == 0 && f.Code != statusOK && f.Flags&framer.FlagResp != 0 { // the server's goodbye: the end of the connection follows
		var why struct {
			Reason string `json:"reason"`
		}
		if json.Unmarshal(f.Payload, &why) == nil {
			s.told = why.Reason
		}
		return
	}
	payload := f.Payload
	if f.Flags&framer.FlagResp == 0 || f.AppProtoID != wire.Proto {
		payload = nil // whatever it is, it is not the echo
	}
	now := c.now()
	what, a := c.books.reply(s, f.CorrID, f.Code, payload)
	if a == nil {
		return
	}
	s.n.settle(f.CorrID)
	if what == good {
		c.right(now, a)
	}
	if c.mode == Closed {
		s.n.fill(now)
	}
}

// right counts a good reply.
func (c *Client) right(now int64, a *awaited) {
	c.bins(now)
	c.res.Series.Replies[min(bin(time.Duration(now)), len(c.res.Series.Replies)-1)]++
	if a.stage == noStage {
		return
	}
	c.stages[a.stage].lat.Record(time.Duration(now - a.due))
	if s := &c.stages[len(c.stages)-1]; s.LastS == 0 {
		s.Good++
		if s.FirstS < 0 {
			s.FirstS = time.Duration(now).Seconds()
		}
	}
}

// OnDrained is called by the reactor when the output can take more.
func (s *stream) OnDrained() { s.n.write() }

// OnEOF is called by the reactor when the server has ended its side.
func (s *stream) OnEOF() bool { return false }

// OnGoodbye is called by the reactor before it closes on its own account: a client has nothing to say.
func (s *stream) OnGoodbye(error) {}

// OnClose is called by the reactor once, last: what was not answered is asked again on the next connection, before what waits.
func (s *stream) OnClose(cause error) {
	n := s.n
	if n.on == s {
		n.on = nil
		for _, id := range n.inflight {
			n.link.c.books.retry(id)
		}
		n.waiting = append(n.inflight, n.waiting...)
		n.inflight = nil
	}
	n.link.ended(s.told, cause)
}
