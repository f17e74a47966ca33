package tor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/pool/eventlog"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor/control"
	"github.com/ron-transport/ron-transport/tor/internal/proc"
)

// Tor is a tor process that we use: one that we have started, or one that runs anyway.
type Tor struct {
	cfg    Config
	link   *control.Link
	stop   context.CancelFunc // ends what waits in tasks
	ctx    context.Context
	tasks  sync.WaitGroup
	owner  *os.File         // of a data directory that is to be removed; else nil
	events *eventlog.Writer // nil without a logger

	mu       sync.Mutex
	conn     *control.Conn // nil while the link is down
	downErr  error         // why it is
	gone     bool          // tor cannot be reached at all, not only the connection has been lost
	progress int
	phase    string
	late     bool  // BootstrapTimeout is over
	phases   int   // how many events have told the progress
	procErr  error // why the tor that we have started has ended, until the next start
	offline  bool  // tor finds the network down
	socks    string
	services []*Service
	starts   int
	links    int
	proc     *proc.Process       // nil for a tor that is not ours
	timer    *time.Timer         // of BootstrapTimeout
	period   int                 // which one, for a timer that has fired already
	orphans  map[string]struct{} // services that tor is to forget, and may not have heard of it
	lives    int                 // how many events have told whether the network is there
	changed  chan struct{}       // closed, and replaced, with each change
	closed   bool
}

// Open begins to use a tor and returns at once: Status, WaitReady and Config.OnStatus tell how far it is. Errors are those of the
// configuration, and of the first start of a process. Close must be called in the end, after the reactors' Shutdown. Any goroutine.
func Open(cfg Config) (*Tor, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Tor{cfg: cfg, changed: make(chan struct{}), orphans: make(map[string]struct{}), downErr: errors.New("not connected yet")}
	t.ctx, t.stop = context.WithCancel(context.Background())
	if cfg.Logger != nil {
		t.events = eventlog.New(cfg.Logger)
	}
	link := control.LinkConfig{BackoffMax: backoffMax, OnUp: t.onUp, OnDown: t.onDown, OnEvent: t.onEvent}
	if cfg.Control != "" {
		link.Network, link.Addr, _ = splitAddr(cfg.Control)
		link.Auth, t.socks = cfg.Auth, cfg.SOCKS
	} else {
		if t.owner, err = t.cfg.Process.makeDir(); err != nil {
			return nil, err
		}
		link.Network, link.Addr = "unix", t.file("control")
		link.Auth = control.Auth{CookieFile: t.file("cookie")}
		t.socks = "unix:" + t.file("socks")
		if err := t.start(); err != nil {
			t.stop()
			return nil, errors.Join(err, t.removeDir())
		}
		t.tasks.Add(1)
		go t.supervise()
	}
	t.mu.Lock()
	t.restartTimer()
	t.mu.Unlock()
	if cfg.OnStatus != nil || t.events != nil {
		t.tasks.Add(1)
		go t.notify()
	}
	if t.link, err = control.NewLink(link); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// file is a file in the data directory.
func (t *Tor) file(name string) string { return filepath.Join(t.cfg.Process.DataDir, name) }

// onUp makes a new control connection what we need. It is the Link's.
func (t *Tor) onUp(ctx context.Context, c *control.Conn) error {
	if err := c.SetEvents(ctx, "STATUS_CLIENT", "HS_DESC", "NETWORK_LIVENESS"); err != nil {
		return err
	}
	t.mu.Lock()
	phases, lives := t.phases, t.lives
	t.mu.Unlock()
	phase, err := c.GetInfo(ctx, "status/bootstrap-phase")
	if err != nil {
		return err
	}
	liveness, err := c.GetInfo(ctx, "network-liveness")
	if err != nil {
		return err
	}
	socks, err := t.findSOCKS(ctx, c)
	if err != nil {
		return err
	}
	words := control.Words(phase)
	progress, _ := strconv.Atoi(control.Field(words, "PROGRESS"))
	if err := t.adopt(ctx, c); err != nil {
		return err
	}
	t.mu.Lock()
	t.socks = socks
	if phases == t.phases { // else an event has told more since
		t.setProgress(progress, control.Field(words, "SUMMARY"))
	}
	if lives == t.lives {
		t.offline = liveness == "down"
	}
	t.touch()
	services := slices.Clone(t.services)
	t.mu.Unlock()
	for _, svc := range services {
		if err := svc.add(ctx, c); errors.Is(err, control.ErrClosed) || ctx.Err() != nil { // a refusal is in the service's status
			return err
		}
	}
	return nil
}

// adopt makes c the connection that is used, once tor has forgotten what it was to forget: a service that is opened again with the same key is
// added after that.
func (t *Tor) adopt(ctx context.Context, c *control.Conn) error {
	for {
		t.mu.Lock()
		ids := slices.Collect(maps.Keys(t.orphans))
		if len(ids) == 0 {
			t.conn, t.downErr, t.gone = c, nil, false
			t.links++
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		for _, id := range ids {
			if err := t.forget(ctx, c, id); err != nil {
				return err
			}
		}
	}
}

// forget has tor forget a service.
func (t *Tor) forget(ctx context.Context, c *control.Conn, id string) error {
	err := c.DelOnion(ctx, id)
	var refused *control.Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.orphans, id) // a refusal says that there is none
	return nil
}

// setProgress notes how far tor has bootstrapped. One that begins anew gets its time anew. With the lock held.
func (t *Tor) setProgress(progress int, phase string) {
	progress = max(0, min(progress, 100))
	if progress < 100 && t.progress == 100 {
		t.restartTimer()
	}
	if t.progress, t.phase = progress, phase; progress == 100 {
		t.late = false
	}
}

// findSOCKS is the port that dials go through.
func (t *Tor) findSOCKS(ctx context.Context, c *control.Conn) (string, error) {
	if t.cfg.Control == "" {
		return "unix:" + t.file("socks"), nil
	}
	if t.cfg.SOCKS != "" {
		return t.cfg.SOCKS, nil
	}
	list, err := c.GetInfo(ctx, "net/listeners/socks")
	if err != nil {
		return "", err
	}
	for _, l := range control.Words(list) {
		if _, _, err := splitAddr(l); err == nil {
			return l, nil
		}
	}
	return "", nil // a tor without one serves onion services all the same
}

// onDown notes that there is no control connection. It is the Link's.
func (t *Tor) onDown(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.conn != nil
	t.conn, t.downErr = nil, err
	t.gone = t.gone || !was // lost, it may only have been the connection; not there, tor is not either
	for _, svc := range t.services {
		svc.lost(t.gone)
	}
	t.touch()
}

// onEvent takes tor's events. It is the control connection's.
func (t *Tor) onEvent(e control.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Type {
	case "STATUS_CLIENT":
		if e.Arg(1) != "BOOTSTRAP" {
			return
		}
		if p, err := strconv.Atoi(e.Field("PROGRESS")); err == nil {
			t.phases++
			t.setProgress(p, e.Field("SUMMARY"))
		}
	case "NETWORK_LIVENESS":
		t.lives++
		t.offline = e.Arg(0) == "DOWN"
	case "HS_DESC":
		for _, svc := range t.services {
			if svc.key.id == e.Arg(1) {
				svc.event(e)
			}
		}
	default:
		return
	}
	t.touch()
}

// Dial begins to connect to an onion service, "X.onion:port", and returns at once. The SOCKS exchange with tor runs in the loop. Before
// tor has bootstrapped, and for a bad address, it returns an *Error; one in the exchange is the cause of the protocol's OnClose. The
// remote address is tor's. Any goroutine.
func (t *Tor) Dial(r *reactor.Reactor, addr string, dc DialConfig) (*reactor.Conn, error) {
	t.mu.Lock()
	notReady, socks := t.bootstrapped(), t.socks
	t.mu.Unlock()
	if notReady != nil {
		return nil, notReady
	}
	network, port, err := splitAddr(socks)
	if err != nil {
		return nil, &Error{Kind: KindFailed, Detail: "it has no SOCKS port"}
	}
	return dial(r, network, port, addr, dc)
}

// Control is the control connection, for what has no method here. It may break at any moment, and another one takes its place. While there
// is none: control.ErrClosed, with the cause in its chain. Any goroutine.
func (t *Tor) Control() (*control.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, fmt.Errorf("%w: %w", control.ErrClosed, ErrClosed)
	case t.conn == nil:
		return nil, fmt.Errorf("%w: %w", control.ErrClosed, t.downErr)
	}
	return t.conn, nil
}

