package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"io"
	"testing"
)

// typed fails unless err is nil, the clean end, or an *Error with a reason.
func typed(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if err != nil && err != io.EOF && (!errors.As(err, &e) || e.Reason() != "tls" || e.Detail == "") {
		t.Fatalf("untyped error %T: %v", err, err)
	}
}

// script turns fuzz input into what a peer sends that holds the keys: pieces [kind][length][bytes], kind saying whether the bytes
// are an inner plaintext to be sealed, one with its type appended, or raw ciphertext.
func script(h *half, s suite, b []byte) (wire []byte) {
	for len(b) >= 2 && len(wire) < 1<<20 {
		kind, n := b[0], int(b[1])
		b = b[2:]
		n = min(n, len(b))
		part := b[:n]
		b = b[n:]
		switch kind % 8 {
		case 0:
			wire = append(wire, part...)
		case 1:
			wire = append(wire, forge(h, part)...)
		case 2, 3:
			wire = append(wire, forge(h, append(inner(typeHandshake, part...), make([]byte, kind>>3)...))...)
		case 4:
			wire = append(wire, forge(h, inner(typeAlert, part...))...)
		case 5:
			wire = append(wire, forge(h, inner(typeHandshake, messageKeyUpdate, 0, 0, 1, kind>>7))...)
			must(h.update(s))
		case 6:
			big := make([]byte, n*70)
			wire = append(wire, forge(h, inner(typeApplicationData, big...))...)
		case 7:
			wire = append(wire, forge(h, inner(typeApplicationData, part...))...)
		}
	}
	return wire
}

// FuzzOpen: whatever arrives after the handover, Open does not panic, its errors are typed and final, what it keeps is bounded, and
// neither the plaintext nor the verdict depends on how the bytes were cut.
func FuzzOpen(f *testing.F) {
	ticket := ticketMessage([]byte("label"), 60)
	f.Add([]byte("\x07\x05hello\x04\x02\x01\x00"), byte(0), false)
	f.Add([]byte("\x00\x05\x17\x03\x03\x00\x20"), byte(1), false)
	f.Add([]byte("\x05\x00\x07\x01x\x85\x00\x07\x01y"), byte(3), true)
	f.Add(append([]byte{2, byte(len(ticket))}, ticket...), byte(2), true)
	f.Add([]byte("\x02\x02\x18\x00\x02\x03\x00\x01\x00"), byte(1), false)
	f.Add([]byte("\x06\xff\x01\x00\x01\x03\x00\x00\x00"), byte(9), true)
	f.Fuzz(func(t *testing.T, data []byte, cut byte, client bool) {
		run := func(step int) (plain []byte, err error) {
			victim, peer := keyed(t, testSuite, DefaultRecordsPerKey)
			if client {
				victim, peer = peer, victim
			}
			plain, err = openPieces(victim, script(&peer.out, peer.agreed.suite, data), step)
			typed(t, err)
			if len(pending(victim)) > messageHeaderLen+maxMessage+maxPlaintext {
				t.Fatalf("%d bytes of a message kept", len(pending(victim)))
			}
			if err != nil {
				if _, n, again := victim.Open(make([]byte, 0, 100), []byte{1, 2, 3}); again != err || (n != 0) != (err == io.EOF) {
					t.Fatalf("after %v: %d, %v", err, n, again)
				}
			}
			if last := victim.Finish(nil, err); len(last) > recordOverhead+2 {
				t.Fatalf("last record of %d bytes", len(last))
			}
			return plain, err
		}
		whole, err := run(0)
		pieces, errPieces := run(1 + int(cut))
		if !bytes.Equal(whole, pieces) {
			t.Fatalf("whole %d bytes, in pieces %d", len(whole), len(pieces))
		}
		if text(err) != text(errPieces) {
			t.Fatalf("whole %v, in pieces %v", err, errPieces)
		}
	})
}

