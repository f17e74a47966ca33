package adversary

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
)

// Records that break the rules after the handshake end the connection with the alert for it.
func TestBadRecords(t *testing.T) {
	frame := hostile.Request(0, []byte("hello"))
	for name, c := range map[string]struct {
		send func(k *crafter)
		want string
	}{
		"empty records": {func(k *crafter) {
			for range 1000 {
				k.send(k.record(typeData, nil))
			}
		}, "error decoding message"},
		"key updates": {func(k *crafter) {
			for range 1000 {
				k.send(k.keyUpdate())
			}
		}, "unexpected message"},
		"renegotiation": {func(k *crafter) {
			k.send(k.record(typeHandshake, append([]byte{1, 0, 0, 70}, make([]byte, 70)...)))
		}, "unexpected message"},
		"hello request":   {func(k *crafter) { k.send(k.record(typeHandshake, []byte{0, 0, 0, 0})) }, "unexpected message"},
		"no content type": {func(k *crafter) { k.send(k.record(0, make([]byte, 20))) }, "unexpected message"},
		"damaged": {func(k *crafter) {
			r := k.record(typeData, frame)
			r[len(r)-1] ^= 1
			k.send(r)
		}, "bad record MAC"},
		"replayed": {func(k *crafter) {
			r := k.record(typeData, frame)
			k.send(append(bytes.Clone(r), r...))
		}, "bad record MAC"},
		"oversized": {func(k *crafter) { k.send(record(typeData, 0x303, make([]byte, 16<<10+257))) }, "record overflow"},
		"plaintext": {func(k *crafter) { k.send(record(typeHandshake, 0x303, []byte{1, 0, 0, 0})) }, "unexpected message"},
		"half a message, then data": {func(k *crafter) {
			k.send(append(k.record(typeHandshake, []byte{24, 0}), k.record(typeData, frame)...))
		}, "unexpected message"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			k := newCrafter(g)
			c.send(k)
			_, err := io.ReadAll(k.tls)
			if err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("the peer saw %v, want alert %q", err, c.want)
			}
			g.want("tls", 1)
			g.counted("tls", 1)
		})
	}
}

// An alert, an end without a goodbye and an end inside a record are told apart from a clean close.
func TestTruncation(t *testing.T) {
	for name, send := range map[string]func(k *crafter){
		"nothing":           func(*crafter) {},
		"half a record":     func(k *crafter) { k.send(k.record(typeData, make([]byte, 100))[:50]) },
		"a header's start":  func(k *crafter) { k.send([]byte{23, 3}) },
		"a frame's start":   func(k *crafter) { k.send(k.record(typeData, hostile.Request(0, make([]byte, 100))[:60])) },
		"an alert, no more": func(k *crafter) { k.send(k.record(typeAlert, []byte{2, 80})) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			k := newCrafter(g)
			send(k)
			if err := k.raw.Close(); err != nil {
				t.Fatal(err)
			}
			g.eventually("the end has a cause", func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				return g.ends["tls"]+g.ends["io"] == 1
			})
		})
	}
}

// A flood of the smallest records that carry data is served, and the healthy connection beside it.
func TestRecordFlood(t *testing.T) {
	g := newRig(t, nil)
	k := newCrafter(g)
	const frames = 300
	frame := hostile.Request(0, []byte("x"))
	go func() {
		for range frames {
			var b []byte
			for _, one := range frame {
				b = append(b, k.record(typeData, []byte{one})...)
			}
			k.send(b)
		}
	}()
	for range frames {
		code, p, err := readFrame(k.tls)
		if err != nil || code != statusOK || string(p) != "x" {
			t.Fatalf("code %d, %q, %v", code, p, err)
		}
	}
}

// errorFrame reads an error reply and checks code and reason.
func errorFrame(t *testing.T, r io.Reader, code uint16, reason string) {
	t.Helper()
	got, p, err := readFrame(r)
	var body struct {
		Code   uint16
		Reason string
	}
	if err == nil {
		err = json.Unmarshal(p, &body)
	}
	if err != nil || got != code || body.Code != code || body.Reason != reason {
		t.Errorf("code %d, body %s, %v; want %d %s", got, p, err, code, reason)
	}
}

// Frames that break the rules get their status and reason, then the connection ends in good order.
func TestBadFrames(t *testing.T) {
	edit := func(off int, v ...byte) []byte {
		f := hostile.Request(0, []byte("hello"))
		copy(f[off:], v)
		return f
	}
	for name, c := range map[string]struct {
		frame  []byte
		code   uint16
		reason string
	}{
		"too large":     {edit(0, 0, 0x10, 0, 1), 413, "frame_too_large"},
		"largest":       {edit(0, 0xff, 0xff, 0xff, 0xff), 413, "frame_too_large"},
		"too short":     {edit(0, 0, 0, 0, 37), 400, "bad_frame"},
		"version":       {edit(4, 0, 2), 400, "bad_version"},
		"flags":         {edit(6, 0x80, 1), 400, "bad_flags"},
		"little-endian": {edit(0, 43, 0, 0, 0, 1, 0), 400, "bad_version"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			conn := g.dialTLS(nil)
			if _, err := conn.Write(c.frame); err != nil {
				t.Fatal(err)
			}
			errorFrame(t, conn, c.code, c.reason)
			if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
				t.Errorf("after the error: %d bytes, %v; want a clean end", len(rest), err)
			}
			g.want(c.reason, 1)
			g.counted(c.reason, 1)
		})
	}
}

// Frames that are dripped are ended at the frame's deadline, which no byte extends.
func TestDrippedFrames(t *testing.T) {
	for name, whole := range map[string]int{"header": 0, "body": hostile.HeaderLen, "large body": 300 << 10} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, brief)
			conn := g.dialTLS(nil)
			f := hostile.Request(1<<20-hostile.HeaderLen, nil)
			began := time.Now()
			if _, err := conn.Write(f[:whole]); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { // ends with the connection
				defer close(done)
				for _, one := range f[whole:] {
					if _, err := conn.Write([]byte{one}); err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
			errorFrame(t, conn, 400, "read_timeout")
			lasted(t, began)
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
			<-done
			g.want("read_timeout", 1)
			g.counted("read_timeout", 1)
		})
	}
}
