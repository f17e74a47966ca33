package reactor

import (
	"errors"

	"github.com/ron-transport/ron-transport/pool"
)

var (
	errSimAsked = errors.New("the peer asked for it")
	errSimFrame = errors.New("not a frame")
)

// simPanic is what callbacks of the simulation panic with.
type simPanic struct{}

// boomOwn is a callback that panics; see simProto.boom.
const boomOwn = "OnData with a large frame"

// simPermits is how many replies a simProto keeps at most.
const simPermits = 3

// simProto answers frames in every way that Conn offers, and watches how it is called.
type simProto struct {
	s    *sim
	c    *Conn
	peer *simPeer

	hello  bool // opHello was written and has not arrived
	rude   bool // ignores Writable
	slow   bool // has met the hard cap
	seq    uint32
	need   int
	kept   int
	hold   int // pauses by opPause that were not undone
	bulk   simFrame
	index  int // next reply of bulk
	wrote  int // plaintext that was queued
	opened bool
	eof    bool
	closed int
	inside bool   // a callback runs
	ended  bool   // Close was called, or a callback has asked for it
	stays  bool   // OnShutdown has returned true
	asked  bool   // with errSimAsked
	badIn  bool   // OnData has returned errSimFrame
	told   error  // by OnGoodbye
	low    bool   // Writable was false
	boom   string // the callback that panics; boomOwn: OnData, once its slice is in a buffer of the connection's own
	thrown bool

	openedAt, tookAt int64
	paused           int64 // when reading was last resumed
	stayedAt         int64 // when OnShutdown returned true; -1: it has not
}

// enter is called at the start of every callback but Protocol.OnClose.
func (p *simProto) enter(what string) {
	switch {
	case p.closed > 0:
		p.s.failf("conn %d: %s after OnClose", p.peer.id, what)
	case p.inside:
		p.s.failf("conn %d: %s inside another callback", p.peer.id, what)
	case p.opened == (what == "OnOpen"):
		p.s.failf("conn %d: %s, opened %v", p.peer.id, what, p.opened)
	}
	p.s.logf("conn %d: %s", p.peer.id, what)
	p.inside = true
	if l := p.c.loop; p.boom == what || p.boom == boomOwn && what == "OnData" && l.work.buf != l.in {
		p.boom, p.thrown, p.inside = "", true, false
		p.s.thrown++
		panic(simPanic{})
	}
}

func (p *simProto) leave() { p.inside = false }

func (p *simProto) OnOpen() {
	p.enter("OnOpen")
	defer p.leave()
	p.opened = true
	p.openedAt, p.tookAt = p.s.k.clock, p.s.k.clock
	if !p.hello && p.s.rng.IntN(4) == 0 {
		p.hello = true
		p.put(appendSimFrame(nil, p.peer.id, opHello, 0, 0, p.s.rng.IntN(50)), nil)
	}
}

func (p *simProto) OnGoodbye(cause error) {
	p.enter("OnGoodbye")
	defer p.leave()
	if p.told = cause; !p.s.fits(p, cause) {
		p.s.failf("conn %d: OnGoodbye for a reason that does not fit: %v", p.peer.id, cause)
	}
	p.put(appendSimFrame(nil, p.peer.id, opBye, 0, 0, 5), nil)
}

func (p *simProto) OnDrained() {
	p.enter("OnDrained")
	defer p.leave()
	if !p.low {
		p.s.failf("conn %d: OnDrained without need", p.peer.id)
	}
	p.low = false
	if n := p.c.Queued(); n > p.s.plan.cfg.LowWater {
		p.s.failf("conn %d: OnDrained with %d queued", p.peer.id, n)
	}
	p.more()
	p.settle()
}

func (p *simProto) OnEOF() bool {
	p.enter("OnEOF")
	defer p.leave()
	if p.eof || p.ended {
		p.s.failf("conn %d: OnEOF again or after the end", p.peer.id)
	}
	if ended := p.peer.sentEnd && p.c.filter == nil || p.peer.saidBye; !ended && !p.stays {
		p.s.failf("conn %d: OnEOF without an end", p.peer.id)
	}
	p.eof = true
	if p.kept > 0 || p.bulk.count > 0 || p.hold > 0 {
		return true
	}
	if p.s.rng.IntN(4) == 0 {
		p.s.post(p, func() { p.close(nil) }, func() {})
		return true
	}
	p.ended = true
	return false
}

