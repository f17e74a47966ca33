package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/tor"
	"github.com/ron-transport/ron-transport/tor/control"
)

// torKnobs are the fields of package tor as flags.
type torKnobs struct {
	config  tor.Config
	public  bool
	service tor.ServiceConfig // of a server: what is not in its Listen

	onion    string // of a client: whom it dials
	circuits int
	hello    int
	pause    time.Duration
}

// defaultTorExe is found in PATH.
const defaultTorExe = "tor"

// torFields maps fields of the library's configuration, as its errors name them, to flags.
func torFields() map[string]string {
	return map[string]string{
		"Control": "control", "SOCKS": "socks", "BootstrapTimeout": "bootstrap-timeout", "Process.Exe": "tor-exe", "Process.DataDir": "tor-dir",
		"Process.Options": "tor-option", "KeyFile": "onion-key", "MaxStreams": "max-conns-per-circuit", "ClientAuth": "client-auth", "Ports": "onion-port",
	}
}

// register declares the flags that servers and clients share.
func (k *torKnobs) register(f *pflag.FlagSet) {
	c := &k.config
	f.StringVar(&c.Control, "control", "", "use the tor with this control port, unix:/path or host:port; empty: start one, see --public-network")
	f.StringVar(&c.Auth.CookieFile, "cookie-file", "", "with --control: file of tor's cookie; empty: the one that tor names")
	f.BoolVar(&k.public, "public-network", false, "without --control: let the tor that is started use the public Tor network (\"ronbench tor\" has a private one)")
	f.StringVar(&c.Process.Exe, "tor-exe", defaultTorExe, "without --control: the program that is started")
	f.StringVar(&c.Process.DataDir, "tor-dir", "", "without --control: where tor keeps what it learns; empty: in memory only")
	f.StringArrayVar(&c.Process.Options, "tor-option", nil, "without --control: a further line of its configuration, such as a bridge; may be repeated")
	f.DurationVar(&c.BootstrapTimeout, "bootstrap-timeout", tor.DefaultBootstrapTimeout, "how long tor may take to be ready")
}

// registerServer declares the flags of a server.
func (k *torKnobs) registerServer(f *pflag.FlagSet) {
	k.register(f)
	s := &k.service
	f.IntVar(&s.Port, "onion-port", tor.DefaultPort, "port of the onion service")
	f.StringVar(&s.KeyFile, "onion-key", "", "file of the onion service's key, made if it is not there; empty: a new key, in memory only")
	f.StringArrayVar(&s.ClientAuth, "client-auth", nil, "public key of a client that may connect; may be repeated; none: everybody may")
	f.BoolVar(&s.PoW, "pow", false, "have clients pay with work when the service is flooded")
	f.IntVar(&s.MaxStreams, "max-conns-per-circuit", 0, "connections that one circuit may carry at once; 0: no limit")
}

// registerClient declares the flags of a client.
func (k *torKnobs) registerClient(f *pflag.FlagSet) {
	k.register(f)
	f.StringVar(&k.onion, "onion", "", "onion service, X.onion:port")
	f.IntVar(&k.circuits, "circuits", 0, "over how many circuits the connections are spread; 0: each has its own")
	f.IntVar(&k.hello, "hello", 0, "instead of a load: make this many connections, one after the other, and say HELLO on each")
	f.DurationVar(&k.pause, "hello-pause", 0, "with --hello: pause before each")
}

// validate checks what the library does not check by itself.
func (k *torKnobs) validate() error {
	if k.config.Control != "" {
		if k.public || k.config.Process.Exe != defaultTorExe || k.config.Process.DataDir != "" || len(k.config.Process.Options) > 0 {
			return errors.New("--control: contradicts --public-network, --tor-exe, --tor-dir and --tor-option, which are for a tor that is started")
		}
		k.config.Process = tor.Process{}
		return nil
	}
	if k.config.Auth != (control.Auth{}) {
		return errors.New("--cookie-file: only with --control")
	}
	if !k.public {
		return errors.New("--control: which tor is used must be said: give --control, or --public-network to start one on the public network (for a private one: ronbench tor)")
	}
	return nil
}

// validateClient checks the flags of a client.
func (k *torKnobs) validateClient() error {
	errs := []error{k.validate(), load.CheckRange("circuits", k.circuits, 0, load.MaxCircuits), load.CheckRange("hello", k.hello, 0, load.MaxHellos),
		load.CheckDuration("hello-pause", k.pause, 0, load.MaxWarmup)}
	if _, err := tor.NewTunnel(k.onion, "", nil); err != nil {
		errs = append(errs, &load.FlagError{Flag: "onion", Value: fmt.Sprintf("%q (%v)", k.onion, err), Allowed: "X.onion:port"})
	}
	return errors.Join(errs...)
}

// open begins to use a tor, shows its progress, and waits until it is ready.
func (k *torKnobs) open(ctx context.Context, stderr *os.File) (*tor.Tor, error) {
	progress := report.NewProgress(stderr)
	cfg := k.config
	statuses := make(chan tor.Status, 1)
	cfg.OnStatus = func(s tor.Status) {
		select {
		case <-statuses: // what nobody has looked at is out of date
		default:
		}
		statuses <- s
	}
	t, err := tor.Open(cfg)
	if err != nil {
		return nil, k.explain(err)
	}
	ready := make(chan error, 1)
	go func() { ready <- t.WaitReady(ctx) }()
	for {
		select {
		case s := <-statuses:
			if s.Links > 0 && s.Progress < 100 {
				progress.Line(time.Now(), fmt.Sprintf("tor: %d %% %s", s.Progress, s.Phase))
			} else if s.State != tor.Ready && s.Starts != 1 { // not just started
				progress.Line(time.Now(), s.Detail)
			}
		case err := <-ready:
			if progress.Done(); err != nil {
				return nil, errors.Join(err, t.Close())
			}
			return t, nil
		}
	}
}

// explain names the flag in an error of package tor that names a field of its configuration.
func (k *torKnobs) explain(err error) error {
	for field, flag := range torFields() {
		if strings.Contains(err.Error(), "tor: "+field+" ") || strings.Contains(err.Error(), "control: "+field+" ") || strings.Contains(err.Error(), " "+field+"[") {
			return usage(fmt.Errorf("--%s: %w", flag, err))
		}
	}
	return err
}

// onionHost is the host of an onion address, which has been checked.
func onionHost(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}
