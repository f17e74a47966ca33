package certs

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/tls"
)

// serveQUIC is a stock quic-go server on loopback. On each connection it opens a stream and sends a byte.
func serveQUIC(t *testing.T, c *stdtls.Config) (addr string) {
	t.Helper()
	sock, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	tr := &quicgo.Transport{Conn: sock}
	lis, err := tr.Listen(c, nil)
	must(err)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := lis.Accept(context.Background())
			if err != nil {
				return
			}
			if s, err := conn.OpenStream(); err == nil {
				_, _ = s.Write([]byte{7}) // the client reports what is missing
			}
		}
	})
	t.Cleanup(func() {
		must(errors.Join(lis.Close(), tr.Close(), sock.Close()))
		accepting.Wait()
	})
	return lis.Addr().String()
}

// visitQUIC connects with stock quic-go and waits for the byte, behind which the ticket has come.
func visitQUIC(t *testing.T, addr string, cfg *stdtls.Config) stdtls.ConnectionState {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := quicgo.DialAddr(ctx, addr, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(c.CloseWithError(0, "")) }()
	s, err := c.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().TLS
}

// TestQUIC: one Store and one server feed TLS and QUIC. Over QUIC, too, the certificate follows the name and the files, the
// staple is sent, and groups are post-quantum.
func TestQUIC(t *testing.T) {
	dir := t.TempDir()
	r := newResponder(t)
	first, second, other := theCA().issue(single, ofResponder(r.URL)), theCA().issue(single), theCA().issue([]string{"b.test"})
	s, k, _ := open(t, Config{Pairs: []Pair{first.write(dir, "a"), other.write(dir, "b")}})
	staple := answer(first, theCA(), theCA(), false, k.now(), nil)
	r.set(func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(staple) })
	must(s.Staple(context.Background()))
	addr := serveQUIC(t, serverOf(s).QUIC())
	st := visitQUIC(t, addr, clientOf(nil))
	if !st.PeerCertificates[0].Equal(first.Certificate) || !bytes.Equal(st.OCSPResponse, staple) || st.CurveID != stdtls.X25519MLKEM768 {
		t.Errorf("serial %v, a staple of %d bytes, group %v", st.PeerCertificates[0].SerialNumber, len(st.OCSPResponse), st.CurveID)
	}
	named := clientOf(nil)
	named.ServerName = "b.test"
	if st := visitQUIC(t, addr, named); !st.PeerCertificates[0].Equal(other.Certificate) {
		t.Errorf("b.test got serial %v", st.PeerCertificates[0].SerialNumber)
	}
	second.write(dir, "a")
	must(s.Reload())
	if st := visitQUIC(t, addr, clientOf(nil)); !st.PeerCertificates[0].Equal(second.Certificate) {
		t.Errorf("after a reload: serial %v", st.PeerCertificates[0].SerialNumber)
	}
}

// TestQUICTicketsAcrossNodes: nodes that share a ticket file resume each other's sessions over QUIC and TLS, and follow its
// rotation; those of a key that is gone shake hands in full.
func TestQUICTicketsAcrossNodes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tickets")
	pair := theCA().issue(single).write(dir, "a")
	now := time.Now()
	must(RotateTicketFile(file, now, 1))
	var stores []*Store
	var quics, tcps []string
	for range 2 {
		s, err := New(Config{Pairs: []Pair{pair}, Tickets: Tickets{File: file}})
		must(err)
		server := serverOf(s)
		addr, r := serve(server)
		t.Cleanup(func() { _ = r.Close() })
		stores, quics, tcps = append(stores, s), append(quics, serveQUIC(t, server.QUIC())), append(tcps, addr)
	}
	rotate := func(after time.Duration, keep int) {
		must(RotateTicketFile(file, now.Add(after), keep))
		for _, s := range stores {
			must(s.Reload())
		}
	}
	client, err := tls.NewClient(tls.Config{TLS: clientOf(stdtls.NewLRUClientSessionCache(1))})
	must(err)
	cfg := client.QUIC()
	expect := func(what string, st stdtls.ConnectionState, resumed bool) {
		t.Helper()
		if st.DidResume != resumed {
			t.Errorf("%s: resumed %v", what, st.DidResume)
		}
	}
	expect("first", visitQUIC(t, quics[0], cfg), false)
	expect("the other node", visitQUIC(t, quics[1], cfg), true)
	rotate(time.Second, 1)
	expect("the key before", visitQUIC(t, quics[0], cfg), true)
	expect("the new key", visitQUIC(t, quics[1], cfg), true)
	expect("over TLS", visit(t, tcps[0], cfg).ConnectionState(), true)
	expect("over QUIC again", visitQUIC(t, quics[1], cfg), true)
	rotate(2*time.Second, 0)
	expect("the key is gone", visitQUIC(t, quics[0], cfg), false)
}
