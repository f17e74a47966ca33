package tls

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// forge seals inner plaintexts as they are, padding, types and all.
func forge(h *half, inner []byte) []byte {
	n := len(inner) + tagLen
	dst := []byte{typeApplicationData, 3, 3, byte(n >> 8), byte(n)}
	dst = h.cipher.aead.Seal(dst, h.cipher.next(h.seq), inner, dst[:recordHeaderLen:recordHeaderLen])
	h.seq++
	return dst
}

func inner(typ byte, content ...byte) []byte { return append(bytes.Clone(content), typ) }

// times repeats what make forges n times.
func times(n int, make func() []byte) []byte {
	var b []byte
	for range n {
		b = append(b, make()...)
	}
	return b
}

// forgery is what a peer that holds the keys could send, and the rule it breaks.
type forgery struct {
	name   string
	client bool // the victim is a client
	fault  fault
	wire   func(h *half) []byte
}

func forgeries() []forgery {
	record := func(typ byte, content ...byte) func(*half) []byte {
		return func(h *half) []byte { return forge(h, inner(typ, content...)) }
	}
	raw := func(b ...byte) func(*half) []byte { return func(*half) []byte { return b } }
	update := []byte{messageKeyUpdate, 0, 0, 1, 0}
	ticket := ticketMessage([]byte("label"), 3600)
	return append([]forgery{
		{"flipped bit", false, faultBadMAC, func(h *half) []byte {
			b := forge(h, inner(typeApplicationData, 'x'))
			b[len(b)-1] ^= 1
			return b
		}},
		{"replayed record", false, faultBadMAC, func(h *half) []byte {
			b := forge(h, inner(typeApplicationData, 'x'))
			return append(b, b...)
		}},
		{"shorter than a tag", false, faultBadMAC, raw(23, 3, 3, 0, 15, 0, 0, 0)},
		{"no body", false, faultBadMAC, raw(23, 3, 3, 0, 0)},
		{"ciphertext over 2^14+256", false, faultCiphertextSize, raw(23, 3, 3, 0x41, 1)},
		{"largest length field", false, faultCiphertextSize, raw(23, 3, 3, 0xff, 0xff)},
		{"plaintext of 2^14+1", false, faultPlaintextSize, record(typeApplicationData, make([]byte, maxPlaintext+1)...)},
		{"padding beyond 2^14+1", false, faultPlaintextSize, func(h *half) []byte {
			return forge(h, append(inner(typeApplicationData, 'x'), make([]byte, maxPlaintext)...))
		}},
		{"plaintext handshake record", false, faultOuterType, raw(22, 3, 3, 0, 5, 24, 0, 0, 1, 0)},
		{"plaintext alert", false, faultOuterType, raw(21, 3, 3, 0, 2, 1, 0)},
		{"plaintext change_cipher_spec", false, faultOuterType, raw(20, 3, 3, 0, 1, 1)},
		{"version 0x0301", false, faultVersion, raw(23, 3, 1, 0, 30)},
		{"nothing inside", false, faultNoContentType, func(h *half) []byte { return forge(h, nil) }},
		{"only zeros inside", false, faultNoContentType, func(h *half) []byte { return forge(h, make([]byte, 100)) }},
		{"unknown content type", false, faultContentType, record(99, 'x')},
		{"heartbeat", false, faultContentType, record(24, 1, 0, 1, 'x')},
		{"change_cipher_spec inside", false, faultCCS, record(typeChangeCipherSpec, 1)},
		{"empty handshake record", false, faultEmptyHandshake, record(typeHandshake)},
		{"empty alert", false, faultEmptyAlert, record(typeAlert)},
		{"alert of one byte", false, faultAlertSize, record(typeAlert, 2)},
		{"two alerts in a record", false, faultAlertSize, record(typeAlert, 1, 90, 1, 0)},
		{"alert of level 3", false, faultAlertLevel, record(typeAlert, 3, 0)},
		{"warning no_renegotiation", false, faultWarning, record(typeAlert, 1, 100)},
		{"data inside a message", false, faultInterleaved, func(h *half) []byte {
			return append(forge(h, inner(typeHandshake, update[:3]...)), forge(h, inner(typeApplicationData, 'x'))...)
		}},
		{"empty data inside a message", false, faultInterleaved, func(h *half) []byte {
			return append(forge(h, inner(typeHandshake, update[:3]...)), forge(h, inner(typeApplicationData))...)
		}},
		{"close_notify inside a message", false, faultInterleaved, func(h *half) []byte {
			return append(forge(h, inner(typeHandshake, update[:3]...)), forge(h, inner(typeAlert, 1, 0))...)
		}},
		{"ticket to a server", false, faultMessageType, record(typeHandshake, ticket...)},
		{"ClientHello again", false, faultMessageType, record(typeHandshake, messageClientHello, 0, 0, 0)},
		{"certificate request", true, faultMessageType, record(typeHandshake, 13, 0, 0, 3, 0, 0, 0)},
		{"first byte of an unknown message", true, faultMessageType, record(typeHandshake, 77)},
		{"2^24-1 bytes of ticket", true, faultMessageSize, record(typeHandshake, messageNewSessionTicket, 0xff, 0xff, 0xff)},
		{"KeyUpdate of no bytes", false, faultUpdateSize, record(typeHandshake, messageKeyUpdate, 0, 0, 0)},
		{"KeyUpdate of two bytes", false, faultUpdateSize, record(typeHandshake, messageKeyUpdate, 0, 0, 2, 0, 0)},
		{"KeyUpdate of 2", false, faultUpdateValue, record(typeHandshake, messageKeyUpdate, 0, 0, 1, 2)},
		{"two KeyUpdates in a record", false, faultUpdateBoundary, record(typeHandshake, append(update, update...)...)},
		{"ticket behind KeyUpdate", true, faultUpdateBoundary, record(typeHandshake, append(update, ticket...)...)},
		{"half a KeyUpdate behind one", false, faultUpdateBoundary, record(typeHandshake, append(update, 24)...)},
	}, runForgeries(ticket)...)
}

