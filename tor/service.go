package tor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor/control"
)

// ServiceConfig describes an onion service.
type ServiceConfig struct {
	// Listen is what becomes of its connections, as for Reactor.Listen. All come from tor: limits per peer and Proxy are of no use here,
	// and UnixMode, AllowUIDs and AllowGIDs are for Local.
	Listen reactor.ListenConfig
	// Port is the service's port, 1 … 65535. 0: 443.
	Port int
	// KeyFile keeps the service's key, and with it its address, over restarts. It is made with mode 0600 if it is not there. "": the key is
	// new, is written nowhere, and is lost with the Service.
	KeyFile string
	// Local is where tor connects to: "unix:/path" or "host:port" on this machine. "": for a tor that we have started a unix socket in
	// its data directory, which nobody else can reach; else a port of 127.0.0.1, which any user of this machine can.
	Local string
	// ClientAuth are the public keys (control.ClientKey.Public) of those who may connect. Without any, everybody may. Up to 512.
	ClientAuth []string
	// MaxStreams, CloseCircuit, PoW, PoWRate, PoWBurst and NonAnonymous are as in control.OnionRequest.
	MaxStreams        int
	CloseCircuit      bool
	PoW               bool
	PoWRate, PoWBurst int
	NonAnonymous      bool
}

// serviceState is the life of a Service.
type serviceState uint8

const (
	// servicePending: tor does not know of it, because tor is not there, or has refused it.
	servicePending serviceState = iota
	// serviceAdded: tor makes its introduction points and descriptor.
	serviceAdded
	// servicePublished: the descriptor is with at least one directory, so that it can be found.
	servicePublished
	// serviceClosing: no new connections come. Final.
	serviceClosing
)

// Service is an onion service whose connections are a reactor's.
type Service struct {
	t       *Tor
	r       *reactor.Reactor
	lis     *reactor.Listener
	key     onionKey
	request control.OnionRequest
	port    int
	removal sync.WaitGroup
	adding  sync.Mutex // one add at a time, and what has tor forget the service after it

	state serviceState // guarded by t.mu, as what follows
	timer *time.Timer  // of retry; nil before the first
	err   error        // pending: why tor has refused it; added: what went wrong with the last upload
}

// Listen opens an onion service and returns at once; it can be found when WaitReady has returned. Its connections are accepted by r, and r's
// Shutdown ends it. What tor refuses is an error where tor is there to refuse it, else it is in Ready and Status. Any goroutine.
func (t *Tor) Listen(r *reactor.Reactor, cfg ServiceConfig) (*Service, error) {
	if cfg.Port == 0 {
		cfg.Port = DefaultPort
	}
	svc := &Service{t: t, r: r, port: cfg.Port}
	// A check of what tor is to be told, before anything is made. The target is not known yet.
	svc.request = control.OnionRequest{Ports: []control.Port{{Virtual: cfg.Port}}, Detach: t.cfg.Control == "", ClientAuth: cfg.ClientAuth,
		MaxStreams: cfg.MaxStreams, CloseCircuit: cfg.CloseCircuit, PoW: cfg.PoW, PoWRate: cfg.PoWRate, PoWBurst: cfg.PoWBurst,
		NonAnonymous: cfg.NonAnonymous}
	if err := svc.request.Validate(); err != nil {
		return nil, fmt.Errorf("tor: ServiceConfig: %w", err)
	}
	var err error
	if svc.key, err = serviceKey(cfg.KeyFile); err != nil {
		return nil, err
	}
	svc.request.Key = svc.key.secret
	if err := svc.listen(cfg); err != nil {
		return nil, err
	}
	if err := t.enter(svc); err != nil {
		return nil, errors.Join(err, svc.lis.Close())
	}
	err = r.AddService(svc)
	if err == nil {
		err = svc.announce()
	}
	if err != nil {
		return nil, errors.Join(err, svc.Close())
	}
	return svc, nil
}

// serviceKey is the key in a file, or a new one.
func serviceKey(file string) (onionKey, error) {
	if file == "" {
		return newOnionKey()
	}
	return loadKey(file)
}

