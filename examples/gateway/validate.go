package main

import (
	stdtls "crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// validate checks what depends on the library's rules and on several settings at once, and reads QUIC's keys. It starts nothing, and reads
// no certificate.
func (e *effective) validate() error {
	return errors.Join(e.validateZeros(), e.validateLibrary(), e.validateListeners(), e.validateForward())
}

// validateZeros refuses a zero where the library has a default for it: what is printed as in force would not be.
func (e *effective) validateZeros() error {
	var errs []error
	usual := settings(defaults())
	for i, s := range e.table {
		if v := s.value.get(); s.field != "" && (v == "0" || v == "0s") && usual[i].value.get() != v {
			errs = append(errs, e.refuse(s.key, "allowed is "+allowed(s.key)+"; the default is "+usual[i].value.get()))
		}
	}
	return errors.Join(errs...)
}

// validateLibrary has the library check its own fields.
func (e *effective) validateLibrary() error {
	c := e.Config
	errs := []error{c.Reactor.Validate()}
	_, err := framer.NewEndpoint(nobody{}, c.Frames)
	errs = append(errs, err)
	store := c.TLS.Store
	store.Pairs = []certs.Pair{c.TLS.Pair}
	if !c.needsCert() || c.TLS.Pair.CertFile == "" || c.TLS.Pair.KeyFile == "" { // validateListeners says so, where they are needed
		store.Pairs[0] = certs.Pair{CertFile: "-", KeyFile: "-", Responder: c.TLS.Pair.Responder}
	}
	errs = append(errs, store.Validate())
	lib := c.QUIC.Lib
	lib.TLS = &stdtls.Config{GetCertificate: func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { return nil, errors.New("unused") }}
	lib.Protocol = func(*reactor.Conn) reactor.Protocol { return nil }
	errs = append(errs, lib.Validate())
	errs = append(errs, reactor.ListenConfig{Protocol: lib.Protocol, Proxy: c.TLS.proxy()}.Validate("tcp"))
	if c.Tor.Enabled {
		errs = append(errs, c.Tor.Lib.Validate())
	}
	for i, err := range errs {
		errs[i] = e.explain(err)
	}
	return errors.Join(errs...)
}

// nobody is a handler for endpoints that are made to be validated.
type nobody struct{}

func (nobody) OnOpen(*framer.Session)                 {}
func (nobody) OnFrame(*framer.Session, *framer.Frame) {}
func (nobody) OnClose(*framer.Session, error)         {}

// explain names the setting in an error of the library that names a field.
func (e *effective) explain(err error) error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, part := range j.Unwrap() {
			all = append(all, e.explain(part))
		}
		return errors.Join(all...)
	}
	for _, s := range e.table {
		if s.field != "" && (strings.HasPrefix(err.Error(), s.field+" ") || strings.HasPrefix(err.Error(), s.field+"[")) {
			return e.refuse(s.key, err.Error())
		}
	}
	return err
}

// refuse is an error about a setting.
func (e *effective) refuse(key, why string) error {
	for _, s := range e.table {
		if s.key == key {
			return fmt.Errorf("%s = %s (%s): %s", key, s.value.toml(), e.origin[key], why)
		}
	}
	return fmt.Errorf("%s: %s", key, why)
}