// AddClientAuth gives tor the key (control.ClientKey.Private) with which the onion service at addr, "X.onion", lets us connect. Tor forgets
// it when it ends. Any goroutine.
func (t *Tor) AddClientAuth(ctx context.Context, addr, private string) error {
	id := strings.TrimSuffix(strings.ToLower(addr), ".onion")
	if _, err := parseOnion(id); err != nil {
		return &Error{Kind: KindBadAddress, Detail: fmt.Sprintf("%q", addr), Err: err}
	}
	c, err := t.Control()
	if err != nil {
		return err
	}
	return c.AddClientAuth(ctx, id, private, false)
}

// Pid is the number of the process of Config.Process; 0 while it does not run, and for a tor that is not ours. Any goroutine.
func (t *Tor) Pid() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proc == nil {
		return 0
	}
	return t.proc.Pid()
}

// Close ends the services, the control connection, and the tor that we have started; without a DataDir, its directory is removed.
// Connections through tor end with it. A Config.Logger that is stuck is waited for a second; what it is still to be told is then left to
// its goroutine. Later calls do nothing. Any goroutine but those of OnStatus and the loops.
func (t *Tor) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	services := slices.Clone(t.services)
	t.mu.Unlock()
	var err error
	for _, svc := range services {
		err = errors.Join(err, svc.Close())
	}
	t.mu.Lock()
	t.closed = true
	t.touch()
	t.timer.Stop()
	t.mu.Unlock()
	t.stop()
	if t.link != nil {
		err = errors.Join(err, t.link.Close())
	}
	t.tasks.Wait()
	if t.events != nil {
		t.events.End(t.ctx) // which has ended: the logger has a second for its last lines
	}
	return errors.Join(err, t.removeDir())
}

// removeDir removes a temporary data directory.
func (t *Tor) removeDir() error {
	if t.owner == nil {
		return nil
	}
	return errors.Join(os.RemoveAll(t.cfg.Process.DataDir), t.owner.Close())
}
