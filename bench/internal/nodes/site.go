package nodes

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// Config is one run. Messages of Validate name the command-line flag.
type Config struct {
	Gateway, HAProxy string // programs
	Loopback         bool   // no namespaces, but addresses of the loopback network
	OwnKeys          bool   // every node has ticket keys of its own: what happens without the shared file

	Resumptions int           // connections that come with a ticket
	Conns       int           // connections of the load
	RPS         int           // requests due per second, over all of them
	Payload     int           // bytes of each request and reply
	Window      time.Duration // load before, between and after what happens
	Delay       time.Duration // the gateways' drain.delay

	Progress func(line string) // may be nil; any goroutine calls it
}

// Validate checks every field; all faults are reported together.
func (c *Config) Validate() error {
	return errors.Join(
		load.CheckRange("resumptions", c.Resumptions, MinResumptions, MaxResumptions), load.CheckRange("conns", c.Conns, Nodes, MaxConns),
		load.CheckRange("rps", c.RPS, max(c.Conns, 1), MaxRPS), load.CheckRange("payload", c.Payload, 0, load.MaxPayload),
		load.CheckDuration("duration", c.Window, load.MinWindow, load.MaxWindow), load.CheckDuration("drain-delay", c.Delay, MinDelay, MaxDelay))
}

// site is everything that runs, and what it needs. For one goroutine.
type site struct {
	cfg      Config
	dir      string
	files    *cert.Files
	net      *network
	balancer *balancer
	nodes    []*node
}

// Run starts the balancer and the nodes, and measures. What is in the report when ctx ends early, or something breaks, is what was done until
// then. Everything that was started has ended when it returns.
func Run(ctx context.Context, cfg Config) (r *report.Nodes, err error) {
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	s := &site{cfg: cfg}
	defer func() { err = errors.Join(err, s.close()) }()
	r = &report.Nodes{Nodes: Nodes, Network: "network namespaces", OwnKeys: cfg.OwnKeys, Conns: cfg.Conns, RPS: cfg.RPS, Payload: cfg.Payload, DelayS: cfg.Delay.Seconds()}
	if cfg.Loopback {
		r.Network = "loopback addresses"
	}
	if err := s.open(ctx); err != nil {
		return r, err
	}
	if r.Resumption, err = s.resumption(ctx); err != nil {
		return r, err
	}
	return r, s.underLoad(ctx, r)
}

// open starts everything.
func (s *site) open(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "ronbench-nodes-"); err != nil {
		return err
	}
	if s.net = openLoopback(); !s.cfg.Loopback {
		if s.net, err = openNamespaces(); err != nil {
			return err
		}
	}
	if s.files, err = cert.Make(); err != nil {
		return err
	}
	for i := range Nodes {
		if !s.cfg.OwnKeys && i > 0 {
			break
		}
		if err := certs.WriteTicketFile(s.tickets(i), []certs.TicketKey{certs.NewTicketKey(time.Now())}); err != nil {
			return err
		}
	}
	if s.balancer, err = startBalancer(s.net, s.cfg.HAProxy, s.dir); err != nil {
		return err
	}
	for i := range Nodes {
		s.cfg.Progress(fmt.Sprintf("starting node %d of %d", i+1, Nodes))
		n, err := s.newNode(i)
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, n)
		if err := n.start(ctx, s.balancer); err != nil {
			return errors.Join(err, s.broken())
		}
		if err := s.mustAnnounce(i); err != nil {
			return err
		}
	}
	return nil
}

// mustAnnounce finds out that a node serves nobody whom the balancer has not announced. All that is measured comes through the balancer, so with that it is
// shown that the nodes read its PROXY headers.
func (s *site) mustAnnounce(i int) error {
	addr := net.JoinHostPort(s.net.addrs[i], framePort)
	return s.net.atHub()(func() error { // an address and no name: the socket is made on this thread
		c, err := net.DialTimeout("tcp", addr, askTime)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(askTime))
		err = stdtls.Client(c, &stdtls.Config{InsecureSkipVerify: true, NextProtos: []string{"oap/1"}}).Handshake()
		_ = c.Close()
		if err == nil {
			return fmt.Errorf("%s has served a connection that the balancer did not announce", nodeName(i))
		}
		return nil
	})
}

// broken is what the balancer said, if it has ended.
func (s *site) broken() error {
	if !s.balancer.ended() {
		return nil
	}
	return fmt.Errorf("the balancer has ended: %s", s.balancer.last())
}

