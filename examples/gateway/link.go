package main

import (
	lists "container/list"
	"context"
	stdtls "crypto/tls"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// firstCorr is the first corr_id of forwarded requests: the session's own (HELLO) count from 1.
const firstCorr = 1 << 32

// shard is what belongs to one loop: the connections to upstreams, which all clients of the loop share. Nothing of it is used by
// another loop, so a frame crosses the gateway without a lock and without changing loops. Loop only.
type shard struct {
	g      *gateway
	loop   int           // its index
	near   *reactor.Conn // of the loop, to have connections made there; nil before the first client
	links  map[target]*link
	all    []*link // also those that are leaving
	sick   map[target]*health
	downs  int // clients' sessions
	copied int // bytes of answers that wait for clients without a permit
	ending bool
}

// linkState is the life of a link; it only moves downwards.
type linkState uint8

const (
	// linkOpening: it is being dialled, or has not answered our HELLO.
	linkOpening linkState = iota
	// linkOpen: requests are sent.
	linkOpen
	// linkLeaving: the upstream shuts down, or we do: no new requests, those under way are answered, then it is closed.
	linkLeaving
	// linkClosed. Final.
	linkClosed
)

// link is a connection to an upstream. Loop only.
type link struct {
	sh    *shard
	to    target
	state linkState
	s     *framer.Session // nil until the connection is open
	next  uint64
	calls map[uint64]*call // sent, by our corr_id
	more  lists.List       // of *call: of those, the ones with further frames to be sent
	queue lists.List       // of *call: not sent yet
	spare bool             // no route leads to it any more: it ends with its calls
	heard uint64           // frames that have come
	held  int              // permits that answers have which wait for clients to read
}

// start gives a call to an upstream: the first of the route's that has not failed lately, a later one with each try.
func (sh *shard) start(c *call) {
	c.state = callQueued
	c.tries++
	to := sh.choose(c.to, c.tries-1)
	l := sh.links[to]
	if l == nil {
		l = sh.open(to, sh.g.policy.Load())
	}
	c.link = l
	l.enqueue(c)
	l.pump()
}

// open begins a link.
func (sh *shard) open(to target, p *policy) *link {
	l := &link{sh: sh, to: to, next: firstCorr, calls: map[uint64]*call{}, spare: !p.routes.has(to)}
	if !l.spare {
		sh.links[to] = l
	}
	sh.all = append(sh.all, l)
	sh.g.dial.start(l, sh.near, openTime(p))
	return l
}

// warm opens the links that the next request will want: it then waits for no handshake, and one that comes just before a shutdown, when
// no new connection can be made, finds its upstream.
func (sh *shard) warm(p *policy) {
	open := func(r *route) {
		if r == nil || len(r.targets) == 0 || sh.links[r.targets[0]] != nil || sh.cold(r.targets[0]) {
			return
		}
		sh.open(r.targets[0], p)
	}
	open(p.routes.any)
	for _, r := range p.routes.byApp {
		open(r)
	}
}

// choose is the upstream of a call's next try, after others.
func (sh *shard) choose(r *route, tries int) target {
	all := r.targets
	for i := range all {
		if t := all[(tries+i)%len(all)]; !sh.cold(t) {
			return t
		}
	}
	return all[tries%len(all)]
}

func (l *link) enqueue(c *call) {
	q := &l.queue
	if l.has(c) {
		q = &l.more
	}
	c.place = q.PushBack(c)
}

// unqueue takes c out of the queue, if it is there. The list knows whose its elements are.
func (l *link) unqueue(c *call) {
	if c.place != nil {
		l.queue.Remove(c.place)
		l.more.Remove(c.place)
		c.place = nil
	}
}

// full says whether a request would have to wait behind as many as may.
func (l *link) full(p *policy) bool { return l.queue.Len() >= p.Queue }

// pump sends what waits, as far as the upstream reads and its permits go.
func (l *link) pump() {
	if l.state != linkOpen && l.state != linkLeaving || l.s == nil {
		return
	}
	limit := l.sh.g.policy.Load().Inflight
	for l.s.Writable() {
		c := l.eligible(limit)
		if c == nil {
			return
		}
		if !l.has(c) {
			c.up = l.next
			l.next++
			l.calls[c.up] = c
			c.d.sent++
			c.heard = l.heard
			l.unqueue(c)
			l.enqueue(c)
		}
		if !c.write(l) {
			return
		}
		if c.state == callDone || c.link != l {
			continue // write has failed it, which has taken it out of the queue
		}
		l.unqueue(c)
		c.state = callSent
		if c.head.Flags&framer.FlagReq == 0 && !c.stream {
			c.finish()
		}
	}
}

// has says whether some of c may have been sent on the link.
func (l *link) has(c *call) bool { return c.up != 0 && l.calls[c.up] == c }

// eligible is the first call of the queue whose turn it is; nil when none may be sent now. A client that does not read its answers gets no
// more of them, and one client never has more than a part of the permits: what it does not read stays in our hands, and holds the
// upstream's connection, which others use as well.
func (l *link) eligible(limit int) *call {
	if e := l.more.Front(); e != nil {
		return e.Value.(*call)
	}
	if l.state != linkOpen || len(l.calls) >= limit {
		return nil
	}
	for e := l.queue.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*call); len(c.d.held) == 0 && c.d.sent < max(1, limit/clientShare) {
			return c
		}
	}
	return nil
}

