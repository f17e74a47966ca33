package dashboards

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tor"
)

// app is the app_proto_id of the load.
const app = 7

// nobody is the handler of clients: they are asked nothing.
type nobody struct{}

func (nobody) OnOpen(*framer.Session)                 {}
func (nobody) OnFrame(*framer.Session, *framer.Frame) {}
func (nobody) OnClose(*framer.Session, error)         {}

// clients are connections to gateways, over every transport.
type clients struct {
	loops  *reactor.Reactor
	end    *framer.Endpoint
	tls    *tls.Client
	quic   *quic.Dialer
	wary   *quic.Dialer // trusts nobody
	tor    *tor.Tor     // nil: there is no Tor network
	socket string       // of its control port
}

func newClients(t *testing.T, ca *authority, torSocket string) *clients {
	t.Helper()
	c := &clients{socket: torSocket}
	var errs [6]error
	c.loops, errs[0] = reactor.New(reactor.Config{Loops: 1})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	c.end, errs[1] = framer.NewEndpoint(nobody{}, framer.Options{})
	c.tls, errs[2] = tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: ca.roots, ClientSessionCache: stdtls.NewLRUClientSessionCache(64)}})
	c.quic, errs[3] = quic.NewDialer(c.loops, quic.DialerConfig{TLS: &stdtls.Config{RootCAs: ca.roots}})
	c.wary, errs[4] = quic.NewDialer(c.loops, quic.DialerConfig{TLS: &stdtls.Config{}})
	if torSocket != "" {
		c.tor, errs[5] = tor.Open(tor.Config{Control: "unix:" + torSocket})
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.loops.Close()
		if c.tor != nil {
			_ = c.tor.Close()
		}
	})
	return c
}

// dial connects over a transport.
func (c *clients) dial(transport, addr string) (s *framer.Session, err error) {
	protocol := func(rc *reactor.Conn) reactor.Protocol { s = c.end.Session(rc); return s }
	switch transport {
	case "quic":
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := c.quic.Dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		made := make(chan *framer.Session, 1)
		_, err = conn.OpenStream(quic.OpenConfig{Protocol: func(rc *reactor.Conn) reactor.Protocol {
			x := c.end.Session(rc)
			made <- x
			return x
		}})
		if err != nil {
			return nil, err
		}
		return <-made, nil
	case "tor":
		_, err = c.tor.Dial(c.loops, addr, tor.DialConfig{Protocol: protocol})
	case "tcp":
		_, err = c.loops.Dial("tcp", addr, reactor.DialConfig{Protocol: protocol})
	default:
		host, _, _ := net.SplitHostPort(addr)
		_, err = c.loops.Dial("tcp", addr, reactor.DialConfig{Protocol: protocol, Filter: func() reactor.Filter { return c.tls.Conn(host) }})
	}
	return s, err
}

// ask sends a request, and returns the status of the answer; 0 for none.
func ask(s *framer.Session, h framer.Header, payload []byte) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := s.Ask(ctx, &framer.Frame{Header: h, Payload: payload})
	if e, ok := errors.AsType[*framer.Error](err); ok {
		return int(e.Status())
	}
	if err != nil {
		return 0
	}
	return int(f.Code)
}

// hangUp ends a session, and the QUIC connection below it, which has no other.
func hangUp(s *framer.Session) {
	_ = s.Post(func(s *framer.Session) {
		s.Close(nil)
		if rc, ok := s.Transport().(*reactor.Conn); ok {
			if c := quic.ConnOf(rc); c != nil {
				c.Close(0, nil)
			}
		}
	})
}

// load is connections that ask all the time, come again after some requests, and never give up.
type load struct {
	answered atomic.Int64
	stop     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
}

// end stops all, and waits for that.
func (l *load) end() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

// run adds n connections to an address.
func (l *load) run(c *clients, transport, addr string, n int) {
	const perConn, pause = 40, 15 * time.Millisecond
	for range n {
		l.wg.Go(func() {
			for {
				s, err := c.dial(transport, addr)
				for i := 0; err == nil && i < perConn; i++ {
					if l.pause(pause) {
						hangUp(s)
						return
					}
					if ask(s, framer.Header{AppProtoID: app}, make([]byte, 1<<(4+i%12))) == 200 {
						l.answered.Add(1)
					}
				}
				if err == nil {
					hangUp(s)
				}
				if l.pause(pause) {
					return
				}
			}
		})
	}
}

// pause waits a little; true when the load is to end.
func (l *load) pause(d time.Duration) bool {
	select {
	case <-l.stop:
		return true
	case <-time.After(d):
		return false
	}
}
