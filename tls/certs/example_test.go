package certs_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// gateway is the application: it answers every frame with its own payload.
type gateway struct{}

func (gateway) OnOpen(*framer.Session)         {}
func (gateway) OnClose(*framer.Session, error) {}
func (gateway) OnFrame(s *framer.Session, f *framer.Frame) {
	_ = s.Reply(f, 200, f.Payload)
}

// A whole gateway: certificates that reload, staples and shared ticket keys, TLS, frames, and an end that loses no reply.
func Example_gateway() {
	dir, roots := files()
	defer os.RemoveAll(dir)

	// Everything is checked before anything starts.
	store, err := certs.New(certs.Config{
		Pairs:   []certs.Pair{{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}},
		Tickets: certs.Tickets{File: filepath.Join(dir, "tickets"), Owner: true}, // the other nodes: the same File, no Owner
		OnEvent: func(e certs.Event) {
			if e.Err != nil {
				log.Printf("certs: %v: %v", e.Kind, e.Err)
			}
		},
	})
	check(err)
	server, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{GetCertificate: store.GetCertificate}})
	check(err)
	check(store.Attach(server))
	frames, err := framer.NewEndpoint(gateway{}, framer.Options{})
	check(err)
	loops, err := reactor.New(reactor.Config{MaxHandshakesPerPeer: 64, PeerConnRate: 200})
	check(err)

	// The background: one goroutine for certificates, one for the signal that asks for a reload.
	ctx, stop := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { _ = store.Run(ctx) })
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	background.Go(func() {
		for range hup {
			_ = store.Reload() // OnEvent has told what is wrong
		}
	})

	// Staples first, then clients. Without a staple the gateway works all the same, unless a certificate demands one: see Health.
	first, cancel := context.WithTimeout(ctx, 5*time.Second)
	_ = store.Staple(first)
	cancel()
	lis, err := loops.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { return frames.Session(c) },
		Filter:   func() reactor.Filter { return server.Conn() },
		Refuse:   func(c *reactor.Conn, cause error) { frames.Refuse(c, cause) }, // what a peer over a limit is told
	})
	check(err)

	ask(loops, lis.Addr().String(), roots)

	// The end: no new connections, peers are told and get the replies they are owed, then the loops stop, then the background.
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	check(loops.Shutdown(patience))
	cancel()
	signal.Stop(hup)
	close(hup)
	stop()
	background.Wait()
	// Output: 200 hello
}

// ask is a client: one request, from an ordinary goroutine.
func ask(loops *reactor.Reactor, addr string, roots *x509.CertPool) {
	dialer, err := tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: roots, ClientSessionCache: stdtls.NewLRUClientSessionCache(0)}})
	check(err)
	frames, err := framer.NewEndpoint(gateway{}, framer.Options{})
	check(err)
	var session *framer.Session
	_, err = loops.Dial("tcp", addr, reactor.DialConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { session = frames.Session(c); return session },
		Filter:   func() reactor.Filter { return dialer.Conn("gateway.test") },
	})
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	reply, err := session.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: []byte("hello")})
	check(err)
	fmt.Println(reply.Code, string(reply.Payload))
	check(session.Post(func(s *framer.Session) { s.Close(nil) })) // a gateway that shuts down waits for its clients, within limits
}

// files makes a directory with a throw-away certificate and its key, and the roots that trust it.
func files() (dir string, roots *x509.CertPool) {
	dir, err := os.MkdirTemp("", "gateway")
	check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(0, 3, 0),
		DNSNames: []string{"gateway.test"}, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	write := func(name, kind string, der []byte) []byte {
		b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		check(os.WriteFile(filepath.Join(dir, name), b, 0o600))
		return b
	}
	write("tls.key", "PRIVATE KEY", keyDER)
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(write("tls.crt", "CERTIFICATE", cert))
	return dir, roots
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