// shared says whether others than d wait for answers.
func (l *link) shared(d *down) bool {
	for _, c := range l.calls {
		if c.d != d {
			return true
		}
	}
	return false
}

// forget takes a call off the link.
func (l *link) forget(c *call) {
	if l.has(c) {
		c.endStream(l)
		delete(l.calls, c.up)
		c.d.sent--
	}
	l.unqueue(c)
	c.link, c.up = nil, 0
	l.settle()
	l.later()
}

// later pumps when the present callback is over: within it, the queue may be in use.
func (l *link) later() {
	if l.s != nil && l.queue.Len()+l.more.Len() > 0 {
		_ = l.s.Post(func(*framer.Session) { l.pump() })
	}
}

// settle closes a leaving or spare link that nobody waits for.
func (l *link) settle() {
	if (l.state == linkLeaving || l.state == linkOpen && l.spare) && l.s != nil && len(l.calls) == 0 && l.queue.Len() == 0 {
		l.s.Close(nil)
	}
}

// leave has new calls use another connection, and hands those over that have not been sent.
func (l *link) leave() {
	if l.state >= linkLeaving {
		return
	}
	l.state = linkLeaving
	if l.sh.links[l.to] == l {
		delete(l.sh.links, l.to)
	}
	for _, c := range drain(&l.queue) {
		c.link = nil
		c.tries-- // it has not been tried here
		l.sh.start(c)
	}
	l.settle()
}

// drain empties a list of calls.
func drain(q *lists.List) (all []*call) {
	for e := q.Front(); e != nil; e = e.Next() {
		c := e.Value.(*call)
		c.place = nil
		all = append(all, c)
	}
	q.Init()
	return all
}

// retire has a link that no route leads to any more end with the calls that it has.
func (l *link) retire() {
	if l.sh.links[l.to] == l {
		delete(l.sh.links, l.to)
	}
	l.spare = true
	l.settle()
}

// closed is called once, when the connection has ended or could not be made.
func (l *link) closed(cause error) {
	if l.state == linkClosed {
		return
	}
	was := l.state
	l.state = linkClosed
	sh := l.sh
	if sh.links[l.to] == l {
		delete(sh.links, l.to)
	}
	for i, o := range sh.all {
		if o == l {
			sh.all = append(sh.all[:i], sh.all[i+1:]...)
			break
		}
	}
	if was == linkOpening || cause != nil && reasonOf(cause) != reactor.ReasonIdleTimeout { // one that nobody uses may end
		sh.g.counts.linksLost.Add(1)
		sh.fail(l.to, cause)
	}
	calls := l.calls
	l.calls = map[uint64]*call{}
	drain(&l.more) // they are among calls
	for _, c := range drain(&l.queue) {
		c.lost()
	}
	for _, c := range calls {
		c.up = 0
		c.d.sent--
		c.lost()
	}
}

// settle ends the links of a loop whose last client has gone while the gateway ends.
func (sh *shard) settle() {
	if !sh.ending || sh.downs > 0 {
		return
	}
	for _, l := range append([]*link(nil), sh.all...) {
		l.leave()
		l.settle()
	}
}

