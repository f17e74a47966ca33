package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/tor"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// soakServers are the servers of a soak, and what they need.
type soakServers struct {
	files *cert.Files
	list  []*serverProcess
	net   *torlab.Network // nil without Tor
	tor   *tor.Tor        // the clients'

	mu    sync.Mutex   // guards what follows
	pairs []*cert.Pair // trusted: the last one before, the one in force, and the next
}

// startSoakServers starts them all. What fails ends what has been started.
func (a *app) startSoakServers(ctx context.Context, o *soakOptions) (s *soakServers, err error) {
	s = new(soakServers)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(nil, nil))
			s = nil
		}
	}()
	if s.files, err = cert.Make(); err != nil {
		return s, err
	}
	if err := s.rotate(); err != nil { // into force comes the first pair that is known
		return s, err
	}
	tickets := max(o.Rotate, time.Minute).String() // what the library takes at the least
	for _, command := range []string{"tls_echo_server", "quic_echo_server"} {
		srv, err := a.startServer(command, s.files, "--ocsp=false", "--ticket-rotate", tickets)
		if err != nil {
			return s, err
		}
		s.list = append(s.list, srv)
	}
	if !o.Tor {
		return s, nil
	}
	err = a.startSoakTor(ctx, s)
	if errors.Is(err, errNoNetwork) && o.tor == choiceAuto && ctx.Err() == nil {
		fmt.Fprintf(a.stderr, "Tor is left out: %v\n", err)
		o.Tor, o.noTor = false, err.Error()
		err = nil
	}
	return s, err
}

// errNoNetwork is a private Tor network that did not come up: tor's own matter, or the machine's. What fails on it is ours.
var errNoNetwork = errors.New("no private Tor network")

// startSoakTor brings the private network up, the onion service on it, and what dials it.
func (a *app) startSoakTor(ctx context.Context, s *soakServers) (err error) {
	progress := report.NewProgress(a.stderr)
	s.net, err = torlab.Start(ctx, torlab.Config{Progress: func(stage string, percent int) {
		progress.Line(time.Now(), fmt.Sprintf("private Tor network: %d %% %s", percent, stage))
	}})
	progress.Done()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoNetwork, err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	srv := &serverProcess{transport: load.Tor, json: filepath.Join(s.files.Dir, "server-tor.json")}
	if srv.Process, err = child.Start(a.stderr, exe, "tor_echo_server", "--hs", "127.0.0.1:0", "--control", "unix:"+s.net.Client(0).ControlSocket(),
		"--with-parent", "--json", srv.json); err != nil {
		return err
	}
	s.list = append(s.list, srv)
	line, err := srv.WaitLine(lineListening, startWait)
	if err == nil {
		srv.addr, err = field(line, "addr")
	}
	if err != nil {
		return err
	}
	var k torKnobs
	k.config.Control, k.config.BootstrapTimeout = "unix:"+s.net.Client(1).ControlSocket(), tor.DefaultBootstrapTimeout
	s.tor, err = k.open(ctx, a.stderr)
	return err
}

// rotate puts another pair into the files and has the servers take it. Clients trust a pair before it comes into force, and for one
// rotation after it went: a connection that is being made does not see the change.
func (s *soakServers) rotate() error {
	next, err := cert.NewPair()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.pairs) == 0 {
		s.pairs = append(s.pairs, next)
		s.mu.Unlock()
		return s.rotate()
	}
	current := s.pairs[len(s.pairs)-1]
	s.pairs = append(s.pairs[max(len(s.pairs)-2, 0):], next)
	s.mu.Unlock()
	if err := s.files.Install(current); err != nil {
		return err
	}
	for _, srv := range s.list {
		if srv.transport != load.Tor {
			err = errors.Join(err, srv.Signal(syscall.SIGHUP))
		}
	}
	return err
}

// roots are what clients trust now. Any goroutine.
func (s *soakServers) roots() *x509.CertPool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pool := x509.NewCertPool()
	for _, p := range s.pairs {
		p.Trust(pool)
	}
	return pool
}

// close ends everything. With r the servers' reports go there, and what they saw fail to the state of run.
func (s *soakServers) close(r *report.Report, run *soakRun) error {
	var errs []error
	for _, srv := range s.list {
		var into *report.Server
		if r != nil {
			into = new(report.Server)
		}
		if err := srv.stop(into); err != nil || r == nil {
			errs = append(errs, err)
			continue
		}
		run.ended(srv.transport, into)
		switch srv.transport {
		case load.TLS:
			r.Server = into
		case load.QUIC:
			r.QUICServer = into
		}
	}
	if s.tor != nil {
		errs = append(errs, s.tor.Close())
	}
	if s.net != nil {
		errs = append(errs, s.net.Close())
	}
	if s.files != nil {
		errs = append(errs, s.files.Remove())
	}
	return errors.Join(errs...)
}
