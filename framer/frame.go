package framer

import "fmt"

// Frame is one frame. A frame that a Decoder or Session hands out borrows Cap and Payload from the input: they are valid
// until the callback returns or the input is changed. Their capacity ends with them, so appending to one copies it.
type Frame struct {
	Header
	Cap     []byte // capability; only with FlagStart
	Payload []byte

	raw      []byte   // the frame's bytes in the input, capacity untouched; nil when not from a Session's input
	s        *Session // whose OnFrame is running; nil otherwise
	code     int32    // the status it was answered with in OnFrame, by Reply or ReplyReserve; else unanswered
	replied  bool     // answered, or the right to answer has gone to a Retained
	inflated bool     // Payload is in the session's inflater
}

// unanswered is the Frame.code of a frame that was not answered in OnFrame: no status, which are numbers of 16 bits.
const unanswered = -1

// check applies the decoder's rules, in its order, to a frame that is to be sent, and fills in Ver, Len and CapLen.
func (f *Frame) check(maxFrame uint32) error {
	bad := func(why Reason, format string, args ...any) error {
		return &Error{Why: why, CorrID: f.CorrID, Detail: fmt.Sprintf(format, args...)}
	}
	n := HeaderLen + len(f.Cap) + len(f.Payload)
	switch {
	case len(f.Cap) > MaxCap:
		return bad(BadFrame, "capability of %d bytes, at most %d fit", len(f.Cap), MaxCap)
	case f.Ver != 0 && f.Ver != Version:
		return bad(BadVersion, "version %d, only %d is spoken here", f.Ver, Version)
	case n > int(maxFrame):
		return bad(FrameTooLarge, "length %d is above the cap of %d", n, maxFrame)
	case f.Flags&^knownFlags != 0:
		return bad(BadFlags, "reserved flags %#04x", uint16(f.Flags&^knownFlags))
	case len(f.Cap) > 0 && f.Flags&FlagStart == 0:
		return bad(BadFrame, "capability of %d bytes without START", len(f.Cap))
	}
	f.Ver, f.Len, f.CapLen = Version, uint32(n), uint16(len(f.Cap))
	return nil
}

// AppendFrame appends f to dst and returns the extended slice. It sets f.Ver, f.Len and f.CapLen. It refuses what a
// decoder refuses (dst is returned as it was, with an *Error); a f.Ver of 0 stands for the version. It does not look
// inside a compressed payload. Any goroutine.
func AppendFrame(dst []byte, f *Frame) ([]byte, error) {
	if err := f.check(MaxFrame); err != nil {
		return dst, err
	}
	dst = AppendHeader(dst, &f.Header)
	dst = append(dst, f.Cap...)
	return append(dst, f.Payload...), nil
}

// Decoder finds the frames in a stream. It holds no bytes: the caller keeps what has not been consumed and calls Next with
// it and what has followed. One goroutine at a time.
type Decoder struct {
	max     uint32
	need    uint32
	verdict error // of the stream; sticky, since nothing after a bad header can be trusted
}

// NewDecoder makes a decoder that accepts frames of up to maxFrame bytes; above MaxFrame means MaxFrame.
func NewDecoder(maxFrame uint32) Decoder {
	return Decoder{max: min(maxFrame, MaxFrame), need: HeaderLen}
}

// Next decodes the frame at the start of buf into f and returns its length. 0 without an error means that it is not all
// there; Need tells how much must be. f borrows from buf. After an error, an *Error, the stream is beyond repair and Next
// keeps returning it.
func (d *Decoder) Next(buf []byte, f *Frame) (n int, err error) {
	if d.verdict != nil {
		return 0, d.verdict
	}
	if len(buf) < HeaderLen {
		d.need = HeaderLen
		d.verdict = judge(buf, d.max)
		return 0, d.verdict
	}
	getHeader(buf, &f.Header)
	if !f.Header.sound(d.max) {
		d.verdict = judge(buf, d.max)
		return 0, d.verdict
	}
	n = int(f.Len)
	if len(buf) < n {
		d.need = f.Len
		return 0, nil
	}
	d.need = HeaderLen
	split := HeaderLen + int(f.CapLen)
	f.Cap, f.Payload = nil, buf[split:n:n]
	if f.CapLen > 0 {
		f.Cap = buf[HeaderLen:split:split]
	}
	return n, nil
}

// Need is the number of bytes, from the start of the frame that Next could not complete, that must be there for it.
func (d *Decoder) Need() int { return int(d.need) }

// replyHeader writes the header of a response to f, of n payload bytes, to b.
func replyHeader(b []byte, f *Header, flags Flags, code uint16, n int) {
	h := Header{Len: uint32(HeaderLen + n), Ver: Version, Flags: flags, Code: code, AppProtoID: f.AppProtoID, Tenant: f.Tenant, CorrID: f.CorrID}
	PutHeader(b, &h)
}
