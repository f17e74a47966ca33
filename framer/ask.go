package framer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/valyala/bytebufferpool"
)

// ask is a request of ours that waits for its response.
type ask struct {
	id   uint64
	wire []byte // the encoded request, until it is sent
	ack  bool   // its ACK is still to come, which is no response
	f    *Frame
	err  error
	done chan struct{}
	gone atomic.Bool // nobody waits any more
}

// Ask sends f as a request and waits for the first response to it. The corr_id is the session's to choose, counting from
// 1: requests that are sent with Send must use others. f.Flags gets REQ. The response is a copy that belongs to the
// caller; a response that comes after ctx has ended, a second one, and an ACK go to OnFrame. A status of 400 and above
// comes with an *Error whose Remote is set; other errors are f's (it is refused, or must wait for the handshake), ErrBusy,
// ErrLeaving, ErrClosed or the cause of the connection's end, the transport's when the loop cannot be reached, or ctx's. It
// blocks, so it must not be called on a loop. Any other goroutine.
func (s *Session) Ask(ctx context.Context, f *Frame) (reply *Frame, err error) {
	if tr := s.e.o.Trace; tr != nil {
		var span any
		if tr.Ask != nil {
			span = tr.Ask(ctx, s, f)
		}
		if tr.Answered != nil {
			defer func() { tr.Answered(span, reply, err) }()
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.Flags |= FlagReq
	wire, err := AppendFrame(make([]byte, 0, HeaderLen+len(f.Cap)+len(f.Payload)), f)
	if err != nil {
		return nil, err
	}
	a := &ask{wire: wire, ack: f.Flags&FlagAckReq != 0, done: make(chan struct{})}
	if err := s.t.Post(func() { s.ask(a) }); err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		return a.f, a.err
	case <-ctx.Done():
	}
	a.gone.Store(true)
	_ = s.t.Post(func() { s.drop(a) }) // if that fails, the entry goes when the table is full, or with the session
	return nil, ctx.Err()
}

// ask sends a's request. Loop only.
func (s *Session) ask(a *ask) {
	if len(s.asks) >= maxAsks {
		for _, old := range s.asks {
			if old.gone.Load() {
				s.drop(old)
			}
		}
	}
	switch {
	case a.gone.Load():
		return
	case s.leaving: // also when it is closed by now: ErrLeaving says that a was not sent, which ErrClosed leaves open
		s.finish(a, nil, ErrLeaving)
		return
	case s.closing:
		s.finish(a, nil, ErrClosed)
		return
	case len(s.asks) >= maxAsks:
		s.finish(a, nil, ErrBusy)
		return
	case len(a.wire) > int(s.peerMax):
		s.finish(a, nil, tooLarge(0, len(a.wire)-HeaderLen, s.peerMax))
		return
	}
	if s.early {
		var h Header
		getHeader(a.wire, &h)
		if e := s.earlyRefusal(&h); e != nil {
			s.finish(a, nil, e)
			return
		}
	}
	s.lastCorr++
	a.id = s.lastCorr
	binary.BigEndian.PutUint64(a.wire[offCorrID:], a.id)
	if err := s.t.Write(a.wire); err != nil {
		s.finish(a, nil, err)
		return
	}
	a.wire = nil
	if s.asks == nil {
		s.asks = make(map[uint64]*ask)
	}
	s.asks[a.id] = a
	s.askPeak = max(s.askPeak, int32(len(s.asks)))
}

// answered gives a response to the request that waits for it, if one does.
func (s *Session) answered(f *Frame) bool {
	a := s.asks[f.CorrID]
	if a == nil {
		return false
	}
	if a.ack && f.Flags == FlagResp && f.Code == 200 && len(f.Payload) == 0 {
		a.ack = false
		return false
	}
	c := &Frame{Header: f.Header, Cap: append([]byte(nil), f.Cap...), Payload: append([]byte(nil), f.Payload...)}
	var err error
	if c.Code >= 400 {
		err = parseError(c)
	}
	s.finish(a, c, err)
	return true
}

// finish ends a request.
func (s *Session) finish(a *ask, f *Frame, err error) {
	s.drop(a)
	a.f, a.err = f, err
	close(a.done)
}

// drop forgets a request, and the table of a burst with the last one: a map never shrinks.
func (s *Session) drop(a *ask) {
	if a.id == 0 || s.asks[a.id] != a {
		return
	}
	delete(s.asks, a.id)
	if len(s.asks) == 0 && s.askPeak > keepEntries {
		s.asks, s.askPeak = nil, 0
	}
}

// failAsks ends all requests when the connection has ended.
func (s *Session) failAsks(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	for _, a := range s.asks {
		s.finish(a, nil, cause)
	}
}

// helloRequest is the body of a HELLO (oap1.md). max_frame is our addition, which a peer that does not know it ignores.
type helloRequest struct {
	UA       *string `json:"ua"`
	MaxFrame int     `json:"max_frame,omitempty"`
}

// HelloReply is the body of the reply to a HELLO. The order of the fields is the reference codec's.
type HelloReply struct {
	MaxFrame       int      `json:"max_frame"`       // bytes
	MaxInflight    int      `json:"max_inflight"`    // frames
	FlagsSupported int      `json:"flags_supported"` // bit mask
	Versions       []int    `json:"versions"`
	Transports     []string `json:"transports"`
}

// hello answers the peer's HELLO. Its max_frame lowers what we send, never below what an error reply needs. A peer whose
// HELLO is none speaks another dialect, whose header happens to pass for ours: that is fatal.
func (s *Session) hello(f *Frame) error {
	var q helloRequest
	if len(f.Payload) > maxHello || json.Unmarshal(f.Payload, &q) != nil || q.MaxFrame < 0 {
		return s.fatal(&f.Header, &Error{Why: BadFrame, CorrID: f.CorrID, Detail: "HELLO is not a JSON object of at most 4 KiB", fatal: true})
	}
	if q.MaxFrame != 0 {
		s.peerMax = uint32(min(max(q.MaxFrame, minNegotiated), int(s.peerMax)))
	}
	if ready := s.e.o.Ready; ready != nil {
		if err := ready(); err != nil {
			_ = s.sendError(&f.Header, notReady(err)) // a closing session says nothing
			return nil
		}
	}
	b := s.e.scratch.Get()
	defer s.e.scratch.Put(b)
	if err := s.e.helloReply(b, int(s.peerMax)); err != nil {
		s.refuse(f, err)
		return nil
	}
	_ = s.respond(&f.Header, FlagResp, 200, b.B) // a closing session says no hello
	if f.Flags&FlagAckReq != 0 {
		s.ack(&f.Header)
	}
	return nil
}

// helloReply writes the body of a HELLO reply to b.
func (e *Endpoint) helloReply(b *bytebufferpool.ByteBuffer, peerMax int) error {
	r := HelloReply{MaxFrame: min(e.o.MaxFrame, peerMax), MaxInflight: e.o.MaxInflight, FlagsSupported: int(knownFlags),
		Versions: []int{Version}, Transports: e.o.Transports}
	if err := json.NewEncoder(b).Encode(r); err != nil {
		return err
	}
	b.B = b.B[:len(b.B)-1] // Encode ends with a newline
	return nil
}

// Hello sends a HELLO with the given user agent ("" for none) and our max_frame if it is not the protocol's, waits for the
// reply and lowers PeerMaxFrame to what it says: before anything that is posted after Hello has returned. Errors are
// Ask's, and a BadFrame for a reply that makes no sense. Any goroutine except the loop's.
func (s *Session) Hello(ctx context.Context, ua string) (HelloReply, error) {
	var r HelloReply
	q := helloRequest{}
	if ua != "" {
		q.UA = &ua
	}
	if s.e.o.MaxFrame != MaxFrame {
		q.MaxFrame = s.e.o.MaxFrame
	}
	body, err := json.Marshal(q)
	if err != nil {
		return r, fmt.Errorf("oap: HELLO: %w", err)
	}
	f, err := s.Ask(ctx, &Frame{Payload: body})
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(f.Payload, &r); err != nil {
		return r, &Error{Why: BadFrame, Detail: "HELLO reply: " + err.Error()}
	}
	switch {
	case r.MaxFrame == 0: // not given
		return r, nil
	case r.MaxFrame < minNegotiated:
		return r, &Error{Why: BadFrame, Detail: fmt.Sprintf("HELLO reply: max_frame is %d, at least %d is needed", r.MaxFrame, minNegotiated)}
	}
	limit := uint32(min(r.MaxFrame, MaxFrame))
	return r, s.t.Post(func() { s.peerMax = min(s.peerMax, limit) })
}

// milliseconds is the peer's number as a duration, at most a day: it must not overflow.
func milliseconds(ms int64) time.Duration {
	return time.Duration(min(ms, int64(24*time.Hour/time.Millisecond))) * time.Millisecond
}