// runForgeries are those that are wrong by their number.
func runForgeries(ticket []byte) []forgery {
	empty := func(h *half) func() []byte { return func() []byte { return forge(h, inner(typeApplicationData)) } }
	return []forgery{
		{"empty ticket label", true, faultTicket, func(h *half) []byte {
			return forge(h, inner(typeHandshake, ticketMessage(nil, 3600)...))
		}},
		{"ticket cut short", true, faultTicket, func(h *half) []byte {
			return forge(h, inner(typeHandshake, messageNewSessionTicket, 0, 0, 3, 1, 2, 3))
		}},
		{"33 empty records", false, faultEmptyRun, func(h *half) []byte { return times(maxEmptyRun+1, empty(h)) }},
		{"33 key updates", false, faultUpdateRun, func(h *half) []byte {
			return times(maxUpdateRun+1, func() []byte {
				b := forge(h, inner(typeHandshake, messageKeyUpdate, 0, 0, 1, 1))
				must(h.update(suite{id: testSuite}))
				return b
			})
		}},
		{"5 user_canceled", false, faultCanceledRun, func(h *half) []byte {
			return times(maxCanceledRun+1, func() []byte { return forge(h, inner(typeAlert, 1, 90)) })
		}},
		{"129 tickets", true, faultTicketRun, func(h *half) []byte {
			return times(maxTicketRun+1, func() []byte { return forge(h, inner(typeHandshake, ticket...)) })
		}},
		{"sequence used up", false, faultSequence, nil},
	}
}

const testSuite = 0x1301