// listen opens the listener that tor connects to.
func (svc *Service) listen(cfg ServiceConfig) (err error) {
	network, addr := "tcp", "127.0.0.1:0"
	switch {
	case cfg.Local != "":
		if network, addr, err = splitAddr(cfg.Local); err != nil {
			return fmt.Errorf("tor: ServiceConfig.Local is %q: %w", cfg.Local, err)
		}
	case svc.t.cfg.Control == "":
		network, addr = "unix", svc.t.file("hs-"+svc.key.id[:16])
	}
	if svc.lis, err = svc.r.Listen(network, addr, cfg.Listen); err != nil {
		return err
	}
	target := svc.lis.Addr().String()
	if network == "unix" {
		target = "unix:" + target
	}
	svc.request.Ports[0].Target = target
	if err := svc.request.Validate(); err != nil { // a path with a space in it
		return errors.Join(fmt.Errorf("tor: ServiceConfig.Local: %w", err), svc.lis.Close())
	}
	return nil
}

// enter puts a service on the list, from which each new control connection is told.
func (t *Tor) enter(svc *Service) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if len(t.services) >= maxServices {
		return fmt.Errorf("tor: there are %d onion services, allowed are up to %d", len(t.services), maxServices)
	}
	for _, other := range t.services {
		if other.key.id == svc.key.id {
			return fmt.Errorf("tor: there is a Service with the key of %s already", svc.Addr())
		}
	}
	t.services = append(t.services, svc)
	t.touch()
	return nil
}

// announce tells tor of a new service, if tor is there.
func (svc *Service) announce() error {
	svc.t.mu.Lock()
	c := svc.t.conn
	svc.t.mu.Unlock()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(svc.t.ctx, commandTime)
	defer cancel()
	if err := svc.add(ctx, c); err != nil && !errors.Is(err, control.ErrClosed) { // then the next connection is told
		return fmt.Errorf("tor: %s: %w", svc.Addr(), err)
	}
	return nil
}

// add tells tor of the service. What is under way when the connection breaks, or takes too long, may have been done or not: the next
// connection finds out.
func (svc *Service) add(ctx context.Context, c *control.Conn) error {
	svc.adding.Lock()
	defer svc.adding.Unlock()
	t := svc.t
	t.mu.Lock()
	if svc.state == serviceClosing || t.conn != c {
		t.mu.Unlock()
		return nil
	}
	before, request := svc.state, svc.request
	svc.state = max(before, serviceAdded) // events of it may come before the reply is seen here
	t.mu.Unlock()
	o, err := c.AddOnion(ctx, request)
	if control.IsCode(err, control.CodeUnspecified) {
		if before == servicePublished {
			return svc.settle(c, before, nil) // only the connection was lost: tor has kept it, and what is published
		}
		// Left over from a connection on which we have not heard whether it has been published.
		if c.DelOnion(ctx, svc.key.id) == nil {
			o, err = c.AddOnion(ctx, request)
		}
	}
	switch {
	case err == nil && o.ServiceID != svc.key.id:
		err = errors.Join(fmt.Errorf("the key is that of %s.onion", o.ServiceID), c.DelOnion(ctx, o.ServiceID))
		return svc.settle(c, servicePending, err)
	case err != nil && (ctx.Err() != nil || errors.Is(err, control.ErrClosed)):
		return svc.settle(c, serviceAdded, err)
	case err != nil:
		return svc.settle(c, servicePending, err)
	case before == servicePublished: // tor had lost it, and with it what was published
		t.mu.Lock()
		svc.state = min(svc.state, serviceAdded)
		t.mu.Unlock()
	}
	return svc.settle(c, serviceAdded, nil)
}

// settle notes what has become of add, unless another connection has taken c's place, and returns err. An event may have been quicker than
// the reply.
func (svc *Service) settle(c *control.Conn, s serviceState, err error) error {
	t := svc.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if svc.state == serviceClosing || t.conn != c {
		return err
	}
	svc.err = err
	if s == servicePending || svc.state < s {
		svc.state = s
	}
	if err != nil {
		svc.retry()
	}
	t.touch()
	return err
}

