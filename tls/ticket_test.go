package tls

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
)

// cache counts what is put into it.
type cache struct {
	stdtls.ClientSessionCache
	puts  int
	panic bool
}

func (c *cache) Put(key string, s *stdtls.ClientSessionState) {
	if c.panic {
		panic("no room")
	}
	c.puts++
	c.ClientSessionCache.Put(key, s)
}

func newCache() *cache { return &cache{ClientSessionCache: stdtls.NewLRUClientSessionCache(2)} }

// withCache connects a client with a session cache; the server's own ticket is already in it.
func withCache(t *testing.T) (s, c *Conn, k *cache) {
	t.Helper()
	k = newCache()
	cc := clientTLS()
	cc.ClientSessionCache = k
	s, c = pair(t, newServer(t, serverTLS()), newClient(t, cc))
	if k.puts != 1 {
		t.Fatalf("%d tickets stored after the handshake", k.puts)
	}
	return s, c, k
}

// TestTickets: tickets reach crypto/tls at any time, in any epoch, in any number and size.
func TestTickets(t *testing.T) {
	s, c, k := withCache(t)
	for i := range 100 {
		label := make([]byte, 1+i*300) // up to 30 KB: two records
		message := ticketMessage(label, 3600)
		for len(message) > 0 {
			n := min(len(message), maxPlaintext)
			opened(t, c, s.out.seal(nil, typeHandshake, message[:n]))
			message = message[n:]
		}
		if k.puts != i+2 {
			t.Fatalf("ticket %d: %d stored", i, k.puts)
		}
		if i%10 == 0 {
			must(s.UpdateKeys(true))
		}
		if got := opened(t, c, sealed(t, s, "data")); i%3 == 0 && string(got) != "data" {
			t.Fatalf("got %q", got)
		}
		opened(t, s, sealed(t, c, "data"))
	}
	// Several in one record, and one with an unknown extension.
	three := append(ticketMessage([]byte("a"), 1), ticketMessage([]byte("b"), 2)...)
	extended := ticketMessage([]byte("c"), 3)
	extended = append(extended[:len(extended)-2], 0, 6, 0x7a, 0x7a, 0, 2, 1, 2)
	extended[3] += 6
	before := k.puts
	opened(t, c, s.out.seal(nil, typeHandshake, append(three, extended...)))
	if k.puts != before+3 {
		t.Errorf("%d of 3 stored", k.puts-before)
	}
}

// TestTicketRefused: what crypto/tls does not like about a ticket ends the connection with crypto/tls's alert.
func TestTicketRefused(t *testing.T) {
	s, c, _ := withCache(t)
	must(c.UpdateKeys(false)) // its alert is sealed in an epoch that is gone
	opened(t, s, sealed(t, c, "data"))
	wire := s.out.seal(nil, typeHandshake, ticketMessage([]byte("label"), 8*24*3600))
	_, _, err := c.Open(make([]byte, 0, 1000), wire)
	var e *Error
	if !errors.As(err, &e) || e.Alert != AlertIllegalParameter || e.Remote {
		t.Fatalf("a lifetime of eight days: %v", err)
	}
	if _, _, err := s.Open(make([]byte, 0, 100), c.Finish(nil, err)); !strings.Contains(err.Error(), "peer: illegal_parameter") {
		t.Errorf("server was told %v", err)
	}
}

// TestTicketPanic: a session cache that panics ends the connection, not the loop.
func TestTicketPanic(t *testing.T) {
	s, c, k := withCache(t)
	k.panic = true
	_, _, err := c.Open(make([]byte, 0, 1000), s.out.seal(nil, typeHandshake, ticketMessage([]byte("x"), 60)))
	var e *Error
	if !errors.As(err, &e) || e.Alert != AlertInternalError || !strings.Contains(err.Error(), "no room") {
		t.Fatal(err)
	}
}

// TestTicketsUnused: without a cache tickets are checked and dropped, and the crypto/tls connection is dropped as well.
func TestTicketsUnused(t *testing.T) {
	s, c := pair(t, newServer(t, serverTLS()), newClient(t, clientTLS()))
	if c.extra != nil || s.extra != nil {
		t.Error("crypto/tls is kept")
	}
	wire := s.out.seal(nil, typeHandshake, ticketMessage([]byte("label"), 3600))
	wire = append(wire, sealed(t, s, "data")...)
	if got := opened(t, c, wire); string(got) != "data" {
		t.Errorf("got %q", got)
	}
}