// ticketMessage is a NewSessionTicket.
func ticketMessage(label []byte, lifetime int) []byte {
	body := []byte{byte(lifetime >> 24), byte(lifetime >> 16), byte(lifetime >> 8), byte(lifetime), 1, 2, 3, 4, 1, 0}
	body = append(body, byte(len(label)>>8), byte(len(label)))
	body = append(append(body, label...), 0, 0)
	return append([]byte{messageNewSessionTicket, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// postHandshake reports whether a fault can happen after the handshake.
func postHandshake(f fault) bool { return f < faultNotTLS || f == faultSequence }

// TestForgeries feeds each broken rule whole and byte by byte, and checks error, alert and that the end is final.
func TestForgeries(t *testing.T) {
	seen := map[fault]bool{}
	for _, f := range forgeries() {
		seen[f.fault] = true
		for _, step := range []int{0, 1, 7} {
			t.Run(f.name, func(t *testing.T) { testForgery(t, f, step) })
		}
	}
	for f := fault(1); f < lastFault; f++ {
		if postHandshake(f) && !seen[f] {
			_, text := f.alert()
			t.Errorf("no forgery for fault %d (%s)", f, text)
		}
	}
}

func testForgery(t *testing.T, f forgery, step int) {
	victim, peer := keyed(t, testSuite, DefaultRecordsPerKey)
	if f.client {
		victim, peer = peer, victim
	}
	var wire []byte
	if f.wire == nil {
		victim.in.seq, peer.out.seq = 1<<64-2, 1<<64-2
		wire = forge(&peer.out, inner(typeApplicationData, 'x'))
	} else {
		wire = f.wire(&peer.out)
	}
	_, err := openPieces(victim, wire, step)
	want, detail := f.fault.alert()
	var e *Error
	if !errors.As(err, &e) || e.Alert != want || e.Remote || e.Detail != detail || e.Reason() != "tls" {
		t.Fatalf("got %v, want %v (%s)", err, want, detail)
	}
	if _, _, again := victim.Open(make([]byte, 0, 100), wire); again != err {
		t.Errorf("second Open: %v", again)
	}
	if _, again := victim.Seal(nil, []byte("x"), false); again != err {
		t.Errorf("Seal after the failure: %v", again)
	}
	if again := victim.EOF(); again != err {
		t.Errorf("EOF after the failure: %v", again)
	}
	last := victim.Finish(nil, err)
	_, _, told := peer.Open(make([]byte, 0, 100), last)
	if !errors.As(told, &e) || e.Alert != want || !e.Remote {
		t.Errorf("peer was told %v, want %v", told, want)
	}
	if more := victim.Finish(nil, err); len(more) != 0 {
		t.Errorf("second Finish wrote %x", more)
	}
}

// openPieces feeds wire step bytes at a time (0: at once), keeping what is not consumed, as a loop does.
func openPieces(c *Conn, wire []byte, step int) (plain []byte, err error) {
	if step == 0 {
		step = len(wire)
	}
	var held []byte
	for len(wire) > 0 {
		n := min(step, len(wire))
		held = append(held, wire[:n]...)
		wire = wire[n:]
		for {
			out, n, err := c.Open(make([]byte, 0, max(len(held), maxCiphertext)), held)
			plain = append(plain, out...)
			held = held[n:]
			if err != nil {
				return plain, err
			}
			if n == 0 {
				break
			}
		}
	}
	return plain, nil
}

// TestTolerated are sequences at the edge of what is allowed.
func TestTolerated(t *testing.T) {
	empties := func(h *half, n int) []byte {
		return times(n, func() []byte { return forge(h, inner(typeApplicationData)) })
	}
	data := func(h *half) []byte { return forge(h, inner(typeApplicationData, 'x')) }
	cases := map[string]func(h *half) []byte{
		"32 empty records, data, 32 more": func(h *half) []byte {
			return append(append(append(empties(h, 32), data(h)...), empties(h, 32)...), data(h)...)
		},
		"padding up to 2^14+1": func(h *half) []byte {
			b := forge(h, append(inner(typeApplicationData, 'x'), make([]byte, maxPlaintext-1)...))
			return append(b, data(h)...)
		},
		"4 user_canceled twice": func(h *half) []byte {
			canceled := func() []byte { return forge(h, inner(typeAlert, 1, 90)) }
			b := append(times(4, canceled), data(h)...)
			return append(append(b, times(4, canceled)...), data(h)...)
		},
		"KeyUpdate in two records": func(h *half) []byte {
			b := append(data(h), forge(h, inner(typeHandshake, messageKeyUpdate, 0))...)
			b = append(b, forge(h, inner(typeHandshake, 0, 1, 0))...)
			must(h.update(suite{id: testSuite}))
			return append(b, data(h)...)
		},
		"padded KeyUpdate": func(h *half) []byte {
			b := append(data(h), forge(h, append(inner(typeHandshake, messageKeyUpdate, 0, 0, 1, 0), 0, 0, 0))...)
			must(h.update(suite{id: testSuite}))
			return append(b, data(h)...)
		},
	}
	for name, wire := range cases {
		for _, step := range []int{0, 1} {
			t.Run(name, func(t *testing.T) {
				victim, peer := keyed(t, testSuite, DefaultRecordsPerKey)
				got, err := openPieces(victim, wire(&peer.out), step)
				if err != nil || string(got) != "xx" {
					t.Fatalf("got %q, %v", got, err)
				}
			})
		}
	}
}

// TestRemoteAlerts: what the peer's alerts become, and that none is answered.
func TestRemoteAlerts(t *testing.T) {
	for _, half := range []bool{false, true} { // in the middle of a message, too
		s, c := keyed(t, testSuite, DefaultRecordsPerKey)
		var wire []byte
		if half {
			wire = forge(&c.out, inner(typeHandshake, messageKeyUpdate))
		}
		wire = append(wire, forge(&c.out, inner(typeAlert, 2, byte(AlertAccessDeniedForTest)))...)
		_, _, err := s.Open(make([]byte, 0, 100), wire)
		var e *Error
		if !errors.As(err, &e) || !e.Remote || e.Alert != AlertAccessDeniedForTest || e.Alert.String() != "access_denied" {
			t.Fatalf("got %v", err)
		}
		if b := s.Finish(nil, err); len(b) != 0 {
			t.Errorf("answered a fatal alert with %x", b)
		}
	}
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	wire := forge(&c.out, inner(typeAlert, 2, 0)) // close_notify at the wrong level is still one
	if _, _, err := s.Open(make([]byte, 0, 100), wire); err != io.EOF {
		t.Errorf("fatal close_notify: %v", err)
	}
}

// AlertAccessDeniedForTest has no constant: this package never sends it.
const AlertAccessDeniedForTest Alert = 49

// TestFaultTable: each fault has its own words, and an alert that is not internal_error by omission.
func TestFaultTable(t *testing.T) {
	for f := fault(1); f < lastFault; f++ {
		a, text := f.alert()
		if text == "unknown fault" || a == AlertCloseNotify || (a == AlertInternalError) != (f == faultSequence) {
			t.Errorf("fault %d: %v %q", f, a, text)
		}
	}
}