// validateListeners checks what is listened on.
func (e *effective) validateListeners() error {
	c := e.Config
	var errs []error
	for _, a := range []struct{ key, addr string }{{"admin.listen", c.Admin}, {"tls.listen", c.TLS.Listen}, {"quic.listen", c.QUIC.Listen}} {
		if a.addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(a.addr); err != nil || !isPort(port, 0) {
			errs = append(errs, e.refuse(a.key, "allowed is host:port with a port from 0 to 65535, or nothing"))
		}
	}
	if _, port, _ := net.SplitHostPort(c.Admin); c.Admin != "" && c.Admin == c.TLS.Listen && port != "0" {
		errs = append(errs, e.refuse("admin.listen", "allowed is another address than that of tls.listen"))
	}
	if c.TLS.Listen == "" && c.QUIC.Listen == "" && !c.Tor.Enabled {
		errs = append(errs, e.refuse("tls.listen", "at least one of tls.listen, quic.listen and tor.enabled is needed"))
	}
	if c.needsCert() {
		for _, f := range []struct{ key, path string }{{"tls.cert", c.TLS.Pair.CertFile}, {"tls.key", c.TLS.Pair.KeyFile}} {
			if f.path == "" {
				errs = append(errs, e.refuse(f.key, "allowed is the path of a PEM file; tls.listen and quic.listen need it"))
			}
		}
	}
	if len(c.Frames.EarlyApps) > 0 && !c.QUIC.Lib.Early {
		errs = append(errs, e.refuse("quic.early_apps", "allowed only with quic.early"))
	}
	if c.QUIC.Lib.Early && len(c.Frames.EarlyApps) == 0 {
		errs = append(errs, e.refuse("quic.early", "allowed only with quic.early_apps: without one nothing is accepted early"))
	}
	if c.TLS.NoTickets && c.TLS.Store.Tickets.File != "" {
		errs = append(errs, e.refuse("tls.ticket_file", "allowed only with tls.session_tickets"))
	}
	if len(c.TLS.Proxy.Trusted) > 0 && c.TLS.Listen == "" {
		errs = append(errs, e.refuse("tls.proxy_trusted", "allowed only with tls.listen: PROXY headers are for TCP"))
	}
	if c.TLS.Proxy.Direct && len(c.TLS.Proxy.Trusted) == 0 {
		errs = append(errs, e.refuse("tls.proxy_direct", "allowed only with tls.proxy_trusted: without it nobody is asked for a header"))
	}
	if c.TLS.Handover != "" && (c.TLS.Listen == "" || c.QUIC.Listen != "" || c.Tor.Enabled) {
		errs = append(errs, e.refuse("tls.handover", "allowed only with tls.listen, and without quic.listen and tor.enabled, whose sockets cannot be passed on"))
	}
	for _, k := range []struct {
		key, path string
		to        **[32]byte
	}{{"quic.reset_key_file", c.QUIC.ResetKey, &c.QUIC.Lib.ResetKey}, {"quic.token_key_file", c.QUIC.TokenKey, &c.QUIC.Lib.TokenKey}} {
		key, err := readKey(k.path)
		if err != nil {
			errs = append(errs, e.refuse(k.key, err.Error()))
		}
		*k.to = key // what is used is what has been checked, whatever becomes of the file
	}
	return errors.Join(errs...)
}

// isPort says whether s is a port's number, not below least.
func isPort(s string, least int) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && int(n) >= least
}

// needsCert says whether there is a transport that shows a certificate.
func (c *Config) needsCert() bool { return c.TLS.Listen != "" || c.QUIC.Listen != "" }

// readKey reads a key of QUIC; nil for no file.
func readKey(path string) (*[32]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := certs.ReadSecret(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	key := new([32]byte)
	raw := strings.TrimSpace(string(b))
	if len(raw) != 2*len(key) {
		return nil, fmt.Errorf("it holds %d characters; allowed are 64 hexadecimal digits", len(raw))
	}
	if _, err := hex.Decode(key[:], []byte(raw)); err != nil {
		return nil, errors.New("allowed are 64 hexadecimal digits") // the digits themselves are nobody's business
	}
	return key, nil
}

// validateForward checks the routes and what holds for them.
func (e *effective) validateForward() error {
	c := e.Config
	routes, err := parseRoutes(c.Forward.Routes)
	if err != nil {
		return e.refuse("forward.routes", err.Error())
	}
	var errs []error
	if c.Forward.CA != "" {
		if _, err := readRoots(c.Forward.CA); err != nil {
			errs = append(errs, e.refuse("forward.ca", err.Error()))
		}
	}
	if !routes.forwards() {
		return errors.Join(errs...)
	}
	if g := c.Reactor.ShutdownGrace; g < c.Forward.Timeout {
		errs = append(errs, e.refuse("forward.timeout", fmt.Sprintf("allowed is up to reactor.shutdown_grace, %v: what was asked before a shutdown is answered in it", g)))
	}
	if g := c.Reactor.ShutdownGrace; c.DrainTimeout < g {
		errs = append(errs, e.refuse("drain.timeout", fmt.Sprintf("allowed with upstreams is reactor.shutdown_grace, %v, or more: what is left after drain.timeout is cut off", g)))
	}
	return errors.Join(errs...)
}
