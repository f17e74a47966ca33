package tls

import (
	"bytes"
	"encoding/hex"
	"io"
)

// keyLog is a handshake's KeyLogWriter: it picks the traffic secrets out of the lines and passes them on to the user's writer.
type keyLog struct {
	pipe *pipe
	user io.Writer // may be nil
}

// Write takes one line, "LABEL client_random secret\n", the last two in hexadecimal. crypto/tls calls it on the handshake's own
// goroutine, with a lock of the whole package held: a panic that got past it would stop every handshake of the process.
func (k *keyLog) Write(line []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, panicError(p)
		}
	}()
	if id, ok := secretLabel(line); ok {
		s := &k.pipe.secrets[id]
		text := bytes.TrimRight(line[bytes.LastIndexByte(line, ' ')+1:], "\n")
		if hex.DecodedLen(len(text)) <= len(s.buf) {
			decoded, err := hex.Decode(s.buf[:], text)
			if err == nil {
				s.n = uint8(decoded)
			}
		}
	}
	if k.user == nil {
		return len(line), nil
	}
	return k.user.Write(line)
}

// secretLabel reads the label that starts a line of the key log.
func secretLabel(line []byte) (secretID, bool) {
	label, _, _ := bytes.Cut(line, []byte{' '})
	switch string(label) {
	case "CLIENT_HANDSHAKE_TRAFFIC_SECRET":
		return secretClientHandshake, true
	case "SERVER_HANDSHAKE_TRAFFIC_SECRET":
		return secretServerHandshake, true
	case "CLIENT_TRAFFIC_SECRET_0":
		return secretClientApplication, true
	case "SERVER_TRAFFIC_SECRET_0":
		return secretServerApplication, true
	}
	return 0, false
}
