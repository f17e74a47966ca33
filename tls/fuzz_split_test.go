package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"io"
	"sync"
	"testing"
	"testing/cryptotest"
)

// ends are a server and a client that behave the same in every run, given the same randomness: no tickets, whose keys depend on time.
var ends = sync.OnceValues(func() (*Server, *Client) {
	sc, cc := serverTLS(), clientTLS()
	sc.SessionTicketsDisabled = true
	sc.ClientAuth, sc.ClientCAs = stdtls.RequireAndVerifyClientCert, pki().pool
	cc.Certificates = []stdtls.Certificate{pki().small}
	sc.CurvePreferences = []stdtls.CurveID{stdtls.X25519}
	cc.CurvePreferences = []stdtls.CurveID{stdtls.X25519, stdtls.CurveP256}
	server, err := NewServer(Config{TLS: sc, RecordsPerKey: 3})
	must(err)
	client, err := NewClient(Config{TLS: cc, RecordsPerKey: 3})
	must(err)
	return server, client
})

// The randomness of each end is a stream of its own, so that an end can be run again alone.
const (
	seedServer      = 1
	seedClient      = 2
	seedClientProof = 3 // its signature
)

// recording is what each end of one connection sends: handshake, data with key updates between, close_notify.
type recording struct {
	toServer, toClient []byte
	text               string
}

// record runs one connection.
func record(t *testing.T) recording {
	server, client := ends()
	s, c := server.Conn(), client.Conn("")
	defer s.Release()
	defer c.Release()
	var r recording
	var up, down []byte
	cryptotest.SetGlobalRandom(t, seedClient)
	advance(c, &down, &up)
	r.toServer = append(r.toServer, up...)
	cryptotest.SetGlobalRandom(t, seedServer)
	advance(s, &up, &down)
	r.toClient = append(r.toClient, down...)
	cryptotest.SetGlobalRandom(t, seedClientProof)
	done, err := advance(c, &down, &up)
	r.toServer = append(r.toServer, up...)
	doneServer, errServer := advance(s, &up, &down)
	r.toClient = append(r.toClient, down...)
	if !done || !doneServer || err != nil || errServer != nil {
		t.Fatal(done, doneServer, err, errServer)
	}
	r.text = "one, two, three, four, five, six, seven"
	for part := range bytes.SplitAfterSeq([]byte(r.text), []byte(", ")) {
		r.toServer = append(r.toServer, sealed(t, c, string(part))...)
		r.toClient = append(r.toClient, sealed(t, s, string(part))...)
	}
	r.toServer = c.Finish(r.toServer, nil)
	r.toClient = s.Finish(r.toClient, nil)
	return r
}

// verdict is all that a stream does to an end.
type verdict struct {
	plain, out []byte
	err        string
	open       bool
}

// replay feeds stream to a new end, cut as cuts says: cut n is a piece of n+1 bytes, the last repeats, none is all at once. It is
// what a loop does: what is not consumed is kept, and shown again with more behind it.
func replay(t *testing.T, toServer bool, stream, cuts []byte) (v verdict) {
	server, client := ends()
	victim, seed := server.Conn(), uint64(seedServer)
	if !toServer {
		victim, seed = client.Conn(""), seedClient
	}
	defer victim.Release()
	cryptotest.SetGlobalRandom(t, seed)
	var held []byte
	var err error
	for {
		var used int
		var more bool
		if used, more, err = turn(t, victim, held, &v); err != nil {
			break
		}
		if held = held[used:]; used > 0 || more {
			continue
		}
		if len(stream) == 0 {
			err = victim.EOF()
			break
		}
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[0]))
			if len(cuts) > 1 {
				cuts = cuts[1:]
			}
		}
		held, stream = append(bytes.Clone(held), stream[:n]...), stream[n:]
	}
	v.open = victim.state >= stateOpen && victim.agreed != nil && victim.agreed.suite.known()
	v.err = text(err)
	v.out = victim.Finish(v.out, err)
	return v
}

// turn shows held to c once. more: c goes on without being shown anything new.
func turn(t *testing.T, c *Conn, held []byte, v *verdict) (used int, more bool, err error) {
	if c.state >= stateOpen {
		out, used, err := c.Open(make([]byte, 0, max(len(held), maxCiphertext)), held)
		v.plain = append(v.plain, out...)
		return used, false, err
	}
	used, step, err := c.Handshake(held)
	if step && err == nil {
		if c.end.client != nil && c.hs != nil { // not the first step
			cryptotest.SetGlobalRandom(t, seedClientProof)
		}
		_, err = c.Step()
	}
	v.out = c.Output(v.out)
	return used, step, err
}

// mutate changes stream as edits says, three bytes each: where (two), and what to do there.
func mutate(stream, edits []byte) []byte {
	stream = bytes.Clone(stream)
	for len(edits) >= 3 && len(stream) > 0 {
		at := (int(edits[0])<<8 | int(edits[1])) % len(stream)
		switch x := edits[2]; {
		case x == 0: // cut
			stream = stream[:at]
		case x == 1: // repeat a piece
			stream = append(stream[:at:at], stream[max(0, at-50):]...)
		case x == 2: // lose a piece
			stream = append(stream[:at:at], stream[min(len(stream), at+50):]...)
		case x == 3: // change_cipher_spec
			stream = append(stream[:at:at], append([]byte{20, 3, 3, 0, 1, 1}, stream[at:]...)...)
		default:
			stream[at] ^= x
		}
		edits = edits[3:]
	}
	return stream
}

// FuzzSplits: a recorded connection, as it was or mutated, gives the same plaintext, the same bytes to send and the same verdict
// however its bytes are cut. Randomness is fixed, so the end under test answers as in the recording and everything decrypts.
func FuzzSplits(f *testing.F) {
	for _, toServer := range []bool{true, false} {
		f.Add(toServer, []byte{0}, []byte{})
		f.Add(toServer, []byte{4, 0, 200, 1, 90}, []byte{})
		f.Add(toServer, []byte{6}, []byte{0, 3, 0x80})
		f.Add(toServer, []byte{99}, []byte{0x02, 0x80, 1})
		f.Add(toServer, []byte{1, 2, 3, 4, 5, 6}, []byte{0xff, 0xf0, 0})
		f.Add(toServer, []byte{32}, []byte{1, 0, 3, 0x05, 0, 2})
	}
	var once sync.Once
	var r recording
	f.Fuzz(func(t *testing.T, toServer bool, cuts, edits []byte) {
		once.Do(func() { r = record(t) })
		stream := r.toServer
		if !toServer {
			stream = r.toClient
		}
		stream = mutate(stream, edits)
		whole, pieces := replay(t, toServer, stream, nil), replay(t, toServer, stream, cuts)
		if whole.err != pieces.err || whole.open != pieces.open || !bytes.Equal(whole.plain, pieces.plain) {
			t.Fatalf("whole: %q, %v, open %v; in pieces: %q, %v, open %v", whole.plain, whole.err, whole.open, pieces.plain, pieces.err, pieces.open)
		}
		if !bytes.Equal(whole.out, pieces.out) {
			t.Fatalf("whole: sends %d bytes, in pieces %d", len(whole.out), len(pieces.out))
		}
		if len(edits) < 3 && (string(whole.plain) != r.text || whole.err != io.EOF.Error()) {
			t.Fatalf("the recording itself: %q, %v", whole.plain, whole.err)
		}
	})
}
