package main

import (
	stdtls "crypto/tls"
	"errors"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls/certs"
	"github.com/ron-transport/ron-transport/tor"
)

// checkKnobs checks the knobs of a server as far as that is possible without a certificate, a tor, or anything that is started.
func (o *serverOptions) checkKnobs() error {
	if !o.kind.knobs {
		return nil
	}
	errs := []error{o.knobs.validate()}
	if o.kind.quic {
		errs = append(errs, o.quic.validateServer())
	}
	return errors.Join(append(errs, o.checkLibrary())...)
}

// checkLibrary has the library check its own fields. Each error names the flag.
func (o *serverOptions) checkLibrary() error {
	errs := []error{each(o.knobs.reactor.Validate(), o.knobs.explain)}
	_, err := framer.NewEndpoint(nobody{}, o.framerOptions(o.kind.kind))
	errs = append(errs, each(err, o.knobs.explain))
	if o.kind.quic {
		lc := o.quic.listen
		lc.Config = o.quic.config
		lc.TLS = &stdtls.Config{GetCertificate: func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { return nil, errors.New("unused") }}
		lc.Protocol = func(*reactor.Conn) reactor.Protocol { return nil }
		errs = append(errs, each(lc.Validate(), o.quic.explain))
	}
	if o.kind.tls {
		c := o.knobs.certs
		c.Pairs = []certs.Pair{{CertFile: "-", KeyFile: "-"}}
		errs = append(errs, each(c.Validate(), explainCerts))
	}
	if o.kind.tor {
		errs = append(errs, o.tor.checkKnobs())
	}
	return errors.Join(errs...)
}

// checkKnobs checks the knobs of a client likewise.
func (o *clientOptions) checkKnobs() error {
	k := clientKindOf(o.transport)
	switch {
	case k.knobs:
		lc := quic.ListenConfig{Config: o.quic.config} // what a server checks as well; a dialer is checked when it is made
		lc.TLS = &stdtls.Config{GetCertificate: func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { return nil, errors.New("unused") }}
		lc.Protocol = func(*reactor.Conn) reactor.Protocol { return nil }
		return each(lc.Validate(), o.quic.explain)
	case k.tor:
		return o.tor.checkKnobs()
	}
	return nil
}

// checkKnobs checks what does not depend on which tor there is: that is checked when it is opened.
func (k *torKnobs) checkKnobs() error {
	c := tor.Config{Control: "unix:/unused", BootstrapTimeout: k.config.BootstrapTimeout}
	if k.config.Control != "" {
		c.Control = k.config.Control
	}
	return each(c.Validate(), k.explain)
}

// each applies f to err, or to each error that is joined in it.
func each(err error, f func(error) error) error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, part := range j.Unwrap() {
			all = append(all, each(part, f))
		}
		return errors.Join(all...)
	}
	return f(err)
}

// nobody is a handler for endpoints that are made to be validated.
type nobody struct{}

func (nobody) OnOpen(*framer.Session)                 {}
func (nobody) OnFrame(*framer.Session, *framer.Frame) {}
func (nobody) OnClose(*framer.Session, error)         {}

// framerOptions is the framer's configuration of a server; transport is what its HELLO says.
func (o *serverOptions) framerOptions(transport string) framer.Options {
	fo := framer.Options{
		MaxFrame: o.knobs.maxFrame, MaxInflight: o.knobs.inflight, MaxStreams: o.knobs.frameStreams, MaxInflated: o.knobs.maxInflated,
		Transports: []string{transport},
	}
	o.quic.framer(&fo)
	return fo
}
