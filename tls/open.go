package tls

import (
	"io"
	"math"
)

// Open appends the plaintext of the whole records in src to dst, contiguously, and handles alerts, key updates and tickets among
// them. It stops before a record that is not whole, or whose body (less 16 bytes) does not fit in cap(dst)-len(dst); dst never
// grows, and its spare capacity is used as scratch. src is not kept; dst and src must not overlap. Nothing is allocated for
// application data.
//
// io.EOF means that the peer's close_notify has been read: what follows it in src is to be ignored. Any other error is an *Error
// and final; pass it to Finish for the alert. With either, out still holds the plaintext that came before. Loop only.
// RFC 8446, 5.2.
func (c *Conn) Open(dst, src []byte) (out []byte, consumed int, err error) {
	if c.state != stateOpen && c.state != stateFinished {
		err := c.readable()
		if err == io.EOF {
			consumed = len(src) // data after close_notify is ignored (RFC 8446, 6.1)
		}
		return dst, consumed, err
	}
	if err := c.wake(&c.in); err != nil {
		return dst, 0, err
	}
	for {
		rest := src[consumed:]
		if len(rest) < recordHeaderLen {
			return dst, consumed, nil
		}
		n := bodyLen(rest)
		if f := judgeHeader(rest, n); f != 0 {
			return dst, consumed, c.fault(f)
		}
		if len(rest) < recordHeaderLen+n || cap(dst)-len(dst) < n-tagLen {
			return dst, consumed, nil
		}
		at := len(dst)
		work := c.in.cipher
		inner, err := work.aead.Open(dst[at:at], work.next(c.in.seq), rest[recordHeaderLen:recordHeaderLen+n], rest[:recordHeaderLen])
		if err != nil {
			return dst, consumed, c.fault(faultBadMAC)
		}
		if c.in.seq++; c.in.seq == math.MaxUint64 {
			return dst, consumed, c.fault(faultSequence)
		}
		consumed += recordHeaderLen + n
		if len(inner) > maxInner {
			return dst, consumed, c.fault(faultPlaintextSize)
		}
		content, typ, ok := trim(inner)
		if !ok {
			return dst, consumed, c.fault(faultNoContentType)
		}
		if typ == typeApplicationData && len(content) > 0 && !c.midMessage() {
			c.runs = runs{}
			dst = dst[:at+len(content)]
			continue
		}
		if err := c.control(typ, content); err != nil {
			return dst, consumed, err
		}
	}
}

// judgeHeader checks a record header after the handshake.
func judgeHeader(b []byte, n int) fault {
	if b[0] != typeApplicationData {
		return faultOuterType
	}
	if b[1] != 3 || b[2] != 3 {
		return faultVersion
	}
	if n > maxCiphertext {
		return faultCiphertextSize
	}
	if n < tagLen {
		return faultBadMAC // no room for a tag
	}
	return 0
}

// control handles a record that carries no application data.
func (c *Conn) control(typ byte, content []byte) error {
	if c.midMessage() && typ != typeHandshake && typ != typeAlert {
		return c.fault(faultInterleaved)
	}
	switch typ {
	case typeApplicationData:
		if c.runs.empty++; c.runs.empty > maxEmptyRun {
			return c.fault(faultEmptyRun)
		}
		return nil
	case typeAlert:
		return c.alert(content)
	case typeHandshake:
		return c.messages(content)
	case typeChangeCipherSpec:
		return c.fault(faultCCS)
	}
	return c.fault(faultContentType)
}

// alert handles an alert from the peer (RFC 8446, 6).
func (c *Conn) alert(content []byte) error {
	if len(content) == 0 {
		return c.fault(faultEmptyAlert)
	}
	if len(content) != 2 {
		return c.fault(faultAlertSize)
	}
	level, alert := content[0], Alert(content[1])
	if level != alertLevelWarning && level != alertLevelFatal {
		return c.fault(faultAlertLevel)
	}
	if level == alertLevelFatal && alert != AlertCloseNotify {
		return c.fail(&Error{Remote: true, Alert: alert, Detail: "fatal alert"})
	}
	if c.midMessage() {
		return c.fault(faultInterleaved)
	}
	switch alert {
	case AlertCloseNotify:
		if c.state == stateFinished {
			c.state = stateClosed
		} else {
			c.state = statePeerClosed
		}
		c.update = min(c.update, updateAnswer) // see UpdateKeys
		c.in.wipe()
		return io.EOF
	case AlertUserCanceled:
		if c.runs.canceled++; c.runs.canceled > maxCanceledRun {
			return c.fault(faultCanceledRun)
		}
		return nil
	}
	return c.fault(faultWarning)
}
