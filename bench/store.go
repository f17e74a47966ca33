package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// certFields maps fields of certs.Config, as its errors name them, to flags.
func certFields() map[string]string {
	return map[string]string{
		"Interval": "cert-interval", "ExpiryWarning": "cert-warning", "OCSP.Disable": "ocsp", "OCSP.Timeout": "ocsp-timeout",
		"Tickets.File": "ticket-file", "Tickets.Owner": "ticket-owner", "Tickets.Rotate": "ticket-rotate", "Tickets.Keep": "ticket-keep",
	}
}

// defaultCerts is the Store's configuration as the flags have it when none is given.
func defaultCerts() certs.Config {
	return certs.Config{
		Interval: certs.DefaultInterval, ExpiryWarning: certs.DefaultExpiryWarning, OCSP: certs.OCSP{Timeout: certs.DefaultFetchTimeout},
		Tickets: certs.Tickets{Rotate: certs.DefaultRotate},
	}
}

// registerCerts declares the flags of what the Store does with --cert and --key.
func (k *knobs) registerCerts(f *pflag.FlagSet) {
	k.certs = defaultCerts()
	c := &k.certs
	f.Var((*invertedBool)(&c.OCSP.Disable), "ocsp", "staple what the responder of --cert answers")
	f.Lookup("ocsp").NoOptDefVal = "true"
	f.DurationVar(&c.OCSP.Timeout, "ocsp-timeout", c.OCSP.Timeout, "bound on one request to the responder")
	f.DurationVar(&c.Interval, "cert-interval", c.Interval, "time between looks at --cert, --key and --ticket-file; negative: only at SIGHUP")
	f.DurationVar(&c.ExpiryWarning, "cert-warning", c.ExpiryWarning, "how long before its end --cert is reported; negative: never")
	f.StringVar(&c.Tickets.File, "ticket-file", "", "file of session ticket keys shared with other servers; empty: keys of this process alone")
	f.BoolVar(&c.Tickets.Owner, "ticket-owner", false, "renew --ticket-file, and make it where it is missing")
	f.DurationVar(&c.Tickets.Rotate, "ticket-rotate", c.Tickets.Rotate, "age at which a ticket key stops encrypting")
	f.IntVar(&c.Tickets.Keep, "ticket-keep", 0, "previous ticket keys that go on decrypting; 0: as many as a ticket's life of 7 days needs; negative: none")
}

// invertedBool is a flag that is true when its field is false.
type invertedBool bool

func (b *invertedBool) String() string { return fmt.Sprint(!*b) }
func (b *invertedBool) Type() string   { return "bool" }
func (b *invertedBool) Set(s string) error {
	switch s {
	case "true":
		*b = false
	case "false":
		*b = true
	default:
		return errors.New("allowed: true, false")
	}
	return nil
}

// validateCerts refuses flags that would have no effect.
func (o *serverOptions) validateCerts() error {
	c, d := o.knobs.certs, defaultCerts()
	var errs []error
	for _, f := range []struct {
		flag string
		set  bool
	}{
		{"ocsp", c.OCSP.Disable}, {"ocsp-timeout", c.OCSP.Timeout != d.OCSP.Timeout},
		{"cert-interval", c.Interval != d.Interval}, {"cert-warning", c.ExpiryWarning != d.ExpiryWarning},
		{"ticket-file", c.Tickets.File != ""}, {"ticket-owner", c.Tickets.Owner}, {"ticket-rotate", c.Tickets.Rotate != d.Tickets.Rotate},
		{"ticket-keep", c.Tickets.Keep != 0},
	} {
		if f.set && o.cert == "" {
			errs = append(errs, fmt.Errorf("--%s: only with --cert and --key; a throw-away certificate is as it is", f.flag))
		}
	}
	if c.Tickets != d.Tickets && !o.knobs.tickets {
		errs = append(errs, errors.New("--session-tickets=false: leave out the flags that begin with --ticket"))
	}
	return errors.Join(errs...)
}

// certStore is a Store with what runs for it.
type certStore struct {
	*certs.Store
	cancel  context.CancelFunc
	hup     chan os.Signal
	running sync.WaitGroup
}

// openStore loads --cert and --key and begins to look after them; SIGHUP has it look at once.
func openStore(o *serverOptions) (*certStore, error) {
	c := o.knobs.certs
	c.Pairs = []certs.Pair{{CertFile: o.cert, KeyFile: o.key}}
	c.OnEvent = func(e certs.Event) { tellEvent(o.stderr, e) }
	c.OCSP.Disable = c.OCSP.Disable || o.knobs.ocsp != ""
	store, err := certs.New(c)
	if err != nil {
		return nil, explainCerts(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &certStore{Store: store, cancel: cancel, hup: make(chan os.Signal, 1)}
	if store.Stats().Pairs[0].MustStaple {
		first, done := context.WithTimeout(ctx, c.OCSP.Timeout)
		_ = store.Staple(first) // told as an event; Run tries again
		done()
	}
	signal.Notify(s.hup, syscall.SIGHUP)
	s.running.Go(func() { _ = store.Run(ctx) })
	s.running.Go(func() {
		for range s.hup {
			_ = store.Reload() // told as events
		}
	})
	return s, nil
}

// close ends what openStore has begun; nil has nothing to end.
func (s *certStore) close() {
	if s == nil {
		return
	}
	signal.Stop(s.hup)
	close(s.hup)
	s.cancel()
	s.running.Wait()
}

// tellEvent writes a line about e.
func tellEvent(w io.Writer, e certs.Event) {
	if e.Err != nil {
		fmt.Fprintf(w, "ronbench: %v: %v\n", e.Kind, e.Err)
		return
	}
	fmt.Fprintf(w, "ronbench: %v\n", e.Kind)
}

// explainCerts names the flag in an error of certs.New.
func explainCerts(err error) error {
	for field, flag := range certFields() {
		if strings.HasPrefix(err.Error(), "certs: Config."+field) {
			return usage(fmt.Errorf("--%s: %w", flag, err))
		}
	}
	return usage(fmt.Errorf("--cert, --key: %w", err))
}

// tlsServer makes the TLS side of our server: with a throw-away certificate, or with the Store that looks after --cert and --key.
func tlsServer(o *serverOptions, c *stdtls.Certificate) (*tls.Server, *certStore, error) {
	conf := &stdtls.Config{SessionTicketsDisabled: !o.knobs.tickets}
	if !o.kind.quic {
		conf.NextProtos = []string{tls.ALPN, alpnHTTP}
	}
	aes, err := parseAESGCM(o.knobs.aesGCM)
	if err != nil {
		return nil, nil, err
	}
	staple, err := o.knobs.staple()
	if err != nil {
		return nil, nil, err
	}
	if o.cert == "" {
		c.OCSPStaple = staple
		conf.Certificates = []stdtls.Certificate{*c}
		srv, err := tls.NewServer(tls.Config{TLS: conf, AESGCM: aes})
		return srv, nil, err
	}
	store, err := openStore(o)
	if err != nil {
		return nil, nil, err
	}
	conf.GetCertificate = store.GetCertificate
	if staple != nil {
		conf.GetCertificate = func(h *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
			c, err := store.GetCertificate(h)
			if err != nil {
				return nil, err
			}
			with := *c // the Store's own is shared
			with.OCSPStaple = staple
			return &with, nil
		}
	}
	srv, err := tls.NewServer(tls.Config{TLS: conf, AESGCM: aes})
	if err == nil && o.knobs.tickets {
		err = store.Attach(srv)
	}
	if err != nil {
		store.close()
		return nil, nil, err
	}
	return srv, store, nil
}
