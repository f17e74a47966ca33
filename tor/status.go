package tor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// State says how far a Tor can be relied on.
type State uint8

const (
	// NotReady: tor has not bootstrapped, does not run, or a service's descriptor is not published yet.
	NotReady State = iota
	// Degraded: what there is goes on, but something is wrong: the control connection is lost, or tor finds the network gone.
	Degraded
	// Ready: tor has bootstrapped, and the descriptors of all services are published.
	Ready
)

// String is the state's name. Any goroutine.
func (s State) String() string {
	switch s {
	case NotReady:
		return "not ready"
	case Degraded:
		return "degraded"
	case Ready:
		return "ready"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Status is how a Tor is doing.
type Status struct {
	State State
	// Reason is the canon's word for why it is not Ready: tor_bootstrap after BootstrapTimeout, else not_ready; "" when Ready.
	Reason string
	// Detail says the same in words.
	Detail string
	// Progress is tor's progress of bootstrapping, 0 to 100, and Phase what it is doing, in tor's words.
	Progress int
	Phase    string
	// Services are how many onion services there are, Published how many of them can be found.
	Services, Published int
	// Starts is how often the tor of Config.Process has been started, and Links how often the control connection has been made.
	Starts, Links int
}

// Status tells how tor is doing. Any goroutine.
func (t *Tor) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status()
}

// status is Status with the lock held.
func (t *Tor) status() Status {
	s := Status{Progress: t.progress, Phase: t.phase, Services: len(t.services), Starts: t.starts, Links: t.links}
	for _, svc := range t.services {
		if svc.state == servicePublished {
			s.Published++
		}
	}
	if err := t.bootstrapped(); err != nil {
		s.Reason, s.Detail = err.Reason(), err.Error()
		return s
	}
	for _, svc := range t.services {
		if err := svc.published(); err != nil {
			s.Reason, s.Detail = err.Reason(), err.Error()
			return s
		}
	}
	switch {
	case t.conn == nil:
		s.State, s.Reason, s.Detail = Degraded, "not_ready", fmt.Sprintf("tor: the control connection is lost: %v", t.downErr)
	case t.offline:
		s.State, s.Reason, s.Detail = Degraded, "not_ready", "tor: the network seems to be down"
	default:
		s.State = Ready
	}
	return s
}

// bootstrapped is nil while dials make sense. With the lock held.
func (t *Tor) bootstrapped() *Error {
	switch {
	case t.closed:
		return &Error{Kind: KindNotReady, Err: ErrClosed}
	case t.progress >= 100 && !t.gone:
		return nil
	case t.late:
		return &Error{Kind: KindBootstrap, Detail: fmt.Sprintf("%d %% after %v", t.progress, t.cfg.BootstrapTimeout), Err: errors.Join(t.procErr, t.downErr)}
	case t.procErr != nil:
		return &Error{Kind: KindNotReady, Detail: "it has ended and is started again", Err: t.procErr}
	case t.conn == nil:
		return &Error{Kind: KindNotReady, Detail: "no control connection", Err: t.downErr}
	}
	return &Error{Kind: KindNotReady, Detail: fmt.Sprintf("bootstrapping, %d %%: %s", t.progress, t.phase), Retry: retryBootstrap}
}

// Ready is nil when tor is Ready or Degraded, else an *Error with the reason and the time after which to try again. It is made for
// framer's Options.Ready. Any goroutine.
func (t *Tor) Ready() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.bootstrapped(); err != nil {
		return err
	}
	for _, svc := range t.services {
		if err := svc.published(); err != nil {
			return err
		}
	}
	return nil
}

// WaitReady waits until Ready returns nil. It returns Ready's error when ctx ends first, joined with that of ctx, and at once when
// BootstrapTimeout is over or the Tor closed. Any goroutine but that of OnStatus.
func (t *Tor) WaitReady(ctx context.Context) error {
	return t.wait(ctx, t.Ready)
}

// wait waits until ready returns nil, or an error that waiting does not mend.
func (t *Tor) wait(ctx context.Context, ready func() error) error {
	for {
		t.mu.Lock()
		changed, closed := t.changed, t.closed
		t.mu.Unlock()
		err := ready()
		if err == nil || closed || errors.Is(err, ErrClosed) || IsKind(err, KindBootstrap) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}

// touch tells those who wait that something has changed. With the lock held.
func (t *Tor) touch() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// notify tells OnStatus and the logger each new status, until the Tor is closed.
func (t *Tor) notify() {
	defer t.tasks.Done()
	var last Status
	for first := true; ; first = false {
		t.mu.Lock()
		now, changed, closed := t.status(), t.changed, t.closed
		t.mu.Unlock()
		if first || now != last {
			if t.cfg.OnStatus != nil {
				t.cfg.OnStatus(now)
			}
			if t.events != nil {
				now.tell(t.events)
			}
			last = now
		}
		if closed {
			return
		}
		<-changed
	}
}

// restartTimer has late set when BootstrapTimeout is over, unless tor has bootstrapped by then. A tor that ends before it has, and is
// started again, does not get its time anew: it may go on like that for ever. With the lock held.
func (t *Tor) restartTimer() {
	t.late = false
	if t.timer != nil {
		t.timer.Stop()
	}
	t.period++
	period := t.period
	t.timer = time.AfterFunc(t.cfg.BootstrapTimeout, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.period == period && t.progress < 100 && !t.closed {
			t.late = true
			t.touch()
		}
	})
}

// remove takes a closed service off the list.
func (t *Tor) remove(svc *Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if svc.timer != nil {
		svc.timer.Stop()
	}
	if i := slices.Index(t.services, svc); i >= 0 {
		t.services = slices.Delete(t.services, i, i+1)
		t.touch()
	}
}