// TestNoNameNoSession: without a server name the cache's key would be the same for all peers.
func TestNoNameNoSession(t *testing.T) {
	k := newCache()
	cc := &stdtls.Config{InsecureSkipVerify: true, ClientSessionCache: k}
	client, server := newClient(t, cc), newServer(t, serverTLS())
	for range 2 {
		if s, _ := pair(t, server, client); s.State().Resumed {
			t.Error("resumed")
		}
	}
	if k.puts != 0 {
		t.Errorf("%d sessions stored", k.puts)
	}
	c := client.Conn("server.test") // a name of the connection's own will do
	defer c.Release()
	s := server.Conn()
	defer s.Release()
	_, toClient, err := shake(s, c)
	if err != nil {
		t.Fatal(err)
	}
	opened(t, c, toClient)
	if k.puts != 1 || s.State().ServerName != "server.test" {
		t.Errorf("%d sessions stored, name %q", k.puts, s.State().ServerName)
	}
}

// TestWriteSequence compares the sequence number found by trial with the one crypto/tls would use next: after the handshake it is
// made to write one byte, which never leaves.
func TestWriteSequence(t *testing.T) {
	type setup func(sc, cc *stdtls.Config)
	withSession := func(_, cc *stdtls.Config) { cc.ClientSessionCache = newCache() }
	withLarge := func(sc, cc *stdtls.Config) {
		withSession(sc, cc)
		sc.ClientAuth, sc.ClientCAs = stdtls.RequireAndVerifyClientCert, pki().pool
		cc.Certificates = []stdtls.Certificate{pki().large}
	}
	cases := []struct {
		name string
		set  setup
		want uint64
	}{
		{"client without cache", func(_, _ *stdtls.Config) {}, 0},
		{"one ticket", withSession, 1},
		{"tickets disabled", func(sc, cc *stdtls.Config) { withSession(sc, cc); sc.SessionTicketsDisabled = true }, 0},
		{"ticket in two records", withLarge, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sc, cc := serverTLS(), clientTLS()
			tc.set(sc, cc)
			server, client := newServer(t, sc), newClient(t, cc)
			for range 2 { // new, then resumed where there is a session
				s, c := server.Conn(), client.Conn("")
				defer s.Release()
				defer c.Release()
				var sessionServer, sessionClient *engine
				var toServer, toClient []byte
				for s.state < stateOpen || c.state < stateOpen {
					_, err := advance(c, &toClient, &toServer)
					must(err)
					if c.state == stateParked {
						sessionClient = c.hs.engine
					}
					_, err = advance(s, &toServer, &toClient)
					must(err)
					if s.state == stateParked {
						sessionServer = s.hs.engine
					}
				}
				if got := cryptoTLSSequence(t, s, sessionServer); got != s.out.seq || got != tc.want {
					t.Errorf("server: crypto/tls would go on at %d, we at %d, expected %d", got, s.out.seq, tc.want)
				}
				if got := cryptoTLSSequence(t, c, sessionClient); got != c.out.seq || got != 0 {
					t.Errorf("client: crypto/tls would go on at %d, we at %d", got, c.out.seq)
				}
			}
		})
	}
}

// cryptoTLSSequence is method (b): with which number does the next record of crypto/tls open?
func cryptoTLSSequence(t *testing.T, c *Conn, e *engine) uint64 {
	t.Helper()
	e.pipe.out = nil
	e.pipe.scratch = nil
	if n, err := e.conn.Write([]byte("?")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	record := e.pipe.out
	e.pipe.out = nil
	probe := c.out
	for probe.seq = 0; probe.seq < 10; probe.seq++ {
		if plain, err := probe.open(make([]byte, 0, 100), record); err == nil && string(plain) == "?\x17" {
			return probe.seq
		}
	}
	t.Fatal("no sequence number opens it")
	return 0
}

// TestStale: after the handover nothing that crypto/tls writes can leave.
func TestStale(t *testing.T) {
	_, c, _ := withCache(t)
	c.extra.tickets.conn.Write([]byte("stray"))
	c.extra.tickets.conn.Close()
	out, err := c.Seal(c.Output(nil), []byte("x"), false)
	must(err)
	if len(out) != 1+recordOverhead {
		t.Errorf("%d bytes left for one byte of data", len(out))
	}
	if _, err := c.extra.tickets.conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("crypto/tls reads %v", err)
	}
}

// TestTicketInputDropped: a connection that waits for tickets does not hold on to the records of the last one.
func TestTicketInputDropped(t *testing.T) {
	s, c, _ := withCache(t)
	p := c.extra.tickets.pipe
	if p.in != nil || p.first != nil {
		t.Errorf("%d bytes of the handshake kept", cap(p.in)+cap(p.first))
	}
	opened(t, c, s.out.seal(nil, typeHandshake, ticketMessage(make([]byte, 10_000), 60)))
	if p.in != nil {
		t.Errorf("%d bytes kept", cap(p.in))
	}
}
