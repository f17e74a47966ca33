package tls

// Record content types (RFC 8446, 5.1).
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23
)

// Handshake message types (RFC 8446, 4).
const (
	messageClientHello      = 1
	messageServerHello      = 2
	messageNewSessionTicket = 4
	messageKeyUpdate        = 24
	messageHeaderLen        = 4
)

// bodyLen is the length field of the record header at the start of b.
func bodyLen(b []byte) int { return int(b[3])<<8 | int(b[4]) }

// isCCS reports whether record is the one change_cipher_spec that TLS 1.3 has (RFC 8446, 5).
func isCCS(record []byte) bool {
	return record[0] == typeChangeCipherSpec && len(record) == recordHeaderLen+1 && record[recordHeaderLen] == 1
}

// messageLen is the length field of the handshake message at the start of b.
func messageLen(b []byte) int { return int(b[1])<<16 | int(b[2])<<8 | int(b[3]) }

// appendRecord appends one unprotected record.
func appendRecord(dst []byte, typ byte, body []byte) []byte {
	dst = append(dst, typ, 3, 3, byte(len(body)>>8), byte(len(body)))
	return append(dst, body...)
}

// trim removes the zero padding of an inner plaintext (RFC 8446, 5.4) and splits off the content type. ok is false when there is
// nothing but zeros.
func trim(inner []byte) (content []byte, typ byte, ok bool) {
	end := len(inner) - 1
	for end >= 0 && inner[end] == 0 {
		end--
	}
	if end < 0 {
		return nil, 0, false
	}
	return inner[:end], inner[end], true
}

// helloSuite returns the identifier of the cipher suite that the ServerHello at the start of b chooses, or 0.
func helloSuite(b []byte) uint16 {
	const sessionID = messageHeaderLen + 2 + 32
	if len(b) <= sessionID || b[0] != messageServerHello {
		return 0
	}
	at := sessionID + 1 + int(b[sessionID])
	if len(b) < at+2 {
		return 0
	}
	if id := uint16(b[at])<<8 | uint16(b[at+1]); (suite{id: id}).valid() {
		return id
	}
	return 0
}