// close ends everything.
func (s *site) close() error {
	var errs []error
	for _, n := range s.nodes {
		if n.process != nil && !n.ended() { // the load is over: nothing is owed
			n.kill()
		}
	}
	if s.balancer != nil {
		errs = append(errs, s.balancer.close())
	}
	if s.net != nil {
		errs = append(errs, s.net.close())
	}
	if s.files != nil {
		errs = append(errs, s.files.Remove())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// tickets is the ticket key file of a node: the one that all share, unless each is to have its own.
func (s *site) tickets(node int) string {
	name := "tickets"
	if s.cfg.OwnKeys {
		name += "-" + nodeName(node)
	}
	return filepath.Join(s.dir, name)
}

// rekey changes the ticket keys.
func (s *site) rekey(change func([]certs.TicketKey) []certs.TicketKey) error {
	for i := range Nodes {
		if !s.cfg.OwnKeys && i > 0 {
			break
		}
		keys, err := certs.ReadTicketFile(s.tickets(i))
		if err == nil {
			err = certs.WriteTicketFile(s.tickets(i), change(keys))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// The steps of a rotation in which every node knows a key before any encrypts with it: as examples/gateway/kubernetes/keys.sh has it.
func stage(keys []certs.TicketKey) []certs.TicketKey {
	return slices.Insert(keys, 1, certs.NewTicketKey(keys[0].Made()))
}

func promote(keys []certs.TicketKey) []certs.TicketKey {
	keys[0], keys[1] = keys[1], keys[0]
	return keys
}

func retire(keys []certs.TicketKey) []certs.TicketKey { return keys[:1] }

// reload has all nodes read their keys, and waits until they have.
func (s *site) reload(ctx context.Context) error {
	var errs []error
	for _, n := range s.nodes {
		errs = append(errs, n.reload(ctx))
	}
	return errors.Join(errs...)
}

// resumption has one client connect again and again, each time with the ticket of the connection before, which was at another node: the balancer
// takes the nodes in turn. Meanwhile the ticket keys are rotated. A third of the connections is before, a third in the midst of it, and for the
// last third the old key is gone.
func (s *site) resumption(ctx context.Context) (*report.NodesResumption, error) {
	r := &report.NodesResumption{ByNode: make([]int, Nodes)}
	c, err := newClient(s.net, s.balancer, 1)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.trust(s.files); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	promoted := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	third := s.cfg.Resumptions / 3
	ticketOf := -1 // the node whose ticket the client has
	for i := 0; i <= s.cfg.Resumptions; i++ {
		switch i {
		case third:
			if err = s.rekey(stage); err == nil {
				err = s.reload(ctx)
			}
		case third + third/2:
			if err = s.rekey(promote); err == nil {
				wg.Go(func() { promoted <- s.reload(ctx) }) // connections come meanwhile
			}
		case 2 * third:
			if err = <-promoted; err == nil {
				if err = s.rekey(retire); err == nil {
					if err = s.reload(ctx); err == nil {
						r.Rotations++
					}
				}
			}
		}
		if err != nil {
			return r, err
		}
		ticketOf, err = s.resume(ctx, c, r, ticketOf)
		if err != nil {
			return r, err
		}
		if i%20 == 0 {
			s.cfg.Progress(fmt.Sprintf("resumption: %d of %d connections, %d came to another node than their ticket, %d of them resumed", i, s.cfg.Resumptions, r.Elsewhere, r.Resumed))
		}
	}
	r.Complete = true
	return r, nil
}

// resume is one connection; it returns the node whose ticket the client has then.
func (s *site) resume(ctx context.Context, c *client, r *report.NodesResumption, ticketOf int) (int, error) {
	l, err := c.dial(ctx)
	if err == nil {
		err = l.ask(ctx, 1, s.cfg.Payload)
	}
	if ctx.Err() != nil {
		return ticketOf, errors.Join(ctx.Err(), l.close())
	}
	if ticketOf >= 0 {
		r.Conns++
	}
	if err != nil {
		r.Failed++
		r.Note(err)
		return ticketOf, errors.Join(l.close(), sched.Sleep(ctx, retryPause))
	}
	if ticketOf >= 0 {
		r.ByNode[l.node]++
		if l.node != ticketOf {
			r.Elsewhere++
			if l.resumed {
				r.Resumed++
			}
		}
	}
	return l.node, l.close()
}
