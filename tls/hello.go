package tls

// readHello collects a server's first records until the ClientHello in them is whole. Each byte is judged as soon as it is there:
// what cannot be TLS is refused at once, whatever is still to come.
func (c *Conn) readHello(src []byte) (consumed int, step bool, err error) {
	for {
		rest := src[consumed:]
		if f := c.judgeHello(rest); f != 0 {
			return consumed, false, c.refuse(f.err())
		}
		if len(rest) < recordHeaderLen || len(rest) < recordHeaderLen+bodyLen(rest) {
			return consumed, false, nil
		}
		record := rest[:recordHeaderLen+bodyLen(rest)]
		consumed += len(record)
		if record[0] == typeAlert {
			alert := Alert(record[recordHeaderLen+1])
			return consumed, false, c.failHandshake(&Error{Remote: true, Alert: alert, Detail: "instead of a ClientHello"})
		}
		if c.addHello(record) {
			c.state = stateStep
			return consumed, true, nil
		}
	}
}

// judgeHello looks at the start of the next record, and at as much of the message header as is known.
func (c *Conn) judgeHello(b []byte) fault {
	var hello []byte
	if c.hs != nil {
		hello = c.hs.hello
	}
	if len(b) == 0 {
		return 0
	}
	switch {
	case b[0] == typeHandshake:
	case b[0] == typeAlert && len(hello) == 0:
		return judgeFirstAlert(b)
	case b[0]&0x80 != 0 && len(hello) == 0:
		return faultSSL2
	default:
		return faultNotTLS
	}
	if len(b) > 1 && b[1] != 3 {
		return faultHelloVersion
	}
	if len(b) < recordHeaderLen {
		return 0
	}
	n := bodyLen(b)
	if n == 0 {
		return faultHelloEmpty
	}
	if n > maxPlaintext {
		return faultHelloRecordSize
	}
	var head [messageHeaderLen]byte
	have := copy(head[:], hello)
	have += copy(head[have:], b[recordHeaderLen:min(len(b), recordHeaderLen+n)])
	if have > 0 && head[0] != messageClientHello {
		return faultHelloType
	}
	if have == messageHeaderLen && messageLen(head[:]) > c.end.config.MaxClientHello {
		return faultHelloSize
	}
	return 0
}

// judgeFirstAlert lets an alert through that a client sends in place of its ClientHello.
func judgeFirstAlert(b []byte) fault {
	if len(b) > 1 && b[1] != 3 {
		return faultHelloVersion
	}
	if len(b) >= recordHeaderLen && bodyLen(b) != 2 {
		if bodyLen(b) == 0 {
			return faultEmptyAlert
		}
		return faultAlertSize
	}
	return 0
}

// addHello keeps a judged record and reports whether the ClientHello is whole. Pieces are joined without their record headers, so
// that a hello in one-byte records costs its own length and no more.
func (c *Conn) addHello(record []byte) bool {
	if c.hs == nil {
		c.hs = &handshake{version: [2]byte{record[1], record[2]}}
	}
	hs := c.hs
	body := record[recordHeaderLen:]
	if len(hs.hello) == 0 && len(body) >= messageHeaderLen && len(body) >= messageHeaderLen+messageLen(body) {
		hs.input = append(hs.input, record...)
		return true
	}
	hs.hello = append(hs.hello, body...)
	if len(hs.hello) < messageHeaderLen || len(hs.hello) < messageHeaderLen+messageLen(hs.hello) {
		return false
	}
	for rest := hs.hello; len(rest) > 0; {
		part := rest[:min(len(rest), maxPlaintext)]
		hs.input = append(hs.input, typeHandshake, hs.version[0], hs.version[1], byte(len(part)>>8), byte(len(part)))
		hs.input = append(hs.input, part...)
		rest = rest[len(part):]
	}
	hs.hello = nil
	return true
}