// retry tells tor again later of a service that it has refused, or not answered for: what it has refused it for may have been somebody
// else's, and pass. With the lock held.
func (svc *Service) retry() {
	if svc.timer == nil {
		svc.timer = time.AfterFunc(retryRefused, func() { _ = svc.announce() }) // its error is in the status
		return
	}
	svc.timer.Reset(retryRefused)
}

// lost notes that the control connection has ended. gone: and tor with it. With the lock held.
func (svc *Service) lost(gone bool) {
	if svc.state != serviceClosing && (gone || !svc.request.Detach) {
		svc.state, svc.err = servicePending, nil
	}
}

// event takes HS_DESC events of the service. With the lock held.
func (svc *Service) event(e control.Event) {
	switch {
	case svc.state != serviceAdded && svc.state != servicePublished:
	case e.Arg(0) == "UPLOADED":
		svc.state, svc.err = servicePublished, nil
	case e.Arg(0) == "FAILED" && e.Field("REASON") == "UPLOAD_REJECTED" && svc.state == serviceAdded: // others are of fetches
		svc.err = fmt.Errorf("upload of the descriptor failed: %s", e.Field("REASON"))
	}
}

// published is nil when the service can be found. With the lock held.
func (svc *Service) published() *Error {
	switch svc.state {
	case servicePublished:
		return nil
	case serviceClosing:
		return &Error{Kind: KindNotReady, Err: ErrClosed}
	case serviceAdded:
		return &Error{Kind: KindNotReady, Detail: svc.Addr() + " is not published yet", Err: svc.err, Retry: retryPublish}
	}
	return &Error{Kind: KindNotReady, Detail: svc.Addr() + " is unknown to tor", Err: svc.err, Retry: retryPublish}
}

// Addr is the service's address, "X.onion:port". Any goroutine.
func (svc *Service) Addr() string {
	return net.JoinHostPort(svc.key.id+".onion", strconv.Itoa(svc.port))
}

// Listener is the listener that tor connects to. Any goroutine.
func (svc *Service) Listener() *reactor.Listener { return svc.lis }

// Ready is nil while the service can be found and tor is bootstrapped, else an *Error that says when to try again. It is made for framer's
// Options.Ready. Any goroutine.
func (svc *Service) Ready() error {
	svc.t.mu.Lock()
	defer svc.t.mu.Unlock()
	if err := svc.t.bootstrapped(); err != nil && svc.state != serviceClosing {
		return err
	}
	if err := svc.published(); err != nil {
		return err
	}
	return nil
}

// WaitReady waits until Ready returns nil, as Tor.WaitReady does. It returns at once what tor has refused the service for. Any goroutine
// but that of OnStatus.
func (svc *Service) WaitReady(ctx context.Context) error {
	var refused error
	err := svc.t.wait(ctx, func() error {
		svc.t.mu.Lock()
		if refused = nil; svc.state == servicePending && svc.err != nil {
			refused = svc.published()
		}
		svc.t.mu.Unlock()
		if refused != nil {
			return nil // waiting does not mend it
		}
		return svc.Ready()
	})
	return errors.Join(err, refused)
}

// StopAccepting has tor forget the service, so that no new connections come; those that exist stay. It is the reactor's: Shutdown calls it.
// Any goroutine.
func (svc *Service) StopAccepting() {
	t := svc.t
	t.mu.Lock()
	c, before := t.conn, svc.state
	svc.state = serviceClosing
	t.touch()
	if before != serviceClosing && (svc.request.Detach || before != servicePending) { // detached, tor may have it though we do not know
		t.orphans[svc.key.id] = struct{}{}
		if c != nil {
			svc.removal.Add(1)
			go func() {
				defer svc.removal.Done()
				svc.adding.Lock() // not before tor has been told to add it
				defer svc.adding.Unlock()
				ctx, cancel := context.WithTimeout(t.ctx, commandTime)
				defer cancel()
				_ = t.forget(ctx, c, svc.key.id) // else with the next connection
			}()
		}
	}
	t.mu.Unlock()
}

// Close is StopAccepting, and ends the listener. Connections stay. Later calls do nothing. Any goroutine but a loop's.
func (svc *Service) Close() error {
	svc.StopAccepting()
	svc.removal.Wait()
	svc.t.remove(svc)
	svc.r.RemoveService(svc)
	return svc.lis.Close()
}