// pending is the part of a message that c keeps.
func pending(c *Conn) []byte {
	if c.extra == nil {
		return nil
	}
	return c.extra.partial
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// FuzzRecordDifferential: what our record layer seals, crypto/tls opens, and the reverse, for any plaintext in any parts with any
// key updates between them.
func FuzzRecordDifferential(f *testing.F) {
	f.Add([]byte("hello"), []byte{1, 2, 200}, false)
	f.Add(bytes.Repeat([]byte("0123456789abcdef"), 3000), []byte{255, 254, 0, 3}, true)
	f.Add([]byte{}, []byte{}, true)
	sc := serverTLS()
	sc.NextProtos = []string{ALPN}
	server, err := NewServer(Config{TLS: sc, RecordsPerKey: 7})
	must(err)
	client, err := NewClient(Config{TLS: clientTLS(), RecordsPerKey: 7})
	must(err)
	f.Fuzz(func(t *testing.T, data, cuts []byte, weServe bool) {
		a, b := newWire()
		ours, theirs := server.Conn(), stdtls.Client(b, clientTLS())
		if !weServe {
			ours, theirs = client.Conn(""), stdtls.Server(b, sc)
		}
		result := make(chan error, 1)
		go func() { result <- theirs.Handshake() }()
		d, err := drive(a, ours, nil)
		must(err)
		must(<-result)
		defer d.Close()
		want := append(bytes.Clone(data), "end"...)
		for rest := want; len(rest) > 0; {
			n := len(rest)
			if len(cuts) > 0 {
				n = min(n, 1+int(cuts[0])*97)
				if cuts[0]%5 == 0 {
					must(d.tls.UpdateKeys(cuts[0]%2 == 0))
				}
				cuts = cuts[1:]
			}
			backing := append(bytes.Clone(rest[:n]), 1)
			wire, err := d.tls.Seal(nil, backing[:n], n%2 == 0)
			must(err)
			if backing[n] != 1 {
				t.Fatal("the byte behind the source was not restored")
			}
			d.Conn.Write(wire)
			got := make([]byte, n)
			if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, rest[:n]) {
				t.Fatalf("crypto/tls read %x of %x, %v", got, rest[:n], err)
			}
			if _, err := theirs.Write(got); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(d, got); err != nil || !bytes.Equal(got, rest[:n]) {
				t.Fatalf("we read %x of %x, %v", got, rest[:n], err)
			}
			rest = rest[n:]
		}
	})
}

// feedHandshake gives an end arbitrary bytes, cut as cuts says, and checks what a peer may see of it.
func feedHandshake(t *testing.T, c *Conn, data, cuts []byte) {
	defer c.Release()
	var held []byte
	for {
		n, step, err := c.Handshake(held)
		typed(t, err)
		if n > len(held) {
			t.Fatalf("consumed %d of %d", n, len(held))
		}
		held = held[n:]
		if step {
			var done bool
			if done, err = c.Step(); done {
				t.Fatal("arbitrary bytes completed a handshake")
			}
			typed(t, err)
		}
		out := c.Output(nil)
		for rest := out; len(rest) > 0; {
			if len(rest) < recordHeaderLen || len(rest) < recordHeaderLen+bodyLen(rest) {
				t.Fatalf("output ends inside a record: %x", rest)
			}
			rest = rest[recordHeaderLen+bodyLen(rest):]
		}
		if err != nil {
			var e *Error
			if errors.As(err, &e) && !e.Remote && len(out) == 0 {
				t.Fatalf("%v, and the peer is not told", err)
			}
			if _, _, again := c.Handshake(data); again != err {
				t.Fatalf("after %v: %v", err, again)
			}
			return
		}
		if c.hs != nil && len(c.hs.hello)+len(c.hs.input) > DefaultMaxClientHello+2*maxPlaintext {
			t.Fatalf("%d bytes kept", len(c.hs.hello)+len(c.hs.input))
		}
		if step || n > 0 {
			continue
		}
		if len(data) == 0 {
			return
		}
		k := len(data)
		if len(cuts) > 0 {
			k, cuts = min(k, 1+int(cuts[0])), cuts[1:]
		}
		held, data = append(held, data[:k]...), data[k:]
	}
}

// FuzzHandshakeServer: arbitrary bytes, in arbitrary pieces, instead of a client.
func FuzzHandshakeServer(f *testing.F) {
	hello := clientHello(f)
	f.Add(hello, []byte{})
	f.Add(hello[:100], []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Add(append(bytes.Clone(hello), "\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x35"+string(make([]byte, 0x35))...), []byte{255, 255, 255})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{0})
	f.Add([]byte("\x80\x2e\x01\x03\x01"), []byte{})
	f.Add([]byte("\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00"), []byte{})
	server := newServer(f, serverTLS())
	f.Fuzz(func(t *testing.T, data, cuts []byte) { feedHandshake(t, server.Conn(), data, cuts) })
}

// FuzzHandshakeClient: arbitrary bytes, in arbitrary pieces, instead of a server.
func FuzzHandshakeClient(f *testing.F) {
	server, client := defaults(f)
	s := server.Conn()
	s.Handshake(clientHello(f))
	s.Step()
	flight := s.Output(nil)
	s.Release()
	f.Add(flight, []byte{})
	f.Add(flight[:200], []byte{3, 3, 3})
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), []byte{})
	f.Add([]byte("\x15\x03\x03\x00\x02\x02\x28"), []byte{})
	f.Add([]byte("\x14\x03\x03\x00\x01\x01\x14\x03\x03\x00\x01\x01"), []byte{})
	f.Fuzz(func(t *testing.T, data, cuts []byte) { feedHandshake(t, client.Conn(""), data, cuts) })
}
