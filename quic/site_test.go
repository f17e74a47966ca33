package quic_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

const (
	// patience is for what must happen and has no deadline of its own; a busy machine under the race detector is slow.
	patience = 20 * time.Second
	// deadline is every deadline of a site that is attacked.
	deadline = 400 * time.Millisecond
	// listed is the app_proto_id that may be used early, other one that may not.
	listed, other = 7, 8
)

// plan is what a site is made from.
type plan struct {
	reactor reactor.Config
	listen  quic.ListenConfig
	frames  framer.Options
	addr    string
	tickets [32]byte
}

// site is a listener whose handler echoes, and what it has seen.
type site struct {
	t    *testing.T
	r    *reactor.Reactor
	lis  *quic.Listener
	end  *framer.Endpoint
	addr string

	mu     sync.Mutex
	seen   map[uint16]int    // frames that the handler got, by app_proto_id
	ends   map[string]int    // streams that have ended, by reason; "" for a clean end
	codes  map[quic.Code]int // connections that have ended, by code
	failed map[string]int    // connections that never opened, by reason
	moved  int               // OnConnMigrated
	early  map[bool]int      // frames that the handler got, by Session.Early
}

// newSite starts a site. At the end of the test everything must be back: connections, buffers, goroutines, descriptors.
func newSite(t *testing.T, change func(*plan)) *site {
	t.Helper()
	if p, q, err := os.Pipe(); err == nil { // the runtime's own poller keeps two descriptors from its first use on
		_ = errors.Join(p.Close(), q.Close())
	}
	fds, ignore := openFDs(t), goleak.IgnoreCurrent()
	s := &site{t: t, seen: map[uint16]int{}, ends: map[string]int{}, codes: map[quic.Code]int{}, failed: map[string]int{}, early: map[bool]int{}}
	p := plan{addr: "127.0.0.1:0", tickets: [32]byte{1}, reactor: reactor.Config{Loops: 2, Poison: true, ShutdownGrace: deadline, LingerTimeout: deadline}}
	p.frames.Transports, p.frames.EarlyApps = []string{"quic"}, []uint16{listed}
	if change != nil {
		change(&p)
	}
	var err error
	if s.end, err = framer.NewEndpoint(s, p.frames); err != nil {
		t.Fatal(err)
	}
	if s.r, err = reactor.New(p.reactor); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.finish(fds, ignore) })
	server, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{pki().cert}}})
	if err = errors.Join(err, server.SetSessionTicketKeys([][32]byte{p.tickets})); err != nil {
		t.Fatal(err)
	}
	lc := p.listen
	lc.TLS, lc.Conns = server.QUIC(), s
	lc.Protocol = func(c *reactor.Conn) reactor.Protocol { return s.end.Session(c) }
	lc.Refuse = func(c *reactor.Conn, cause error) { s.end.Refuse(c, cause) }
	lc.OnError = func(_ net.Addr, err error) { s.count(func() { s.failed[reasonOf(err)]++ }) }
	if s.lis, err = quic.Listen(s.r, p.addr, lc); err != nil {
		t.Fatal(err)
	}
	s.addr = s.lis.Addr().String()
	return s
}

// finish ends the site and looks for what is left.
func (s *site) finish(fds int, ignore goleak.Option) {
	t := s.t
	s.eventually("all connections are gone and all buffers back", func() bool {
		if s.lis != nil && (s.lis.Stats().Conns != 0 || s.lis.Stats().HalfOpen != 0) {
			return false
		}
		st := s.r.Stats()
		return st.Conns == 0 && st.PoolOutstanding <= int64(s.r.Loops()) // each loop may keep its scratch buffer
	})
	if st := s.r.Stats(); st.Panics != 0 {
		t.Errorf("%d panics", st.Panics)
	}
	s.shutdown()
	for _, l := range s.r.Leaks() {
		t.Errorf("leaked buffer: %s", l)
	}
	goleak.VerifyNone(t, ignore)
	s.eventually("descriptors are back", func() bool { return openFDs(t) <= fds })
}

// shutdown ends the site in good order; it may be called twice.
func (s *site) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.r.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
}

func (s *site) count(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// number reads a counter of the site's.
func (s *site) number(f func() int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// OnOpen, OnFrame and OnClose make the site a framer.Handler: an echo.
func (s *site) OnOpen(*framer.Session) {}

func (s *site) OnFrame(c *framer.Session, f *framer.Frame) {
	s.count(func() { s.seen[f.AppProtoID]++; s.early[c.Early()]++ })
	if f.Flags&framer.FlagReq != 0 {
		_ = c.Reply(f, 200, f.Payload) // fails when the stream is closing: OnClose has the cause
	}
}

func (s *site) OnClose(_ *framer.Session, cause error) { s.count(func() { s.ends[reasonOf(cause)]++ }) }

// OnConnOpen, OnConnMigrated and OnConnClose make it a quic.ConnHandler.
func (s *site) OnConnOpen(*quic.Conn) {}

func (s *site) OnConnMigrated(c *quic.Conn, from net.Addr) {
	if from.String() == c.RemoteAddr().String() {
		s.t.Error("migrated to where it was")
	}
	s.count(func() { s.moved++ })
}

func (s *site) OnConnClose(_ *quic.Conn, code quic.Code, _ error) {
	s.count(func() { s.codes[code]++ })
}

// sees waits until the handler has got n frames of an application.
func (s *site) sees(app uint16, n int) {
	s.t.Helper()
	s.eventually("the handler gets the frames", func() bool { return s.number(func() int { return s.seen[app] }) >= n })
}

// ended waits until n streams have ended for a reason.
func (s *site) ended(reason string, n int) {
	s.t.Helper()
	s.eventually("streams end as "+reason, func() bool { return s.number(func() int { return s.ends[reason] }) >= n })
	s.eventually("and are counted", func() bool { return reason == "" || s.r.Stats().ClosedBy[reason] >= uint64(n) })
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("not in time: %s (frames %v, streams %v, connections %v, failed %v, %+v, %+v)", what, s.seen, s.ends, s.codes, s.failed,
				s.r.Stats(), s.lis.Stats())
		}
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// reasonOf is the canon's word for an error, "" for none; an error without one is a mistake.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	if r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return r.Reason()
	}
	return "no reason: " + err.Error()
}

// authority is a certificate for localhost and the pool that trusts it.
type authority struct {
	cert stdtls.Certificate
	pool *x509.CertPool
	der  []byte
}

// pki is the process's.
var pki = sync.OnceValue(func() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	a := &authority{pool: x509.NewCertPool()}
	a.der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(err)
	leaf, err := x509.ParseCertificate(a.der)
	must(err)
	a.pool.AddCert(leaf)
	a.cert = stdtls.Certificate{Certificate: [][]byte{a.der}, PrivateKey: key, Leaf: leaf}
	return a
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// clientTLS trusts every site and keeps sessions.
func clientTLS() *stdtls.Config {
	return &stdtls.Config{RootCAs: pki().pool, ServerName: "localhost", NextProtos: []string{quic.ALPN},
		ClientSessionCache: stdtls.NewLRUClientSessionCache(4)}
}
