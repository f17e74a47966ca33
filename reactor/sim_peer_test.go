package reactor

import (
	"bytes"
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"
)

// Frames of the simulation: size of the payload (4), op, index among the replies, connection (2), sequence number (4).
const simFrameHeader = 12

// What a frame asks of simProto. Replies carry the same op, connection and number.
const (
	opEcho  = iota // one reply
	opBulk         // many replies, as output drains
	opKeep         // one reply, later, out of order
	opPause        // one reply, and reading pauses for a while
	opClose        // one reply, then Close
	opAbort        // Abort
	opError        // one reply, then OnData fails
	opHello        // not asked for: from OnOpen
	opBye          // not asked for: from OnGoodbye
	opWrong        // never sent: above is what a frame may ask
)

type simFrame struct {
	op    byte
	count int // replies
	size  int
}

// appendSimFrame builds a frame whose every byte is known from the header.
func appendSimFrame(dst []byte, conn int, op byte, index int, seq uint32, size int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = append(dst, op, byte(index), byte(conn>>8), byte(conn))
	dst = binary.BigEndian.AppendUint32(dst, seq)
	return append(dst, simPayload(conn, seq, size)...)
}

// simPattern is the source of all payloads: a window of it, from a place that depends on the frame.
var simPattern = func() []byte {
	b := make([]byte, 1<<19)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}()

const simMaxPayload = 1 << 18

func simPayload(conn int, seq uint32, size int) []byte {
	at := (conn*7919 + int(seq)*104729) % simMaxPayload
	return simPattern[at : at+size]
}

// simFrameAt takes the frame at the start of b apart. total is 0 while its header is incomplete, ok false when it is none.
func simFrameAt(b []byte, conn int) (op byte, index int, seq uint32, total int, ok bool) {
	if len(b) < simFrameHeader {
		return 0, 0, 0, 0, true
	}
	size := binary.BigEndian.Uint32(b)
	op, index, seq = b[4], int(b[5]), binary.BigEndian.Uint32(b[8:])
	if size > simMaxPayload || op >= opWrong || int(b[6])<<8+int(b[7]) != conn {
		return 0, 0, 0, 0, false
	}
	total = simFrameHeader + int(size)
	if len(b) >= total && !bytes.Equal(b[simFrameHeader:total], simPayload(conn, seq, int(size))) {
		return 0, 0, 0, 0, false
	}
	return op, index, seq, total, true
}

// simEnd is how a peer means to end.
type simEnd uint8

const (
	endHalf    simEnd = iota // ends its stream after the last frame, reads to our end
	endReplied               // ends its stream when every reply is there
	endStay                  // waits for our end
	endHold                  // waits for our end, and does not end its own then
	endReset                 // resets in the middle
	endCut                   // ends its stream inside a frame or record
	endNoBye                 // ends its stream without the filter's goodbye
	endGarbage               // sends something wrong
	numSimEnds
)

// simDial is what becomes of a connect.
type simDial uint8

const (
	dialLater simDial = iota
	dialAtOnce
	dialInterrupted
	dialRefused
	dialNoRoute
	dialNever
)

// simPeer is the other end of a connection.
type simPeer struct {
	s        *sim
	id       int
	addr     [4]byte
	sock     *simSocket
	lis      *simListener // nil: dialled, or a stream
	streamed bool         // attached as a stream
	greeting int          // bytes of opHello that were written before the stream was attached
	dial     simDial
	filter   Filter
	shaken   bool
	came     bool // it has tried to connect, or was dialled
	accepted bool // the loops' side has the connection
	gotReset bool

	frames []simFrame
	next   int
	window int    // replies that may be outstanding when it sends another
	out    []byte // to be sent
	end    simEnd
	piece  int // bits of the largest piece it sends
	sent   int
	muteAt int // sends no more after so many bytes; -1: never
	deafAt int // reads no more after so many bytes; -1: never
	read   int

	sendsFirst bool // reads nothing before it has sent everything
	tail       int  // bytes after the last frame, which nobody may look at

	wire, plain []byte // received: not decrypted, not judged
	plainGot    int
	sentEnd     bool
	early       bool // sends something wrong instead of a handshake
	broke       bool // it has broken the connection, by its plan
	gotEnd      bool
	gotBye      bool // the filter's goodbye
	saidBye     bool
	reply, part int // next ordered reply: of frame reply, number part
	kept        map[uint32]bool
	bye         bool // opBye seen: no frame may follow
	proto       *simProto
}

// mute and deaf say whether the peer's plan has it hang.
func (p *simPeer) mute() bool { return p.muteAt >= 0 && p.sent >= p.muteAt }
func (p *simPeer) deaf() bool { return p.deafAt >= 0 && p.read >= p.deafAt }

