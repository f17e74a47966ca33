package framer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// ask is a request of ours that waits for its response.
type ask struct {
	id   uint64
	wire []byte // the encoded request
	f    *Frame
	err  error
	done chan struct{}
}

// Ask sends f as a request and waits for the first response to it. The corr_id is the session's to choose; f.Flags gets
// REQ. The response is a copy that belongs to the caller. A status of 400 and above comes with an *Error whose Remote is
// set; other errors are f's (it is refused), ErrBusy, the cause of the connection's end, or ctx's. It blocks, so it must
// not be called on a loop. Any other goroutine.
func (s *Session) Ask(ctx context.Context, f *Frame) (*Frame, error) {
	f.Flags |= FlagReq
	wire, err := AppendFrame(make([]byte, 0, HeaderLen+len(f.Cap)+len(f.Payload)), f)
	if err != nil {
		return nil, err
	}
	a := &ask{wire: wire, done: make(chan struct{})}
	if err := s.t.Post(func() { s.ask(a) }); err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		return a.f, a.err
	case <-ctx.Done():
	}
	_ = s.t.Post(func() { // fails when everything is over anyway
		if s.asks[a.id] == a {
			delete(s.asks, a.id)
		}
	})
	return nil, ctx.Err()
}

// ask sends a's request. Loop only.
func (s *Session) ask(a *ask) {
	switch {
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
}

// answered gives a response to the request that waits for it, if one does.
func (s *Session) answered(f *Frame) bool {
	a := s.asks[f.CorrID]
	if a == nil {
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
	delete(s.asks, a.id)
	a.f, a.err = f, err
	close(a.done)
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

// hello answers the peer's HELLO. Its max_frame lowers what we send; never below what an error reply needs.
func (s *Session) hello(f *Frame) {
	var q helloRequest
	if len(f.Payload) > maxHello || json.Unmarshal(f.Payload, &q) != nil {
		s.refuse(f, &Error{Why: BadFrame, Detail: "HELLO is not a JSON object of at most 4 KiB"})
		return
	}
	if q.MaxFrame != 0 {
		s.peerMax = uint32(min(max(q.MaxFrame, minNegotiated), MaxFrame))
	}
	b := s.e.scratch.Get()
	defer s.e.scratch.Put(b)
	r := HelloReply{MaxFrame: min(s.e.o.MaxFrame, int(s.peerMax)), MaxInflight: s.e.o.MaxInflight, FlagsSupported: int(knownFlags),
		Versions: []int{Version}, Transports: s.e.o.Transports}
	if err := json.NewEncoder(b).Encode(r); err != nil {
		s.refuse(f, &Error{Why: IO, Detail: err.Error()})
		return
	}
	_ = s.respond(&f.Header, FlagResp, 200, b.B[:len(b.B)-1]) // a closing session says no hello
}

// Hello sends a HELLO with the given user agent ("" for none) and our max_frame, waits for the reply and lowers
// PeerMaxFrame to what it says. Errors are Ask's. Any goroutine except the loop's.
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
	if r.MaxFrame >= minNegotiated {
		err = s.t.Post(func() { s.peerMax = min(s.peerMax, uint32(min(r.MaxFrame, MaxFrame))) })
	}
	return r, err
}

func milliseconds(ms int64) time.Duration {
	return time.Duration(min(ms, int64(24*time.Hour/time.Millisecond))) * time.Millisecond
}
