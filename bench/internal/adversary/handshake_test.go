package adversary

import (
	"bytes"
	stdtls "crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
)

// realHello is the first flight of crypto/tls.
func realHello(t *testing.T, versions ...uint16) []byte {
	t.Helper()
	cfg := &stdtls.Config{InsecureSkipVerify: true, NextProtos: []string{"oap/1"}, ServerName: "localhost", MinVersion: stdtls.VersionTLS13}
	if len(versions) == 1 {
		cfg.MinVersion, cfg.MaxVersion = versions[0], versions[0]
	}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { // ends when the pipe is closed below
		defer close(done)
		_ = stdtls.Client(theirs, cfg).Handshake()
	}()
	b := make([]byte, 16<<10)
	n, err := ours.Read(b)
	ours.Close()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// A peer that does not get on with its handshake is ended at the deadline, however it spends the time.
func TestHandshakeDeadline(t *testing.T) {
	hello := realHello(t)
	drip := func(c net.Conn, b []byte) {
		for _, one := range b {
			if _, err := c.Write([]byte{one}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for name, behave := range map[string]func(net.Conn){
		"silent":                func(net.Conn) {},
		"one byte":              func(c net.Conn) { _, _ = c.Write([]byte{22}) },
		"header only":           func(c net.Conn) { _, _ = c.Write(hello[:5]) },
		"half a hello":          func(c net.Conn) { _, _ = c.Write(hello[:len(hello)/2]) },
		"hello, then nothing":   func(c net.Conn) { _, _ = c.Write(hello) },
		"dripped hello":         func(c net.Conn) { drip(c, hello) },
		"dripped, body unknown": func(c net.Conn) { drip(c, hostile.Hello()) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, brief)
			began := time.Now()
			c := g.dial()
			done := make(chan struct{})
			go func() { behave(c); close(done) }()
			_, _ = io.Copy(io.Discard, c) // a reset is an end, too
			lasted(t, began)
			<-done
			g.want("handshake_timeout", 1)
			g.counted("handshake_timeout", 1)
		})
	}
}

// record is a plaintext record.
func record(contentType byte, version uint16, body []byte) []byte {
	return append([]byte{contentType, byte(version >> 8), byte(version), byte(len(body) >> 8), byte(len(body))}, body...)
}

// What is no TLS 1.3 gets the alert for it at once, and a count as "tls".
func TestBadHandshakes(t *testing.T) {
	hello := realHello(t)
	for name, c := range map[string]struct {
		send  []byte
		alert int
	}{
		"http":                   {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 10},
		"ssh":                    {[]byte("SSH-2.0-OpenSSH_9.9\r\n"), 10},
		"noise":                  {bytes.Repeat([]byte{0xa5}, 4096), 70},
		"tls 1.2":                {realHello(t, stdtls.VersionTLS12), 70},
		"oversized record":       {record(22, 0x301, make([]byte, 16<<10+1)), 22},
		"application data first": {record(23, 0x303, make([]byte, 64)), 10},
		"alert first":            {record(21, 0x303, []byte{2, 40}), -1},
		"empty records":          {bytes.Repeat(record(22, 0x301, nil), 1000), 10},
		"change_cipher_specs":    {append(bytes.Clone(hello), bytes.Repeat(record(20, 0x303, []byte{1}), 1000)...), -2},
		"server hello":           {record(22, 0x303, append([]byte{2, 0, 0, 70}, make([]byte, 70)...)), 10},
		"early data":             {append(bytes.Clone(hello), record(23, 0x303, bytes.Repeat([]byte{7}, 64))...), -2},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			conn := g.dial()
			_, _ = conn.Write(c.send) // the server may have closed in the midst of it
			got, _ := io.ReadAll(conn)
			if a := alertIn(got); c.alert >= -1 && a != c.alert {
				t.Errorf("answered with alert %d (%d bytes: %x), want %d", a, len(got), got, c.alert)
			}
			g.want("tls", 1)
			g.counted("tls", 1)
		})
	}
}

// Peers that vanish, in every phase of the handshake and in large numbers, leave nothing.
func TestVanishingPeers(t *testing.T) {
	hello := realHello(t)
	for name, send := range map[string][]byte{
		"after connect": nil, "inside the hello": hello[:100], "after the hello": hello,
	} {
		for _, end := range []string{"reset", "fin"} {
			t.Run(name+", "+end, func(t *testing.T) {
				g := newRig(t, nil)
				const storm = 60
				for range storm {
					c := g.dial()
					_, _ = c.Write(send)
					if end == "reset" {
						reset(t, c)
					} else if err := c.Close(); err != nil {
						t.Error(err)
					}
				}
				g.eventually("all are accepted and gone", func() bool {
					s := g.r.Stats()
					return s.Accepted == storm+1 && s.Closed == storm
				})
				g.eventually("each end has a cause", func() bool {
					g.mu.Lock()
					defer g.mu.Unlock()
					return g.ends["io"]+g.ends["tls"]+g.ends["handshake_timeout"] == storm // the last: a busy machine
				})
			})
		}
	}
}