// simLeaver is a simProto that may stay for a while after a shutdown has begun.
type simLeaver struct{ *simProto }

func (p *simLeaver) OnShutdown() bool {
	p.enter("OnShutdown")
	defer p.leave()
	if p.stays || p.ended || !p.s.drained {
		p.s.failf("conn %d: OnShutdown, stays %v, ended %v", p.peer.id, p.stays, p.ended)
	}
	if p.stays = p.s.rng.IntN(4) > 0; p.stays {
		p.stayedAt = p.s.k.clock
	}
	return p.stays
}

func (p *simProto) OnClose(cause error) {
	p.closed++
	p.s.closed(p, cause)
	if p.boom == "OnClose" {
		p.thrown = true
		p.s.thrown++
		panic(simPanic{})
	}
}

// close ends the connection from our side.
func (p *simProto) close(cause error) {
	if p.closed > 0 {
		return
	}
	p.ended = true
	p.c.Close(cause)
}

// writable asks, and remembers the answer.
func (p *simProto) writable() bool {
	if p.c.Writable() {
		return true
	}
	p.low = true
	return p.rude
}

func (p *simProto) OnData(b []byte) (int, int, error) {
	p.enter("OnData")
	defer p.leave()
	if len(b) == 0 || len(b) < p.need || p.ended || p.eof || p.c.paused != 0 {
		p.s.failf("conn %d: OnData with %d of %d bytes, ended %v, eof %v, paused %v", p.peer.id, len(b), p.need, p.ended, p.eof, p.c.paused)
	}
	p.need = 0
	n := 0
	for {
		if p.bulk.count > 0 || !p.writable() || p.c.paused != 0 || n > 0 && p.s.rng.IntN(8) == 0 {
			return n, 0, nil
		}
		op, _, seq, total, ok := simFrameAt(b[n:], p.peer.id)
		switch {
		case !ok || total > 0 && seq != p.seq:
			if !p.peer.broke {
				p.s.failf("conn %d: OnData got something else than frame %d", p.peer.id, p.seq)
			}
			p.badIn, p.ended = true, true
			return n, 0, errSimFrame
		case total == 0:
			p.need = simFrameHeader
			return n, p.need, nil
		case len(b)-n < total:
			p.need = total
			return n, p.need, nil
		}
		p.seq++
		p.tookAt = p.s.k.clock
		err := p.take(op, b[n:n+total])
		n += total
		if err != nil || p.ended {
			p.ended = true
			return n, 0, err
		}
	}
}

// take does what frame asks for.
func (p *simProto) take(op byte, frame []byte) error {
	f := p.peer.frames[p.seq-1]
	switch op {
	case opEcho:
		if f.count > 0 {
			p.put(frame, frame)
		}
	case opBulk:
		p.bulk, p.index = f, 0
		p.more()
	case opKeep:
		p.keep(frame)
	case opPause:
		p.put(frame, frame)
		p.hold++
		p.c.PauseRead()
		p.s.post(p, func() {
			p.hold--
			p.resume()
			p.settle()
		}, func() {})
	case opClose:
		p.put(frame, frame)
		p.close(nil)
	case opAbort:
		p.asked, p.ended = true, true
		p.c.Abort(errSimAsked)
	case opError:
		p.put(frame, frame)
		p.asked = true
		return errSimAsked
	}
	return nil
}

// more writes replies of the bulk frame while the output takes them.
func (p *simProto) more() {
	for p.bulk.count > 0 && p.writable() && !p.ended {
		p.put(appendSimFrame(nil, p.peer.id, p.bulk.op, p.index, p.seq-1, p.bulk.size), nil)
		if p.index++; p.index == p.bulk.count {
			p.bulk = simFrame{}
			if p.hold == 0 && p.kept < simPermits {
				p.paused = p.s.k.clock
			}
		}
	}
}