// upstream is the handler of connections to upstreams.
type upstream struct{}

// OnOpen implements framer.Handler: the upstream is asked how large frames may be, and whether it is ready.
func (upstream) OnOpen(s *framer.Session) {
	l := s.UserData().(*link)
	l.s = s
	within := openTime(l.sh.g.policy.Load())
	go func() { // Hello waits, which a loop must not; it ends with the session at the latest
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		_, err := s.Hello(ctx, "ron-transport gateway")
		_ = s.Post(func(s *framer.Session) {
			switch {
			case err != nil:
				s.Close(err)
				l.closed(err)
			case l.state == linkOpening:
				l.state = linkOpen
				l.sh.g.counts.links.Add(1)
				l.sh.found(l.to)
				l.pump()
				l.settle()
			default:
				l.settle()
			}
		})
	}()
}

// OnFrame implements framer.Handler.
func (upstream) OnFrame(s *framer.Session, f *framer.Frame) {
	l := s.UserData().(*link)
	l.heard++
	if s.Leaving() {
		l.leave()
	}
	if c := l.calls[f.CorrID]; c != nil && f.Flags&framer.FlagResp != 0 {
		if l.state == linkOpen {
			delete(l.sh.sick, l.to)
		}
		c.answer(f)
		l.pump()
	}
}

// OnDrained implements framer.Drainer: the upstream has read.
func (upstream) OnDrained(s *framer.Session) { s.UserData().(*link).pump() }

// OnClose implements framer.Handler.
func (upstream) OnClose(s *framer.Session, cause error) {
	if l, ok := s.UserData().(*link); ok {
		l.closed(cause)
	}
}

// linkProtocol is a session that does not end with the first moment of a shutdown: clients are still owed answers from behind it.
type linkProtocol struct {
	*framer.Session
	l *link
}

// OnShutdown implements reactor.Leaver: the link stays until the last client of its loop has gone.
func (p linkProtocol) OnShutdown() (stay bool) {
	p.l.sh.ending = true
	return p.l.sh.downs > 0 || len(p.l.calls) > 0
}

// dialer makes links.
type dialer struct {
	loops *reactor.Reactor
	end   *framer.Endpoint
	tls   *tls.Client
}

func newDialer(loops *reactor.Reactor, c *Config) (*dialer, error) {
	o := framer.Options{KeepCompressed: true} // what an upstream has compressed goes on as it is
	end, err := framer.NewEndpoint(upstream{}, o)
	if err != nil {
		return nil, err
	}
	conf := &stdtls.Config{ClientSessionCache: stdtls.NewLRUClientSessionCache(0)}
	if c.Forward.CA != "" {
		if conf.RootCAs, err = readRoots(c.Forward.CA); err != nil {
			return nil, err
		}
	}
	client, err := tls.NewClient(tls.Config{TLS: conf, AESGCM: c.TLS.AESGCM})
	return &dialer{loops: loops, end: end, tls: client}, err
}

// start dials for a link, on the loop of near, and gives it a time for the look-up of the name, and once more for connect and handshake.
// The name is looked up on another goroutine, because that may wait.
func (d *dialer) start(l *link, near *reactor.Conn, within time.Duration) {
	go func() { // ends with the look-up
		if err := d.dial(l, near, within); err != nil {
			_ = d.loops.Post(near.Loop(), func() { l.closed(err) }) // a loop that has stopped has no clients left
		}
	}()
}

// dial is start, on a goroutine of its own.
func (d *dialer) dial(l *link, near *reactor.Conn, within time.Duration) error {
	host, port, err := net.SplitHostPort(l.to.addr)
	if err != nil {
		return err
	}
	dc := reactor.DialConfig{Near: near, Timeout: within, Protocol: func(c *reactor.Conn) reactor.Protocol {
		s := d.end.Session(c)
		s.SetUserData(l) // before the loop knows of the connection
		return linkProtocol{s, l}
	}}
	if l.to.tls {
		dc.Filter = func() reactor.Filter { return d.tls.Conn(host) }
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	i := max(0, slices.IndexFunc(ips, func(a netip.Addr) bool { return a.Unmap().Is4() })) // as net.Dial without the race for both
	_, err = d.loops.Dial("tcp", net.JoinHostPort(ips[i].Unmap().String(), port), dc)
	return err
}
