package framer

import (
	"fmt"
	"net"
	"slices"

	"github.com/valyala/bytebufferpool"

	"github.com/ron-transport/ron-transport/pool"
)

// Transport is the connection below a Session; reactor.Conn implements it, for sockets and QUIC streams. Methods are called on
// the connection's loop, except Post and the addresses. See EarlyTransport for what 0-RTT adds.
type Transport interface {
	// Reserve returns n contiguous bytes at the end of the output, to be filled before the next call; nil when closing. n is
	// at most 128 KiB.
	Reserve(n int) []byte
	// Write copies p to the end of the output.
	Write(p []byte) error
	// WriteInPlace sends p, a part of the slice given to OnData with its capacity untouched, without copying it.
	WriteInPlace(p []byte) error
	// RetainInput returns a counted reference to the buffer behind the slice given to OnData, or nil.
	RetainInput() *pool.Buf
	// Writable is false while too much output is queued.
	Writable() bool
	// PauseRead stops OnData, ResumeRead has it called again.
	PauseRead()
	ResumeRead()
	// Post runs fn on the loop. Any goroutine.
	Post(fn func()) error
	// Close drains and closes, Abort resets.
	Close(cause error)
	Abort(cause error)
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
}

// Handler is the application. One Handler serves all connections of an Endpoint, on every transport. The methods of one
// session are called on its loop, one at a time, and must not block; sessions of different loops call concurrently.
type Handler interface {
	// OnOpen is called once, when frames can flow.
	OnOpen(s *Session)
	// OnFrame is called for each frame that is not the Session's own business (HELLO, responses that an Ask waits for, frames
	// that break a rule). ACKs of the peer come here. f and its slices are valid until the call returns; Retain extends that.
	OnFrame(s *Session, f *Frame)
	// OnClose is called once, last; cause is nil after a clean end. A dialled connection that never opened gets only this.
	OnClose(s *Session, cause error)
}

// Options configures an Endpoint. The zero value is valid.
type Options struct {
	// MaxFrame is the largest frame accepted, in bytes. 0: MaxFrame of the protocol; else 1024 … 1,048,576. HELLO tells the peer.
	MaxFrame int
	// MaxInflight is the number of in-flight permits of a connection (seed §3): with so many frames retained by the handler
	// (see Frame.Retain) it is not read any more. 0: 64; else 1 … 64.
	MaxInflight int
	// MaxStreams is how many streams a peer may have open on a connection; beyond, they are refused with 429, and a peer that
	// leaves as many refused ones unfinished is disconnected. A request that came as a stream counts until the handler has
	// ended its response. 0: 1024; else 1 … 65536.
	MaxStreams int
	// MaxInflated bounds in bytes what a COMP payload may decompress to; beyond, its frame is refused with 413. 0: 8 times the
	// protocol's frame cap (seed §3); else 1024 … that.
	MaxInflated int
	// KeepCompressed hands COMP payloads on as they came instead of decompressing them.
	KeepCompressed bool
	// Transports is what a HELLO reply says this node listens on. The reply must fit into 1024 bytes. nil: ["tcp+tls"].
	Transports []string
	// EarlyApps lists the app_proto_ids whose frames may be exchanged before the handshake is complete (QUIC's 0-RTT): those of
	// which every request may be executed any number of times, since an attacker can replay it. Frames of others are refused
	// until then with not_ready (503), and so is a stream whose first frame was; Session.Send and Ask refuse them before
	// anything is sent. Responses may always be sent. HELLO is always allowed. Without effect on transports that have no 0-RTT,
	// or have it turned off. nil: none; else each is 1 … 65535.
	EarlyApps []uint16
	// Ready is asked for each HELLO of a peer. While it returns an error, the HELLO is answered with that error instead of a
	// reply: the reason of the canon that the error tells (a method Reason() string; not_ready without one) with its status, 503
	// for not_ready and tor_bootstrap, and the time after which to try again (a method RetryAfter() time.Duration); *Error goes out as it
	// is. Both methods are looked for along the error's chain; its words are not sent. The connection stays. nil: always ready. Called on the loop, must
	// not block.
	Ready func() error
	// Stats counts what the endpoint does; nil: the endpoint makes its own.
	Stats *Stats
	// Trace are hooks for spans; nil: none.
	Trace *Trace
}

// Endpoint is a Handler with its options: what the connections of a listener or a dialer share.
type Endpoint struct {
	h       Handler
	o       Options
	z       inflaters
	scratch bytebufferpool.Pool // JSON bodies
}

// NewEndpoint validates o. The error names the field, its value and what is allowed. Any goroutine.
func NewEndpoint(h Handler, o Options) (*Endpoint, error) {
	if h == nil {
		return nil, fmt.Errorf("framer: Handler is nil, one is required")
	}
	for _, f := range []struct {
		name          string
		v             *int
		def, min, max int
	}{
		{"MaxFrame", &o.MaxFrame, MaxFrame, minNegotiated, MaxFrame},
		{"MaxInflight", &o.MaxInflight, MaxInflight, 1, MaxInflight},
		{"MaxInflated", &o.MaxInflated, MaxInflated, minNegotiated, MaxInflated},
		{"MaxStreams", &o.MaxStreams, DefaultMaxStreams, 1, maxMaxStreams},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < f.min || *f.v > f.max {
			return nil, fmt.Errorf("framer: %s is %d, allowed are %d to %d", f.name, *f.v, f.min, f.max)
		}
	}
	if o.Transports = slices.Clone(o.Transports); o.Transports == nil {
		o.Transports = []string{"tcp+tls"}
	}
	var err error
	if o.EarlyApps, err = checkEarlyApps(o.EarlyApps); err != nil {
		return nil, err
	}
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	e := &Endpoint{h: h, o: o, z: inflaters{max: o.MaxInflated}}
	var b bytebufferpool.ByteBuffer
	if err := e.helloReply(&b, MaxFrame); err != nil || HeaderLen+len(b.B) > minNegotiated {
		return nil, fmt.Errorf("framer: Transports make a HELLO reply of %d bytes, allowed are %d", HeaderLen+len(b.B), minNegotiated)
	}
	return e, nil
}

// Stats returns the endpoint's counters. Any goroutine.
func (e *Endpoint) Stats() *Stats { return e.o.Stats }

// Session makes the session of one connection; it is what the reactor wants as its Protocol. Any goroutine.
func (e *Endpoint) Session(t Transport) *Session {
	m := e.o.Stats.meter(t)
	if e.o.Trace != nil {
		m = &counting{meter: m.meter}
	}
	return &Session{t: t, e: e, m: m, dec: NewDecoder(uint32(e.o.MaxFrame)), peerMax: MaxFrame, streams: streams{max: int32(e.o.MaxStreams)}, early: early(t)}
}

// reject counts a rejection.
func (e *Endpoint) reject(r Reason) { e.o.Stats.rejected[r].Add(1) }