// keep retains a reply, like a framer's permit: at the bound reading pauses.
func (p *simProto) keep(frame []byte) {
	if p.kept++; p.kept > simPermits {
		p.s.failf("conn %d: %d permits", p.peer.id, p.kept)
	}
	if p.kept == simPermits {
		p.c.PauseRead()
	}
	var buf *pool.Buf
	if p.s.rng.IntN(2) == 0 {
		buf = p.c.RetainInput()
	} else {
		frame = append([]byte(nil), frame...)
	}
	boom := p.s.plan.panics && p.s.rng.IntN(6) == 0
	p.s.post(p, func() {
		p.kept--
		defer func() {
			if boom {
				p.s.thrown++
				panic(simPanic{}) // costs nobody anything
			}
		}()
		if buf != nil && p.s.rng.IntN(2) == 0 {
			p.count(p.c.WriteBuf(buf, len(buf.B)-cap(frame), len(frame)), len(frame))
		} else {
			p.put(frame, nil)
			if buf != nil {
				buf.Release()
			}
		}
		p.resume()
		p.settle()
	}, func() {
		if buf != nil {
			buf.Release()
		}
	})
}

// resume lets reading go on when nothing holds it any more.
func (p *simProto) resume() {
	if p.closed == 0 && p.hold == 0 && p.kept < simPermits {
		if p.c.paused&pauseUser != 0 {
			p.paused = p.s.k.clock
		}
		p.c.ResumeRead()
	}
}

// settle closes a connection whose peer has ended once all is answered.
func (p *simProto) settle() {
	if p.eof && p.kept == 0 && p.hold == 0 && p.bulk.count == 0 && !p.ended {
		p.close(nil)
	}
}

// put writes frame in one of the ways there are; in is not nil when it is part of the running OnData's slice.
func (p *simProto) put(frame, in []byte) {
	ways := 5
	if in != nil {
		ways = 9
	}
	c, l := p.c, p.c.loop
	switch way := p.s.rng.IntN(ways); {
	case way == 0 || way == 1 && len(frame) < 8:
		p.count(c.Write(frame), len(frame))
	case way == 1:
		p.count(c.Write(frame[:5]), 5)
		p.count(c.Write(frame[5:]), len(frame)-5)
	case way == 2 && len(frame) <= maxReserve:
		if b := c.Reserve(len(frame)); b != nil {
			copy(b, frame)
			p.count(nil, len(frame))
		} else if c.Queued() >= p.s.plan.cfg.HardCap {
			p.count(ErrSlowPeer, 0)
		}
	case way == 3:
		b := l.pool.Get(len(frame) + 3)
		copy(b.B[3:], frame)
		p.count(c.WriteBuf(b, 3, len(frame)), len(frame))
	case way <= 4:
		b := l.pool.Get(len(frame))
		copy(b.B, frame)
		keep := b.Retain()
		p.count(c.WriteBuf(b, 0, len(frame)), len(frame))
		p.s.post(nil, keep.Release, keep.Release)
	case way == 5:
		p.count(c.WriteInPlace(in), len(frame))
	case way == 6:
		p.count(c.WriteInPlace(in[:7]), 7)
		p.count(c.WriteInPlace(in[7:]), len(frame)-7)
	case way == 7:
		b := c.RetainInput()
		p.count(c.WriteBuf(b, len(b.B)-cap(in), len(in)), len(in))
	default:
		b := c.RetainInput()
		p.count(c.WriteInPlace(in), len(frame))
		p.s.post(nil, b.Release, b.Release)
	}
}

// count notes the outcome of a write.
func (p *simProto) count(err error, n int) {
	if err == nil {
		p.wrote += n
		return
	}
	if err == ErrSlowPeer && p.c.Queued() >= p.s.plan.cfg.HardCap {
		p.slow, p.ended = true, true
		return
	}
	if err == ErrSlowPeer || err == ErrClosed && !p.ended && p.closed == 0 && p.c.state <= stateOpen {
		p.s.failf("conn %d: write: %v", p.peer.id, err)
	}
}