// refrains says whether the peer does not read yet.
func (p *simPeer) refrains() bool {
	return p.sendsFirst && !p.sentAll() && (p.filter == nil || p.shaken) && !p.mute() && !p.broke && !p.sentEnd && !p.finished()
}

// sentAll says whether there is nothing left to be sent.
func (p *simPeer) sentAll() bool { return p.next == len(p.frames) && len(p.out) == 0 && p.tail == 0 }

// owed is the number of ordered replies that are still to come for what was built so far, and of kept ones.
func (p *simPeer) owed() int { return p.next - p.reply + len(p.kept) }

// complete says whether everything was sent and answered.
func (p *simPeer) complete() bool { return p.next == len(p.frames) && p.owed() == 0 }

// finished says whether nothing more can come.
func (p *simPeer) finished() bool { return p.gotEnd || p.gotReset || p.sock.reset }

// build puts more frames into out.
func (p *simPeer) build() {
	if p.filter != nil && !p.shaken && p.early && !p.broke {
		p.broke = true
		p.out = append(p.out, simShake, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5)
	}
	if p.filter != nil && !p.shaken || p.gotReset || p.sentEnd {
		return
	}
	for len(p.out) < 2048 && p.next < len(p.frames) && p.owed() < p.window {
		f := p.frames[p.next]
		b := appendSimFrame(nil, p.id, f.op, 0, uint32(p.next), f.size)
		p.next++
		switch f.op {
		case opKeep:
			p.kept[uint32(p.next-1)] = true
		case opAbort:
			p.broke = true
		}
		p.skip()
		p.push(b)
	}
	if p.next == len(p.frames) && p.tail > 0 {
		p.push(simPattern[:p.tail])
		p.tail = 0
	}
	if p.next == len(p.frames) && p.end == endGarbage && !p.broke {
		p.broke = true
		p.push([]byte("something that is not a frame"))
		if p.filter != nil {
			p.out[len(p.out)-1-p.s.rng.IntN(20)] ^= 64 // nor a record
		}
	}
}

func (p *simPeer) push(b []byte) {
	if p.filter == nil {
		p.out = append(p.out, b...)
		return
	}
	var err error
	if p.out, err = p.filter.Seal(p.out, b, false); err != nil {
		p.s.failf("peer %d: Seal: %v", p.id, err)
	}
}

// skip moves the place of the next ordered reply over kept frames, and over ones without a reply.
func (p *simPeer) skip() {
	for p.reply < p.next && (p.frames[p.reply].op == opKeep || p.frames[p.reply].count == 0) {
		p.reply++
	}
}

// act does one thing that the peer can do now; false: there is none.
func (p *simPeer) act() bool {
	if !p.came {
		return false
	}
	if p.filter != nil && !p.shaken && !p.broke && len(p.out) == 0 {
		p.shake()
	}
	p.build()
	first := p.s.rng.IntN(3)
	for i := range 3 {
		switch (first + i) % 3 {
		case 0:
			if p.send() {
				return true
			}
		case 1:
			if p.receive() {
				return true
			}
		case 2:
			if p.finish() {
				return true
			}
		}
	}
	return false
}

// send lets a piece of out arrive.
func (p *simPeer) send() bool {
	room := p.sock.recvRoom - len(p.sock.recv)
	if p.sock.connecting || p.mute() || p.sentEnd || p.gotReset || p.sock.reset || len(p.out) == 0 || room <= 0 {
		return false
	}
	rng := p.s.rng
	n := min(len(p.out), room, 1+rng.IntN(1<<rng.IntN(p.piece)))
	if p.muteAt >= 0 {
		n = min(n, p.muteAt-p.sent)
	}
	p.sent += n
	p.sock.arrive(p.out[:n])
	p.out = p.out[n:]
	return true
}

// finish ends the peer's stream if its plan says so.
func (p *simPeer) finish() bool {
	if p.sentEnd || p.gotReset || p.sock.reset || p.sock.connecting || p.mute() {
		return false
	}
	sent := p.next == len(p.frames) && len(p.out) == 0 && (p.filter == nil || p.shaken)
	switch {
	case p.gotEnd && p.end != endHold: // the other side is done: so is this one
		p.out = nil
		p.broke = p.broke || !p.complete()
		p.sentEnd = true
		p.sock.arriveEnd()
	case p.end == endReset && (p.next > len(p.frames)/2 || p.sock.finOut) || p.end == endGarbage && p.broke && p.sock.finOut:
		p.broke, p.gotReset = true, true
		p.sock.breakDown(unix.ECONNRESET)
	case p.end == endCut && sent && p.frames != nil:
		p.broke = true
		p.sock.arrive(p.cut())
		p.leave()
	case p.end == endNoBye && sent:
		p.broke = p.broke || p.filter != nil && !p.saidBye
		p.leave()
	case p.end == endHalf && sent, p.end == endReplied && sent && p.complete():
		if p.filter != nil {
			p.out = p.filter.Finish(p.out, nil)
			p.end, p.saidBye = endNoBye, true
			return true
		}
		p.leave()
	default:
		return false
	}
	return true
}

