package quic

import (
	"context"
	"errors"
	"net"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// path is a socket that a connection has moved to, or tries to.
type path struct {
	*port
	qp *quicgo.Path
}

// leave gives the path up, and its connection ID, of which the peer grants only a few. Its transport stays until the connection
// ends: quic-go would end the connection with it.
func (p *path) leave() {
	_ = p.qp.Close() // an error says that the connection is on it, and then it is about to end
	p.sock.leave()
}

// errMoves is the end of moving.
var errMoves error = &Error{Why: "rate_limited", Msg: "connection has moved too often"}

// Migrate moves a dialled connection to a new socket, bound to local ("host:port"; "" for any of the family): it is probed first
// (RFC 9000, §9), and when the peer answers there within ctx the connection goes on over it, with all its streams. The peer sees
// another address. On an error it goes on where it was. After 64 attempts, successful or not, it is refused with rate_limited. Any
// goroutine except a loop's: it blocks.
func (c *Conn) Migrate(ctx context.Context, local string) error {
	if c.accepted {
		return errors.New("quic: Migrate of an accepted connection; only the end that dialled can move")
	}
	c.moving.Lock()
	defer c.moving.Unlock()
	if len(c.left) >= maxLeft {
		return errMoves
	}
	if local == "" {
		local = anyAddr(c.remote.(*net.UDPAddr).IP.To4() == nil)
	}
	sock, err := openSocket(c.ep.r, c.loop, local, c.ep.cfg)
	if err != nil {
		return err
	}
	p := &path{port: newPort(c.loop, sock, steering{0, 1}, nil, nil)}
	if p.qp, err = c.qc.AddPath(p.tr); err != nil {
		p.close()
		return c.migrateError(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.qc.Context(), cancel)() // a probe does not notice the connection's end
	if err = p.qp.Probe(ctx); err == nil {
		err = p.qp.Switch()
	}
	if !c.moved(p, err == nil) {
		p.close()
		return c.endError(err)
	}
	if err != nil {
		return c.migrateError(err)
	}
	return nil
}

// migrateError translates why a migration failed: the connection goes on where it was.
func (c *Conn) migrateError(err error) error {
	if context.Cause(c.qc.Context()) != nil {
		return c.endError(err)
	}
	return &Error{Why: reactor.ReasonIO, Msg: "migration failed", Err: err}
}

// moved notes the socket that the connection uses now, or has tried in vain; false when the connection has ended.
func (c *Conn) moved(p *path, ok bool) bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	old := p
	if ok {
		old = nil
		if c.paths = append(c.paths, p); len(c.paths) > keptPaths {
			old, c.paths = c.paths[0], c.paths[1:]
		}
	}
	if old != nil {
		c.left = append(c.left, old)
	}
	c.mu.Unlock()
	if old != nil {
		old.leave()
	}
	return true
}
