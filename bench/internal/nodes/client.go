package nodes

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// appProto is the application of the requests.
const appProto = 7

// client dials the balancer. Any goroutine, once trust has returned.
type client struct {
	net      *network
	balancer *balancer
	sessions stdtls.ClientSessionCache
	loops    *reactor.Reactor
	end      *framer.Endpoint
	tls      *tls.Client
}

// newClient starts a client that keeps so many sessions. The caller closes it.
func newClient(n *network, b *balancer, sessions int) (*client, error) {
	c := &client{net: n, balancer: b, sessions: stdtls.NewLRUClientSessionCache(sessions)}
	var err error
	if c.end, err = framer.NewEndpoint(handler{}, framer.Options{}); err != nil {
		return nil, err
	}
	c.loops, err = reactor.New(reactor.Config{Loops: 1, IdleTimeout: -1}) // a load may be as slow as its timetable says
	return c, err
}

// trust says whose certificate the nodes have.
func (c *client) trust(files *cert.Files) error {
	roots, err := cert.Pool(files.Cert)
	if err != nil {
		return err
	}
	c.tls, err = tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: roots, MinVersion: stdtls.VersionTLS13, ClientSessionCache: c.sessions}})
	return err
}

func (c *client) close() { _ = c.loops.Close() }

// link is one connection. Its methods may be called with nil.
type link struct {
	session *framer.Session
	opened  chan struct{}
	closed  chan struct{} // after that cause and told are set
	cause   error
	told    bool // its node had said goodbye
	node    int  // where it goes
	resumed bool // its handshake was short
}

// handler is told of links' beginnings and ends.
type handler struct{}

func (handler) OnOpen(s *framer.Session)               { close(s.UserData().(*link).opened) }
func (handler) OnFrame(*framer.Session, *framer.Frame) {} // the goodbye: Ask heeds it
func (handler) OnClose(s *framer.Session, cause error) {
	l := s.UserData().(*link)
	l.cause, l.told = cause, s.Leaving()
	close(l.closed)
}

// dial connects, and finds out to which node. The link is to be closed also when there is an error.
func (c *client) dial(ctx context.Context) (*link, error) {
	l := &link{opened: make(chan struct{}), closed: make(chan struct{})}
	var t *tls.Conn
	var conn *reactor.Conn
	err := c.net.atHub()(func() (err error) { // the socket is made on this thread
		conn, err = c.loops.Dial("tcp", c.balancer.addr, reactor.DialConfig{
			Timeout: askTime,
			Filter: func() reactor.Filter {
				t = c.tls.Conn("localhost")
				return t
			},
			Protocol: func(rc *reactor.Conn) reactor.Protocol {
				l.session = c.end.Session(rc)
				l.session.SetUserData(l)
				return l.session
			},
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-l.opened:
	case <-l.closed:
		return l, l.end()
	case <-ctx.Done():
		return l, ctx.Err()
	}
	l.resumed = t.State().Resumed
	l.node, err = c.balancer.nodeOf(ctx, conn.LocalAddr())
	return l, err
}

// end is why a closed link has ended.
func (l *link) end() error {
	if l.cause == nil {
		return errors.New("the node closed the connection")
	}
	return l.cause
}

// over says whether the link has ended.
func (l *link) over() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// payload fills b with what request seq carries.
func payload(b []byte, seq uint64) {
	var word [8]byte
	for i := 0; i < len(b); i += len(word) {
		binary.BigEndian.PutUint64(word[:], seq*0x9e3779b97f4a7c15+uint64(i))
		copy(b[i:], word[:])
	}
}

// ask sends request seq, and compares the answer.
func (l *link) ask(ctx context.Context, seq uint64, size int) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	want := make([]byte, size)
	payload(want, seq)
	f, err := l.session.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: appProto}, Payload: want})
	if err != nil {
		return err
	}
	if !bytes.Equal(f.Payload, want) {
		return fmt.Errorf("request %d of %d bytes was answered with %d other ones", seq, size, len(f.Payload))
	}
	return nil
}

// close ends the link in order, and waits for that.
func (l *link) close() error {
	if l == nil {
		return nil
	}
	if err := l.session.Post(func(s *framer.Session) { s.Close(nil) }); err == nil {
		<-l.closed // the reactor's deadlines see to it
	}
	return nil
}

// abort ends the link at once.
func (l *link) abort() {
	if l != nil {
		_ = l.session.Post(func(s *framer.Session) { s.Abort(nil) })
	}
}