// leave sends the end of the stream.
func (p *simPeer) leave() {
	p.sentEnd = true
	p.sock.arriveEnd()
}

// cut is the first part of a frame, or of a record.
func (p *simPeer) cut() []byte {
	b := appendSimFrame(nil, p.id, opEcho, 0, uint32(p.next), 100)
	if p.filter != nil {
		b, _ = p.filter.Seal(nil, b, false)
	}
	return b[:1+p.s.rng.IntN(len(b)-1)]
}

// receive takes a piece of what the loops' side has written.
func (p *simPeer) receive() bool {
	k := p.sock
	if p.deaf() || p.gotEnd || k.connecting || p.refrains() {
		return false
	}
	if len(k.send) == 0 {
		if !k.finOut || p.gotReset || k.reset {
			return false
		}
		p.gotEnd = true
		return true
	}
	rng := p.s.rng
	n := min(len(k.send), 1+rng.IntN(1<<rng.IntN(p.piece)))
	if p.deafAt >= 0 {
		n = min(n, p.deafAt-p.read)
	}
	p.read += n
	p.wire = append(p.wire, k.send[:n]...)
	k.send = k.send[n:]
	k.relieved()
	p.digest()
	return true
}

// digest decrypts and judges what has come.
func (p *simPeer) digest() {
	if p.filter == nil {
		p.plain = append(p.plain, p.wire...)
		p.plainGot += len(p.wire)
		p.wire = p.wire[:0]
	} else {
		p.shake()
		p.decrypt()
	}
	n := 0
	for {
		op, index, seq, total, ok := simFrameAt(p.plain[n:], p.id)
		if !ok {
			p.s.failf("peer %d: received something that is no frame of this connection at byte %d", p.id, p.plainGot-len(p.plain)+n)
			return
		}
		if total == 0 || len(p.plain)-n < total {
			break
		}
		p.judge(op, index, seq)
		n += total
	}
	p.plain = append(p.plain[:0], p.plain[n:]...)
}

// decrypt takes whole records from wire to plain.
func (p *simPeer) decrypt() {
	for p.shaken && !p.gotBye && len(p.wire) >= p.filter.NextRecord(p.wire) {
		if room := p.filter.NextRecord(p.wire); cap(p.plain)-len(p.plain) < room {
			p.plain = append(make([]byte, 0, 2*len(p.plain)+room), p.plain...)
		}
		out, n, err := p.filter.Open(p.plain, p.wire)
		p.plainGot += len(out) - len(p.plain)
		p.plain, p.wire = out, p.wire[n:]
		switch {
		case err == io.EOF:
			p.gotBye = true
		case err != nil:
			if !p.broke && p.proto != nil && p.proto.opened {
				p.s.failf("peer %d: Open: %v", p.id, err)
			}
			p.wire, p.broke = nil, true
			return
		case n == 0:
			return
		}
	}
}

// shake goes on with the handshake as far as possible.
func (p *simPeer) shake() {
	for !p.shaken && !p.broke {
		n, step, err := p.filter.Handshake(p.wire)
		p.wire = p.wire[n:]
		if err == nil && step {
			p.shaken, err = p.filter.Step()
			p.out = p.filter.Output(p.out)
		}
		if err != nil {
			p.broke = true // it was told why; whether that is right is the other side's cause to show
			return
		}
		if n == 0 && !step {
			return
		}
	}
}

// judge compares a reply with what is expected.
func (p *simPeer) judge(op byte, index int, seq uint32) {
	switch {
	case p.bye:
		p.s.failf("peer %d: frame %d (op %d) after the goodbye", p.id, seq, op)
	case op == opBye:
		p.bye = true
	case op == opHello:
		if p.proto == nil || !p.proto.hello {
			p.s.failf("peer %d: a greeting that nobody sent, or twice", p.id)
			return
		}
		p.proto.hello = false
	case op == opKeep:
		if !p.kept[seq] {
			p.s.failf("peer %d: reply %d came twice or was never asked for", p.id, seq)
		}
		delete(p.kept, seq)
	case p.reply >= p.next || seq != uint32(p.reply) || index != p.part:
		p.s.failf("peer %d: reply %d/%d instead of %d/%d", p.id, seq, index, p.reply, p.part)
	default:
		if p.part++; p.part == p.frames[p.reply].count {
			p.part = 0
			p.reply++
			p.skip()
		}
	}
}
